"""A week of a small plant, row by row, so that the figures of a report can be counted by hand."""

# ruff: noqa: E501  (one stored row is one line, however many columns it has)

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, insert

from expectations.contracts import CONTRACTS
from ml.plant import Band, Machine, RunningWhen, Sensor, Shift, Site, Technician
from resources.ledger import tables as t
from resources.ledger.learning import record_promotion

START, END = date(2026, 3, 2), date(2026, 3, 8)
DAYS = [START + timedelta(days=n) for n in range(7)]


def at(day: int, hour: float = 0) -> datetime:
    """An instant of the week: day 0 is its Monday."""
    return datetime.combine(DAYS[0], time(), tzinfo=UTC) + timedelta(days=day, hours=hour)


def _machine(machine_id: str, *, runs: bool, criticality: str, name: str | None = None) -> Machine:
    sensors = (
        Sensor(sensor_id=f"{machine_id}.vib", type="vibration", unit="mm/s", alarm=Band(high=7.1)),
        Sensor(sensor_id=f"{machine_id}.temp", type="temperature", unit="degC"),
        Sensor(sensor_id=f"{machine_id}.amp", type="current", unit="A"),
    )
    running = RunningWhen(sensor_id=f"{machine_id}.amp", above=5) if runs else None
    return Machine(machine_id=machine_id, name=name, machine_class="pump", criticality=criticality, running_when=running, sensors=sensors)  # type: ignore[arg-type]


NORTH = Site(
    site="north",
    name="North works",
    first_day=date(2026, 1, 1),
    machines=(
        _machine("P-101", runs=True, criticality="critical", name="Feed pump <script>alert(1)</script>"),
        _machine("P-102", runs=True, criticality="medium", name="Cooling water pump"),
        _machine("M-201", runs=False, criticality="high", name="Mixer $x$ & drive"),
        _machine("K-301", runs=True, criticality="low", name="Compressor"),
    ),
    technicians=(
        Technician(technician_id="ada", name="Ada <b>Berg</b>", skills=("mechanical",), shifts=(Shift(start=time(6), end=time(14)),)),
        Technician(technician_id="bo", name="Bo Lind", skills=("electrical",), shifts=(Shift(start=time(6), end=time(14)),)),
    ),
)
SOUTH = Site(
    site="south",
    name="South works",
    first_day=date(2026, 1, 1),
    currency="SEK",
    machines=(_machine("P-1", runs=False, criticality="medium"),),
)
SITES = (NORTH, SOUTH)


class StoredLake:
    """Tables by (table, site, day), read as the real lake reads them."""

    def __init__(self, tables: dict[tuple[str, str, date], pd.DataFrame]) -> None:
        self.tables = tables

    def read_days(self, table: str, *, site: str, start: date, end: date, columns: Sequence[str] | None = None) -> pd.DataFrame:
        days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
        parts = [self.tables[table, site, day] for day in days if (table, site, day) in self.tables]
        found = pd.concat(parts, ignore_index=True) if parts else CONTRACTS[table].schema.empty_table().to_pandas()
        return found[list(columns)] if columns else found


def lake() -> StoredLake:
    return StoredLake(
        {
            (table, "north", day): make(n, day)
            for n, day in enumerate(DAYS)
            for table, make in (("sensor_quality", _quality), ("machine_features", _features), ("anomaly_scores", _scores))
        }
    )


