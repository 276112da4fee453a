"""How far each sensor's readings of a day can be trusted: a score, a grade, and the faults of the instrument by name.

The score starts at 1 and loses, never falling below 0:

    1.0 x (1 - coverage)   readings that are due and missing
    1.0 x refused_share    readings outside the physical range
    0.2 x gap              0 for a longest gap up to 5 intervals, 1 from 2 hours more than that
    0.1 x jitter           0 for a clock jitter up to 0.1 intervals, 1 from 0.5
    1.5 x stuck_share      `stuck`: a repeated value looks like a reading, so it costs more than a missing one
    0.2 + 0.25 x noise     `noisy`: 0 for 3 times the usual noise, 1 from 10 times
    0.15 + 0.2 x drift     `clock_drift`: 0 for 10 s per day, 1 from 240 (10 s per hour)
    1.0                    `wrong_unit`
    1.0                    `dead`

Grade A from 0.9, B from 0.75, C from 0.5, else F. So a wrong unit and a dead sensor are F, noise or a drifting clock alone B or C.

    dead          no reading at all; or flat at an end of the range or at zero, all day while the machine ran (ml.instruments)
    wrong_unit    the level jumped at once to where a known conversion puts it, alone, and stayed (ml.unit_changes)
    out_of_range  a quarter of the due readings or more were refused as outside the physical range; the words name units in which the
                  usual level would lie there
    stuck         one value for more than 30 readings and 30 minutes, while the machine ran, but not where the sensor usually rests at
                  it (ml.resting), which is no `dead` either
    noisy         3 times its usual noise at its usual level, and no other sensor of the machine is noisier (ml.instruments)
    clock_drift   the timestamps run away from the sensor's own interval, along a straight line (ml.instruments)

Usual is the week before; a sensor without it is neither `noisy` nor in a `wrong_unit`. It follows what comes: a new unit is accepted as
usual after 7 days, a new noise after 6; a dead or stuck sensor stays so. A unit put right within the week is seen to come back. Put
right later, a plain factor is told by the sensor's limits; without limits it is taken for another wrong unit. Near -40 degrees °F
is not told from °C. A sensor that says whether its machine runs makes it look stopped when it is dead or far too low: for a week
that is seen from the machine's other sensors, from the first whole day on.

Measured on the simulated demonstration plants: nothing is found on 16,800 healthy sensor-days (2 plants, 5 seeds, 60 days; highest noise
ratio 1.17), nor on 6,272 with 112 machine faults that took half an hour to six days (1.52). Of 168 instrument faults of each
kind (half, once and twice the severity; onset at 0, 9, 17 and 22 h; ranges opened for wrong units) all are found, but 19 of 64 with half
the severity of noise, there about twice the usual. Wrong unit (each one named rightly) and stuck: on the day 166,
on the next 2; silent and dead: on the first whole day; noise and clocks: on the day if they begin before noon, else on the next. On real
data (a bearing run to failure, 80 days of a machine's temperature, 10 machines' hourly telemetry) neither noise, nor a unit, nor
a clock was found. 1,000 sensors with 1,440 readings each and a week before take 0.6 CPU-seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.frames import typed_frame
from ml.instruments import CLOCK_FROM, NOISY_FROM, Behaviour, Clocks, compare_with_usual, find_flat, read_clocks
from ml.plant import Sensor, Site
from ml.recent_windows import FEATURES, RecentWindows, recent_windows
from ml.resting import usually_rests
from ml.site_day import SiteDay, is_running, site_day
from ml.unit_changes import UnitChange, conversions

WEIGHTS = {"coverage": 1.0, "refused": 1.0, "gap": 0.2, "jitter": 0.1, "stuck": 1.5, "wrong_unit": 1.0, "dead": 1.0}
NOISY_COST, NOISY_FULL_COST, NOISY_FULL = 0.2, 0.45, 10.0
CLOCK_COST, CLOCK_FULL_COST, CLOCK_FULL = 0.15, 0.35, 240.0
GRADES = (("A", 0.9), ("B", 0.75), ("C", 0.5))
FAULTS = ("dead", "wrong_unit", "out_of_range", "stuck", "noisy", "clock_drift")
GAP_INTERVALS = 5  # a longer pause is a gap, and ends a run of one value
GAP_FULL_S = 7_200
JITTER_FREE, JITTER_FULL = 0.1, 0.5
STUCK_READINGS, STUCK_S = 30, 1_800  # a run must be longer than both
OUT_OF_RANGE_FROM = 0.25  # of the due readings
_MAD_TO_STD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class _Seen:
    """What was found out about each sensor, beside the columns of the table."""

    found: SiteDay
    windows: RecentWindows
    behaviour: Behaviour
    clocks: Clocks
    flat_at: Floats
    longest_run_us: Ints
    n_covered: Ints
    n_refused: Ints


def assess_sensors(
    readings: pd.DataFrame, *, site: Site, day: date, refused: Mapping[str, int], features: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per sensor of the site, with the columns of `sensor_quality`, sorted by sensor_id.

    `readings` [sensor_id, timestamp, value] are those of the day, `refused` counts the readings per sensor_id that were
    outside the physical range; `features` [ml.recent_windows.FEATURES] are those of the day and the week before, None for none. Readings
    are due from the start of the day to the site's last reading of that day, so that an unfinished day is not held against its
    sensors; if there is none at all, for the whole day. On the site's first day they are due from its first reading on.

    coverage counts the due instants that have a reading within half an interval, so neither two readings at once nor a
    small jitter make up for, or cause, a missing one. stuck_share is the time within runs of one repeated value longer than
    both 30 readings and 30 minutes, while the machine ran: at standstill a constant value is right, and so it is where the sensor
    usually rests.
    """
    found = site_day(readings, site=site, day=day)
    windows = recent_windows(typed_frame([], FEATURES) if features is None else features, site=site, day=day)
    end = int(found.at_us.max()) if len(found.at_us) else US_PER_DAY
    begin = int(found.at_us.min()) if len(found.at_us) and day == site.first_day else 0
    n = np.diff(found.starts)
    n_due, n_covered = _due_and_covered(found, begin=begin, end=end)
    gap_us, age_us = _gaps(found, begin=begin, end=end)
    runs = is_running(found) | windows.ran_unseen[found.code]
    stuck_us, longest_run_us = _stuck(found, runs=runs, windows=windows)
    flat_at = find_flat(found, runs=runs)
    for i in np.flatnonzero(~np.isnan(flat_at)):
        if usually_rests(windows, int(i), at=float(flat_at[i]), rest_s=_rest_s(found.sensors[i])):
            flat_at[i] = np.nan
    noise, jitter = _spreads(found)
    n_refused = np.array([refused.get(s.sensor_id, 0) for s in found.sensors], np.int64)
    behaviour, clocks = compare_with_usual(windows), read_clocks(found)
    seen = _Seen(found, windows, behaviour, clocks, flat_at, longest_run_us, n_covered, n_refused)
    table = pd.DataFrame(
        {
            "sensor_id": pd.array([s.sensor_id for s in found.sensors], dtype="str"),
            "machine_id": pd.array([m.machine_id for m in found.machines], dtype="str"),
            "n_readings": n,
            "n_expected": n_due,
            "coverage": np.minimum(1.0, n_covered / n_due),
            "longest_gap_s": gap_us / 1e6,
            "stuck_share": np.minimum(1.0, stuck_us / max(end - begin, 1)),
            "refused_share": n_refused / np.maximum(n + n_refused, 1),
            "noise": noise,
            "clock_jitter": jitter,
            "last_value_age_s": age_us / 1e6,
            "level": behaviour.level,
            "usual_level": behaviour.usual_level,
            "noise_ratio": behaviour.noise_ratio,
            "clock_drift_s_per_day": clocks.drift_s_per_day,
        }
    )
    faults = _faults(table, seen)
    costs = _costs(table, faults, interval_s=found.interval_us / 1e6)
    score = np.where(n > 0, np.maximum(0.0, 1.0 - sum(costs.values())), 0.0)
    table["score"] = score
    table["grade"] = _texts(np.select([score >= low for _, low in GRADES], [g for g, _ in GRADES], default="F"))
    table["faults"] = _texts([" ".join(code for code in FAULTS if faults[code][i]) for i in range(len(table))])
    table["findings"] = _texts(_findings(table, costs, seen))
    return table


