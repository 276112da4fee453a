"""The summary's figures: over the same days, by when the alarm stood, each prediction once."""

import io
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import insert

from cli.environment import Environment
from cli.summary import Outcome, show
from expectations.contracts import MEMBERS
from resources.home import Home
from resources.lake import LakeResource
from resources.ledger.findings import replace_incidents
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import predictions
from resources.plant_files import read_plant
from tests.conftest import CHECKOUT
from tests.ledger_states import days_from, deliver

FIRST = date(2026, 10, 20)
START = pd.Timestamp(FIRST, tz="UTC")
TRUTH = pd.DataFrame(
    [
        ("hamburg", "HH-P101", "bearing_wear", START + pd.Timedelta(days=40), START + pd.Timedelta(days=44), START + pd.Timedelta(days=45)),
        ("hamburg", "HH-P102", "sensor_drift", START + pd.Timedelta(days=41), pd.NaT, START + pd.Timedelta(days=43)),
    ],
    columns=["site", "machine_id", "kind", "onset_at", "failure_at", "repaired_at"],
)
STATES = ["scored"] * 100 + ["stopped"] * 30 + ["too_few_readings"] * 14


def incident(machine_id: str, onset: pd.Timestamp, last: pd.Timestamp) -> dict[str, object]:
    return {
        "incident_id": f"{machine_id}@{onset:%Y-%m-%dT%H:%M}Z", "machine_id": machine_id, "onset_at": onset, "last_window_at": last,
        "ended_at": None, "n_windows": 73, "duration_s": 43800.0, "peak_score": 1.0, "mean_score": 1.0, "n_members_agreeing": 4,
        "n_sensors_moved": 1, "top_sensor_id": "x", "direction": 1, "failure_mode": "VIB", "moved_sensors": {}, "evidence": {},
        "confidence_before": 0.9, "confidence_by_rules": 0.9, "confidence": 0.9,
        "verdict": "credible", "failed": [], "reasons": [], "rules": [], "model_version": 1,
    }  # fmt: skip


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(Home(tmp_path), CHECKOUT / "plant", read_plant(CHECKOUT / "plant"), "")


@pytest.fixture
def outcome(environment: Environment, ledger: LedgerResource, tmp_path: Path) -> Outcome:
    """Sixty days of scores of one machine; faults at the fortieth; one alarm long before them, on a day that counts as well."""
    lake = LakeResource(root=str(tmp_path / "lake"))
    days = days_from(FIRST, 60)
    deliver(ledger, "hamburg", days)
    for day in days:
        starts = pd.date_range(pd.Timestamp(day, tz="UTC"), periods=144, freq="10min", unit="us")
        numbers = dict.fromkeys(("score", *MEMBERS), np.nan)
        counts = dict.fromkeys(("n_members_agreeing", "n_sensors_moved"), np.int32(0))
        table = pd.DataFrame({"machine_id": "HH-P101", "window_start": starts, "state": STATES, **numbers, **counts})
        lake.write(
            "anomaly_scores", table.assign(top_sensor_id=None, moved_sensors="{}", model_version=np.int32(1)), site="hamburg", day=day
        )
    with ledger.begin() as connection:
        found = [
            incident("HH-P103", START + pd.Timedelta(days=2), START + pd.Timedelta(days=2, hours=3)),
            incident("HH-P101", START + pd.Timedelta(days=41), START + pd.Timedelta(days=44)),
            incident("HH-P102", START + pd.Timedelta(days=41, hours=12), START + pd.Timedelta(days=42)),
        ]
        replace_incidents(connection, pd.DataFrame(found), site="hamburg", day=FIRST)
        for n, probability in enumerate((0.9, 0.8, 0.2)):
            row = {"site": "hamburg", "day": FIRST + timedelta(days=n), "machine_id": "HH-P101", "failure_mode": "VIB", "as_of": START}
            row |= {"probability_7d": 0.1, "probability_30d": probability, "method": "linear", "note": "", "incident_ids": []}
            connection.execute(insert(predictions).values(row))
            connection.execute(insert(predictions).values(row | {"failure_mode": "OHE", "probability_30d": 0.6}))
        return Outcome.query(connection, environment=environment, lake=lake, truth=TRUTH)


def test_machine_months_are_those_of_scored_windows_on_every_day_with_scores(outcome: Outcome) -> None:
    assert outcome.evaluation
    assert outcome.evaluation.machine_months == pytest.approx(60 * 100 / 144 / 30)
    assert outcome.evaluation.false_alarms["machine_id"].tolist() == ["HH-P103"]


def test_a_fault_is_found_when_the_alarm_stands_not_when_it_began(outcome: Outcome, environment: Environment) -> None:
    policy = environment.sites[0].policy.detection
    assert environment.sites[0].site == "hamburg"
    assert policy.on_delay_windows == 3
    assert outcome.evaluation
    faults = outcome.evaluation.faults.set_index("machine_id")
    assert faults.loc["HH-P101", "lead_time_h"] == pytest.approx(3 * 24 - 0.5)
    assert faults.loc["HH-P102", "delay_h"] == pytest.approx(12.5)


def test_a_prediction_counts_once_as_it_stands_now(outcome: Outcome) -> None:
    assert sorted(outcome.forecasts["probability_30d"]) == [0.2, 0.6]


def test_the_summary_is_readable_at_eighty_columns(outcome: Outcome, environment: Environment) -> None:
    text = io.StringIO()
    show(outcome, environment=environment, seconds={"take drops in": 12.0}, console=Console(file=text, width=80))
    said = text.getvalue()
    assert all(len(line) <= 80 for line in said.splitlines())
    for sentence in (
        "HH-P101 bearing wear: 3.0 days before failure",
        "HH-P102 sensor drift: 0.5 days after onset",
        "1 in 1.4 machine-months: 0.72 a month",
        "2 machines' modes, 1 likely within 30 days",
    ):
        assert sentence in said, said
