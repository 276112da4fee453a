"""Replayed faults: the marks against features of readings with the fault in them, the finding against crossings worked out by hand."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.fault_marks import ReplayedFault, marked
from ml.fault_replay import KINDS, MAX_OF_A_KIND, SHIFT_SIGMAS, Round, by_kind, outcome, rounds
from ml.features import build_features
from ml.plant import Site

FIRST = pd.Timestamp("2026-03-02", tz="UTC")
START, END = FIRST + pd.Timedelta(days=4), FIRST + pd.Timedelta(days=7)
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": date(2026, 1, 1),
        "machines": [
            {
                "machine_id": m,
                "machine_class": "pump",
                "sensors": [
                    {"sensor_id": f"{m}-V", "type": "vibration", "unit": "mm/s", "interval_s": 10, "trip": {"high": 11}},
                    {"sensor_id": f"{m}-P", "type": "pressure", "unit": "bar", "interval_s": 10, "alarm": {"low": 2}},
                ],
            }
            for m in ("A", "B")
        ],
    }
)
LEVELS = {"V": 3.0, "P": 6.0}


def features(*, machines: str = "AB", days: int = 7, running: float = 1.0) -> pd.DataFrame:
    """Windows whose mean swings by a sine: level, and a robust standard deviation that the sine has."""
    rng = np.random.default_rng(1)
    parts = []
    for machine in machines:
        for sensor, level in LEVELS.items():
            n = days * 144
            mean = level + 0.1 * np.sin(np.arange(n) / 7)
            parts.append(
                pd.DataFrame(
                    {
                        "machine_id": machine, "window_start": pd.date_range(FIRST, periods=n, freq="10min", unit="us"),
                        "sensor_id": f"{machine}-{sensor}", "n_readings": np.int32(60), "coverage": 1.0, "mean": mean,
                        "std": 0.05 + 0.01 * rng.random(n), "min": mean - 0.1, "max": mean + 0.1, "last": mean, "slope_per_h": 0.0,
                        "rms": mean if sensor == "V" else np.nan, "kurtosis": 0.0 if sensor == "V" else np.nan,
                        "crest_factor": 1.03 if sensor == "V" else np.nan, "running_share": running,
                    }
                )
            )  # fmt: skip
    return pd.concat(parts).sort_values(["machine_id", "window_start", "sensor_id"], ignore_index=True)


class Limit:
    """Alarms where a sensor's mean has left its level by more than `beyond`, or where it is told to."""

    def __init__(self, beyond: float, *, always: bool = False) -> None:
        self.beyond, self.always = beyond, always

    def score(self, features: pd.DataFrame, *, site: Site, model_version: int) -> pd.DataFrame:
        off = (features["mean"] - features["sensor_id"].str[-1].map(LEVELS)).abs()
        table = features.assign(off=off).sort_values("off", kind="stable").drop_duplicates(["machine_id", "window_start"], keep="last")
        hit = np.where(table["off"] > self.beyond, 1.0, 1.0 if self.always else 0.1)
        return table.assign(state="scored", score=hit, top_sensor_id=table["sensor_id"]).sort_values(["machine_id", "window_start"])


def replayed(seed: int = 7, **made: Any) -> tuple[Round, ...]:
    return rounds(features(**made), site=SITE, start=START, end=END, seed=seed)


def faults(found: tuple[Round, ...]) -> Iterator[ReplayedFault]:
    return (fault for one in found for fault in one.faults)


def test_every_kind_that_a_machine_can_have_is_replayed_into_the_held_out_days_once() -> None:
    found = replayed()
    planned = sorted((f.kind, f.machine_id) for f in faults(found))
    assert planned == sorted((kind, m) for kind in KINDS if kind != "clogged_filter" for m in "AB"), "no sensor measures a flow"
    assert all(f.onset_at >= START and f.ends_at <= END and f.ends_at - f.onset_at == pd.Timedelta(days=2) for f in faults(found))
    assert all(len({f.machine_id for f in one.faults}) == len(one.faults) for one in found)
    assert {f.sensor_id[-1] for f in faults(found) if f.kind == "bearing_wear"} == {"V"}
    assert [f.room for f in faults(found) if f.kind == "bearing_wear"] == pytest.approx([11 - 3] * 2, abs=0.02)
    assert [f.room for f in faults(found) if f.kind == "seal_leak"] == pytest.approx([2 - 6] * 2, abs=0.02)


