"""The mark that a fault leaves in the features of a machine: what ml.fault_replay puts into healthy windows.

Into the features, not into the readings. A shift d(t) moves mean, min, max and last by d, and the slope by its derivative; independent
noise of standard deviation v widens the spread to sqrt(std^2 + v^2) and scatters the mean of n readings by v/sqrt(n). That costs
milliseconds where readings would cost minutes. Mean, spread and slope are exact, or exact in distribution; the largest values of noisy
windows are their expectation, and the kurtosis of a window with a burst stays what it was: a detector that looks at those alone is
not judged fairly by this.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.plant import Site
from ml.simulation.machines import Floats, stream

LEAD_IN = pd.Timedelta(days=1)
BURSTS_PER_DAY = 36
GROWTH_EXPONENT = 2.0
GROWING = ("bearing_wear", "seal_leak", "clogged_filter", "limit_approach")
READINGS_IF_UNKNOWN = 10.0


@dataclass(frozen=True)
class ReplayedFault:
    """One fault: `level` is the sensor's healthy median, `sigma` its robust standard deviation, `room` signed: to the limit."""

    machine_id: str
    kind: str
    sensor_id: str
    onset_at: pd.Timestamp
    ends_at: pd.Timestamp
    level: float
    sigma: float
    room: float


def marked(rows: pd.DataFrame, fault: ReplayedFault, *, site: Site, seed: int) -> pd.DataFrame:
    """The machine's rows from LEAD_IN before the onset until the end, with the fault's mark on its sensor."""
    starts = rows["window_start"]
    rows = rows[(starts >= fault.onset_at - LEAD_IN) & (starts < fault.ends_at)].reset_index(drop=True)
    starts = rows["window_start"]
    struck = (rows["sensor_id"] == fault.sensor_id) & (starts >= fault.onset_at)
    if fault.kind in GROWING:
        struck &= rows["running_share"] >= 1 - 1e-9
    at = np.flatnonzero(struck.to_numpy())
    before = rows.loc[(rows["sensor_id"] == fault.sensor_id) & (starts < fault.onset_at), "mean"]
    stuck_at = float(before.iloc[-1]) if len(before) else fault.level
    hours = ((starts.iloc[at] - fault.onset_at) / pd.Timedelta(hours=1)).to_numpy(dtype=np.float64)
    lasts_h = (fault.ends_at - fault.onset_at) / pd.Timedelta(hours=1)
    rng = stream(seed, "replay", fault.machine_id, fault.kind)
    window_h = site.window_minutes / 60
    was = {str(name): rows[name].to_numpy(dtype=np.float64)[at] for name in rows.select_dtypes("number").columns}
    if fault.kind == "stuck_sensor":
        changed = _stuck(was, value=stuck_at)
    elif fault.kind == "noisy_sensor":
        changed = _noisy(was, sigma=fault.room * np.clip((hours + window_h) / lasts_h, 0, 1), window_h=window_h, rng=rng)
    elif fault.kind == "spike_bursts":
        changed = _bursts(was, jump=fault.room, window_h=window_h, rng=rng)
    else:
        begins, ends = (_grown(fault, np.asarray((hours + x) / lasts_h, dtype=np.float64)) for x in (0.0, window_h))
        changed = _shifted(was, begins=begins, ends=ends, window_h=window_h)
    for name, values in changed.items():
        column = rows[name].to_numpy(dtype=np.float64, copy=True)
        column[at] = values
        rows[name] = column
    return rows


def _grown(fault: ReplayedFault, progress: Floats) -> Floats:
    """The shift at this share of the fault's time: at once, evenly, or ever faster as in ml.simulation.faults."""
    progress = np.clip(progress, 0, 1)
    if fault.kind == "step":
        return np.full(len(progress), fault.room)
    if fault.kind == "sensor_drift":
        return fault.room * progress
    return np.asarray(fault.room * np.expm1(GROWTH_EXPONENT * progress) / np.expm1(GROWTH_EXPONENT), dtype=np.float64)


def _shifted(was: dict[str, Floats], *, begins: Floats, ends: Floats, window_h: float) -> dict[str, Floats]:
    rise, shift = ends - begins, (begins + ends) / 2
    changed = {
        "mean": was["mean"] + shift,
        "std": np.sqrt(was["std"] ** 2 + rise**2 / 12),
        "slope_per_h": was["slope_per_h"] + rise / window_h,
    }
    changed |= {
        name: was[name] + by
        for name, by in (("min", np.minimum(begins, ends)), ("max", np.maximum(begins, ends)), ("last", ends))
        if name in was
    }
    return changed | _of_vibration(was, changed)


