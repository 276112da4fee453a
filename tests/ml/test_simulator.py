"""The simulator is deterministic, counts its own rubbish exactly, and every fault leaves its documented mark."""

import csv
import dataclasses
import io
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.plant import Site
from ml.simulation.faults import FAULT_KINDS, MACHINE_FAULTS, Fault, FaultKind, default_faults, truth_table
from ml.simulation.gateway import DropCounts
from ml.simulator import SimulatedDay, simulate

START = date(2026, 9, 7)
BEGIN = datetime(2026, 9, 7, tzinfo=UTC)


def _sensor(sensor_id: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"sensor_id": sensor_id, "type": kind, "unit": "x", **more}


def _machine(name: str) -> dict[str, Any]:
    return {
        "machine_id": name,
        "machine_class": "pump",
        "criticality": "high",
        "running_when": {"sensor_id": f"{name}-I", "above": 5},
        "sensors": [
            _sensor(f"{name}-T", "temperature", physical={"low": -40, "high": 200}, alarm={"high": 80}, trip={"high": 95}),
            _sensor(f"{name}-V", "vibration", physical={"low": 0, "high": 50}, alarm={"high": 4.5}, trip={"high": 7.1}),
            _sensor(f"{name}-P", "pressure", physical={"low": 0, "high": 20}, alarm={"low": 4, "high": 8}, trip={"low": 2.5, "high": 10}),
            _sensor(f"{name}-Q", "flow", physical={"low": 0, "high": 300}, alarm={"low": 60, "high": 140}, trip={"low": 40}),
            _sensor(f"{name}-I", "current", physical={"low": 0, "high": 200}, alarm={"high": 90}, trip={"high": 110}),
        ],
    }


def _site(name: str = "mill", *, machines: int = 2, **more: Any) -> Site:
    content = {"site": name, "name": name, "first_day": "2026-09-01", "machines": [_machine(f"{name}{i}") for i in range(machines)]}
    return Site.model_validate(content | more)


LONG = _site()
WIDE = _site(
    "yard", time_zone="America/Chicago", drops={"layout": "wide", "delimiter": ";", "columns": {"timestamp": "time"}, "time_zone": "site"}
)


def _days(*sites: Site, days: int = 2, seed: int = 7, start: date = START, **more: Any) -> list[SimulatedDay]:
    return list(simulate(sites, start=start, days=days, seed=seed, **more))


def _bytes(days: list[SimulatedDay]) -> dict[str, bytes]:
    return {drop.name: drop.content for day in days for drop in day.drops}


def _signals(days: list[SimulatedDay]) -> pd.DataFrame:
    """One column per sensor over time."""
    return pd.concat([d.readings for d in days]).pivot(index="timestamp", columns="sensor_id", values="value")


def _fault(kind: FaultKind, **more: Any) -> Fault:
    failure = BEGIN + timedelta(days=5, hours=6) if kind in MACHINE_FAULTS else None
    return Fault("mill", "mill0", kind, BEGIN + timedelta(days=1), failure, **more)


# --- determinism


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    once, again, other = (_bytes(_days(LONG, WIDE, seed=seed)) for seed in (7, 7, 8))
    assert once == again
    assert once.keys() == other.keys() and all(once[name] != other[name] for name in once)


def test_a_day_does_not_depend_on_the_days_after_it() -> None:
    faults = [_fault("bearing_wear"), dataclasses.replace(_fault("spike_bursts"), machine_id="mill1")]
    short, long = (_bytes(_days(LONG, days=days, faults=faults)) for days in (3, 5))
    assert short == {name: long[name] for name in short}
    assert len(long) > len(short)


def test_the_order_of_sites_and_machines_does_not_matter_to_the_readings() -> None:
    turned = LONG.model_copy(update={"machines": LONG.machines[::-1]})
    forward = {(d.site_id, d.day): d.readings for d in _days(LONG, WIDE)}
    for day in _days(WIDE, turned):
        pd.testing.assert_frame_equal(day.readings, forward[day.site_id, day.day])