def test_the_same_seed_replays_the_same_and_another_one_something_else() -> None:
    one, same, other = replayed(), replayed(), replayed(seed=8)
    assert list(faults(one)) == list(faults(same))
    for a, b in zip(one, same, strict=True):
        pd.testing.assert_frame_equal(a.features, b.features)
    assert list(faults(one)) != list(faults(other))


def test_a_machine_that_stands_still_is_left_alone() -> None:
    assert replayed(running=0.0) == ()
    table = features(machines="A")
    hours_of_running = table[table["window_start"] < START + pd.Timedelta(hours=5)]
    assert rounds(hours_of_running, site=SITE, start=START, end=END, seed=1) == (), "30 windows are too few"


def test_no_more_than_so_many_of_a_kind() -> None:
    many = SITE.model_copy(
        update={
            "machines": tuple(
                SITE.machines[0].model_copy(
                    update={
                        "machine_id": f"M{i}",
                        "sensors": tuple(s.model_copy(update={"sensor_id": f"M{i}{s.sensor_id[1:]}"}) for s in SITE.machines[0].sensors),
                    }
                )
                for i in range(10)
            )
        }
    )
    table = pd.concat(
        [
            features(machines="A").assign(machine_id=f"M{i}").assign(sensor_id=lambda t, i=i: f"M{i}" + t["sensor_id"].str[1:])
            for i in range(10)
        ]
    )
    found = rounds(table, site=many, start=START, end=END, seed=1)
    counts = pd.Series([f.kind for f in faults(found)]).value_counts()
    assert set(counts) == {MAX_OF_A_KIND}


def test_faults_are_found_when_they_cross_and_put_down_to_their_sensor() -> None:
    """A drift of d over 48 h passes b after 48 b/d h; a growing one where expm1(2x)/expm1(2) does. Alarms open at the window."""
    detector, found = Limit(beyond=0.35), replayed()
    rows = outcome(detector, found, clean=detector.score(features(), site=SITE, model_version=1), site=SITE)
    assert rows["is_clear"].all()
    assert set(rows.loc[~rows["is_found"], "kind"]) <= {"stuck_sensor", "noisy_sensor", "spike_bursts"}
    assert set(rows.loc[rows["kind"] == "stuck_sensor", "is_found"]) == {False}, "it does not leave its level"
    by = {(f.kind, f.machine_id): f for f in faults(found)}
    for row in rows[rows["kind"].isin(["sensor_drift", "bearing_wear", "seal_leak"])].to_dict("records"):
        fault = by[row["kind"], row["machine_id"]]
        share = 0.35 / abs(fault.room)
        crossing = 48 * (share if row["kind"] == "sensor_drift" else np.log1p(share * np.expm1(2)) / 2)
        slack = 48 * (0.1 / abs(fault.room) if row["kind"] == "sensor_drift" else 0.1 / abs(fault.room) * np.expm1(2) / 2)  # of the sine
        assert row["delay_h"] == pytest.approx(crossing, abs=slack + 0.5), row["kind"]
        assert row["is_blamed"]
        assert (row["lead_time_h"] == 48 - row["delay_h"]) if row["kind"] != "sensor_drift" else np.isnan(row["lead_time_h"])
    assert rows.loc[rows["kind"] == "step", "delay_h"].tolist() == [0.0, 0.0]


def test_who_never_alarms_finds_nothing_and_who_always_does_can_be_judged_by_nothing() -> None:
    found = replayed()
    for detector, is_clear in ((Limit(beyond=1e9), True), (Limit(beyond=1e9, always=True), False)):
        rows = outcome(detector, found, clean=detector.score(features(), site=SITE, model_version=1), site=SITE)
        assert not rows["is_found"].any()
        assert set(rows["is_clear"]) == {is_clear}


def test_kinds_are_counted() -> None:
    detector = Limit(beyond=0.35)
    rows = outcome(detector, replayed(), clean=detector.score(features(), site=SITE, model_version=1), site=SITE)
    counted = {k.kind: k for k in by_kind(rows)}
    assert (counted["step"].replayed, counted["step"].found, counted["step"].delay_h) == (2, 2, 0.0)
    assert counted["bearing_wear"].lead_time_h == pytest.approx(rows.loc[rows["kind"] == "bearing_wear", "lead_time_h"].mean())
    assert (counted["stuck_sensor"].found, counted["stuck_sensor"].delay_h) == (0, None)


# the marks against features of readings that have the fault in them