def _texts(values: Sequence[str] | NDArray[np.str_]) -> pd.api.extensions.ExtensionArray:
    return pd.array(np.asarray(values, dtype=object), dtype="str")


def _faults(table: pd.DataFrame, seen: _Seen) -> dict[str, Bools]:
    """By code of FAULTS and sensor. A dead sensor is not called stuck, noisy or in a wrong unit besides."""
    n, stuck = table["n_readings"].to_numpy(), table["stuck_share"].to_numpy()
    out_of_range = seen.n_refused >= OUT_OF_RANGE_FROM * table["n_expected"].to_numpy()
    dead = ~np.isnan(seen.flat_at) | ((n == 0) & ~out_of_range)
    return {
        "dead": dead,
        "wrong_unit": ~dead & np.array([change is not None for change in seen.behaviour.unit_changes]),
        "out_of_range": out_of_range,
        "stuck": ~dead & (stuck > 0),
        "noisy": ~dead & seen.behaviour.is_noisy,
        "clock_drift": seen.clocks.is_drifting,
    }


def _costs(table: pd.DataFrame, faults: Mapping[str, Bools], *, interval_s: Floats) -> dict[str, Floats]:
    """Points lost, by what for and by sensor."""
    parts = {
        "coverage": 1 - table["coverage"].to_numpy(),
        "refused": table["refused_share"].to_numpy(),
        "gap": _part(table["longest_gap_s"].to_numpy() - GAP_INTERVALS * interval_s, 0, GAP_FULL_S),
        "jitter": _part(table["clock_jitter"].fillna(0).to_numpy(), JITTER_FREE, JITTER_FULL),
        "stuck": np.where(faults["stuck"], table["stuck_share"].to_numpy(), 0.0),
        "wrong_unit": faults["wrong_unit"].astype(np.float64),
        "dead": faults["dead"].astype(np.float64),
    }
    noise = _part(table["noise_ratio"].fillna(0).to_numpy(), NOISY_FROM, NOISY_FULL)
    drift = _part(table["clock_drift_s_per_day"].abs().fillna(0).to_numpy(), CLOCK_FROM, CLOCK_FULL)
    return {name: WEIGHTS[name] * part for name, part in parts.items()} | {
        "noisy": np.where(faults["noisy"], NOISY_COST + (NOISY_FULL_COST - NOISY_COST) * noise, 0.0),
        "clock_drift": np.where(faults["clock_drift"], CLOCK_COST + (CLOCK_FULL_COST - CLOCK_COST) * drift, 0.0),
    }


