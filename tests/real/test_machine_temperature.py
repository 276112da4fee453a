"""A real industrial machine's temperature (NAB), five-minute readings of 80 days, through the whole program.

The file is naive and read as UTC. An hour of it, 2014-01-07 02:00 to 02:55, stands there twice with other values: twelve
duplicates, of which the last in the file counts. Four stretches of it are labelled anomalous. The first lies within the 14 days
that the detector learns from first. A challenger is trained each week. All three stretches after it are found, with the default
thresholds; four incidents lie outside the labelled stretches, about two a month.
"""

import json
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
    predictions,
    promotions,
    quarantine_counts,
    segments,
    validations,
    work_orders,
)
from resources.postgres import database_url
from tests.real.conftest import REPORTS, Finished, finished

pytestmark = pytest.mark.shared_data

NAME = "realKnownCause/machine_temperature_system_failure.csv"
FIRST, LAST = date(2013, 12, 2), date(2014, 2, 19)
LEARNT_UNTIL = pd.Timestamp("2013-12-16", tz="UTC")


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> pd.DataFrame:
    frame = pd.read_csv(shared_data / "nab" / NAME, parse_dates=["timestamp"])
    return frame.assign(timestamp=frame["timestamp"].dt.tz_localize("UTC").astype("datetime64[us, UTC]"))


@pytest.fixture(scope="module")
def labelled(shared_data: Path) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """The labelled stretches that do not lie within what the detector learnt from."""
    windows = json.loads((shared_data / "nab" / "combined_windows.json").read_text())[NAME]
    both = [(pd.Timestamp(start, tz="UTC"), pd.Timestamp(end, tz="UTC")) for start, end in windows]
    return [(start, end) for start, end in both if end > LEARNT_UNTIL]


@pytest.fixture(scope="module")
def run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    with finished(shared_data / "nab" / NAME, plant="nab", folder=tmp_path_factory.mktemp("nab")) as done:
        yield done


@pytest.fixture(scope="module")
def incidents(run: Finished) -> pd.DataFrame:
    ledger = LedgerResource(url=database_url(run.environment.server_url, "smart_maintenance"))
    with ledger.begin() as connection:
        return latest_assessments(connection)


def test_every_row_is_accounted_for_and_the_repeated_hour_shows_as_duplicates(run: Finished, raw: pd.DataFrame) -> None:
    taken = run.query(select(drops)).iloc[0]
    assert len(raw) == 22_695
    assert (taken["rows_in"], taken["rows_duplicate"], taken["rows_quarantined"]) == (22_695, 12, 0)
    assert taken["rows_accepted"] == raw["timestamp"].nunique() == 22_683
    assert run.query(select(quarantine_counts)).empty


def test_the_stored_readings_are_the_files_values_with_the_last_of_each_duplicate(run: Finished, raw: pd.DataFrame) -> None:
    stored = run.stored("sensor_readings", start=FIRST, end=LAST)
    expected = raw.drop_duplicates("timestamp", keep="last").sort_values("timestamp")
    assert set(stored["sensor_id"]) == {"K1-temperature"}
    pd.testing.assert_index_equal(pd.DatetimeIndex(stored["timestamp"]), pd.DatetimeIndex(expected["timestamp"]), check_names=False)
    np.testing.assert_array_equal(stored["value"], expected["value"])


def test_every_day_went_through_the_chain_and_every_check_held(run: Finished) -> None:
    days = run.query(select(segments.c.day, segments.c.processed_at)).sort_values("day")
    assert days["day"].tolist() == [FIRST + timedelta(days=n) for n in range(80)]
    assert days["processed_at"].notna().all()
    checked = run.query(select(validations.c.suite, validations.c.is_success))
    assert checked["is_success"].all()
    assert set(checked["suite"]) >= {"sensor_readings", "sensor_quality", "incidents", "predictions"}
    assert run.reports_of(LAST) == REPORTS


def test_all_three_labelled_stretches_to_be_found_overlap_an_incident(
    incidents: pd.DataFrame, labelled: list[tuple[pd.Timestamp, pd.Timestamp]]
) -> None:
    credible = incidents[incidents["verdict"] != "false_positive_suspected"]
    assert len(labelled) == 3
    for start, end in labelled:
        assert ((credible["onset_at"] <= end) & (credible["last_window_at"] >= start)).any(), start


def test_at_most_two_incidents_a_month_lie_outside_the_labelled_stretches(
    incidents: pd.DataFrame, labelled: list[tuple[pd.Timestamp, pd.Timestamp]]
) -> None:
    outside = [
        i["incident_id"]
        for i in incidents[incidents["verdict"] != "false_positive_suspected"].to_dict("records")
        if not any(i["onset_at"] <= end and i["last_window_at"] >= start for start, end in labelled)
    ]
    assert len(outside) <= 4, f"of 66 days: {outside}"


def test_a_challenger_is_trained_each_week_and_judged(run: Finished) -> None:
    trained = run.query(select(detector_versions)).sort_values("version")
    saturdays = pd.date_range("2013-12-21", "2014-02-15", freq="W-SAT")
    held_out = [(saturday.date() - end).days for saturday, end in zip(saturdays, trained["data_end"].iloc[1:], strict=True)]
    assert trained["data_end"].iloc[0] == date(2013, 12, 15)
    assert all(2 <= days <= 6 for days in held_out), held_out  # a third of the healthy days, at most a week
    judged = run.query(select(promotions)).sort_values("place")
    assert judged["to_version"].tolist() == trained["version"].tolist()
    assert judged["is_promoted"].iloc[0]
    assert judged["why"].str.len().min() > 0


def test_the_final_failure_is_predicted_and_ordered_work_against(run: Finished, raw: pd.DataFrame) -> None:
    trip = run.environment.sites[0].sensors[0].trip
    assert trip is not None and trip.low == 35
    tripped = raw[(raw["value"] < trip.low) & (raw["timestamp"] > "2014-01-01")]["timestamp"].min()
    assert str(tripped.date()) == "2014-02-08"
    before = run.query(select(predictions).where(predictions.c.day < tripped.date(), predictions.c.day > date(2014, 1, 25)))
    assert before["probability_30d"].max() > 0.5
    orders = run.query(select(work_orders))
    assert len(orders) > 0
    assert orders["state"].isin(["awaiting_decision", "scheduled"]).any()
    assert set(run.query(select(assignments))["order_id"]) <= set(orders["order_id"])
    assert any(date(2014, 2, 7) <= day <= date(2014, 2, 9) for day in orders["assessed_on"])
