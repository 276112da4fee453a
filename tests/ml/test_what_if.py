"""Two outcomes held against each other, by hand-made tables."""

import pandas as pd

from ml.what_if import INCIDENT_COLUMNS, ORDER_COLUMNS, PLACE_COLUMNS, Outcome, difference

SHIFT = (pd.Timestamp("2026-10-05 06:00", tz="UTC"), pd.Timestamp("2026-10-05 09:30", tz="UTC"))
INCIDENTS = [("A", "s", "P1", "credible", 0.9), ("B", "s", "P2", "false_positive_suspected", 0.2)]
ORDERS = [
    ("WO-1", "s", "P1", "VIB", "scheduled", "urgent", "Repair", 4000.0, "EUR"),
    ("WO-2", "s", "P2", "OHE", "awaiting_decision", "medium", "Look", 500.0, "EUR"),
]
PLACES = [("WO-1", "ada", *SHIFT, False), ("WO-1", "bob", *SHIFT, True)]


def outcome(incidents: list[tuple[object, ...]], orders: list[tuple[object, ...]], places: list[tuple[object, ...]]) -> Outcome:
    return Outcome(
        pd.DataFrame(incidents, columns=list(INCIDENT_COLUMNS)),
        pd.DataFrame(orders, columns=list(ORDER_COLUMNS)),
        pd.DataFrame(places, columns=list(PLACE_COLUMNS)).astype({"start_at": "datetime64[us, UTC]", "end_at": "datetime64[us, UTC]"}),
    )


def test_the_figures_are_sums_over_the_outcome() -> None:
    assert outcome(INCIDENTS, ORDERS, PLACES).figures == {
        "incidents": 2, "alarms": 1, "work orders": 2, "planned hours": 7, "of them overtime": 3.5,
        "risk with work planned (EUR)": 4000, "risk without (EUR)": 500,
    }  # fmt: skip


def test_an_outcome_does_not_differ_from_itself() -> None:
    assert difference(outcome(INCIDENTS, ORDERS, PLACES), outcome(INCIDENTS, ORDERS, PLACES)).is_none
    assert difference(outcome([], [], []), outcome([], [], [])).is_none


def test_what_came_went_and_changed_is_told_apart() -> None:
    changed = [("A", "s", "P1", "investigate", 0.6), ("C", "s", "P3", "credible", 0.8)]
    orders = [(*ORDERS[0][:4], "approved", *ORDERS[0][5:])]
    found = difference(outcome(INCIDENTS, ORDERS, PLACES), outcome(changed, orders, []))
    assert [r["incident_id"] for r in found.incidents_added] == ["C"]
    assert [r["incident_id"] for r in found.incidents_removed] == ["B"]
    [moved] = found.incidents_changed
    assert (moved["before"], moved["after"]) == (
        {"verdict": "credible", "confidence": 0.9},
        {"verdict": "investigate", "confidence": 0.6},
    )
    assert [r["order_id"] for r in found.orders_removed] == ["WO-2"]
    assert [r["after"]["state"] for r in found.orders_changed] == ["approved"]
    assert found.figures["planned hours"] == (7, 0)
    assert found.figures["alarms"] == (1, 2)
    assert not found.is_none
