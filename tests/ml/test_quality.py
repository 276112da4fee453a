"""Sensors get the grade and the words that a technician would expect of their day."""

import statistics
import time
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contracts import SENSOR_QUALITY
from ml.features import build_features
from ml.plant import Machine, RunningWhen, Sensor, Site
from ml.quality import assess_sensors

DAY = date(2025, 6, 1)
START = pd.Timestamp(DAY, tz="UTC")
SITE = Site(
    site="north",
    name="North",
    first_day=date(2025, 1, 1),
    machines=(
        Machine(
            machine_id="pump",
            machine_class="pump",
            running_when=RunningWhen(sensor_id="pump.current", above=1),
            sensors=(
                Sensor(sensor_id="pump.temp", type="temperature", unit="C"),
                Sensor(sensor_id="pump.current", type="current", unit="A"),
            ),
        ),
        Machine(
            machine_id="fan", machine_class="fan", sensors=(Sensor(sensor_id="fan.temp", type="temperature", unit="C", interval_s=600),)
        ),
    ),
)


def a_series(
    sensor_id: str, *, interval_s: float = 60, until_s: float = 86_400, seed: int = 1, jitter_s: float = 0, phase_s: float = 0
) -> pd.DataFrame:
    at = np.arange(phase_s, until_s, interval_s)
    rng = np.random.default_rng(seed)
    at = at + rng.uniform(-jitter_s, jitter_s, len(at)).clip(-at, None)
    stamps = START + pd.to_timedelta(at, unit="s")
    return pd.DataFrame({"sensor_id": sensor_id, "timestamp": stamps.as_unit("us"), "value": 20 + rng.normal(0, 1, len(at))})


def seconds(frame: pd.DataFrame) -> "pd.Series[float]":
    return (frame["timestamp"] - START).dt.total_seconds()


def assess(*frames: pd.DataFrame, refused: dict[str, int] | None = None, features: pd.DataFrame | None = None) -> pd.DataFrame:
    readings = pd.concat(frames, ignore_index=True)
    table = assess_sensors(readings, site=SITE, day=DAY, refused=refused or {}, features=features)
    assert list(table.columns) == SENSOR_QUALITY.names
    assert table["sensor_id"].tolist() == ["fan.temp", "pump.current", "pump.temp"]
    return table.set_index("sensor_id")


TEMP, CURRENT, FAN = a_series("pump.temp"), a_series("pump.current", seed=2), a_series("fan.temp", interval_s=600, seed=3)


def test_a_faultless_day_is_graded_a_and_finds_nothing() -> None:
    table = assess(TEMP, CURRENT, FAN)
    assert table["score"].tolist() == [1, 1, 1]
    assert table["grade"].tolist() == ["A"] * 3
    assert table["findings"].tolist() == table["faults"].tolist() == [""] * 3
    assert table["n_readings"].tolist() == table["n_expected"].tolist() == [144, 1440, 1440]
    assert table["longest_gap_s"].tolist() == [600, 60, 60]
    assert table.loc["fan.temp", "last_value_age_s"] == 540
    assert table["machine_id"].tolist() == ["fan", "pump", "pump"]


def test_types_are_those_of_the_contract() -> None:
    table = pa.Table.from_pandas(assess_sensors(TEMP, site=SITE, day=DAY, refused={}), preserve_index=False)
    assert table.select(SENSOR_QUALITY.names).cast(SENSOR_QUALITY.schema).num_rows == 3


def test_a_silent_sensor_is_unusable_and_says_so() -> None:
    row = assess(TEMP, FAN, refused={"pump.current": 12}).loc["pump.current"]
    assert (row["grade"], row["score"], row["coverage"], row["n_expected"], row["longest_gap_s"]) == ("F", 0, 0, 1440, 86_340)
    assert row["findings"] == "silent: no reading at all; 12 readings refused, outside the physical range"
    assert row["faults"] == "dead"
    assert row["refused_share"] == 1