def test_site_days_come_in_order_of_day_and_then_of_site() -> None:
    assert [(d.site_id, d.day) for d in _days(WIDE, LONG)] == [(s, START + timedelta(days=i)) for i in (0, 1) for s in ("yard", "mill")]


# --- drops


def _cells(content: bytes, site: Site) -> list[tuple[str, str, str]]:
    """(timestamp, sensor, value) as text, read with the standard library."""
    rows = list(csv.reader(io.StringIO(content.decode()), delimiter=site.drops.delimiter))
    if site.drops.layout == "long":
        return [(r[0], r[1], r[2]) for r in rows[1:]]
    return [(r[0], name, text) for r in rows[1:] for name, text in zip(rows[0][1:], r[1:], strict=True) if text]


def _count(content: bytes, site: Site) -> DropCounts:
    by_name = {s.name_in_drops: s for s in site.sensors}
    found: Counter[str] = Counter()
    seen = set()
    for time, name, text in _cells(content, site):
        found["rows"] += 1
        if name not in by_name:
            found["unknown_sensor"] += 1
        elif text == "#N/A":
            found["not_a_number"] += 1
        elif not -40 <= float(text) <= (by_name[name].physical.high or 0):
            found["out_of_physical_range"] += 1
        elif (time, name) in seen:
            found["duplicate"] += 1
        else:
            seen.add((time, name))
            found["accepted"] += 1
    return DropCounts(**found)


@pytest.mark.parametrize("site", [LONG, WIDE], ids=["long", "wide"])
@pytest.mark.parametrize("drops_per_day", [1, 4])
def test_the_counts_of_every_drop_match_its_text(site: Site, drops_per_day: int) -> None:
    days = _days(site, days=12, drops_per_day=drops_per_day)
    total = DropCounts()
    for day in days:
        for drop in day.drops:
            assert dataclasses.replace(drop.counts, missing=0) == _count(drop.content, site)
        total += day.counts
        assert day.counts.accepted + day.counts.not_a_number + day.counts.out_of_physical_range + day.counts.missing == len(day.readings)
    assert min(dataclasses.astuple(total)) > 0
    assert total.rows == total.accepted + total.duplicate + total.quarantined


def test_what_is_accepted_is_what_was_measured() -> None:
    for day in _days(LONG, days=2):
        truth = day.readings.set_index(["sensor_id", "timestamp"])["value"].to_dict()
        physical = {s.sensor_id: s.physical.high or 0 for s in LONG.sensors}
        for drop in day.drops:
            for time, name, text in _cells(drop.content, LONG):
                if name in physical and text != "#N/A" and float(text) <= physical[name]:
                    assert time.endswith("Z")
                    assert truth[name, pd.Timestamp(time)] == float(text)


def test_more_drops_a_day_hold_the_same_rows() -> None:
    whole, parts = _days(LONG, days=2), _days(LONG, days=2, drops_per_day=4)
    assert [d.counts for d in whole] == [d.counts for d in parts]
    assert [p.name for p in parts[0].drops][:4] == [f"mill_2026-09-07_{h}.csv" for h in ("00", "06", "12", "18")]


def test_a_late_hour_comes_last_and_in_a_drop_of_its_own() -> None:
    days = [d for d in _days(_site(machines=1), days=40, faults=[]) if len(d.drops) > 1]
    assert days
    for day in days:
        main, late = day.drops
        hours, late_hours = ({time[:13] for time, *_ in _cells(d.content, LONG)} for d in (main, late))
        assert len(late_hours) == 1 and not hours & late_hours and len(hours) == 23
        assert late.delivered_at > main.delivered_at and late.name.endswith(f"{late_hours.pop()[-2:]}_late.csv")


def test_the_hour_that_the_clock_repeats_is_written_twice_in_true_order() -> None:
    (day,) = _days(WIDE, days=1, start=date(2026, 11, 1))
    (drop,) = day.drops
    times = list(dict.fromkeys(t for t, *_ in _cells(drop.content, WIDE)))  # the second pass brings no new text
    assert len(times) == 1440 - 60
    shown = [(t, float(v)) for t, name, v in _cells(drop.content, WIDE) if name == "yard0-T" and t == "2026-11-01T01:30:00"]
    truth = day.readings[day.readings.sensor_id == "yard0-T"].set_index("timestamp")["value"]
    assert [v for _, v in shown] == [truth[pd.Timestamp("2026-11-01T06:30Z")], truth[pd.Timestamp("2026-11-01T07:30Z")]]


