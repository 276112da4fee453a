"""Instrument faults are recognised by name on simulated plants, and machine faults are not taken for them."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.columns import Floats, Ints
from ml.features import build_features
from ml.plant import Machine, Site
from ml.quality import assess_sensors
from ml.recent_windows import HISTORY_DAYS
from ml.simulation.faults import MACHINE_FAULTS, Fault, FaultKind, leading_sensor
from ml.simulator import simulate
from ml.unit_changes import Conversion, conversions, find_unit_change

START = date(2026, 9, 7)
BEGIN = datetime(2026, 9, 7, tzinfo=UTC)
ONSET_DAY = 4


def machine(name: str, *, bounded: bool = True, judged_by_current: bool = True) -> dict[str, Any]:
    """A pump with a sensor of each usual kind. Unbounded: readings in any unit are accepted."""
    sensors = [
        {"sensor_id": f"{name}-T", "type": "temperature", "unit": "°C", "alarm": {"high": 80}, "physical": {"low": -40, "high": 200}},
        {"sensor_id": f"{name}-V", "type": "vibration", "unit": "mm/s", "alarm": {"high": 4.5}, "physical": {"low": 0, "high": 50}},
        {"sensor_id": f"{name}-P", "type": "pressure", "unit": "bar", "alarm": {"low": 4, "high": 8}, "physical": {"low": 0, "high": 20}},
        {"sensor_id": f"{name}-Q", "type": "flow", "unit": "m3/h", "alarm": {"low": 60, "high": 140}, "physical": {"low": 0, "high": 300}},
        {"sensor_id": f"{name}-I", "type": "current", "unit": "A", "alarm": {"high": 90}, "physical": {"low": 0, "high": 200}},
    ]
    if not bounded:
        sensors = [{k: v for k, v in s.items() if k != "physical"} for s in sensors]
    running = {"running_when": {"sensor_id": f"{name}-I", "above": 5}} if judged_by_current else {}
    return {"machine_id": name, "machine_class": "pump", "criticality": "high", "sensors": sensors, **running}


def plant(*machines: dict[str, Any], **more: Any) -> Site:
    return Site.model_validate({"site": "mill", "name": "Mill", "first_day": START, "machines": list(machines), **more})


MILL = plant(machine("a"), machine("b"))
OPEN = plant(machine("a", bounded=False), machine("b", bounded=False))


def fault(kind: FaultKind, sensor_id: str, *, hour: float = 0, lasts_days: float = 3, **more: Any) -> Fault:
    onset = BEGIN + timedelta(days=ONSET_DAY, hours=hour)
    return Fault("mill", sensor_id[0], kind, onset, sensor_id=sensor_id, repaired_at=onset + timedelta(days=lasts_days), **more)


def graded(site: Site, faults: Sequence[Fault], *, days: int = 9, seed: int = 3, only: range | None = None) -> pd.DataFrame:
    """Every sensor's grades of the simulated days (or those of `only`), as they would be stored; `n` counts days from the onset."""
    simulated = list(simulate([site], start=START, days=days, seed=seed, faults=faults))
    delivered = [accepted(site, day.readings) for day in simulated]
    features = [build_features(kept, site=site, day=day.day) for day, (kept, _) in zip(simulated, delivered, strict=True)]
    tables = []
    for n in only or range(days):
        recent = pd.concat(features[max(0, n - HISTORY_DAYS) : n + 1], ignore_index=True)
        kept, refused = delivered[n]
        table = assess_sensors(kept, site=site, day=START + timedelta(days=n), refused=refused, features=recent)
        tables.append(table.assign(n=n - ONSET_DAY))
    return pd.concat(tables, ignore_index=True)


