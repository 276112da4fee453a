"""Rows one pace after another: what is not there is filled in, so that so many rows are so much time."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.detectors.pace import MAX_GAP_IN_SPELL, machine_days, memory_of, pace_of, paced
from ml.detectors.windows import joined, keep_until_due, taken
from ml.plant import Machine, Sensor, Site
from tests.ml.test_members import windows_of


def _machine(*intervals_s: float) -> Machine:
    sensors = tuple(Sensor(sensor_id=f"S{i}", type="temperature", unit="°C", interval_s=s) for i, s in enumerate(intervals_s))
    return Machine(machine_id="M1", machine_class="fan", sensors=sensors)


@pytest.mark.parametrize(
    ("intervals_s", "pace"),
    [
        ((60,), 1),
        ((3600,), 6),
        ((900,), 1.5),
        ((3600, 7200), 6),
        ((60, 3600), 1),
        ((3600, 60, 3600, 3600), 1),
        ((60, *7 * (3600,)), 6),
    ],
)
def test_the_pace_is_that_at_which_half_of_what_is_due_is_read(intervals_s: tuple[float, ...], pace: float) -> None:
    assert pace_of(_machine(*intervals_s), window_minutes=10) == pace


def test_the_memory_is_a_power_of_two_within_a_day() -> None:
    assert [memory_of(minutes) for minutes in (1, 10, 11.25, 11.3, 60, 180, 720, 1440, 9000)] == [128, 128, 128, 64, 16, 8, 2, 1, 1]


def _at(*index: int):
    first = windows_of(np.arange(float(max(index) - min(index) + 1))[:, None])
    return taken(first, np.array(index) - min(index))


def test_windows_at_their_pace_stay_as_they_are() -> None:
    for windows, pace in ((_at(3, 4, 5), 1.0), (_at(0, 6, 12, 17, 24), 6.0), (_at(0, 1, 3, 4, 6), 1.5), (_at(7), 1.0)):
        same = paced(windows, pace=pace)
        assert same.windows.mean[same.rows].tolist() == windows.mean.tolist()
        assert same.latest is None
        assert same.windows is windows


def test_a_window_that_is_not_there_is_one_in_which_nothing_was_read() -> None:
    windows = _at(0, 1, 4, 5)
    filled = paced(windows, pace=1.0)
    assert filled.windows.mean[:, 0].tolist() == pytest.approx([0, 1, np.nan, np.nan, 4, 5], nan_ok=True)
    assert np.isnan(filled.windows.std[[2, 3]]).all() and np.isnan(filled.windows.slope[[2, 3]]).all()
    assert filled.windows.mean[filled.rows].tolist() == windows.mean.tolist()
    assert filled.held(filled.windows.mean)[:, 0].tolist() == [0, 1, 1, 1, 4, 5]
    assert np.isfinite(windows.mean).all()
    assert len(set(filled.windows.spell)) == 1


def test_a_long_gap_ends_a_spell_and_is_not_filled() -> None:
    near, far = paced(_at(0, MAX_GAP_IN_SPELL), pace=1.0), paced(_at(0, MAX_GAP_IN_SPELL + 1, MAX_GAP_IN_SPELL + 2), pace=1.0)
    assert len(near.windows.index) == MAX_GAP_IN_SPELL + 1
    assert len(set(near.windows.spell)) == 1
    assert np.diff(far.windows.spell).tolist() == [1, 0]
    assert len(set(paced(_at(0, 6 * MAX_GAP_IN_SPELL), pace=6.0).windows.spell)) == 1


def test_nothing_is_filled_in_between_spells_or_machines() -> None:
    windows = _at(0, 1, 3, 4)
    stopped = replace(windows, spell=np.array([0, 0, 1, 1]))
    assert len(paced(stopped, pace=1.0).windows.index) == 4
    pool = paced(joined([windows, windows]), pace=1.0)
    assert pool.windows.mean[:, 0].tolist() == pytest.approx([0, 1, np.nan, 3, 4] * 2, nan_ok=True)
    assert len(set(pool.windows.spell)) == 2


def test_a_window_of_a_machine_that_is_read_hourly_stands_for_an_hour() -> None:
    slow = _machine(3600)
    fast = Machine(machine_id="M2", machine_class="fan", sensors=(Sensor(sensor_id="S9", type="temperature", unit="°C", interval_s=60),))
    site = Site(site="plant", name="Plant", time_zone="UTC", first_day=date(2026, 1, 1), machines=(slow, fast))
    scores = pd.DataFrame(
        {"machine_id": ["M1"] * 24 + ["M2"] * 144 + ["M2"] * 7, "state": ["scored"] * 168 + ["stopped"] * 7, "score": 0.1},
    )
    assert machine_days(scores, site=site) == pytest.approx(2)
    assert machine_days(scores.iloc[:0], site=site) == 0


def test_a_slow_sensor_counts_as_last_read_until_it_is_due_again() -> None:
    machine, index = _machine(60, 3600, 5 * 86400), np.array([0, 1, 5, 6, 7, 8, 150, 151])
    nan = np.nan
    column = np.array([[1, 1, 1, 1, nan, 1, 1, 1], [nan, 7, nan, nan, nan, nan, nan, nan], [4, nan, nan, nan, nan, nan, nan, nan]]).T
    matrices = {name: column.copy() for name in ("mean", "std", "slope_per_h")}
    spell = np.zeros(len(index), dtype=np.int64)
    keep_until_due(matrices, index=index, spell=spell, machine=machine, window_minutes=10)
    for matrix in matrices.values():
        np.testing.assert_array_equal(matrix[:, 0], column[:, 0])
        np.testing.assert_array_equal(matrix[:, 1], [nan, 7, 7, 7, 7, nan, nan, nan])
        np.testing.assert_array_equal(matrix[:, 2], [4, 4, 4, 4, 4, 4, nan, nan])
    stopped = {name: column.copy() for name in ("mean", "std", "slope_per_h")}
    keep_until_due(stopped, index=index, spell=np.array([0, 0, 0, 1, 2, 2, 2, 2]), machine=machine, window_minutes=10)
    np.testing.assert_array_equal(stopped["mean"][:, 1], [nan, 7, 7, nan, nan, nan, nan, nan])
