import numpy as np
import pandas as pd
import pytest

from ml.evaluation import match_incidents

DAY0 = pd.Timestamp("2026-03-01", tz="UTC")


def _at(*days: float | None) -> pd.Series:
    return pd.to_datetime(pd.Series([pd.NaT if d is None else DAY0 + pd.Timedelta(days=d) for d in days], dtype=object), utc=True).astype(
        "datetime64[us, UTC]"
    )


TRUTH = pd.DataFrame(
    {
        "machine_id": ["A", "B", "C", "D"],
        "kind": ["bearing_wear", "stuck_sensor", "seal_leak", "seal_leak"],
        "onset_at": _at(10, 5, 3, 3),
        "failure_at": _at(17, None, 8, 8),
        "repaired_at": _at(18, 7, 9, None),
    }
)
INCIDENTS = pd.DataFrame(
    {
        #              A early  A       B      B after C only at the failure, D long after (no repair), E unknown
        "machine_id": ["A", "A", "B", "B", "C", "D", "E"],
        "onset_at": _at(9, 12, 5.5, 8, 8, 20, 1),
        "last_window_at": _at(9.5, 17, 5.7, 8.2, 8.5, 21, 2),
        "verdict": ["credible"] * 7,
    }
)


def test_matching_by_hand() -> None:
    result = match_incidents(INCIDENTS, TRUTH, observed_machine_days=150)
    faults = result.faults.set_index("machine_id")
    assert faults["is_found"].to_dict() == {"A": True, "B": True, "C": False, "D": False}
    assert faults.loc["A", "detected_at"] == DAY0 + pd.Timedelta(days=12)
    assert faults.loc["A", ["delay_h", "lead_time_h"]].tolist() == [48.0, 120.0]
    assert faults.loc["B", "delay_h"] == 12.0
    assert np.isnan(faults.loc["B", "lead_time_h"])
    assert pd.isna(faults.loc["C", "detected_at"])
    assert result.false_alarms[["machine_id", "onset_at"]].values.tolist() == [
        ["A", DAY0 + pd.Timedelta(days=9)],
        ["B", DAY0 + pd.Timedelta(days=8)],
        ["E", DAY0 + pd.Timedelta(days=1)],
    ]
    assert (result.n_found, result.found_share) == (2, 0.5)
    assert result.false_alarms_per_machine_month == pytest.approx(3 / 5)


def test_an_alarm_that_was_there_before_the_fault_detects_it_no_earlier_than_it_began() -> None:
    standing = pd.DataFrame({"machine_id": ["A"], "onset_at": _at(1), "last_window_at": _at(11)})
    faults = match_incidents(standing, TRUTH.iloc[:1], observed_machine_days=30).faults
    assert faults["delay_h"].tolist() == [0.0]
    assert faults["lead_time_h"].tolist() == [7 * 24.0]


def test_the_site_must_agree_where_both_know_it() -> None:
    result = match_incidents(INCIDENTS.assign(site="north"), TRUTH.assign(site="south"), observed_machine_days=30)
    assert result.n_found == 0
    assert len(result.false_alarms) == 7


def test_nothing_raised_and_nothing_wrong() -> None:
    result = match_incidents(INCIDENTS.iloc[:0], TRUTH.iloc[:0], observed_machine_days=0)
    assert np.isnan(result.found_share)
    assert np.isnan(result.false_alarms_per_machine_month)


def test_a_negative_observation_time_is_refused() -> None:
    with pytest.raises(ValueError, match="observed_machine_days"):
        match_incidents(INCIDENTS, TRUTH, observed_machine_days=-1)