def _part(x: Floats, free: float, full: float) -> Floats:
    """0 up to `free`, 1 from `full`."""
    return np.clip((x - free) / (full - free), 0, 1)


def _per_sensor(found: SiteDay, weights: Floats | Bools) -> Floats:
    return np.bincount(found.code, weights=weights, minlength=len(found.sensors)).astype(np.float64)


def _due_and_covered(found: SiteDay, *, begin: int, end: int) -> tuple[Ints, Ints]:
    """Due readings, and due instants that have one. A sensor's instants are its intervals, shifted by its own phase."""
    interval = found.interval_us
    # The mean direction on the circle of the interval: readings just before and just after the full minute average to it.
    angle = 2 * np.pi * (found.at_us % interval[found.code]) / interval[found.code]
    phase = np.arctan2(_per_sensor(found, np.sin(angle)), _per_sensor(found, np.cos(angle))) / (2 * np.pi) * interval
    phase = np.where(phase < -1e-6 * interval, phase + interval, phase)
    n_before = np.maximum(0, np.ceil((begin - phase) / interval - 0.51).astype(np.int64))
    # the instant at which the next day begins is that one's
    last = np.minimum((end - phase) / interval + 0.01, (US_PER_DAY - phase) / interval - 1e-6)
    n_due = np.maximum(1, np.floor(last).astype(np.int64) + 1 - n_before)
    if not len(found.at_us):
        n_due = np.maximum(1, np.rint(US_PER_DAY / interval).astype(np.int64))
    slot = np.rint((found.at_us - phase[found.code]) / interval[found.code]).astype(np.int64)
    is_new = np.ones(len(slot), bool)
    is_new[1:] = (slot[1:] != slot[:-1]) | (found.code[1:] != found.code[:-1])
    return n_due, np.bincount(found.code[is_new], minlength=len(n_due))