@pytest.mark.parametrize(
    ("written", "first"),
    [("epoch_s", "1788739200"), ("epoch_ms", "1788739200000"), ("%d.%m.%Y %H:%M", "07.09.2026 00:00"), ("iso", "2026-09-07T00:00:00Z")],
)
def test_timestamps_are_written_in_the_sites_format(written: str, first: str) -> None:
    (day,) = _days(_site(drops={"timestamp_format": written}), days=1)
    assert _cells(day.drops[0].content, LONG)[0][0] == first


def test_a_name_that_holds_the_delimiter_is_quoted() -> None:
    site = _site(machines=1)
    odd = site.machines[0].sensors[0].model_copy(update={"source_name": "Temp, oil"})
    machine = site.machines[0].model_copy(update={"sensors": (odd, *site.machines[0].sensors[1:])})
    (day,) = _days(site.model_copy(update={"machines": (machine,)}), days=1)
    assert "Temp, oil" in {name for _, name, _ in _cells(day.drops[0].content, site)}


def test_quality_and_unit_columns_are_written_where_the_format_has_them() -> None:
    (day,) = _days(_site(machines=1, drops={"columns": {"quality": "q", "unit": "u"}}), days=1)
    assert day.drops[0].content.splitlines()[0] == b"timestamp,sensor_id,value,q,u"
    assert day.drops[0].content.splitlines()[1].endswith(b",Good,x")


# --- faults


def _running(signals: pd.DataFrame) -> pd.DataFrame:
    return signals[signals["mill0-I"] > 5]


@pytest.mark.parametrize(
    ("kind", "leading", "trip", "side", "follower", "follows"),
    [
        ("bearing_wear", "mill0-V", 7.1, +1, "mill0-T", +1),
        ("seal_leak", "mill0-P", 2.5, -1, "mill0-Q", -1),
        ("clogged_filter", "mill0-Q", 40.0, -1, "mill0-P", +1),
    ],
)
def test_a_machine_fault_grows_to_the_trip_limit_and_stops_the_machine(
    kind: FaultKind, leading: str, trip: float, side: int, follower: str, follows: int
) -> None:
    fault = _fault(kind)
    sick, well = (_signals(_days(LONG, days=8, faults=faults)) for faults in ([fault], []))
    assert fault.failure_at is not None
    onset, failure, repaired = (pd.Timestamp(t) for t in (fault.onset_at, fault.failure_at, fault.ends_at))
    change = (sick - well)[(sick["mill0-I"] > 5) & (well["mill0-I"] > 5)]

    before = slice(None, onset - pd.Timedelta("1min"))
    pd.testing.assert_frame_equal(sick[before], well[before])
    pd.testing.assert_frame_equal(sick.filter(like="mill1"), well.filter(like="mill1"))
    at_failure = sick[leading][failure - pd.Timedelta("15min") : failure - pd.Timedelta("1min")]
    assert len(at_failure) == 15 and np.median(side * (at_failure - trip)) >= 0
    first_passage = _running(sick)[leading][lambda s: side * (s - trip) >= 0].index[0]
    assert failure - pd.Timedelta("12h") <= first_passage < failure

    lasts = failure - onset
    thirds = [side * change[leading][onset + i * lasts / 3 : onset + (i + 1) * lasts / 3].mean() for i in range(3)]
    assert 0 < thirds[0] < thirds[1] < thirds[2]
    assert follows * change[follower][failure - lasts / 5 : failure].mean() > 5 * change[follower][onset : onset + lasts / 5].abs().mean()

    stopped = sick[failure : repaired - pd.Timedelta("1min")]
    assert len(stopped) > 60 and (stopped["mill0-I"] < 1).all() and (stopped["mill0-Q"] < 1).all()
    assert stopped["mill0-V"].iloc[10:].between(0.05, 0.2).all()
    healed = _running(sick[repaired + pd.Timedelta("6h") :])
    assert len(healed) > 100 and (healed["mill0-V"] < 4.5).all() and healed["mill0-P"].between(4, 8).all()


