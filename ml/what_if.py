"""Two outcomes of the same days held against each other: incidents and work orders that came, went or changed, alarms, hours, cost."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

INCIDENT_COLUMNS = ("incident_id", "site", "machine_id", "verdict", "confidence")
ORDER_COLUMNS = ("order_id", "site", "machine_id", "failure_mode", "state", "priority", "title", "risk_cost", "currency")
PLACE_COLUMNS = ("order_id", "technician_id", "start_at", "end_at", "is_overtime")
ALARMING = ("credible", "investigate")
_PLANNED = ("scheduled", "in_progress", "completed")


@dataclass(frozen=True)
class Outcome:
    """What came of the days: incidents with their latest verdict, orders as they stand at the end, and where the work has its place.

    Columns as in INCIDENT_COLUMNS, ORDER_COLUMNS and PLACE_COLUMNS; ids are unique, a place is one technician's.
    """

    incidents: pd.DataFrame
    orders: pd.DataFrame
    places: pd.DataFrame

    @property
    def figures(self) -> dict[str, float]:
        """Counts, hours, and per currency the expected cost (risk) of the orders whose work is planned or done, and of the others."""
        hours = (self.places["end_at"] - self.places["start_at"]).dt.total_seconds() / 3600
        is_overtime = self.places["is_overtime"].astype(bool)
        is_planned = self.orders["state"].isin(_PLANNED)
        told = {
            "incidents": float(len(self.incidents)),
            "alarms": float(self.incidents["verdict"].isin(ALARMING).sum()),
            "work orders": float(len(self.orders)),
            "planned hours": float(hours.sum()),
            "of them overtime": float(hours[is_overtime].sum()),
        }
        for currency in sorted(set(self.orders["currency"])):
            of_currency = self.orders["currency"] == currency
            told[f"risk with work planned ({currency})"] = float(self.orders.loc[of_currency & is_planned, "risk_cost"].sum())
            told[f"risk without ({currency})"] = float(self.orders.loc[of_currency & ~is_planned, "risk_cost"].sum())
        return told


@dataclass(frozen=True)
class Difference:
    """What the second outcome has more, less or otherwise; rows are records with `before` and `after` where something changed."""

    incidents_added: list[dict[str, Any]]
    incidents_removed: list[dict[str, Any]]
    incidents_changed: list[dict[str, Any]]
    orders_added: list[dict[str, Any]]
    orders_removed: list[dict[str, Any]]
    orders_changed: list[dict[str, Any]]
    figures: dict[str, tuple[float, float]]

    @property
    def is_none(self) -> bool:
        rows = (self.incidents_added, self.incidents_removed, self.incidents_changed,
                self.orders_added, self.orders_removed, self.orders_changed)  # fmt: skip
        return not any(rows) and all(before == after for before, after in self.figures.values())


def difference(before: Outcome, after: Outcome) -> Difference:
    """Incidents change by verdict and confidence, orders by state, priority and risk."""
    incidents = _compared(before.incidents, after.incidents, key="incident_id", watched=("verdict", "confidence"))
    orders = _compared(before.orders, after.orders, key="order_id", watched=("state", "priority", "risk_cost"))
    was, is_now = before.figures, after.figures
    figures = {name: (was.get(name, 0.0), is_now.get(name, 0.0)) for name in {**was, **is_now}}
    return Difference(*incidents, *orders, figures=figures)


_Rows = list[dict[str, Any]]


def _compared(before: pd.DataFrame, after: pd.DataFrame, *, key: str, watched: tuple[str, ...]) -> tuple[_Rows, _Rows, _Rows]:
    old, new = ({row[key]: {str(k): v for k, v in row.items()} for row in frame.to_dict("records")} for frame in (before, after))
    added = [new[i] for i in sorted(new.keys() - old.keys())]
    removed = [old[i] for i in sorted(old.keys() - new.keys())]
    changed = [
        {**new[i], "before": {name: old[i][name] for name in watched}, "after": {name: new[i][name] for name in watched}}
        for i in sorted(old.keys() & new.keys())
        if any(_differ(old[i][name], new[i][name]) for name in watched)
    ]
    return added, removed, changed


def _differ(a: Any, b: Any) -> bool:
    return bool(abs(a - b) > 1e-9) if isinstance(a, float) and isinstance(b, float) else bool(a != b)