def _gaps(found: SiteDay, *, begin: int, end: int) -> tuple[Ints, Ints]:
    """Longest time without a reading, from `begin` to the end of the day; and the time since the last one."""
    n_sensors = len(found.sensors)
    longest, age = np.full(n_sensors, end - begin, np.int64), np.full(n_sensors, end - begin, np.int64)
    has = np.flatnonzero(np.diff(found.starts) > 0)
    if len(has):
        step = np.diff(found.at_us, prepend=0)
        first = found.starts[has]
        step[first] = found.at_us[first] - begin
        age[has] = end - found.at_us[found.starts[has + 1] - 1]
        longest[has] = np.maximum(np.maximum.reduceat(step, first), age[has])
    return longest, age


def _rest_s(sensor: Sensor) -> float:
    return max(STUCK_S, STUCK_READINGS * sensor.interval_s)


def _stuck(found: SiteDay, *, runs: Bools, windows: RecentWindows) -> tuple[Ints, Ints]:
    """Microseconds within runs of one value that are too long while the machine ran, and the longest such run; rests are none."""
    n_sensors = len(found.sensors)
    total, longest = np.zeros(n_sensors, np.int64), np.zeros(n_sensors, np.int64)
    if not len(found.at_us):
        return total, longest
    begins = np.ones(len(found.at_us), bool)
    begins[1:] = (
        (found.value[1:] != found.value[:-1])
        | (found.code[1:] != found.code[:-1])
        | (runs[1:] != runs[:-1])
        | (np.diff(found.at_us) > GAP_INTERVALS * found.interval_us[found.code[1:]])
    )
    first = np.flatnonzero(begins)
    count = np.diff(first, append=len(begins))
    duration = found.at_us[first + count - 1] - found.at_us[first]
    stuck = np.flatnonzero(runs[first] & (count > STUCK_READINGS) & (duration > STUCK_S * 1_000_000))
    lying_at = {(int(code), float(value)) for code, value in zip(found.code[first[stuck]], found.value[first[stuck]], strict=True)}
    resting = {(i, at) for i, at in lying_at if usually_rests(windows, i, at=at, rest_s=_rest_s(found.sensors[i]))}
    if resting:
        is_rest = [(code, value) in resting for code, value in zip(found.code[first[stuck]], found.value[first[stuck]], strict=True)]
        stuck = stuck[~np.array(is_rest)]
    np.add.at(total, found.code[first[stuck]], duration[stuck])
    np.maximum.at(longest, found.code[first[stuck]], duration[stuck])
    return total, longest


def _spreads(found: SiteDay) -> tuple[Floats, Floats]:
    """Robust standard deviation of the second differences, and of the interval over the nominal one; NaN below 3 readings."""
    noise, jitter = np.full(len(found.sensors), np.nan), np.full(len(found.sensors), np.nan)
    for i in np.flatnonzero(np.diff(found.starts) >= 3):
        rows = slice(found.starts[i], found.starts[i + 1])
        noise[i] = _robust_std(np.diff(found.value[rows], 2))
        jitter[i] = _robust_std(np.diff(found.at_us[rows]).astype(np.float64)) / found.interval_us[i]
    return noise, jitter