def test_a_site_that_delivered_nothing_is_silent_for_the_whole_day() -> None:
    table = assess(TEMP.iloc[:0])
    assert table["n_expected"].tolist() == [144, 1440, 1440]
    assert table["longest_gap_s"].tolist() == table["last_value_age_s"].tolist() == [86_400] * 3
    assert table["grade"].tolist() == ["F"] * 3


def test_an_unfinished_day_is_not_held_against_its_sensors() -> None:
    table = assess(*(frame[seconds(frame) <= 5 * 3600] for frame in (TEMP, CURRENT, FAN)))
    assert table["n_expected"].tolist() == [31, 301, 301]
    assert table["grade"].tolist() == ["A"] * 3
    assert table["last_value_age_s"].tolist() == [0, 0, 0]


def test_a_gap_costs_its_missing_readings_and_its_length() -> None:
    gappy = TEMP[(seconds(TEMP) <= 3600) | (seconds(TEMP) >= 3600 + 12_000)]
    row = assess(gappy, CURRENT, FAN).loc["pump.temp"]
    assert row["longest_gap_s"] == 12_000
    assert row["coverage"] == pytest.approx((1440 - 199) / 1440)
    assert row["score"] == pytest.approx(1 - 199 / 1440 - 0.2)
    assert row["grade"] == "C"
    assert row["findings"] == "no reading for 3 h 20 min; 199 of 1440 readings missing"


def test_a_sensor_that_fell_silent_has_an_old_last_value() -> None:
    row = assess(TEMP[seconds(TEMP) < 12 * 3600], CURRENT, FAN).loc["pump.temp"]
    assert row["last_value_age_s"] == row["longest_gap_s"] == 86_340 - (12 * 3600 - 60)
    assert row["grade"] == "F"


def test_on_the_sites_first_day_readings_are_due_from_the_first_one_on() -> None:
    late = [frame[seconds(frame) >= 16 * 3600] for frame in (TEMP, CURRENT, FAN)]
    first = SITE.model_copy(update={"first_day": DAY})
    table = assess_sensors(pd.concat(late), site=first, day=DAY, refused={}).set_index("sensor_id")
    assert table["n_expected"].tolist() == table["n_readings"].tolist() == [48, 480, 480]
    assert (table["coverage"].tolist(), table["grade"].tolist()) == ([1.0] * 3, ["A"] * 3)
    assert table["longest_gap_s"].tolist() == [600, 60, 60]
    assert set(assess(*late)["grade"]) == {"F"}, "on any other day two thirds are missing"
    without = pd.concat([*late[:1], late[1][seconds(late[1]) >= 20 * 3600], late[2]])
    row = assess_sensors(without, site=first, day=DAY, refused={}).set_index("sensor_id").loc["pump.current"]
    assert row["coverage"] == pytest.approx(0.5, abs=0.01), "the other sensors were there before"
    assert row["longest_gap_s"] == 4 * 3600


def test_a_stuck_value_costs_more_than_its_share() -> None:
    stuck = TEMP.copy()
    stuck.loc[(seconds(stuck) >= 3600) & (seconds(stuck) <= 6 * 3600), "value"] = 21.5
    row = assess(stuck, CURRENT, FAN).loc["pump.temp"]
    assert row["stuck_share"] == pytest.approx(5 * 3600 / 86_340)
    assert row["score"] == pytest.approx(1 - 1.5 * 5 * 3600 / 86_340)
    assert (row["grade"], row["findings"]) == ("C", "stuck: one value repeated for 5 h")


@pytest.mark.parametrize(("n", "is_stuck"), [(31, False), (32, True)])
def test_a_run_must_be_longer_than_thirty_readings_and_thirty_minutes(n: int, is_stuck: bool) -> None:
    stuck = TEMP.copy()
    stuck.loc[100 : 100 + n - 1, "value"] = 5.0
    assert bool(assess(stuck, CURRENT, FAN)["stuck_share"]["pump.temp"] > 0) == is_stuck
    slow = FAN.copy()
    slow.loc[10:39, "value"] = 5.0
    assert assess(slow, CURRENT, TEMP).loc["fan.temp", "stuck_share"] == 0