def _quality(n: int, _: date) -> pd.DataFrame:
    rows = []
    for sensor in NORTH.sensors:
        is_poor = sensor.sensor_id == "K-301.temp" and n >= 5
        rows.append(
            {
                "sensor_id": sensor.sensor_id, "machine_id": sensor.sensor_id.split(".")[0], "n_readings": 720 if is_poor else 1440,
                "n_expected": 1440, "coverage": 0.5 if is_poor else 1.0, "longest_gap_s": 43200.0 if is_poor else 60.0, "score": 0.3 if is_poor else 1.0,
                "grade": "F" if is_poor else "A", "findings": "half of the readings are missing" if is_poor else "",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _features(n: int, day: date) -> pd.DataFrame:
    starts = pd.Timestamp(day, tz="UTC") + pd.to_timedelta(np.arange(144) * 10, unit="min")
    parts = []
    for machine in NORTH.machines:
        running = np.where(np.arange(144) < 36, 0.0, 1.0) if machine.machine_id == "P-102" else np.ones(144)
        for sensor in machine.sensors:
            trend = (
                2.5 + 0.35 * (n + np.arange(144) / 144) + 0.15 * np.sin(np.arange(144))
                if sensor.sensor_id == "P-101.vib"
                else np.full(144, 10.0)
            )
            parts.append(
                pd.DataFrame(
                    {
                        "machine_id": machine.machine_id,
                        "window_start": starts,
                        "sensor_id": sensor.sensor_id,
                        "mean": trend,
                        "running_share": running,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _scores(n: int, day: date) -> pd.DataFrame:
    starts = pd.Timestamp(day, tz="UTC") + pd.to_timedelta(np.arange(144) * 10, unit="min")
    level = {"P-101": 0.15 + 0.11 * n, "P-102": 0.2, "M-201": 0.7 if n == 3 else 0.1, "K-301": 0.3}
    parts = []
    for machine_id, score in level.items():
        stopped = (np.arange(144) < 36) & (machine_id == "P-102")
        is_thin = (np.arange(144) < 72) & (machine_id == "K-301") & (n >= 5)
        parts.append(
            pd.DataFrame(
                {
                    "machine_id": machine_id, "window_start": starts, "state": np.select([stopped, is_thin], ["stopped", "too_few_readings"], "scored"),
                    "score": np.where(stopped | is_thin, np.nan, score), "model_version": 3,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def fill(connection: Connection) -> None:
    """The ledger of the week."""
    _fill_drops(connection)
    _fill_incidents(connection)
    _fill_alarms(connection)
    _fill_predictions(connection)
    _fill_orders(connection)
    _fill_learning(connection)


def _fill_drops(connection: Connection) -> None:
    for n, day in enumerate(DAYS):
        drop = {
            "drop_id": f"drop{n}", "drop_seq": n + 1, "sha256": f"sha{n}", "site": "north", "file_name": f"north-{day}.csv", "size_bytes": 1000,
            "received_at": at(n + 1, 0.25 + n / 10), "taken_in_at": at(n + 1, 1), "state": "accepted", "rows_in": 17300 + n, "rows_accepted": 17280,
            "rows_duplicate": n, "rows_quarantined": 20, "rows_repaired": 0, "kept_as": "archive/x", "run_id": "r",
        }  # fmt: skip
        connection.execute(insert(t.drops).values(drop))
        segment = {
            "drop_id": f"drop{n}",
            "site": "north",
            "day": day,
            "rows": 17280,
            "first_at": at(n),
            "last_at": at(n + 1) - timedelta(minutes=1),
        }
        connection.execute(insert(t.segments).values(segment))
        for reason, rows in (("out_of_physical_range", 15), ("bad_timestamp", 5)):
            counted = {"drop_id": f"drop{n}", "site": "north", "day": day, "sensor_id": "K-301.temp", "reason": reason, "rows": rows}
            connection.execute(insert(t.quarantine_counts).values(counted | ({"day": None} if reason == "bad_timestamp" else {})))
    refused = {
        "drop_id": "bad", "drop_seq": 99, "sha256": "bad", "site": "north", "file_name": "holiday <pictures>.csv", "size_bytes": 3,
        "received_at": at(4, 9), "taken_in_at": at(4, 9), "state": "refused", "refused_because": "the column timestamp is missing", "rows_in": 0,
        "rows_accepted": 0, "rows_duplicate": 0, "rows_quarantined": 0, "rows_repaired": 0, "kept_as": "quarantine/x", "run_id": "r",
    }  # fmt: skip
    connection.execute(insert(t.drops).values(refused))


def _fill_incidents(connection: Connection) -> None:
    # machine, first and last day it was assessed, verdict on its last day, ended, label
    plan: list[tuple[str, int, int, str, bool, str | None]] = [
        ("P-101", 4, 6, "credible", False, None),
        ("M-201", 3, 3, "investigate", True, None),
        ("K-301", 1, 2, "false_positive_suspected", True, "false_alarm"),
    ]
    for machine_id, first, last, verdict, has_ended, label in plan:
        incident_id = f"{machine_id}@{at(first, 6):%Y-%m-%dT%H:%M}Z"
        identity = {"incident_id": incident_id, "site": "north", "machine_id": machine_id, "onset_at": at(first, 6), "label": label}
        connection.execute(insert(t.incidents).values(identity))
        for day in range(first, last + 1):
            is_last = day == last
            hours = 24.0 * (day - first) + (4 if has_ended and is_last else 18)
            doubts = (
                []
                if verdict == "credible"
                else ["only 1 of 4 detectors saw it (2 wanted)", "a sensor it rests on has grade F (A or B or C wanted)"]
            )
            assessed = {
                "incident_id": incident_id, "day": DAYS[day], "site": "north", "last_window_at": at(first, 6 + hours),
                "ended_at": at(first, 6 + hours) if has_ended and is_last else None, "n_windows": int(6 * hours), "duration_s": 3600 * hours,
                "peak_score": 0.81, "mean_score": 0.7, "n_members_agreeing": 3, "n_sensors_moved": 2, "top_sensor_id": f"{machine_id}.vib",
                "direction": 1, "failure_mode": "VIB", "moved_sensors": {}, "evidence": {}, "confidence_before": 0.9,
                "confidence_by_rules": 0.9 if verdict == "credible" else 0.35, "confidence": 0.9 if verdict == "credible" else 0.35, "verdict": verdict if is_last else "investigate", "failed": [], "reasons": doubts, "rules": [],
                "model_version": 3,
            }  # fmt: skip
            connection.execute(insert(t.incident_assessments).values(assessed))


def _fill_alarms(connection: Connection) -> None:
    """P-101 raised one alarm that stands to the end, K-301 one that stood for 27.5 hours; M-201 was shelved while its incident lasted."""
    shelving = {
        "site": "north", "machine_id": "M-201", "incident_id": None, "start_at": at(3, 5), "until": at(3, 20), "who": "Kim <i>Ross</i>",
        "why": "gearbox overhaul", "ended_at": at(3, 14), "ended_by": "Lee", "ended_why": "done early", "end_recorded_at": at(3, 14),
    }  # fmt: skip
    connection.execute(insert(t.shelvings).values(shelving))
    # machine, days, priority, raised, shelving
    for machine_id, days, priority, raised in (
        ("P-101", (4, 5, 6), "high", 6.5),
        ("K-301", (1, 2), "low", 6.5),
        ("M-201", (3,), "medium", None),
    ):
        incident_id = f"{machine_id}@{at(days[0], 6):%Y-%m-%dT%H:%M}Z"
        row = {
            "site": "north", "incident_id": incident_id, "machine_id": machine_id, "alarm_id": incident_id, "is_site_event": False,
            "priority": priority, "opened_at": at(days[0], 6.5), "raised_at": raised and at(days[0], raised), "shelving_id": None if raised else 1,
        }  # fmt: skip
        connection.execute(insert(t.incident_alarms), [row | {"day": DAYS[n]} for n in days])
    names = ("n_alarms", "n_stale", "n_standing", "n_held_back", "n_high", "n_low")
    figures = (
        (0,) * 6,
        (1, 0, 1, 0, 0, 1),
        (0, 1, 0, 0, 0, 0),
        (0, 0, 0, 1, 0, 0),
        (1, 0, 1, 0, 1, 0),
        (0, 1, 1, 0, 0, 0),
        (0, 1, 1, 0, 0, 0),
    )
    for day, values in zip(DAYS, figures, strict=True):
        counts = dict(zip(names, values, strict=True)) | {
            "n_site_events": 0,
            "n_flood_periods": 0,
            "n_chattering": 0,
            "n_fleeting": 0,
            "n_medium": 0,
        }
        rates = {"rate_mean": values[0] / 144, "rate_peak": values[0]}
        connection.execute(insert(t.alarm_kpis).values(site="north", day=day, n_operators=1, n_periods=144, **counts, **rates))


def _fill_predictions(connection: Connection) -> None:
    for n, day in enumerate(DAYS):
        for machine_id, health in (("P-101", 90 - 8 * n), ("P-102", 95), ("M-201", 70 if n == 3 else 88), ("K-301", 82)):
            row = {
                "site": "north",
                "day": day,
                "machine_id": machine_id,
                "health": health,
                "score_part": 0,
                "limit_part": 0,
                "incident_part": 0,
            }
            words = "vibration nears its alarm limit and an incident is open" if health < 60 else "nothing unusual"
            connection.execute(insert(t.machine_health).values(**row, explanation=words))
    predicted: dict[str, Any] = {
        "site": "north", "day": DAYS[6], "machine_id": "P-101", "failure_mode": "VIB", "as_of": at(7), "probability_7d": 0.42, "probability_30d": 0.93,
        "ttf_p10_days": 4.5, "ttf_p50_days": 9.25, "ttf_p90_days": 21.0, "leading_sensor_id": "P-101.vib", "limit_kind": "alarm", "limit_side": "high",
        "limit_value": 7.1, "method": "prophet", "calibrated_on": 94, "note": "", "incident_ids": [],
    }  # fmt: skip
    connection.execute(insert(t.predictions).values(predicted))
    quiet = {
        "machine_id": "M-201",
        "probability_7d": 0.01,
        "probability_30d": 0.08,
        "leading_sensor_id": None,
        "limit_value": None,
        "limit_kind": None,
    }
    no_date = {
        "ttf_p10_days": None,
        "ttf_p50_days": None,
        "ttf_p90_days": None,
        "limit_side": None,
        "method": "linear",
        "calibrated_on": None,
    }
    connection.execute(insert(t.predictions).values(predicted | quiet | no_date))


def _fill_orders(connection: Connection) -> None:
    # order, machine, priority, due, risk, moves as (day, hour, to_state, who)
    plan: list[tuple[str, str, str, float, float, list[tuple[int, float, str, str]]]] = [
        ("WO-1", "P-101", "urgent", 8, 23_250, [(5, 0, "proposed", "policy"), (5, 0, "approved", "policy"), (6, 0, "scheduled", "planner")]),
        ("WO-2", "M-201", "medium", 14, 1_400, [(4, 0, "proposed", "policy"), (4, 0, "awaiting_decision", "policy")]),
        ("WO-3", "K-301", "low", 5, 120, [(1, 12, "proposed", "policy"), (2, 12, "awaiting_decision", "policy"), (3, 8, "rejected", "Kim")]),
        ("WO-4", "P-102", "high", 3, 4_000, [(0, 1, "proposed", "policy"), (0, 2, "approved", "Kim"), (1, 6, "in_progress", "Bo"), (1, 9, "completed", "Bo")]),
        ("WO-5", "P-102", "low", 30, 10, [(9, 0, "proposed", "policy")]),
    ]  # fmt: skip
    for order_id, machine_id, priority, due, risk, moves in plan:
        order = {
            "order_id": order_id, "site": "north", "machine_id": machine_id, "failure_mode": "VIB", "opened_on": at(*moves[0][:2]).date(),
            "assessed_on": END, "state": moves[-1][2], "title": f"Replace the bearing of {machine_id}", "reason": "a credible incident",
            "priority": priority, "is_urgent": priority == "urgent", "risk_cost": risk, "probability_7d": 0.42, "probability_30d": 0.93,
            "confidence": 0.9, "due_at": at(0) + timedelta(days=due), "actions": [], "crew": [["mechanical"]], "parts": [], "duration_h": 4,
        }  # fmt: skip
        connection.execute(insert(t.work_orders).values(order))
        before = None
        for day, hour, state, who in moves:
            event = {
                "order_id": order_id,
                "from_state": before,
                "to_state": state,
                "at": at(day, hour),
                "who": who,
                "why": f"{state} because",
            }
            connection.execute(insert(t.work_order_events).values(event))
            before = state
    reminder = {
        "order_id": "WO-2",
        "from_state": "awaiting_decision",
        "to_state": "awaiting_decision",
        "at": at(5),
        "who": "policy",
        "why": "24 h",
    }
    connection.execute(insert(t.work_order_events).values(reminder))
    connection.execute(insert(t.work_order_incidents).values(incident_id=f"P-101@{at(4, 6):%Y-%m-%dT%H:%M}Z", order_id="WO-1"))
    for day in (5, 6):
        plan_row = {
            "site": "north",
            "day": DAYS[day],
            "start_at": at(day + 1),
            "n_orders": 2,
            "n_planned": 1,
            "status": "OPTIMAL",
            "objective": 1,
            "gap": 0,
        }
        connection.execute(insert(t.plans).values(plan_row))
        assigned = {
            "site": "north",
            "day": DAYS[day],
            "order_id": "WO-1",
            "start_at": at(7, 6),
            "end_at": at(7, 10),
            "is_overtime": False,
            "is_late": False,
            "revision": 0,
        }
        connection.execute(insert(t.assignments).values(**assigned, technician_id="ada" if day == 6 else "bo"))
    left_out = {
        "site": "north",
        "day": DAYS[6],
        "order_id": "WO-2",
        "reason": "no technician has the skill electrical",
        "earliest_alternative": at(9, 6),
        "smallest_change": "a technician with electrical on Mon",
    }
    connection.execute(insert(t.unplanned_orders).values(left_out))
    log = {"order_id": "WO-4", "site": "north", "machine_id": "P-102", "technician": "Bo Lind", "finding": "VIB", "note": "bearing worn"}
    connection.execute(insert(t.maintenance_log).values(**log, request_id="a", started_at=at(1, 6), ended_at=at(1, 9)))
    check = log | {"order_id": None, "machine_id": "K-301", "finding": "no_fault_found", "note": ""}
    connection.execute(insert(t.maintenance_log).values(**check, request_id="b", started_at=at(3, 8), ended_at=at(3, 9)))


def _fill_learning(connection: Connection) -> None:
    for version in (2, 3):
        trained = {"site": "north", "version": version, "mlflow_run_id": "x", "artifact_sha256": "y", "data_sha256": "z", "metrics": {}}
        connection.execute(
            insert(t.detector_versions).values(**trained, data_start=date(2026, 1, 1), data_end=date(2026, 2, 20), trained_at=at(-2))
        )
        gate = {"site": "north", "to_version": version, "is_promoted": True, "at": at(-2, version), "who": "gate", "comparison": {}}
        record_promotion(connection, gate | {"from_version": version - 1 if version > 2 else None, "why": "fewer false alarms"})
    for n, day in enumerate(DAYS):
        is_met = n != 5
        result = {"name": "every_sensor_is_usable", "description": "no sensor has grade F", "severity": "warning", "success": is_met}
        critical = {
            "name": "keys_are_unique",
            "description": "no two rows have the same sensor_id",
            "severity": "critical",
            "success": n != 6,
        }
        results = [r | {"n_unexpected": 0 if r["success"] else 1, "unexpected": [], "observed": None} for r in (result, critical)]
        kept = {"site": "north", "day": day, "suite": "sensor_quality", "n_rows": 12, "run_id": "r", "is_success": n != 6}
        connection.execute(insert(t.validations).values(**kept, n_failed=int(not is_met) + int(n == 6), results={"results": results}))
        for sensor_id, psi in (("P-101.vib", 0.05 * n), ("P-102.vib", 0.01)):
            drift = {
                "site": "north",
                "day": day,
                "sensor_id": sensor_id,
                "machine_id": sensor_id[:5],
                "ks": psi / 2,
                "ks_p": 0.5,
                "psi": psi,
                "spread_ks": 0.0,
                "spread_ks_p": 1.0,
                "spread_psi": 0.0,
                "n": 144,
            }
            said = {"is_drifted": psi > 0.2, "drifted_in": "level" if psi > 0.2 else None}
            connection.execute(insert(t.drift_findings).values(**drift, **said, model_version=3))