def _robust_std(x: Floats) -> float:
    return _MAD_TO_STD * _median(np.abs(x - _median(x)))


def _median(x: Floats) -> float:
    """As numpy's, at a third of its time for arrays of this size."""
    middle = len(x) // 2
    if len(x) % 2:
        return float(np.partition(x, middle)[middle])
    low, high = np.partition(x, (middle - 1, middle))[middle - 1 : middle + 1]
    return float((low + high) / 2)


def _findings(table: pd.DataFrame, costs: Mapping[str, Floats], seen: _Seen) -> list[str]:
    """What cost points, the dearest first, in words."""
    texts = [""] * len(table)
    for i in np.flatnonzero(table["score"].to_numpy() < 1):
        row, sensor = table.iloc[i], seen.found.sensors[i]
        words = {
            "coverage": f"{row['n_expected'] - seen.n_covered[i]} of {row['n_expected']} readings missing",
            "refused": f"{seen.n_refused[i]} readings refused, outside the physical range",
            "gap": f"no reading for {_span(row['longest_gap_s'])}",
            "jitter": f"reading interval varies by {row['clock_jitter']:.0%}",
            "stuck": f"stuck: one value repeated for {_span(seen.longest_run_us[i] / 1e6)}",
            "noisy": f"noisy: {row['noise_ratio']:.1f} times its usual scatter, at its usual level",
            "clock_drift": f"clock drifts: timestamps {_drift(row['clock_drift_s_per_day'])}",
            "dead": f"dead: flat at {seen.flat_at[i]:g} {sensor.unit} while the machine ran",
        }
        if "out_of_range" in row["faults"]:
            words["refused"] += _suspected_units(sensor, usual=row["usual_level"])
        change = seen.behaviour.unit_changes[i]
        if change is not None:
            words["wrong_unit"] = _unit_words(change, sensor.unit, windows=seen.windows)
        if row["n_readings"] == 0:
            words = {"coverage": "silent: no reading at all", "refused": words["refused"]}
        lost = sorted((-float(costs[name][i]), name) for name in words if costs[name][i] > 0)
        texts[i] = "; ".join(words[name] for _, name in lost)
    return texts


def _drift(s_per_day: float) -> str:
    return f"{'gain' if s_per_day > 0 else 'lose'} {abs(s_per_day):.0f} s per day ({abs(s_per_day) / 24:.1f} s per hour)"


def _unit_words(change: UnitChange, unit: str, *, windows: RecentWindows) -> str:
    begins = f"{windows.starts_at(change.first):%Y-%m-%d %H:%M}"
    span = f"since {begins}" if change.end is None else f"from {begins} to {windows.starts_at(change.end):%Y-%m-%d %H:%M}"
    return f"wrong unit {span} UTC: {change.conversion.words(unit)} ({change.level:.3g}, usually {change.usual:.3g})"


def _suspected_units(sensor: Sensor, *, usual: float) -> str:
    """In which other units the usual level would lie outside the physical range; the two likeliest."""
    low, high = (np.inf * sign if bound is None else bound for bound, sign in ((sensor.physical.low, -1), (sensor.physical.high, 1)))
    shown = [(c, c.factor * usual + c.offset) for c in conversions(sensor.unit)]
    beyond = [f"{value:.3g} {c.name}" for c, value in shown if not c.is_scale and not low <= value <= high and not np.isnan(usual)]
    return f" (another unit? {usual:.3g} {sensor.unit} are {' or '.join(beyond[:2])})" if beyond else ""


def _span(seconds: float) -> str:
    """A length of time in the two units that matter: 3 h 20 min, 45 min, 50 s."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)