def test_a_constant_value_at_standstill_is_right_and_while_running_it_is_not() -> None:
    still = (seconds(CURRENT) >= 3600) & (seconds(CURRENT) < 7 * 3600)
    current, temp = CURRENT.copy(), TEMP.copy()
    current.loc[still, "value"] = 0.0
    temp.loc[still, "value"] = 18.0
    table = assess(current, temp, FAN)
    assert table["stuck_share"].tolist() == [0, 0, 0]
    temp.loc[(seconds(temp) >= 7 * 3600) & (seconds(temp) < 8 * 3600), "value"] = 18.0
    assert assess(current, temp, FAN).loc["pump.temp", "stuck_share"] == pytest.approx(59 * 60 / 86_340)


def test_a_pause_ends_a_run_of_one_value() -> None:
    temp = TEMP[(seconds(TEMP) < 1800) | (seconds(TEMP) >= 3600)].copy()
    temp.loc[seconds(temp) < 3600 + 1200, "value"] = 7.0
    assert assess(temp, CURRENT, FAN).loc["pump.temp", "stuck_share"] == 0


def test_refused_readings_count_against_what_was_delivered() -> None:
    row = assess(TEMP, CURRENT, FAN, refused={"pump.temp": 360, "gone": 3}).loc["pump.temp"]
    assert row["refused_share"] == 360 / 1800
    assert (row["score"], row["grade"], row["findings"]) == (pytest.approx(0.8), "B", "360 readings refused, outside the physical range")


def test_an_uneven_clock_costs_a_little_and_a_small_jitter_nothing() -> None:
    row = assess(a_series("pump.temp", jitter_s=25), CURRENT, FAN).loc["pump.temp"]
    at = np.sort((a_series("pump.temp", jitter_s=25)["timestamp"] - START).dt.total_seconds())
    gaps = np.diff(at)
    expected = 1.4826 * statistics.median(abs(g - statistics.median(gaps)) for g in gaps) / 60
    assert row["clock_jitter"] == pytest.approx(expected, abs=1e-6)
    assert row["findings"].endswith(f"reading interval varies by {expected:.0%}")
    assert 0.9 <= row["score"] < 1
    assert assess(a_series("pump.temp", jitter_s=2), CURRENT, FAN).loc["pump.temp", "score"] == 1


def test_two_readings_at_once_do_not_make_up_for_a_missing_one() -> None:
    temp = TEMP.copy()
    late = temp.index[1::2]
    temp.loc[late, "timestamp"] = temp.loc[late, "timestamp"] - pd.Timedelta(59, "s")
    row = assess(temp, CURRENT, FAN).loc["pump.temp"]
    assert (row["n_readings"], row["n_expected"]) == (1440, 1440)
    assert row["coverage"] == pytest.approx(0.5, abs=0.01)


def test_readings_just_before_the_full_minute_are_all_due_within_the_day() -> None:
    row = assess(a_series("pump.temp", phase_s=59.7), CURRENT, FAN).loc["pump.temp"]
    assert (row["n_readings"], row["n_expected"], row["findings"]) == (1440, 1440, "")


