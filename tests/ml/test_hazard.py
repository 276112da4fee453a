"""The learned failure model on machines whose failures a rising vibration announces: skill where there is a reason, none where not."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

from ml.curves import average_precision
from ml.failure_windows import (
    KnowsTheFuture,
    hours_in_order,
    hours_to_failure,
    is_in_repair,
    refuse_future,
    window_features,
)
from ml.hazard import TooFewFailures, fit_hazard, folds_of, held_out_probability

START = pd.Timestamp("2026-01-01T00:00Z")
features_of = partial(window_features, errors=["e1"], components=["bearing"])
N_MACHINES, N_HOURS = 6, 500
FAILS_AT = (180, 390)


def a_plant(seed: int = 0) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Six machines, hourly; each fails in about hour 180 and 390, a day after its vibration began to rise, and is repaired in that hour."""
    rng = np.random.default_rng(seed)
    telemetry, failures = [], []
    for machine in range(N_MACHINES):
        vibration = 5 + 0.5 * rng.standard_normal(N_HOURS)
        for hour in FAILS_AT:
            fails = hour + 3 * machine
            vibration[fails - 30 : fails] += np.linspace(0, 4, 30)
            failures.append((machine, START + pd.Timedelta(hours=fails)))
        at = START + pd.to_timedelta(np.arange(N_HOURS), unit="h")
        telemetry.append(pd.DataFrame({"machine_id": machine, "at": at, "vibration": vibration}))
    failed = pd.DataFrame(failures, columns=["machine_id", "at"])
    tables = {
        "telemetry": pd.concat(telemetry, ignore_index=True),
        "errors": pd.DataFrame([(0, START + pd.Timedelta(hours=50), "e1")], columns=["machine_id", "at", "error"]),
        "replacements": failed.assign(component="bearing"),
        "machines": pd.DataFrame({"machine_id": range(N_MACHINES), "age": range(N_MACHINES)}),
    }
    return tables, failed


@pytest.fixture(scope="module")
def learned() -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """(features, fails within a day, machines, usable)"""
    tables, failures = a_plant()
    hours = hours_in_order(tables["telemetry"])
    ahead = hours_to_failure(hours, failures)
    usable = ~is_in_repair(hours, failures, replacements=tables["replacements"])
    return features_of(tables), (ahead > 0) & (ahead <= 24), hours["machine_id"].to_numpy(), usable


@pytest.fixture(scope="module")
def found(learned) -> np.ndarray:
    features, fails, machines, usable = learned
    return held_out_probability(features, fails=fails, is_usable=usable, groups=machines, n_folds=3, seed=0)


def test_failures_that_announce_themselves_are_foreseen_and_with_labels_shifted_the_skill_is_gone(learned, found) -> None:
    features, fails, machines, usable = learned
    assert average_precision(fails[usable], found[usable]) > 0.8
    # Each machine's labels moved round by its own number of hours: as many failures, of which nothing in the features tells.
    shifted = fails.copy()
    for machine in np.unique(machines):
        rows = machines == machine
        shifted[rows] = np.roll(fails[rows], 60 + 47 * int(machine))
    assert shifted.sum() == fails.sum()
    share = shifted[usable].mean()
    guessed = held_out_probability(features, fails=shifted, is_usable=usable, groups=machines, n_folds=3, seed=0)
    assert average_precision(shifted[usable], guessed[usable]) < 3 * share < 0.35


def test_the_probability_is_about_the_share_of_failures(learned, found) -> None:
    _, fails, _, usable = learned
    assert np.isnan(found[~usable]).all()
    assert found[usable].mean() == pytest.approx(fails[usable].mean(), abs=0.02)
    likely = usable & (np.nan_to_num(found) > 0.8)
    assert fails[likely].mean() > 0.8


def test_no_machine_is_on_both_sides_of_a_fold(learned) -> None:
    _, fails, machines, _ = learned
    held = []
    for learn, hold in folds_of(fails, groups=machines, n=3, seed=0):
        assert not set(machines[learn]) & set(machines[hold])
        held.extend(hold.tolist())
    assert sorted(held) == list(range(len(fails)))


def test_the_same_seed_gives_the_same_model_and_the_order_of_columns_does_not_matter(learned) -> None:
    features, fails, machines, _ = learned
    first, second = (fit_hazard(features, fails=fails, groups=machines, seed=3) for _ in range(2))
    assert (first.probability(features) == second.probability(features[features.columns[::-1]])).all()
    with pytest.raises(ValueError, match="the features lack age"):
        first.probability(features.drop(columns="age"))


def test_too_few_failures_are_refused(learned) -> None:
    features, fails, machines, _ = learned
    with pytest.raises(TooFewFailures, match="2 machines that failed are too few"):
        fit_hazard(features, fails=fails & (machines < 2), groups=machines, seed=0)
    with pytest.raises(TooFewFailures, match="0 failures"):
        fit_hazard(features, fails=np.zeros(len(fails), dtype=bool), seed=0)


INSTANTS = [START + pd.Timedelta(hours=h) for h in (100, 170, 180, 250)]


def test_the_features_of_an_hour_are_the_same_whatever_comes_later() -> None:
    tables, _ = a_plant()
    refuse_future(features_of, tables, at=INSTANTS)


def test_a_column_copied_from_the_future_is_refused() -> None:
    tables, failures = a_plant()

    def with_next_hour(of: dict[str, pd.DataFrame]) -> pd.DataFrame:
        hours = hours_in_order(of["telemetry"])
        return features_of(of).assign(vibration_next_hour=hours.groupby("machine_id")["vibration"].shift(-1).to_numpy())

    with pytest.raises(KnowsTheFuture, match=r"^vibration_next_hour: not the same at 2026-01-05"):
        refuse_future(with_next_hour, tables, at=INSTANTS)

    def with_countdown(of: dict[str, pd.DataFrame]) -> pd.DataFrame:
        return features_of(of).assign(hours_left=hours_to_failure(hours_in_order(of["telemetry"]), of["failures"]))

    with pytest.raises(KnowsTheFuture, match="hours_left"):
        refuse_future(with_countdown, tables | {"failures": failures}, at=INSTANTS)


def test_hours_of_failure_and_repair_are_out_and_the_repairs_record_is_known_an_hour_later() -> None:
    at = pd.date_range(START, periods=8, freq="h")
    hours = pd.DataFrame({"machine_id": 1, "at": at, "volt": 1.0})
    failures = pd.DataFrame({"machine_id": [1], "at": [at[3]]})
    repaired = pd.DataFrame({"machine_id": [1], "at": [at[5]], "component": ["c"]})
    assert is_in_repair(hours, failures, replacements=repaired).tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert is_in_repair(hours, failures, replacements=repaired.iloc[:0]).tolist() == [False] * 3 + [True] * 5
    assert hours_to_failure(hours, failures).tolist() == [3, 2, 1, 0] + [np.inf] * 4
    other = failures.assign(machine_id=2)
    assert np.isinf(hours_to_failure(hours, other)).all()
    errors = pd.DataFrame({"machine_id": [1, 1, 2], "at": [at[2], at[2], at[2]], "error": ["e", "e", "e"]})
    features = window_features(
        {"telemetry": hours, "errors": errors, "replacements": repaired, "machines": pd.DataFrame({"machine_id": [1], "age": [9]})},
        errors=["e"],
        components=["c"],
    )
    assert features["hours_since_c"].fillna(-1).tolist() == [-1] * 6 + [1, 2]
    assert features["e_count_24h"].tolist() == [0, 0, 2, 2, 2, 2, 2, 2]
    assert features["age"].unique().tolist() == [9]
