"""What a headless run ended in: figures queried from ledger and lake, and held against the truth where it is known."""

from dataclasses import dataclass

import pandas as pd
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, Select, distinct, func, select

from cli.environment import Environment
from ml.evaluation import Evaluation, match_incidents
from resources.lake import LakeResource
from resources.ledger.findings import latest_assessments
from resources.ledger.intake import days_with_readings
from resources.ledger.rows import read_frame
from resources.ledger.tables import assignments, drops, plans, predictions, quarantine_counts, unplanned_orders, work_orders


@dataclass(frozen=True)
class Outcome:
    """Figures of the whole ledger; tables have one row per group, `forecasts` the latest per machine and failure mode."""

    intake: dict[str, int]
    refused: pd.DataFrame
    incidents: pd.DataFrame
    forecasts: pd.DataFrame
    orders: pd.DataFrame
    n_scheduled: int
    n_unplanned: int
    evaluation: Evaluation | None

    @classmethod
    def query(cls, connection: Connection, *, environment: Environment, lake: LakeResource, truth: pd.DataFrame | None) -> "Outcome":
        totals = (
            connection.execute(
                select(
                    func.count().label("files"),
                    func.count().filter(drops.c.state == "refused").label("files_refused"),
                    *(func.coalesce(func.sum(drops.c[f"rows_{n}"]), 0).label(n) for n in ("in", "accepted", "duplicate", "quarantined")),
                )
            )
            .mappings()
            .one()
        )
        found = latest_assessments(connection)
        newest = select(plans.c.site, func.max(plans.c.day).label("day")).group_by(plans.c.site).subquery()
        current = {
            table.name: connection.scalars(
                select(func.count(distinct(table.c.order_id))).join(newest, (newest.c.site == table.c.site) & (newest.c.day == table.c.day))
            ).one()
            for table in (assignments, unplanned_orders)
        }
        return cls(
            intake={name: int(n) for name, n in totals.items()},
            refused=read_frame(
                connection,
                select(quarantine_counts.c.reason, func.sum(quarantine_counts.c.rows).label("rows"))
                .group_by(quarantine_counts.c.reason)
                .order_by(quarantine_counts.c.reason),
            ),
            incidents=found,
            forecasts=read_frame(connection, _latest_predictions()),
            orders=read_frame(
                connection, select(work_orders.c.state, func.count().label("n")).group_by(work_orders.c.state).order_by(work_orders.c.state)
            ),
            n_scheduled=current["assignments"],
            n_unplanned=current["unplanned_orders"],
            evaluation=None if truth is None else _evaluate(connection, found, truth, environment=environment, lake=lake),
        )


def _latest_predictions() -> Select[tuple[float]]:
    p = predictions
    which = (p.c.site, p.c.machine_id, p.c.failure_mode)
    return select(p.c.probability_30d).distinct(*which).order_by(*which, p.c.day.desc())


def _evaluate(
    connection: Connection, found: pd.DataFrame, truth: pd.DataFrame, *, environment: Environment, lake: LakeResource
) -> Evaluation:
    """Incidents that were not suspected to be false, against the injected faults, over the windows that were scored.

    An incident is there once its alarm stands: the on-delay after its onset. All days with scores count, for both.
    """
    machine_days, on_delay = 0.0, {}
    for site in environment.sites:
        on_delay[site.site] = pd.Timedelta(minutes=site.policy.detection.on_delay_windows * site.window_minutes)
        for day in days_with_readings(connection, site=site.site):
            states = lake.read("anomaly_scores", site=site.site, day=day, columns=["state"])
            if states is not None:
                machine_days += int((states["state"] == "scored").sum()) * site.window_minutes / 1440
    raised = found[(found["verdict"] != "false_positive_suspected") & found["site"].isin(list(on_delay))]
    stood_at = raised["onset_at"] + pd.to_timedelta(raised["site"].map(on_delay))
    return match_incidents(raised.assign(onset_at=stood_at), truth, observed_machine_days=machine_days)


def show(outcome: Outcome, *, environment: Environment, seconds: dict[str, float], console: Console) -> None:
    """Print the summary."""
    table = Table(show_header=False, box=None, padding=(0, 2), title="What came of it", title_justify="left", title_style="bold")
    counts = outcome.intake
    table.add_row("drops taken in", f"{counts['files']:,} ({counts['files_refused']:,} refused whole)")
    table.add_row(
        "readings",
        f"{counts['in']:,} in = " + " + ".join(f"{counts[name]:,} {name}" for name in ("accepted", "duplicate", "quarantined")),
    )
    if len(outcome.refused):
        table.add_row("quarantined because", ", ".join(f"{r['reason']} {int(r['rows']):,}" for r in outcome.refused.to_dict("records")))
    verdicts = outcome.incidents["verdict"].value_counts()
    words = ", ".join(f"{n} {str(v).replace('_', ' ')}" for v, n in sorted(verdicts.items(), key=str)) or "none"
    table.add_row("incidents", f"{len(outcome.incidents)}: {words}")
    if outcome.evaluation is not None:
        _add_evaluation(table, outcome.evaluation)
    likely = int((outcome.forecasts["probability_30d"] >= 0.5).sum())
    # each day asks anew about a machine's failure mode: what counts is its latest answer
    table.add_row("failure predictions", f"{len(outcome.forecasts):,} machines' modes, {likely:,} likely within 30 days")
    table.add_row(
        "work orders", ", ".join(f"{int(r['n'])} {r['state'].replace('_', ' ')}" for r in outcome.orders.to_dict("records")) or "none"
    )
    table.add_row("jobs scheduled", f"{outcome.n_scheduled} in the current plans, {outcome.n_unplanned} without a place")
    table.add_row("reports", str(environment.home.folder("reports")))
    table.add_row("time", ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items() if s >= 0.5))
    console.print()
    console.print(table)


def _add_evaluation(table: Table, evaluation: Evaluation) -> None:
    faults = evaluation.faults
    table.add_row("injected faults found", f"{evaluation.n_found} of {len(faults)}")
    for fault in faults.sort_values("onset_at").to_dict("records"):
        if not fault["is_found"]:
            said = "not found"
        elif pd.isna(fault["lead_time_h"]):
            said = f"{fault['delay_h'] / 24:.1f} days after onset"
        else:
            said = f"{fault['lead_time_h'] / 24:.1f} days before failure"
        table.add_row("", f"{fault['machine_id']} {fault['kind'].replace('_', ' ')}: {said}")
    table.add_row(
        "false alarms",
        f"{len(evaluation.false_alarms)} in {evaluation.machine_months:.1f} machine-months: "
        f"{evaluation.false_alarms_per_machine_month:.2f} a month",
    )
