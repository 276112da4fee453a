"""How a failure model is judged on later time, and what of stored models is read."""

import pickle

import numpy as np
import pandas as pd
import pytest

from ml.failure_figures import Labelled, foresight
from ml.failure_model import informative, judged_by_machine, judged_by_time
from ml.failure_windows import hours_in_order, hours_to_failure, is_in_repair
from ml.hazard import TooFewFailures
from ml.pickled import pack, unpack
from tests.ml.test_hazard import N_MACHINES, START, a_plant, features_of


@pytest.fixture(scope="module")
def plant() -> tuple[pd.DataFrame, Labelled]:
    tables, failures = a_plant()
    hours = hours_in_order(tables["telemetry"])
    ahead = hours_to_failure(hours, failures)
    usable = ~is_in_repair(hours, failures, replacements=tables["replacements"])
    return features_of(tables), Labelled(hours[["machine_id", "at"]], ahead, (ahead > 0) & (ahead <= 24), usable)


def test_later_time_is_foreseen_from_what_was_known_before_it_and_with_labels_shifted_it_is_not(plant) -> None:
    features, labels = plant
    judged = judged_by_time(features, labels, horizon_h=24, seed=0)
    # 500 hours from 1 January: two thirds are over on the 14th at 21:00, so the judgement begins on that day
    assert judged.words == "learned from what was known until 2026-01-14, judged on the time after it"
    assert judged.figures["n_events"] == N_MACHINES, "the second failure of each"
    assert judged.figures["n_found"] >= 5
    assert judged.figures["average_precision"] > 0.8
    machines = labels.hours["machine_id"].to_numpy()
    shifted = labels.fails.copy()
    for machine in range(N_MACHINES):
        of = machines == machine
        shifted[of] = np.roll(labels.fails[of], 60 + 47 * machine)
    wrong = Labelled(labels.hours, np.where(shifted, 12.0, np.inf), shifted, labels.is_usable)
    guessed = judged_by_time(features, wrong, horizon_h=24, seed=0)
    assert guessed.figures["average_precision"] < 2.5 * guessed.figures["anomalous_share"] < 0.35


def test_nothing_is_learned_from_an_hour_whose_label_was_not_known_yet_when_the_judgement_begins(plant) -> None:
    """Failures all on the first day of the judgement: the only hours before the cut that fail are those whose label lies after it."""
    features, labels = plant
    cut = pd.Timestamp("2026-01-14", tz="UTC")
    failures = pd.DataFrame({"machine_id": range(N_MACHINES), "at": cut + pd.Timedelta(hours=5)})
    ahead = hours_to_failure(labels.hours, failures)
    late = Labelled(labels.hours, ahead, (ahead > 0) & (ahead <= 24), labels.is_usable)
    with pytest.raises(TooFewFailures, match="0 machines that failed"):
        judged_by_time(features, late, horizon_h=24, seed=0)
    early = failures.assign(at=START + pd.Timedelta(hours=50))
    ahead = hours_to_failure(labels.hours, early)
    with pytest.raises(TooFewFailures, match="no failure from 2026-01-14 on"):
        judged_by_time(features, Labelled(labels.hours, ahead, (ahead > 0) & (ahead <= 24), labels.is_usable), horizon_h=24, seed=0)


def test_machines_that_failed_must_be_enough_to_learn_from_and_to_be_judged_by(plant) -> None:
    features, labels = plant
    few = Labelled(labels.hours, labels.to_failure_h, labels.fails & (labels.hours["machine_id"] < 3).to_numpy(), labels.is_usable)
    with pytest.raises(TooFewFailures, match="3 machines with a failure that telemetry precedes are too few: 3 are needed to learn from"):
        judged_by_machine(features, few, seed=0)


def test_the_figures_of_foresight_by_hand() -> None:
    """Two machines, steps of 2 h: one failure with its alarm 4 h before, one missed, one false alarm."""
    at = pd.date_range(START, periods=6, freq="2h")
    hours = pd.DataFrame({"machine_id": [1] * 6 + [2] * 6, "at": [*at, *at]})
    ahead = np.array([10, 8, 6, 4, 2, 0, np.inf, 4, 2, 0, np.inf, np.inf], dtype=float)
    fails = (ahead > 0) & (ahead <= 4)
    usable = ahead > 0
    found = np.array([0.9, 0.1, 0.2, 0.8, 0.3, np.nan, 0.1, 0.2, 0.3, np.nan, 0.1, 0.2])
    figures, missed = foresight(Labelled(hours, ahead, fails, usable, step_h=2), found)
    assert (figures["n_events"], figures["n_found"], figures["recall"]) == (2, 1, 0.5)
    assert (figures["n_alarms"], figures["n_false_alarms"], figures["median_lead_time_h"]) == (2, 1, 4)
    assert figures["machine_months"] == pytest.approx(10 * 2 / 720)
    assert figures["anomalous_share"] == 0.4
    assert missed == [f"machine 2 {at[3]:%Y-%m-%d}"]


def test_columns_that_say_nothing_are_left_out_of_what_is_learned() -> None:
    frame = pd.DataFrame({"same": [1.0, 1, 1, 5], "none": [np.nan] * 4, "known": [np.nan, 2, 2, 2], "moves": [1.0, 2, 3, 4]})
    assert informative(frame, where=np.array([True, True, True, False])).columns.tolist() == ["known", "moves"]


class Trap:
    """Runs code when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_bytes_of_another_release_are_refused_before_anything_of_them_runs() -> None:
    assert unpack(pack({"a": 1})) == {"a": 1}
    with pytest.raises(
        ValueError, match=r"begins with 'learned model 1, scikit-learn 0\.1', this version reads 'learned model 1, scikit-learn"
    ):
        unpack(b"learned model 1, scikit-learn 0.1\n" + pickle.dumps(Trap()))
