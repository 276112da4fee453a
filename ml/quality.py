"""How far each sensor's readings of a day can be trusted: coverage, gaps, stuck values, refusals, clock; score and grade.

The score starts at 1 and loses, never falling below 0:

    1.0 x (1 - coverage)       readings that are due and missing
    1.5 x stuck_share          a stuck value looks like a reading, so it costs more than a missing one
    1.0 x refused_share        readings outside the physical range
    0.2 x gap                  0 for a longest gap up to 5 intervals, 1 from 2 hours more than that
    0.1 x jitter               0 for a clock jitter up to 0.1, 1 from 0.5

Grade A from 0.9, B from 0.75, C from 0.5, else F; a sensor without a reading scores 0. Noise costs nothing: it is there
to be watched.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.plant import Site
from ml.site_day import SiteDay, is_running, site_day

WEIGHTS = {"coverage": 1.0, "stuck": 1.5, "refused": 1.0, "gap": 0.2, "jitter": 0.1}
GRADES = (("A", 0.9), ("B", 0.75), ("C", 0.5))
GAP_INTERVALS = 5  # a longer pause is a gap, and ends a run of one value
GAP_FULL_S = 7_200
JITTER_FREE, JITTER_FULL = 0.1, 0.5
STUCK_READINGS, STUCK_S = 30, 1_800  # a run must be longer than both
_MAD_TO_STD = 1.4826  # of a normal distribution


def assess_sensors(readings: pd.DataFrame, *, site: Site, day: date, refused: Mapping[str, int]) -> pd.DataFrame:
    """One row per sensor of the site, with the columns of `sensor_quality`, sorted by sensor_id.

    `readings` [sensor_id, timestamp, value] are those of the day, `refused` counts the readings per sensor_id that were
    outside the physical range. Readings are due from the start of the day to the site's last reading of that day, so that
    an unfinished day is not held against its sensors; if there is none at all, for the whole day.

    coverage counts the due instants that have a reading within half an interval, so neither two readings at once nor a
    small jitter make up for, or cause, a missing one. stuck_share is the time within runs of one repeated value longer than
    both 30 readings and 30 minutes, while the machine ran: at standstill a constant value is right.
    """
    found = site_day(readings, site=site, day=day)
    end = int(found.at_us.max()) if len(found.at_us) else US_PER_DAY
    n = np.diff(found.starts)
    n_due, n_covered = _due_and_covered(found, end=end)
    coverage = np.minimum(1.0, n_covered / n_due)
    gap_us, age_us = _gaps(found, end=end)
    stuck_us, longest_run_us = _stuck(found)
    noise, jitter = _spreads(found)
    n_refused = np.array([refused.get(s.sensor_id, 0) for s in found.sensors], np.int64)
    table = pd.DataFrame(
        {
            "sensor_id": pd.array([s.sensor_id for s in found.sensors], dtype="str"),
            "machine_id": pd.array([m.machine_id for m in found.machines], dtype="str"),
            "n_readings": n,
            "n_expected": n_due,
            "coverage": coverage,
            "longest_gap_s": gap_us / 1e6,
            "stuck_share": np.minimum(1.0, stuck_us / max(end, 1)),
            "refused_share": n_refused / np.maximum(n + n_refused, 1),
            "noise": noise,
            "clock_jitter": jitter,
            "last_value_age_s": age_us / 1e6,
        }
    )
    costs = _costs(table, interval_s=found.interval_us / 1e6)
    score = np.where(n > 0, np.maximum(0.0, 1.0 - sum(costs.values())), 0.0)
    table["score"] = score
    table["grade"] = pd.array(
        np.select([score >= low for _, low in GRADES], [g for g, _ in GRADES], default="F").astype(object), dtype="str"
    )
    table["findings"] = pd.array(
        _findings(table, costs, longest_run_us=longest_run_us, n_covered=n_covered, n_refused=n_refused), dtype="str"
    )
    return table


def _costs(table: pd.DataFrame, *, interval_s: Floats) -> dict[str, Floats]:
    """Points lost, by what for and by sensor."""
    parts = {
        "coverage": 1 - table["coverage"].to_numpy(),
        "stuck": table["stuck_share"].to_numpy(),
        "refused": table["refused_share"].to_numpy(),
        "gap": np.clip((table["longest_gap_s"].to_numpy() - GAP_INTERVALS * interval_s) / GAP_FULL_S, 0, 1),
        "jitter": np.clip((table["clock_jitter"].fillna(0).to_numpy() - JITTER_FREE) / (JITTER_FULL - JITTER_FREE), 0, 1),
    }
    return {name: WEIGHTS[name] * part for name, part in parts.items()}


def _per_sensor(found: SiteDay, weights: Floats | Bools) -> Floats:
    return np.bincount(found.code, weights=weights, minlength=len(found.sensors)).astype(np.float64)


def _due_and_covered(found: SiteDay, *, end: int) -> tuple[Ints, Ints]:
    """Due readings, and due instants that have one. A sensor's instants are its intervals, shifted by its own phase."""
    interval = found.interval_us
    # The mean direction on the circle of the interval: readings just before and just after the full minute average to it.
    angle = 2 * np.pi * (found.at_us % interval[found.code]) / interval[found.code]
    phase = np.arctan2(_per_sensor(found, np.sin(angle)), _per_sensor(found, np.cos(angle))) / (2 * np.pi) * interval
    phase = np.where(phase < -1e-6 * interval, phase + interval, phase)
    n_due = np.maximum(1, np.floor((end - phase) / interval + 0.01).astype(np.int64) + 1)
    if not len(found.at_us):
        n_due = np.maximum(1, np.rint(US_PER_DAY / interval).astype(np.int64))
    slot = np.rint((found.at_us - phase[found.code]) / interval[found.code]).astype(np.int64)
    is_new = np.ones(len(slot), bool)
    is_new[1:] = (slot[1:] != slot[:-1]) | (found.code[1:] != found.code[:-1])
    return n_due, np.bincount(found.code[is_new], minlength=len(n_due))