def _noisy(was: dict[str, Floats], *, sigma: Floats, window_h: float, rng: np.random.Generator) -> dict[str, Floats]:
    n = np.maximum(was.get("n_readings", np.full(len(sigma), READINGS_IF_UNKNOWN)), 1.0)
    spread = np.where(n > 1, rng.chisquare(np.maximum(n - 1, 1)) / np.maximum(n - 1, 1), 0.0)
    extreme = sigma * np.sqrt(2 * np.log(n))
    changed = {
        "mean": was["mean"] + sigma / np.sqrt(n) * rng.standard_normal(len(n)),
        "std": np.sqrt(was["std"] ** 2 + sigma**2 * spread),
        # the slope of n independent errors evenly over the window: standard deviation sigma sqrt(12 / n) per window
        "slope_per_h": was["slope_per_h"] + np.where(n > 1, sigma * np.sqrt(12 / n) / window_h, 0.0) * rng.standard_normal(len(n)),
    }
    last = sigma * rng.standard_normal(len(n))
    changed |= {name: was[name] + by for name, by in (("min", -extreme), ("max", extreme), ("last", last)) if name in was}
    if "kurtosis" in was:  # the fourth cumulant stays, the variance grows
        with np.errstate(divide="ignore", invalid="ignore"):
            changed["kurtosis"] = was["kurtosis"] * (was["std"] / changed["std"]) ** 4
    return changed | _of_vibration(was, changed)


def _bursts(was: dict[str, Floats], *, jump: float, window_h: float, rng: np.random.Generator) -> dict[str, Floats]:
    count = len(was["mean"])
    n = np.maximum(was.get("n_readings", np.full(count, READINGS_IF_UNKNOWN)), 1.0)
    is_hit = rng.random(count) < BURSTS_PER_DAY * window_h / 24
    share = np.where(is_hit, np.minimum(1.0, rng.integers(3, 9, count) / n), 0.0)
    jumps = jump * rng.uniform(0.9, 1.8, count) * rng.choice([-1.0, 1.0], count)
    middle = share / 2 + rng.random(count) * (1 - share)  # of the burst within its window
    changed = {
        "mean": was["mean"] + share * jumps,
        "std": np.sqrt(was["std"] ** 2 + jumps**2 * share * (1 - share) * n / np.maximum(n - 1, 1)),
        "slope_per_h": was["slope_per_h"] + 12 * jumps * share * (middle - 0.5) / window_h,
    }
    hit = np.where(is_hit, jumps, 0.0)
    changed |= {name: was[name] + by for name, by in (("min", np.minimum(hit, 0)), ("max", np.maximum(hit, 0))) if name in was}
    return changed | _of_vibration(was, changed)


def _stuck(was: dict[str, Floats], *, value: float) -> dict[str, Floats]:
    changed: dict[str, Floats] = {name: np.full(len(was["mean"]), value) for name in ("mean", "min", "max", "last") if name in was}
    changed |= {"std": np.zeros(len(was["mean"])), "slope_per_h": np.zeros(len(was["mean"]))}
    if "kurtosis" in was:
        changed["kurtosis"] = np.full(len(was["mean"]), np.nan)
    return changed | _of_vibration(was, changed)


def _of_vibration(was: dict[str, Floats], changed: dict[str, Floats]) -> dict[str, Floats]:
    """RMS and crest factor of the changed window, where it had them."""
    if "rms" not in was or "crest_factor" not in was:
        return {}
    n = np.maximum(was.get("n_readings", np.full(len(was["mean"]), READINGS_IF_UNKNOWN)), 1.0)
    rms = np.sqrt(changed["mean"] ** 2 + changed["std"] ** 2 * (n - 1) / n)
    low, high = changed.get("min", was["min"]), changed.get("max", was["max"])
    with np.errstate(divide="ignore", invalid="ignore"):
        crest = np.maximum(np.abs(low), np.abs(high)) / rms
    return {"rms": np.where(np.isnan(was["rms"]), np.nan, rms), "crest_factor": np.where(np.isnan(was["crest_factor"]), np.nan, crest)}
