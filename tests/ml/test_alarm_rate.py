"""What the threshold promises: alarms a machine-month, counted as incidents open."""

from dataclasses import replace

import numpy as np
import pytest

from ml.detectors.alarm_rate import ALARM_SCORE, AlarmRate, Healthy, fit_alarm_rate
from ml.plant import DetectionPolicy

POLICY = DetectionPolicy(on_delay_windows=3, merge_gap_windows=36)


def _machine(rng: np.random.Generator, *, days: int) -> Healthy:
    """Surprise of windows that resemble their neighbours: a slow and a fast part, exponential in the tail as p is."""
    n = days * 144
    slow = np.repeat(rng.exponential(1 / np.log(10), n // 8), 8)
    return Healthy(np.arange(n), slow + 0.2 * rng.random(n), minutes=10)


def _alarms(machine: Healthy, level: float) -> int:
    """Counted window by window."""
    count, streak, last = 0, 0, -(10**9)
    for index, surprise in zip(machine.index, machine.surprise, strict=True):
        streak = streak + 1 if surprise >= level else 0
        if streak >= POLICY.on_delay_windows:
            count += index - last > POLICY.merge_gap_windows + 1
            last = index
    return count


def test_fresh_machines_raise_about_one_alarm_a_month_at_the_level_of_the_rate() -> None:
    rng = np.random.default_rng(3)
    rate = fit_alarm_rate([_machine(rng, days=8) for _ in range(7)], policy=POLICY)
    fresh = [_machine(rng, days=30) for _ in range(100)]
    assert 0.6 < sum(_alarms(m, rate.once) for m in fresh) / 100 < 1.6
    # ten times rarer is a sixth more
    level = rate.once + rate.fall * np.log(10)
    assert 0.04 < sum(_alarms(m, level) for m in fresh) / 100 < 0.25


def test_the_score_is_anchored_at_one_alarm_a_month() -> None:
    rate = AlarmRate(once=2.0, fall=0.5)
    decade = 0.5 * np.log(10)
    surprise = np.array([0.0, 1.0, 2.0, 2.0 + decade, 2.0 + 2 * decade, 30.0, np.nan])
    expected = [0.0, ALARM_SCORE / 2, ALARM_SCORE, ALARM_SCORE + 1 / 6, ALARM_SCORE + 2 / 6, 1.0, np.nan]
    np.testing.assert_allclose(rate.score(surprise), expected)
    assert POLICY.on_threshold == ALARM_SCORE


def test_a_machine_with_a_few_hours_held_out_still_gives_a_level() -> None:
    rate = fit_alarm_rate([_machine(np.random.default_rng(1), days=1)], policy=POLICY)
    assert 1.0 <= rate.once < 5.0
    quiet = Healthy(np.arange(50), np.zeros(50), minutes=10)
    assert np.isfinite(fit_alarm_rate([quiet], policy=POLICY).once)


def test_two_bursts_within_the_merge_gap_are_one_alarm_and_beyond_it_two() -> None:
    def rate(*offsets: int) -> float:
        surprise = np.zeros(20_000)
        for start in range(100, 20_000, 400):
            for offset in offsets:
                surprise[start + offset : start + offset + 3] = 3.0
        return fit_alarm_rate([Healthy(np.arange(len(surprise)), surprise, minutes=10)], policy=POLICY).once

    assert rate(0, 20) == rate(0)
    assert rate(0, 60) != rate(0)


def test_the_same_windows_six_times_as_far_apart_are_six_times_as_many_machine_months() -> None:
    windows = _machine(np.random.default_rng(3), days=60)
    fast, slow = (fit_alarm_rate([replace(windows, minutes=minutes)], policy=POLICY) for minutes in (10, 60))
    assert fast.once > slow.once > 1
    assert np.exp((fast.once - slow.once) / slow.fall) == pytest.approx(6)