def _gaps(found: SiteDay, *, end: int) -> tuple[Ints, Ints]:
    """Longest time without a reading, from the start of the day to its end; and the time since the last one."""
    n_sensors = len(found.sensors)
    longest, age = np.full(n_sensors, end, np.int64), np.full(n_sensors, end, np.int64)
    has = np.flatnonzero(np.diff(found.starts) > 0)
    if len(has):
        step = np.diff(found.at_us, prepend=0)
        first = found.starts[has]
        step[first] = found.at_us[first]
        age[has] = end - found.at_us[found.starts[has + 1] - 1]
        longest[has] = np.maximum(np.maximum.reduceat(step, first), age[has])
    return longest, age


def _stuck(found: SiteDay) -> tuple[Ints, Ints]:
    """Microseconds within runs of one value that are too long while the machine ran, and the longest such run."""
    n_sensors = len(found.sensors)
    total, longest = np.zeros(n_sensors, np.int64), np.zeros(n_sensors, np.int64)
    if not len(found.at_us):
        return total, longest
    runs = is_running(found)
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


def _findings(table: pd.DataFrame, costs: dict[str, Floats], *, longest_run_us: Ints, n_covered: Ints, n_refused: Ints) -> list[str]:
    """What cost points, the dearest first, in words."""
    texts = [""] * len(table)
    for i in np.flatnonzero(table["score"].to_numpy() < 1):
        row = table.iloc[i]
        words = {
            "coverage": f"{row['n_expected'] - n_covered[i]} of {row['n_expected']} readings missing",
            "stuck": f"one value repeated for {_span(longest_run_us[i] / 1e6)}",
            "refused": f"{n_refused[i]} readings refused, outside the physical range",
            "gap": f"no reading for {_span(row['longest_gap_s'])}",
            "jitter": f"reading interval varies by {row['clock_jitter']:.0%}",
        }
        if row["n_readings"] == 0:
            words = {"coverage": "silent: no reading at all", "refused": words["refused"]}
        lost = sorted((-float(costs[name][i]), name) for name in words if costs[name][i] > 0)
        texts[i] = "; ".join(words[name] for _, name in lost)
    return texts


def _span(seconds: float) -> str:
    """A length of time in the two units that matter: 3 h 20 min, 45 min, 50 s."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(minutes, 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)