def test_vibration_warns_before_temperature_when_a_bearing_wears() -> None:
    sick, well = (_signals(_days(LONG, days=6, faults=faults)) for faults in ([_fault("bearing_wear")], []))
    change = (sick - well)[(sick["mill0-I"] > 5) & (well["mill0-I"] > 5)]
    one_third = change[BEGIN + timedelta(days=2) : BEGIN + timedelta(days=2, hours=12)]
    assert one_third["mill0-V"].mean() > 0.25
    assert (one_third["mill0-T"] == 0).all()


def test_a_drifting_sensor_leaves_in_a_straight_line_and_alone() -> None:
    fault = _fault("sensor_drift", repaired_at=BEGIN + timedelta(days=4))
    sick, well = (_signals(_days(LONG, days=5, faults=faults)) for faults in ([fault], []))
    change = sick - well
    assert (change.drop(columns="mill0-T") == 0).all(axis=None)
    drift = change["mill0-T"][fault.onset_at : fault.ends_at - timedelta(minutes=1)]
    end = drift.iloc[-1]
    assert end > 15
    assert np.allclose(drift, end * np.arange(len(drift)) / (len(drift) - 1), atol=0.02)
    assert (change["mill0-T"][fault.ends_at :] == 0).all()


def test_a_stuck_sensor_repeats_one_value_until_repaired() -> None:
    fault = _fault("stuck_sensor")
    stuck = _signals(_days(LONG, days=5, faults=[fault]))["mill0-P"]
    assert stuck[fault.onset_at : fault.ends_at - timedelta(minutes=1)].nunique() == 1
    assert stuck[fault.ends_at :].nunique() > 100


def test_bursts_of_spikes_become_more_and_stay_measurable() -> None:
    fault = _fault("spike_bursts")
    sick, well = (_signals(_days(LONG, days=6, faults=faults))["mill0-T"] for faults in ([fault], []))
    outliers = ((sick - well).abs() > 15).groupby(pd.DatetimeIndex(sick.index).date).sum().tolist()
    assert outliers[0] == 0 and outliers[5] == 0
    assert 18 <= outliers[1] < outliers[2] and outliers[4] > 2 * outliers[1]
    assert sick.between(-40, 200).all()


def test_a_noisy_sensor_scatters_around_its_level_by_a_share_of_the_room() -> None:
    fault = _fault("noisy_sensor", severity=2.0)
    sick, well = (_signals(_days(LONG, days=5, faults=faults)) for faults in ([fault], []))
    change = sick - well
    assert (change.drop(columns="mill0-T") == 0).all(axis=None)
    during = change["mill0-T"][fault.onset_at : fault.ends_at - timedelta(minutes=1)]
    assert abs(during.mean()) < 0.3
    room = 0.4 * (80 - 21)  # an upper limit alone is 60 % of the way from the surroundings, here between 17 and 26 degrees
    assert during.std() == pytest.approx(2 * 0.15 * room, rel=0.2)
    assert (change["mill0-T"][fault.ends_at :] == 0).all()


def test_a_dead_sensor_lies_at_the_bottom_of_its_range_and_a_silent_one_says_nothing() -> None:
    dead, silent = _fault("dead_sensor", sensor_id="mill0-T"), _fault("silent_sensor", sensor_id="mill0-P")
    days = _days(LONG, days=5, faults=[dead, silent])
    signals = _signals(days)
    last = timedelta(minutes=1)
    assert set(signals["mill0-T"][dead.onset_at : dead.ends_at - last]) == {-40.0}
    assert signals["mill0-T"][dead.ends_at :].nunique() > 100
    assert signals["mill0-P"].isna().sum() == 2 * 1440
    assert signals["mill0-P"][silent.onset_at : silent.ends_at - last].isna().all()
    delivered = {name for day in days[1:3] for drop in day.drops for _, name, _ in _cells(drop.content, LONG)}
    assert "mill0-P" not in delivered
    assert "mill0-T" in delivered