def accepted(site: Site, readings: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """What intake takes of the readings, and how many per sensor it refuses as outside the physical range."""
    bands = {s.sensor_id: s.physical for s in site.sensors}
    low = readings["sensor_id"].map({k: -np.inf if b.low is None else b.low for k, b in bands.items()})
    high = readings["sensor_id"].map({k: np.inf if b.high is None else b.high for k, b in bands.items()})
    good = readings["value"].between(low, high)
    return readings[good], {str(s): int(n) for s, n in readings.loc[~good, "sensor_id"].value_counts().items()}


def of(table: pd.DataFrame, sensor_id: str) -> pd.DataFrame:
    return table[table["sensor_id"] == sensor_id].set_index("n")


def on(table: pd.DataFrame, sensor_id: str, n: int) -> dict[str, Any]:
    return dict(of(table, sensor_id).loc[n])


def by_day(table: pd.DataFrame, sensor_id: str, column: str = "faults") -> list[str]:
    """From the day of the onset on."""
    return [str(x) for x in of(table, sensor_id).loc[0:, column]]


# --- each kind, by name


@pytest.mark.parametrize("severity", [1.0, 2.0])
def test_noise_is_recognised_on_the_day_or_the_next_and_costs_a_grade_or_two(severity: float) -> None:
    faults = [fault("noisy_sensor", "a-T", hour=9, severity=severity), fault("noisy_sensor", "b-V", hour=17, severity=severity)]
    table = graded(MILL, faults)
    assert by_day(table, "a-T") == ["noisy", "noisy", "noisy", "", ""]
    assert by_day(table, "b-V") == ["", "noisy", "noisy", "noisy", ""]
    row = on(table, "b-V", 1)
    # The white noise of a healthy vibration sensor, and what is added, in shares of the room of 2.6 below the alarm limit.
    healthy = 0.02 * 2.61 + 0.02 * 1.89
    assert row["noise_ratio"] == pytest.approx(np.hypot(healthy, severity * 0.15 * 2.61) / healthy, rel=0.25)
    assert row["grade"] in ("B", "C")
    assert row["findings"] == f"noisy: {row['noise_ratio']:.1f} times its usual scatter, at its usual level"
    assert set(table.loc[~table["sensor_id"].isin(["a-T", "b-V"]), "faults"]) == {""}


def test_a_dead_sensor_is_recognised_on_its_first_whole_day() -> None:
    table = graded(MILL, [fault("dead_sensor", "a-P", hour=0), fault("dead_sensor", "b-V", hour=9), fault("silent_sensor", "b-T", hour=9)])
    assert by_day(table, "a-P") == ["dead", "dead", "dead", "", ""]
    assert by_day(table, "b-V") == ["stuck", "dead", "dead", "stuck", ""]
    assert by_day(table, "b-T") == ["", "dead", "dead", "", ""]
    assert on(table, "a-P", 1)["findings"] == "dead: flat at 0 bar while the machine ran"
    assert on(table, "b-T", 1)["findings"] == "silent: no reading at all"
    assert set(table.loc[table["faults"] == "dead", "grade"]) == {"F"}
    assert set(table.loc[~table["sensor_id"].isin(["a-P", "b-V", "b-T"]), "faults"]) == {""}


def test_a_stuck_sensor_is_recognised_on_the_day() -> None:
    table = graded(MILL, [fault("stuck_sensor", "a-P", hour=17), fault("stuck_sensor", "b-T", hour=3)])
    assert by_day(table, "a-P") == ["stuck"] * 4 + [""]
    assert by_day(table, "b-T") == ["stuck"] * 4 + [""]
    told = on(table, "b-T", 1)
    assert (told["findings"], told["grade"]) == ("stuck: one value repeated for 12 h 42 min", "F"), "at 12:43 the machine stopped"


@pytest.mark.parametrize(("severity", "grade"), [(0.5, "B"), (1.0, "B"), (4.0, "C")])
def test_a_drifting_clock_is_recognised_and_measured(severity: float, grade: str) -> None:
    table = graded(MILL, [fault("clock_drift", "a-T", hour=6, severity=severity), fault("clock_drift", "b-P", hour=20, severity=severity)])
    assert by_day(table, "a-T") == ["clock_drift"] * 3 + ["", ""]
    assert by_day(table, "b-P")[1:3] == ["clock_drift"] * 2
    row = on(table, "a-T", 1)
    assert row["clock_drift_s_per_day"] == pytest.approx(60 * severity, rel=0.02)
    assert row["grade"] == grade
    rate = row["clock_drift_s_per_day"]
    assert f"clock drifts: timestamps gain {rate:.0f} s per day ({rate / 24:.1f} s per hour)" in row["findings"]
    assert set(table.loc[~table["sensor_id"].isin(["a-T", "b-P"]), "faults"]) == {""}


UNITS = [
    [("a-T", "°F"), ("a-V", "in/s"), ("a-P", "psi"), ("a-Q", "l/min"), ("b-T", "K"), ("b-V", "x10"), ("b-P", "kPa"), ("b-Q", "l/s")],
    [("a-T", "x10"), ("a-V", "m/s"), ("a-P", "MPa"), ("a-Q", "gpm"), ("b-T", "x0.01"), ("b-V", "x1000"), ("b-P", "mbar"), ("b-Q", "x0.1")],
]


@pytest.mark.parametrize("shown", UNITS)
def test_a_wrong_unit_is_recognised_on_the_day_and_named(shown: list[tuple[str, str]]) -> None:
    faults = [fault("wrong_unit", sensor, hour=2.5 * i, shown_as=unit) for i, (sensor, unit) in enumerate(shown)]
    table = graded(OPEN, faults)
    for i, (sensor, unit) in enumerate(shown):
        assert by_day(table, sensor)[:3] == ["wrong_unit"] * 3, sensor
        assert by_day(table, sensor)[-1] == "", sensor
        row = on(table, sensor, 0)
        assert row["grade"] == "F"
        since = pd.Timestamp(BEGIN) + pd.Timedelta(days=ONSET_DAY, hours=2.5 * i)
        assert any(f"since {since + pd.Timedelta(minutes=m):%Y-%m-%d %H:%M} UTC" in row["findings"] for m in (0, 10, 20)), row["findings"]
        own = next(s for s in OPEN.sensors if s.sensor_id == sensor)
        factor = {"x10": "10 times too high", "x1000": "1000 times too high", "x0.1": "10 times too low", "x0.01": "100 times too low"}
        assert factor.get(unit, f"looks like {unit} instead of {own.unit}") in row["findings"]
    assert set(table.loc[~table["sensor_id"].isin([s for s, _ in shown]), "faults"]) == {""}


def test_a_whole_gateway_in_other_units_is_recognised_sensor_by_sensor() -> None:
    shown = {"a-T": "°F", "a-V": "in/s", "a-P": "psi", "a-Q": "l/min"}
    table = graded(OPEN, [fault("wrong_unit", sensor, hour=8, shown_as=unit) for sensor, unit in shown.items()], days=6)
    assert [by_day(table, sensor)[0] for sensor in shown] == ["wrong_unit"] * 4


def test_readings_refused_for_their_unit_are_named_with_the_units_they_may_be_in() -> None:
    table = graded(MILL, [fault("wrong_unit", "a-P", hour=12, shown_as="psi"), fault("wrong_unit", "b-T", hour=0, shown_as="K")])
    assert by_day(table, "a-P") == ["out_of_range"] * 4 + [""]
    row = on(table, "a-P", 1)
    assert (row["grade"], row["n_readings"]) == ("F", 0)
    assert row["findings"].startswith("silent: no reading at all; 1440 readings refused, outside the physical range (another unit? ")
    usual = row["usual_level"]
    assert f"{usual:.3g} bar are {usual * 14.5038:.3g} psi or {usual * 100:.3g} kPa" in row["findings"]
    assert on(table, "b-T", 1)["findings"].endswith(" K)")


# --- how long what is usual lasts


def test_a_new_unit_is_accepted_after_a_week_and_seen_to_come_back_within_it() -> None:
    days = 16
    lasting = graded(OPEN, [fault("wrong_unit", "a-V", lasts_days=20, shown_as="in/s")], days=days, only=range(ONSET_DAY, days))
    assert by_day(lasting, "a-V") == ["wrong_unit"] * 7 + [""] * (days - ONSET_DAY - 7)
    repaired = graded(OPEN, [fault("wrong_unit", "a-V", hour=7, shown_as="m/s")], days=days, only=range(ONSET_DAY, days))
    assert by_day(repaired, "a-V") == ["wrong_unit"] * 4 + [""] * (days - ONSET_DAY - 4)


@pytest.mark.parametrize(("has_limits", "taken_for_another"), [(True, False), (False, True)])
def test_after_more_than_a_week_limits_say_which_of_two_levels_is_wrong(*, has_limits: bool, taken_for_another: bool) -> None:
    made = machine("a", bounded=False)
    if not has_limits:
        made["sensors"] = [{k: v for k, v in s.items() if k != "alarm"} for s in made["sensors"]]
    lasts = Fault("mill", "a", "wrong_unit", BEGIN, sensor_id="a-V", repaired_at=BEGIN + timedelta(days=10, hours=4), shown_as="x0.1")
    table = graded(plant(made), [lasts], days=12, only=range(9, 12))
    assert of(table, "a-V")["faults"].tolist() == (["", "wrong_unit", "wrong_unit"] if taken_for_another else ["", "", ""])


def test_noise_that_lasts_is_accepted_after_six_days() -> None:
    table = graded(MILL, [fault("noisy_sensor", "a-T", lasts_days=20)], days=15, only=range(ONSET_DAY, 15))
    assert by_day(table, "a-T") == ["noisy"] * 6 + [""] * 5


def test_without_a_history_there_is_neither_noise_nor_another_unit() -> None:
    begins = [
        Fault("mill", "a", "noisy_sensor", BEGIN + timedelta(hours=3), sensor_id="a-T"),
        Fault("mill", "b", "wrong_unit", BEGIN + timedelta(hours=3), sensor_id="b-T", shown_as="x0.1"),
    ]
    first = graded(MILL, begins, days=1)
    assert set(first["faults"]) == {""}
    assert first["usual_level"].isna().all()
    assert first["noise_ratio"].isna().all()


def test_only_the_week_before_counts_and_rows_of_other_days_do_not_matter() -> None:
    days = list(simulate([OPEN], start=START, days=11, seed=3, faults=[fault("wrong_unit", "a-T", hour=5, lasts_days=9)]))
    features = [build_features(d.readings, site=OPEN, day=d.day) for d in days]
    n = 9

    def on_day_nine(which: range) -> pd.DataFrame:
        recent = pd.concat([features[i] for i in which], ignore_index=True)
        return assess_sensors(days[n].readings, site=OPEN, day=days[n].day, refused={}, features=recent)

    alone = on_day_nine(range(n - HISTORY_DAYS, n + 1))
    pd.testing.assert_frame_equal(alone, on_day_nine(range(11)))
    pd.testing.assert_frame_equal(alone, on_day_nine(range(n, n - HISTORY_DAYS - 1, -1)))
    assert alone.set_index("sensor_id").loc["a-T", "faults"] == "wrong_unit"


# --- what is no instrument's fault


@pytest.mark.parametrize("seed", range(4))
def test_a_machine_fault_is_never_taken_for_an_instrument_fault(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faults = []
    for made in MILL.machines:
        kind = sorted(MACHINE_FAULTS)[int(rng.integers(3))]
        onset = BEGIN + timedelta(days=float(rng.uniform(2, 5)))
        grows = timedelta(days=[0.02, 0.3, 1, 4][int(rng.integers(4))])
        sensor = leading_sensor(made, kind)
        assert sensor is not None
        severity = float(rng.uniform(0.7, 1.5))
        faults.append(Fault("mill", made.machine_id, kind, onset, onset + grows, severity=severity, sensor_id=sensor.sensor_id))
    table = graded(MILL, faults, days=11, seed=seed)
    assert table.loc[table["faults"] != "", ["n", "sensor_id", "findings"]].empty
    assert table["noise_ratio"].max() < 2.5


def altered(
    change: Callable[[pd.DataFrame], pd.Series], *, site: Site = MILL, sensors: Sequence[str], since_hour: float = 6
) -> pd.DataFrame:
    """The grades of the fifth day, with `change` made to the values of some sensors from an hour of that day on."""
    days = list(simulate([site], start=START, days=ONSET_DAY + 1, seed=3, faults=[]))
    last = days[-1].readings
    at = pd.Timestamp(days[-1].day, tz="UTC") + pd.Timedelta(hours=since_hour)
    for sensor in sensors:
        rows = (last["sensor_id"] == sensor) & (last["timestamp"] >= at)
        last.loc[rows, "value"] = change(last[rows])
    recent = pd.concat([build_features(d.readings, site=site, day=d.day) for d in days], ignore_index=True)
    return assess_sensors(last, site=site, day=days[-1].day, refused={}, features=recent).set_index("sensor_id")


def _noise(rows: pd.DataFrame, share: float) -> "pd.Series[float]":
    return rows["value"] * (1 + share * np.random.default_rng(1).standard_normal(len(rows)))


def test_a_machine_that_gets_rougher_is_heard_by_more_than_one_sensor() -> None:
    def rough(rows: pd.DataFrame) -> "pd.Series[float]":
        return _noise(rows, 0.15)

    assert altered(rough, sensors=["a-V"]).loc["a-V", "faults"] == "noisy"
    both = altered(rough, sensors=["a-V", "a-Q"])
    assert both["noise_ratio"][["a-V", "a-Q"]].min() > 3
    assert set(both["faults"]) == {""}


def test_vibration_that_is_louder_because_it_is_higher_is_a_bearing() -> None:
    def worn(rows: pd.DataFrame) -> "pd.Series[float]":
        return _noise(rows, 0.15) * 1.8

    def four_times(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] * 4

    higher = dict(altered(worn, sensors=["a-V"]).loc["a-V"])
    assert higher["noise_ratio"] > 3
    assert higher["faults"] == ""
    assert altered(four_times, sensors=["a-V"]).loc["a-V", "noise_ratio"] == pytest.approx(1, abs=0.2)


def test_a_level_that_moves_gradually_or_elsewhere_is_no_other_unit() -> None:
    def gradually(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] * np.geomspace(1, 0.1, 300)[np.minimum(np.arange(len(rows)), 299)]

    def to_a_fifth(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] / 5

    def to_a_tenth(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] / 10

    def for_half_an_hour(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"].where(np.arange(len(rows)) >= 30, rows["value"] / 10)

    assert [altered(c, sensors=["a-Q"]).loc["a-Q", "faults"] for c in (gradually, to_a_fifth, to_a_tenth, for_half_an_hour)] == [
        "", "", "wrong_unit", "",
    ]  # fmt: skip


def test_without_a_sensor_that_says_whether_the_machine_runs_a_fall_of_several_is_a_stop() -> None:
    unwatched = plant(machine("a", judged_by_current=False), machine("b"))
    lonely = plant({**machine("a", judged_by_current=False), "sensors": machine("a")["sensors"][1:2]})

    def tenth(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] * 0.1

    def tenfold(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] * 10

    def rests(rows: pd.DataFrame) -> "pd.Series[float]":
        return rows["value"] * (0.1 if rows["sensor_id"].iloc[0] == "a-V" else 0.4)

    assert altered(tenth, site=unwatched, sensors=["a-V"])["faults"]["a-V"] == "wrong_unit"
    assert set(altered(rests, site=unwatched, sensors=["a-T", "a-V", "a-P", "a-Q", "a-I"])["faults"]) == {""}
    assert altered(tenth, site=lonely, sensors=["a-V"])["faults"]["a-V"] == "", "nobody saw the machine run"
    assert altered(tenfold, site=lonely, sensors=["a-V"])["faults"]["a-V"] == "wrong_unit"


# --- flat lines


def test_flat_at_an_end_of_the_range_is_dead_and_a_cold_room_at_zero_is_not() -> None:
    def at(level: float, spread: float = 0.0) -> Callable[[pd.DataFrame], pd.Series]:
        return lambda rows: pd.Series(level + spread * np.random.default_rng(2).uniform(-1, 1, len(rows)), rows.index)

    def fault_of(sensor: str, level: float, spread: float = 0.0) -> str:
        return str(altered(at(level, spread), sensors=[sensor], since_hour=0).loc[sensor, "faults"])

    assert fault_of("a-T", 200.0) == "dead"
    assert fault_of("a-T", -39.9, 0.1) == "dead"
    assert fault_of("a-Q", 0.1, 0.1) == "dead"
    assert fault_of("a-T", 0.0) == "dead"
    assert fault_of("a-T", 0.0, 0.2) == ""
    assert fault_of("a-T", 55.0) == "stuck"


def test_a_machine_that_stands_all_day_has_no_dead_sensor_and_its_dead_running_sensor_is_seen() -> None:
    def standing(rows: pd.DataFrame) -> "pd.Series[float]":
        rest = {"T": 20.0, "V": 0.1, "P": 1.8, "Q": 0.0, "I": 0.0}[str(rows["sensor_id"].iloc[0])[-1]]
        return pd.Series(rest + np.random.default_rng(3).uniform(0, 0.02, len(rows)), rows.index)

    stood = altered(standing, sensors=[f"a-{s}" for s in "TVPQI"], since_hour=0)
    assert set(stood["faults"]) == {""}
    blind = altered(standing, sensors=["a-I"], since_hour=0)
    assert blind["faults"].to_dict() == {s.sensor_id: "dead" if s.sensor_id == "a-I" else "" for s in MILL.sensors}
    assert blind["level"]["a-T"] > 40, "the machine ran"


# --- clocks


CLOCK = plant({"machine_id": "m", "machine_class": "x", "sensors": [{"sensor_id": "s", "type": "other", "unit": "1"}]})


def drift_of(at_s: Floats, *, interval_s: float = 60) -> tuple[bool, float]:
    """Whether the clock drifts, and by how many seconds a day."""
    sensor = CLOCK.machines[0].sensors[0].model_copy(update={"interval_s": interval_s})
    site = CLOCK.model_copy(update={"machines": (Machine(machine_id="m", machine_class="x", sensors=(sensor,)),)})
    at_s = np.sort(at_s[(at_s >= 0) & (at_s < 86_400)])
    stamps = (pd.Timestamp(START, tz="UTC") + pd.to_timedelta(at_s, unit="s")).as_unit("us")
    values = 20 + np.random.default_rng(1).standard_normal(len(at_s))
    readings = pd.DataFrame({"sensor_id": pd.array(["s"] * len(at_s), dtype="str"), "timestamp": stamps, "value": values})
    [row] = assess_sensors(readings, site=site, day=START, refused={}).to_dict("records")
    return row["faults"] == "clock_drift", row["clock_drift_s_per_day"]


GRID: Floats = np.arange(0, 86_400, 60.0)
RNG = np.random.default_rng(7)


@pytest.mark.parametrize(
    ("at_s", "rate"),
    [
        (GRID * (1 + 50 / 86_400), 50),
        (GRID * (1 - 120 / 86_400), -120),
        (np.round(GRID * (1 + 24 / 86_400)), 24),
        ((GRID * (1 + 240 / 86_400))[RNG.random(1440) > 0.5], 240),
        (GRID * (1 + 240 / 86_400) + RNG.uniform(-5, 5, 1440), 240),
        (17.3 + GRID[:720] * (1 + 60 / 86_400), 60),
    ],
    ids=["gains", "loses", "in whole seconds", "half missing", "with jitter", "half a day"],
)
def test_a_clock_that_runs_away_is_measured(at_s: Floats, rate: float) -> None:
    is_drifting, measured = drift_of(at_s)
    assert is_drifting
    assert measured == pytest.approx(rate, abs=1.5)


@pytest.mark.parametrize(
    "at_s",
    [
        GRID + RNG.uniform(-25, 25, 1440),
        GRID[RNG.random(1440) > 0.3],
        np.where(GRID < 40_000, GRID, GRID + 25),
        GRID * (61 / 60),
        GRID * (1 + 5 / 86_400),
        GRID + np.cumsum(RNG.normal(0, 0.3, 1440)),
        GRID[:90] * (1 + 240 / 86_400),
    ],
    ids=["jitter", "missing", "one jump", "another interval", "five seconds", "a wandering schedule", "too few readings"],
)
def test_what_is_uneven_otherwise_is_no_drifting_clock(at_s: Floats) -> None:
    assert not drift_of(at_s)[0]


def test_an_hourly_sensor_has_too_few_readings_for_a_clock() -> None:
    is_drifting, measured = drift_of(np.arange(0, 86_400, 3600.0) * (1 + 240 / 86_400), interval_s=3600)
    assert not is_drifting
    assert np.isnan(measured)


# --- units


# Names of the conversions' units in pint, an independent source of their factors.
PINT = {
    "°C": "degC", "°F": "degF", "K": "kelvin", "m3/h": "m**3/hour", "l/min": "liter/minute", "l/s": "liter/second", "in/s": "inch/second",
    "gpm": "gallon/minute", "m3/s": "m**3/s", "m/s2": "m/s**2", "g": "standard_gravity", "um": "micrometer", "mil": "thou", "in": "inch",
    "rpm": "revolution/minute", "Hz": "revolution/second", "rad/s": "radian/second",
}  # fmt: skip


@pytest.mark.parametrize("unit", ["°C", "°F", "K", "bar", "psi", "mm/s", "m3/h", "m/s2", "mm", "rpm", "A", "V", "kW"])
def test_every_conversion_is_the_one_that_pint_knows(unit: str) -> None:
    import pint

    registry: Any = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    named = [c for c in conversions(unit) if not c.is_scale]
    assert named
    for conversion in named:
        for value in (1.0, 20.0, 350.0):
            expected = registry.Quantity(value, PINT.get(unit, unit)).to(PINT.get(conversion.name, conversion.name)).magnitude
            shown = conversion.shown(np.array([value]))
            assert shown == pytest.approx(expected, rel=1e-9, abs=1e-9)
            assert conversion.meant(shown) == pytest.approx(value)


def test_a_unit_is_known_in_its_usual_spellings_and_scales_always() -> None:
    assert conversions("C") == conversions("degC") == conversions("°C")
    assert conversions("m³/h") == conversions("m3/h")
    assert [c.name for c in conversions("furlong")] == ["x10", "x100", "x1000", "x0.1", "x0.01", "x0.001"]
    assert "x100" not in [c.name for c in conversions("bar")], "that is kPa"


def scattered(*levels: tuple[int, float]) -> Floats:
    """So many windows at each level, with a hundredth of it as noise."""
    values = np.concatenate([np.full(n, level) for n, level in levels])
    return values * (1 + 0.01 * np.random.default_rng(1).standard_normal(len(values)))


def change_in(
    values: Floats, *, at: Ints | None = None, known: Sequence[Conversion] = conversions("bar")
) -> tuple[str, int, int | None] | None:
    """Name, first window and end of the change of unit that reaches to the last window."""
    places = np.arange(len(values)) if at is None else at
    found = find_unit_change(values, at=places, since=int(places[-1]), known=known, window_minutes=10)
    return (found.conversion.name, found.first, found.end) if found else None


def test_the_best_of_several_conversions_is_named() -> None:
    near = [Conversion("x10", 10.0), Conversion("near", 14.0), Conversion("psi", 14.50377)]
    assert change_in(scattered((100, 5.0), (50, 72.5)), known=near) == ("psi", 100, None)


def test_after_a_stop_the_level_may_be_a_little_off() -> None:
    values = scattered((100, 5.0), (10, 0.8 * 72.5), (70, 72.5))
    at = np.arange(180)
    assert change_in(values, at=at) is None
    assert change_in(values, at=np.where(at < 100, at, at + 30)) == ("psi", 130, None)


def test_a_far_smaller_unit_that_has_lasted_longer_than_what_was_usual_is_still_seen() -> None:
    assert change_in(scattered((144, 5.0), (900, 5e5))) == ("Pa", 144, None)


def test_a_sensor_that_comes_back_from_zero_is_in_no_other_unit() -> None:
    for spread in (0.0, 0.05):
        nothing = spread * np.random.default_rng(2).standard_normal(300)
        assert change_in(np.concatenate([nothing, scattered((700, 5.0))])) is None, spread


def test_a_level_that_is_usual_as_it_is_changed_nothing() -> None:
    alternating = scattered(*[(20, 5.0), (20, 50.0)] * 5)
    assert change_in(np.concatenate([alternating, scattered((40, 5.0))])) is None
    assert change_in(scattered((100, 5.0), (40, 50.0))) == ("x10", 100, None)
