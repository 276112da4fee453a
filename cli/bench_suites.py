"""All suites of one site-day with 1,000 sensors, in a process of its own, the import of Great Expectations included.

`python -m cli.bench_suites [SENSORS]` prints seconds as JSON: `import_s`, `validation_s` (profiles and suites), `total_s`, and in
`suites` each one's share. The tables are made before the clock starts, as a step that validates has them at hand; a few rows fail, as
they do in life.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from expectations import profiles, suites
from expectations.contracts import ANOMALY_SCORES, SENSOR_QUALITY, Column, Contract
from expectations.ledger_contracts import (
    ASSIGNMENTS,
    DRIFT_FINDINGS,
    LEARNED_PREDICTIONS,
    MACHINE_HEALTH,
    PREDICTIONS,
    UNPLANNED_ORDERS,
    WORK_ORDERS,
)
from expectations.loading import library
from expectations.validation import Suite, validate_table
from expectations.verdicts import incidents_suite
from ml.features import build_features
from ml.plant import Machine, Sensor, Site, VerdictPolicy

DAY = date(2026, 10, 1)
START = datetime(2026, 10, 1, tzinfo=UTC)
SENSORS, SENSORS_PER_MACHINE, ORDERS = 1000, 10, 50
MINUTES = 1440

Check = tuple[Callable[[], pd.DataFrame], Suite]  # what makes the table that the suite looks at, and the suite


def checks_of_a_site_day(*, sensors: int = SENSORS) -> dict[str, Check]:
    """By suite. A reading a minute of each sensor (1.44 million), windows of 10 minutes, and so many orders, incidents and predictions."""
    site = _site(sensors)
    machines = [m.machine_id for m in site.machines]
    readings = _readings(site)
    features = build_features(readings, site=site, day=DAY)
    windows = features.drop_duplicates(["machine_id", "window_start"])[["machine_id", "window_start"]].reset_index(drop=True)
    scores = rows_of(ANOMALY_SCORES, len(windows)).assign(**windows, state="scored", score=0.1)
    quality = rows_of(SENSOR_QUALITY, sensors).assign(grade=list(islice(cycle("AAABF"), sensors)))
    orders = rows_of(WORK_ORDERS, ORDERS).assign(opened_at=pd.Timestamp(START), logged_state="proposed", duration_h=2.0)
    assigned = rows_of(ASSIGNMENTS.of_one_site_day, ORDERS).assign(state="scheduled", overlaps_of_technician=0, overlaps_of_machine=0)
    incidents = incidents_suite(VerdictPolicy())
    evidence = pd.DataFrame({c: [1.0] * ORDERS for rule in incidents.expectations for c in rule.columns})
    return {
        "sensor_readings": (partial(profiles.readings_profile, readings, site=site, day=DAY), suites.readings_profile_suite()),
        "sensor_quality": (lambda: quality, suites.sensor_quality_suite()),
        "machine_features": (partial(profiles.features_profile, features, site=site, day=DAY), suites.features_profile_suite()),
        "anomaly_scores": (
            partial(profiles.scores_profile, scores, features=features, day=DAY, version=1),
            suites.scores_profile_suite(),
        ),
        "incidents": (lambda: evidence.assign(incident_id=[f"i{n}" for n in range(ORDERS)]), incidents),
        "machine_health": (
            partial(rows_of, MACHINE_HEALTH.of_one_site_day, len(machines)),
            suites.machine_health_suite(n_reporting=len(machines)),
        ),
        "predictions": (partial(rows_of, PREDICTIONS.of_one_site_day, ORDERS), suites.predictions_suite()),
        "learned_predictions": (
            partial(rows_of, LEARNED_PREDICTIONS.of_one_site_day, len(machines)),
            suites.learned_predictions_suite(),
        ),
        "work_orders": (lambda: orders, suites.work_orders_suite()),
        "assignments": (lambda: assigned, suites.assignments_suite()),
        "unplanned_orders": (partial(rows_of, UNPLANNED_ORDERS.of_one_site_day, ORDERS), suites.unplanned_orders_suite()),
        "drift_findings": (partial(rows_of, DRIFT_FINDINGS.of_one_site_day, sensors), suites.drift_suite()),
    }


def rows_of(contract: Contract, n: int) -> pd.DataFrame:
    """So many rows that keep the contract: the lowest value of each range, the first of each set, names that count on."""
    return pd.DataFrame({column.name: _values(column, n) for column in contract.columns})


def _values(column: Column, n: int) -> Any:
    if isinstance(column.type, pa.JsonType):
        return [[] for _ in range(n)]
    if pa.types.is_timestamp(column.type):
        return pd.Series([START] * n).astype("datetime64[us, UTC]")
    if pa.types.is_date(column.type):
        return [DAY] * n
    if pa.types.is_string(column.type):
        return pd.Series([column.one_of[0]] * n if column.one_of else [f"{column.name} {i}" for i in range(n)], dtype="str")
    lowest = 0 if column.low is None else column.low
    return np.full(n, lowest, dtype=column.type.to_pandas_dtype())


def measure(*, sensors: int = SENSORS) -> dict[str, Any]:
    """Seconds; the import is counted if this process has not loaded the library yet."""
    checks = checks_of_a_site_day(sensors=sensors)
    began = time.perf_counter()
    library()
    imported = time.perf_counter()
    each = {}
    for name, (table, suite) in checks.items():
        started = time.perf_counter()
        validate_table(table(), suite=suite)
        each[name] = time.perf_counter() - started
    return {
        "import_s": imported - began,
        "validation_s": time.perf_counter() - imported,
        "total_s": time.perf_counter() - began,
        "suites": each,
    }


def _site(sensors: int) -> Site:
    def machine(number: int) -> Machine:
        names = [f"M{number:03d}-S{s}" for s in range(SENSORS_PER_MACHINE)]
        made = tuple(Sensor(sensor_id=name, type="temperature", unit="°C", interval_s=60) for name in names)
        return Machine(machine_id=f"M{number:03d}", machine_class="bench", sensors=made)

    return Site(site="bench", name="Bench", first_day=DAY, machines=tuple(map(machine, range(sensors // SENSORS_PER_MACHINE))))


def _readings(site: Site) -> pd.DataFrame:
    names = sorted(s.sensor_id for s in site.sensors)
    minutes = pd.date_range(pd.Timestamp(START), periods=MINUTES, freq="min", unit="us")
    return pd.DataFrame(
        {
            "sensor_id": pd.array(np.repeat(np.array(names, dtype=object), MINUTES), dtype="str"),
            "timestamp": np.tile(minutes, len(names)),
            "value": np.random.default_rng(1).normal(60, 5, MINUTES * len(names)).round(2),
        }
    )


if __name__ == "__main__":
    json.dump(measure(sensors=int(sys.argv[1]) if len(sys.argv) > 1 else SENSORS), sys.stdout)