@pytest.mark.parametrize("site", [LONG, WIDE], ids=["long", "wide"])
def test_a_clock_that_gains_stamps_the_same_values_later_and_goes_back_when_it_is_set(site: Site) -> None:
    machine = site.machines[0]
    fault = Fault(
        site.site,
        machine.machine_id,
        "clock_drift",
        BEGIN + timedelta(hours=6),
        repaired_at=BEGIN + timedelta(days=2, hours=6),
        severity=2.0,
    )
    sick, well = (_days(site, days=3, faults=faults) for faults in ([fault], []))
    name = f"{machine.machine_id}-T"
    true, shown = (pd.concat([d.readings[d.readings.sensor_id == name] for d in days], ignore_index=True) for days in (well, sick))
    n = 1000
    assert shown["value"][:n].tolist() == true["value"][:n].tolist()
    gained = (shown["timestamp"] - true["timestamp"])[:n].dt.total_seconds()
    assert gained[:360].eq(0).all()
    assert gained.iloc[-1] == round((n - 1 - 360) * 60 * 120 / 86_400)
    assert shown["timestamp"].is_monotonic_increasing
    assert shown["timestamp"].is_unique
    late = shown[shown["timestamp"] >= pd.Timestamp(BEGIN) + pd.Timedelta(days=2, hours=7)]
    assert (late["timestamp"].dt.second == 0).all()
    for day in sick:
        for drop in day.drops:
            assert dataclasses.replace(drop.counts, missing=0) == _count(drop.content, site)


def test_a_sensor_in_another_unit_shows_the_converted_values_and_what_it_cannot_measure_is_counted_as_such() -> None:
    shown = [("mill0-V", "in/s", 1 / 25.4, 0.0), ("mill0-T", "K", 1.0, 273.15), ("mill1-P", "kPa", 100.0, 0.0)]
    units = {"T": "°C", "V": "mm/s", "P": "bar", "Q": "m3/h", "I": "A"}
    machines = [
        {**m, "sensors": [{**s, "unit": units[s["sensor_id"][-1]]} for s in m["sensors"]]} for m in (_machine("mill0"), _machine("mill1"))
    ]
    site = Site.model_validate({"site": "mill", "name": "mill", "first_day": "2026-09-01", "machines": machines})
    faults = [
        dataclasses.replace(_fault("wrong_unit"), machine_id=sensor.split("-")[0], sensor_id=sensor, shown_as=unit)
        for sensor, unit, *_ in shown
    ]
    sick, well = _days(site, days=3, faults=faults), _days(site, days=3, faults=[])
    change, true = _signals(sick)[faults[0].onset_at :], _signals(well)[faults[0].onset_at :]
    for sensor, _, factor, offset in shown:
        assert np.allclose(change[sensor], true[sensor] * factor + offset, atol=0.006, rtol=0), sensor
    refused = [d.counts.out_of_physical_range for d in sick]
    assert refused[0] < 50, "what every gateway sends now and then"
    assert refused[1] > 2 * 1440 * 0.98, "328 K and 600 kPa are more than the two sensors can measure"
    for day in sick:
        counts = day.counts
        assert counts.accepted + counts.not_a_number + counts.out_of_physical_range + counts.missing == len(day.readings)
    assert truth_table(faults, [site])["kind"].tolist() == ["wrong_unit"] * 3


def test_another_unit_that_nobody_knows_is_refused_with_those_that_are_known() -> None:
    fault = dataclasses.replace(_fault("wrong_unit"), shown_as="furlong")
    with pytest.raises(ValueError, match="x is not shown as 'furlong'; known: x10, x100"):
        simulate([LONG], start=START, days=1, seed=7, faults=[fault])