DAY, LASTS_H = FIRST, 12.0
NOISE = 0.2


def readings(change: "Any" = None) -> pd.DataFrame:
    """A day of A's vibration, every ten seconds."""
    rng = np.random.default_rng(3)
    hours = np.arange(8640) / 360
    values = 3.0 + NOISE * rng.standard_normal(8640)
    at = DAY + pd.to_timedelta(np.arange(8640) * 10, unit="s")
    return pd.DataFrame({"sensor_id": "A-V", "timestamp": at.as_unit("us"), "value": values if change is None else change(hours, values)})


def fault(kind: str, room: float) -> ReplayedFault:
    onset = DAY + pd.Timedelta(hours=6)
    return ReplayedFault("A", kind, "A-V", onset, onset + pd.Timedelta(hours=LASTS_H), 3.0, 0.1, room)


def both(kind: str, room: float, change: "Any") -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features marked, features of changed readings) of the hours of the fault."""
    clean, changed = (build_features(r, site=SITE, day=DAY.date()) for r in (readings(), readings(change)))
    of_fault = fault(kind, room)
    got = marked(clean, of_fault, site=SITE, seed=1)
    during = [
        t[(t["window_start"] >= of_fault.onset_at) & (t["window_start"] < of_fault.ends_at)].reset_index(drop=True) for t in (got, changed)
    ]
    assert len(during[0]) == len(during[1]) == 72
    return during[0], during[1]


def within(hours: np.ndarray) -> np.ndarray:
    return (hours >= 6) & (hours < 6 + LASTS_H)


def test_a_step_marks_the_features_as_it_would_the_readings() -> None:
    got, true = both("step", 0.6, lambda hours, values: values + 0.6 * within(hours))
    for name in ("mean", "std", "min", "max", "last", "slope_per_h", "rms", "kurtosis", "crest_factor"):
        np.testing.assert_allclose(got[name], true[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_drift_marks_mean_and_slope_as_it_would_the_readings() -> None:
    """The mean of 60 readings lies half a reading before the window's middle: 1/120 of its rise of 1.0."""
    room = SHIFT_SIGMAS * 12.0  # steep, so that the spread within a window shows: 1.0 in ten minutes
    got, true = both("sensor_drift", room, lambda hours, values: values + room * np.clip((hours - 6) / LASTS_H, 0, 1) * within(hours))
    np.testing.assert_allclose(got["mean"], true["mean"], atol=1.0 / 120 + 1e-6)
    np.testing.assert_allclose(got["slope_per_h"], true["slope_per_h"], rtol=1e-6, atol=1e-6)
    # noise and ramp of one window are a little correlated by chance
    assert got["std"].mean() == pytest.approx(true["std"].mean(), rel=0.03)


def test_growing_noise_widens_the_windows_as_it_would_the_readings() -> None:
    rng = np.random.default_rng(9)

    def noisy(hours: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.asarray(values + 0.8 * np.clip((hours - 6) / LASTS_H, 0, 1) * within(hours) * rng.standard_normal(len(hours)))

    got, true = both("noisy_sensor", 0.8, noisy)
    late = slice(36, 72)
    assert got["std"][late].mean() == pytest.approx(true["std"][late].mean(), rel=0.06)
    assert got["mean"][late].std() == pytest.approx(true["mean"][late].std(), rel=0.35)
    assert got["slope_per_h"][late].std() == pytest.approx(true["slope_per_h"][late].std(), rel=0.35)


def test_a_stuck_sensor_shows_one_value_without_spread() -> None:
    got, true = both("stuck_sensor", 0.0, lambda hours, values: np.where(within(hours), 3.1, values))
    for name in ("std", "slope_per_h"):
        np.testing.assert_array_equal(got[name], true[name])
    assert got["mean"].nunique() == 1
    np.testing.assert_array_equal(got["max"], got["min"])
    np.testing.assert_allclose(got["crest_factor"], 1.0)


def test_bursts_strike_some_windows_and_leave_the_others() -> None:
    clean = build_features(readings(), site=SITE, day=DAY.date())
    got = marked(clean, fault("spike_bursts", 5.0), site=SITE, seed=1)
    clean = clean.iloc[: len(got)]  # the day up to the end of the fault
    changed = (got["mean"] != clean["mean"]).to_numpy()
    assert 8 <= changed.sum() <= 30  # of 72 windows; 18 are expected
    assert (got["std"][changed] > 3 * clean["std"][changed]).all()
