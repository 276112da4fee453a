"""Ten machines' hourly telemetry of 91 days in one wide file (the Azure predictive maintenance sample), through the whole program.

The detector learns from the first 30 days, failures among them; a challenger is trained each week. Found after these: of the nine
failures with different machine or hour, five were preceded by an incident that had opened within the week before and still went on in
the last day.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from resources.ledger.findings import latest_assessments
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import (
    assignments,
    detector_versions,
    drops,
    failure_model_versions,
    learned_predictions,
    predictions,
    quarantine_counts,
    segments,
    validations,
    work_orders,
)
from resources.postgres import database_url
from tests.real.conftest import REPORTS, Finished, finished

pytestmark = pytest.mark.shared_data

FIRST, LAST = date(2015, 1, 1), date(2015, 4, 1)
QUANTITIES = ["volt", "rotate", "pressure", "vibration"]


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> pd.DataFrame:
    frame = pd.read_csv(shared_data / "azure_pdm" / "telemetry_m1-10.csv", parse_dates=["datetime"])
    return frame.assign(datetime=frame["datetime"].dt.tz_localize("UTC").astype("datetime64[us, UTC]"))


@pytest.fixture(scope="module")
def failures(shared_data: Path) -> pd.DataFrame:
    """Failures after the days learnt from, one row per machine and hour."""
    frame = pd.read_csv(shared_data / "azure_pdm" / "failures_m1-10.csv", parse_dates=["datetime"])
    frame = frame.assign(at=frame["datetime"].dt.tz_localize("UTC"), machine_id=[f"M{n:02}" for n in frame["machineID"]])
    frame = frame[frame["at"] >= pd.Timestamp("2015-01-31", tz="UTC")]
    return frame.drop_duplicates(["machine_id", "at"])


@pytest.fixture(scope="module")
def run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    source = shared_data / "azure_pdm" / "telemetry_m1-10.csv"
    with finished(source, plant="azure_pdm", folder=tmp_path_factory.mktemp("azure")) as done:
        yield done


def test_every_cell_of_the_file_is_a_reading_that_is_accounted_for(run: Finished, raw: pd.DataFrame) -> None:
    taken = run.query(select(drops)).iloc[0]
    cells = int(raw[QUANTITIES].notna().sum().sum())
    assert cells == 86_400
    assert (taken["rows_in"], taken["rows_accepted"], taken["rows_duplicate"], taken["rows_quarantined"]) == (cells, cells, 0, 0)
    assert run.query(select(quarantine_counts)).empty


def test_the_stored_readings_are_the_files_values(run: Finished, raw: pd.DataFrame) -> None:
    stored = run.stored("sensor_readings", start=FIRST, end=LAST)
    long = raw.melt(["datetime", "machineID"], QUANTITIES)
    long["sensor_id"] = [f"M{n:02}-{quantity}" for n, quantity in zip(long["machineID"], long["variable"], strict=True)]
    both = stored.merge(long, left_on=["sensor_id", "timestamp"], right_on=["sensor_id", "datetime"], suffixes=("", "_in_file"))
    assert len(both) == len(stored) == len(long)
    np.testing.assert_array_equal(both["value"], both["value_in_file"])


def test_every_day_went_through_the_chain_and_every_check_held(run: Finished) -> None:
    days = run.query(select(segments.c.day, segments.c.processed_at)).sort_values("day")
    assert days["day"].tolist() == [FIRST + timedelta(days=n) for n in range(91)]
    assert days["processed_at"].notna().all()
    assert run.query(select(validations.c.is_success))["is_success"].all()
    assert run.reports_of(LAST) == REPORTS


def test_all_ten_machines_are_scored_after_the_first_thirty_days_by_detectors_that_know_no_later_day(run: Finished) -> None:
    versions = run.query(select(detector_versions)).sort_values("version").to_dict("records")
    assert (versions[0]["data_start"], versions[0]["data_end"]) == (FIRST, date(2015, 1, 30))
    assert len(versions) == 1 + 9  # a challenger each Saturday
    assert versions[0]["metrics"]["machines_trained"] == 10
    learned_until = {v["version"]: v["data_end"] for v in versions}
    scored = run.stored("anomaly_scores", start=FIRST, end=LAST)
    assert scored["window_start"].min() >= pd.Timestamp("2015-01-31", tz="UTC")
    assert set(scored["machine_id"]) == {f"M{n:02}" for n in range(1, 11)}
    assert (scored["window_start"].dt.date > scored["model_version"].map(learned_until)).all()


def test_work_orders_exist_and_await_a_decision_or_are_scheduled(run: Finished) -> None:
    orders = run.query(select(work_orders))
    assert orders["state"].isin(["awaiting_decision", "scheduled"]).any()
    planned = run.query(select(assignments))
    assert set(planned["order_id"]) <= set(orders["order_id"])
    assert set(planned["technician_id"]) <= {"t-smith"}
    assert run.query(select(predictions))["probability_30d"].between(0, 1).all()


def test_five_of_nine_failures_are_preceded_by_an_incident(run: Finished, failures: pd.DataFrame) -> None:
    ledger = LedgerResource(url=database_url(run.environment.server_url, "smart_maintenance"))
    with ledger.begin() as connection:
        incidents = latest_assessments(connection)
    assert len(failures) == 9
    week, last_day = pd.Timedelta(days=7), pd.Timedelta(days=1)
    foreseen = [
        (
            (incidents["machine_id"] == f["machine_id"])
            & (incidents["onset_at"] > f["at"] - week)
            & (incidents["onset_at"] < f["at"])
            & (incidents["last_window_at"] >= f["at"] - last_day)
        ).any()
        for f in failures.to_dict("records")
    ]
    assert sum(foreseen) >= 5, foreseen
    assert len(incidents) <= 25


@pytest.fixture(scope="module")
def learned(run: Finished, shared_data: Path) -> dict[str, float]:
    """What the failure model that is learned from the imported history was worth where it was judged."""
    for kind, file, code in (("failure", "failures", "failure"), ("error", "errors", "errorID"), ("replacement", "maint", "comp")):
        path = shared_data / "azure_pdm" / f"{file}_m1-10.csv"
        run.command(
            "history", "import", path, "--kind", kind, "--machine-column", "machineID", "--at-column", "datetime", "--code-column", code
        )
    said = " ".join(run.command("history", "train").split())
    assert "Version 1 of the failure model of press_shop: promoted: its PR-AUC on machines held out" in said
    [version] = run.query(select(failure_model_versions)).to_dict("records")
    return dict(version["metrics"])


def test_failures_are_foreseen_a_day_ahead_on_machines_and_on_time_held_out(run: Finished, learned: dict[str, float]) -> None:
    """By the whole path: file, readings, features, imported history, training. 15 hours of failure, of which the last third of the time
    has five."""
    assert (learned["failures_labelled"], learned["held_out_machines/n_events"], learned["held_out_time/n_events"]) == (15, 15, 5)
    assert learned["held_out_machines/n_found"] >= 13
    assert learned["held_out_machines/average_precision"] > 0.85
    assert learned["held_out_machines/false_alarms_per_machine_month"] < 0.2
    assert learned["held_out_time/n_found"] >= 4
    assert learned["held_out_time/average_precision"] > 0.85
    foreseen = run.query(select(learned_predictions))
    assert set(foreseen["machine_id"]) == {f"M{n:02}" for n in range(1, 11)}
    assert foreseen["day"].unique().tolist() == [LAST]