def test_the_truth_names_sensor_times_and_failure_mode() -> None:
    faults = [dataclasses.replace(_fault(kind), onset_at=BEGIN + timedelta(hours=i)) for i, kind in enumerate(FAULT_KINDS)]
    table = truth_table(faults, [LONG])
    assert table["kind"].tolist() == list(FAULT_KINDS)
    assert table["expected_failure_mode"].tolist() == ["VIB", "ELP", "PLU"] + ["AIR"] * 8
    assert table["sensor_id"].tolist() == [f"mill0-{letter}" for letter in "VPQTPTTPPTT"]
    assert table["failure_at"].notna().tolist() == [True] * 3 + [False] * 8
    assert (table["repaired_at"] > table["failure_at"].fillna(table["onset_at"])).all()
    assert {str(table[c].dtype) for c in ("onset_at", "failure_at", "repaired_at")} == {"datetime64[us, UTC]"}
    assert truth_table([], [LONG]).columns.tolist() == table.columns.tolist()


def test_a_short_span_has_no_default_faults() -> None:
    assert default_faults([LONG], start=START, days=19, seed=7) == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"site_id": "nowhere"}, "unknown site"),
        ({"machine_id": "nothing"}, "unknown machine"),
        ({"sensor_id": "nil"}, "unknown sensor"),
        ({"sensor_id": "mill0-I"}, "type vibration"),
    ],
)
def test_a_fault_without_its_target_is_refused(changed: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate([LONG], start=START, days=1, seed=7, faults=[dataclasses.replace(_fault("bearing_wear"), **changed)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "rust"}, "unknown kind"),
        ({"failure_at": None}, "failure_at is needed"),
        ({"failure_at": BEGIN}, "after onset_at"),
        ({"onset_at": datetime(2026, 9, 8)}, "time zone"),  # noqa: DTZ001 - it is the case tested
        ({"repaired_at": BEGIN + timedelta(days=2)}, "repaired_at must be after"),
        ({"severity": 0.0}, "severity"),
        ({"shown_as": "K"}, "shown_as is for wrong_unit only"),
    ],
)
def test_an_impossible_fault_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(_fault("bearing_wear"), **changed)


@pytest.mark.parametrize(
    ("sites", "changed", "message"),
    [
        ([LONG], {"start": date(2026, 8, 31)}, "first_day"),
        ([LONG], {"days": 0}, "days is 0"),
        ([LONG], {"drops_per_day": 5}, "drops_per_day is 5"),
        ([LONG, LONG], {}, "twice"),
        ([_site(drops={"kind": "jsonl"})], {}, "writes csv"),
    ],
)
def test_what_cannot_be_simulated_is_refused_at_once(sites: list[Site], changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"start": START, "days": 1, "seed": 7, **changed}
    with pytest.raises(ValueError, match=message):
        simulate(sites, **arguments)


# --- any plant


def test_a_machine_of_any_class_with_any_sensors_can_be_simulated() -> None:
    types = ["temperature", "vibration", "pressure", "current", "flow", "voltage", "rotation_speed", "level", "power", "other"]
    sensors = [_sensor(f"s{i}", kind, interval_s=(10, 60, 90, 300)[i % 4]) for i, kind in enumerate(types)]
    sensors.append(_sensor("frost", "temperature", physical={"low": -200, "high": -50}))
    site = Site.model_validate(
        {
            "site": "lab",
            "name": "lab",
            "first_day": START,
            "machines": [{"machine_id": "x", "machine_class": "centrifuge", "sensors": sensors}],
        }
    )
    (day,) = _days(site, days=1)
    n = day.readings.groupby("sensor_id")["value"].agg(["size", "nunique"])
    assert n["size"].to_dict() == {s.sensor_id: 86_400 / s.interval_s for s in site.sensors}
    assert (n["nunique"] > 0.3 * n["size"].clip(upper=288)).all()
    assert day.readings["value"].notna().all()
    assert day.readings.loc[day.readings.sensor_id == "frost", "value"].between(-200, -50).all()


def test_sensors_of_one_machine_move_together() -> None:
    running = _running(_signals(_days(LONG, days=5)))
    together = running[["mill0-I", "mill0-Q", "mill0-T", "mill0-V"]].corr()
    assert (together > 0.3).all(axis=None)
    assert running["mill0-P"].corr(running["mill0-Q"]) < -0.3  # the pump curve
    apart = _signals(_days(LONG, days=5))
    assert apart["mill0-Q"].corr(apart["mill1-Q"]) < 0.9