@pytest.mark.parametrize("hours", [4, 8, 24])
def test_a_reading_that_is_due_when_the_next_day_begins_is_that_days(hours: int) -> None:
    pump, fan = SITE.machines
    slow = fan.model_copy(update={"sensors": (fan.sensors[0].model_copy(update={"interval_s": hours * 3600}),)})
    site = SITE.model_copy(update={"machines": (pump, slow)})
    readings = pd.concat([*pump_readings(), a_series("fan.temp", interval_s=hours * 3600)], ignore_index=True)
    found = assess_sensors(readings, site=site, day=DAY, refused={}).set_index("sensor_id").loc["fan.temp"]
    assert (found["n_readings"], found["n_expected"], found["grade"]) == (24 // hours, 24 // hours, "A")
    less = readings.drop(readings.index[readings["sensor_id"] == "fan.temp"][-1:])
    if hours < 24:
        found = assess_sensors(less, site=site, day=DAY, refused={}).set_index("sensor_id").loc["fan.temp"]
        assert (found["n_readings"], found["n_expected"]) == (24 // hours - 1, 24 // hours)


def pump_readings() -> list[pd.DataFrame]:
    return [a_series("pump.temp"), a_series("pump.current", seed=2)]


def test_noise_is_the_robust_spread_of_the_second_differences() -> None:
    x = TEMP["value"].tolist()
    second = [c - 2 * b + a for a, b, c in zip(x, x[1:], x[2:], strict=False)]
    expected = 1.4826 * statistics.median(abs(d - statistics.median(second)) for d in second)
    table = assess(TEMP, CURRENT.iloc[:2], FAN)
    assert table.loc["pump.temp", "noise"] == pytest.approx(expected)
    assert table.loc["pump.current", ["noise", "clock_jitter"]].isna().all()


def week_of(readings: pd.DataFrame, *, today: pd.DataFrame, site: Site = SITE) -> pd.DataFrame:
    """Features of seven days like `readings`, and of `today`."""
    past = build_features(readings, site=site, day=DAY)
    parts = [past.assign(window_start=past["window_start"] - pd.Timedelta(days=n)) for n in range(1, 8)]
    return pd.concat([*parts, build_features(today, site=site, day=DAY)], ignore_index=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pump.temp", "pump.current", "fan.temp", "gone"]), st.integers(0, 86_399), st.sampled_from([0.0, 1.0, 2.5])
        ),
        max_size=80,
        unique_by=lambda r: r[:2],
    ),
    st.integers(0, 5),
    st.floats(-3, 3),
)
def test_every_table_keeps_its_contract(rows: list[tuple[str, int, float]], n_refused: int, factor: float) -> None:
    readings = pd.DataFrame(
        {
            "sensor_id": pd.array([r[0] for r in rows], dtype="str"),
            "timestamp": (START + pd.to_timedelta([r[1] for r in rows], unit="s")).as_unit("us"),
            "value": np.array([r[2] for r in rows], float),
        }
    )
    before = readings.assign(value=readings["value"] * factor)
    table = assess(readings, refused={"pump.temp": n_refused}, features=week_of(before, today=readings))
    for column in SENSOR_QUALITY.columns:
        if column.low is not None:
            assert not (table.reset_index()[column.name] < column.low).any()
        if column.high is not None:
            assert not (table.reset_index()[column.name] > column.high).any()
    assert ((table["findings"] == "") == (table["score"] == 1)).all()
    assert ((table["faults"] == "") | (table["score"] < 1)).all()
    assert not np.isinf(table.select_dtypes("float64")).any(axis=None)
    assert ((table["n_readings"] > 0) | (table["grade"] == "F")).all()


def test_readings_of_another_day_are_refused() -> None:
    other = TEMP.assign(timestamp=TEMP["timestamp"] + pd.Timedelta(1, "s") * 60)
    with pytest.raises(ValueError, match="2025-06-02T00:00:00"):
        assess(other)


def test_a_thousand_sensors_and_their_week_are_assessed_within_three_seconds() -> None:
    site = SITE.model_copy(
        update={
            "machines": tuple(
                Machine(
                    machine_id=f"m{i}",
                    machine_class="x",
                    sensors=tuple(Sensor(sensor_id=f"s{i}.{j}", type="other", unit="1") for j in range(10)),
                )
                for i in range(100)
            )
        }
    )
    many = pd.concat([TEMP] * 1000, ignore_index=True).assign(
        sensor_id=pd.array(np.repeat([s.sensor_id for s in site.sensors], len(TEMP)), dtype="str")
    )
    features = week_of(many, today=many, site=site)
    begin = time.process_time()
    table = assess_sensors(many, site=site, day=DAY, refused={}, features=features)
    assert time.process_time() - begin < 3
    assert table["noise_ratio"].notna().all()
