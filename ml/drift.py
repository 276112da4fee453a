"""Has a day's behaviour left what the detector was trained on? Kolmogorov-Smirnov and PSI per sensor, of its level and of its spread.

The level is the windows' mean, the spread their standard deviation: noise that doubles leaves the means of ten readings nearly where
they were. Only windows in which the machine ran throughout count.

Neighbouring windows resemble each other, and so do those of one day: load, weather and weekday are the day's own. How many
independent windows a day is worth is therefore taken from the training days themselves. Each one's distance from all others has, by
Kolmogorov's limit law, a mean of 0.8687 and a 90 % quantile of 1.2238 over the root of that number; the smaller of the two answers
counts, and of it the lower 95 % bound that so many days allow (`windows_per_day`). Where there are too few days to ask,
n (1 - r) / (1 + r) windows count, r the correlation between neighbours (the AR(1) effective sample size).

Two questions, two errors to keep small. What changed on this day, on this site: a sensor has drifted in its level or spread if the test
stands after Benjamini-Hochberg over all of the site's tests of the day and the shift is also large (PSI). Has a sensor changed for good
(`sustained`): on several of the latest days its own test stands at a level that no other sensor has a say in; that it must do so again
and again is what keeps chance out. So a large site is as keen as a small one where it matters, though a day is worth few windows, and its
p-value cannot be small.

Measured on 43 simulated plants that do not change, 30 days of each, after 14 days of training and after 28: on a day, of 28 sensors
0.8 % and 0.6 % drift, of 252 or more 0.2 % and 0.1 %; for good, in a month, 14 and 3 of 8,036 sensors. Of shifts by 2.5 standard deviations
of the healthy windows, in one sensor alone, 67 % and 75 % are seen on the day itself on a site of 28 sensors, 47 % and 54 % of 252,
41 % and 45 % of 812; and as lasting after five days 71 to 77 % and 81 to 85 %, whatever the site's size (after three 45 to 50 % and
52 to 56 %). Of shifts by 4, 96 % and 99 % last after five days; of noise that doubles, all after three. Limits: weather that the training
days did not have is drift; 2.8 % and 0.5 % of sensors, whose days differ so much that one is worth three windows, never change for good by
their level alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.plant import DriftPolicy, Site

Floats = NDArray[np.float64]

LEVEL, SPREAD, BOTH = "level", "spread", "both"
QUANTITIES: dict[str, str] = {LEVEL: "mean", SPREAD: "std"}  # what drifts -> the feature that shows it
REFERENCE_COLUMNS: dict[str, str] = {
    "sensor_id": "str",
    "quantity": "str",
    "probability": "float64",
    "value": "float64",
    "n_per_day": "float64",
    "n_days": "int32",
}
COLUMNS: dict[str, str] = {
    "sensor_id": "str",
    "machine_id": "str",
    "ks": "float64",
    "ks_p": "float64",
    "psi": "float64",
    "spread_ks": "float64",
    "spread_ks_p": "float64",
    "spread_psi": "float64",
    "n": "int64",
    "is_drifted": "bool",
    "drifted_in": "str",
}
TOLD = ("sensor_id", "machine_id", "ks_p", "psi", "spread_ks_p", "spread_psi", "is_drifted")  # what `sustained` looks at
N_QUANTILES = 201
PSI_BINS = 10
MIN_WINDOWS = 20
MIN_DAYS = 5
KOLMOGOROV_MEAN = float(np.sqrt(np.pi / 2) * np.log(2))
KOLMOGOROV_Q90 = 1.2238
KOLMOGOROV_VARIATION = 0.2996  # standard deviation over mean
ONE_SIDED_95 = 1.645


@dataclass(frozen=True)
class _Reference:
    """Quantiles of one sensor's level or spread in the training days, and what these are worth."""

    values: Floats
    probabilities: Floats
    n_per_day: float
    n_days: int

    def test(self, sample: Floats) -> tuple[float, float, float]:
        """KS distance, its p-value and PSI of a day's windows."""
        distance = ks_distance(sample, values=self.values, probabilities=self.probabilities)
        n = min(self.n_per_day, len(sample))
        p = ks_p_value(distance, n_effective=(n, self.n_per_day * self.n_days))
        return distance, p, stability_index(sample, values=self.values, probabilities=self.probabilities)


def reference_sample(features: pd.DataFrame) -> pd.DataFrame:
    """A compact table of the training windows: per sensor 201 quantiles of level and spread, and the windows that a day is worth."""
    rows = []
    for sensor_id, windows in _running(features):
        if len(windows) < MIN_WINDOWS:
            continue
        grid = np.linspace(0.0, 1.0, N_QUANTILES)
        days = windows["window_start"].dt.floor("D").to_numpy()
        for quantity, column in QUANTITIES.items():
            sample = windows[column].to_numpy(dtype=np.float64)
            worth = {"n_per_day": windows_per_day(sample, days=days), "n_days": len(np.unique(days))}
            values = np.quantile(sample, grid)
            rows.append(pd.DataFrame({"sensor_id": sensor_id, "quantity": quantity, "probability": grid, "value": values, **worth}))
    empty = pd.DataFrame(columns=list(REFERENCE_COLUMNS))
    return pd.concat(rows or [empty], ignore_index=True).astype(REFERENCE_COLUMNS)


def drift(features: pd.DataFrame, reference: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """The drift of each sensor with a reference and at least 20 running windows, in the plant file's order; types as in COLUMNS.

    ks: largest distance between the level's distribution functions; ks_p: its p-value at the effective sample sizes;
    psi: population stability index over the reference's tenths; `spread_`: the same of the spread; n: windows;
    drifted_in: level, spread or both; missing where the sensor has not drifted.
    """
    policy = site.policy.drift
    machine_of = {s.sensor_id: m.machine_id for m in site.machines for s in m.sensors}
    today, references = dict(_running(features)), _references(reference)
    rows: list[dict[str, object]] = []
    for sensor_id, machine_id in machine_of.items():
        windows = today.get(sensor_id)
        if windows is None or len(windows) < MIN_WINDOWS or (sensor_id, LEVEL) not in references:
            continue
        level, spread = (references[sensor_id, q].test(windows[c].to_numpy(dtype=np.float64)) for q, c in QUANTITIES.items())
        names = ("ks", "ks_p", "psi", "spread_ks", "spread_ks_p", "spread_psi")
        said = dict(zip(names, (*level, *spread), strict=True))
        rows.append({"sensor_id": sensor_id, "machine_id": machine_id, **said, "n": len(windows)})
    table = pd.DataFrame(rows, columns=[c for c in COLUMNS if c not in ("is_drifted", "drifted_in")])
    p = np.concatenate([table["ks_p"].to_numpy(dtype=np.float64), table["spread_ks_p"].to_numpy(dtype=np.float64)])
    psi = np.concatenate([table["psi"].to_numpy(dtype=np.float64), table["spread_psi"].to_numpy(dtype=np.float64)])
    level_drifts, spread_drifts = (benjamini_hochberg(p, rate=policy.false_discovery_rate) & (psi >= policy.min_psi)).reshape(2, -1)
    table["is_drifted"] = level_drifts | spread_drifts
    drifted_in = np.select([level_drifts & spread_drifts, level_drifts, spread_drifts], [BOTH, LEVEL, SPREAD], default="")
    table["drifted_in"] = pd.Series(drifted_in, index=table.index, dtype="str").where(table["is_drifted"])
    return table.astype(COLUMNS)


def sustained(findings: pd.DataFrame, *, policy: DriftPolicy) -> dict[str, int]:
    """The sensors that have drifted, or would have if asked alone, on enough of the latest days, each with their number.

    `findings` (day, is_explained and, of COLUMNS, those in TOLD) against one detector. Counted are the `within_days` calendar days that end
    with the newest day in it. A day that is explained does not count: a fault is no drift, and training would leave the day out.
    """
    if findings.empty:
        return {}
    first = max(findings["day"]) - timedelta(days=policy.within_days - 1)
    is_off = findings["is_drifted"].astype(bool)
    for p, psi in (("ks_p", "psi"), ("spread_ks_p", "spread_psi")):
        is_off |= (findings[p] <= policy.p_alone) & (findings[psi] >= policy.min_psi)
    counted = findings[(findings["day"] >= first) & is_off & ~findings["is_explained"].astype(bool)]
    days: Mapping[str, int] = counted.groupby("sensor_id")["day"].nunique().to_dict()
    return {sensor_id: int(n) for sensor_id, n in days.items() if n >= policy.sustained_days}


def days_explained(findings: pd.DataFrame, *, spans: pd.DataFrame) -> "pd.Series[bool]":
    """Which findings (day, machine_id) are from days that a span of the machine (machine_id, start, end) touches."""
    explained = pd.Series(data=False, index=findings.index)
    for span in spans.to_dict("records"):
        within = findings["day"].between(span["start"].date(), span["end"].date())
        explained |= (findings["machine_id"] == span["machine_id"]) & within
    return explained


def is_cooling_down(last: datetime | None, *, now: datetime, policy: DriftPolicy) -> bool:
    """Whether the latest training, or request for one, is too recent to ask again. Both times are aware."""
    return last is not None and now - last < timedelta(days=policy.cooldown_days)


def _running(features: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """(sensor, windows in time order) in which the machine ran throughout."""
    running = features[features["running_share"] >= 1 - 1e-9].sort_values(["sensor_id", "window_start"], kind="stable")
    return [(str(s), rows) for s, rows in running.groupby("sensor_id", sort=True)]


def _references(reference: pd.DataFrame) -> dict[tuple[str, str], _Reference]:
    found = {}
    for (sensor_id, quantity), rows in reference.groupby(["sensor_id", "quantity"], sort=True):
        table = rows.sort_values("probability")
        values, grid = table["value"].to_numpy(dtype=np.float64), table["probability"].to_numpy(dtype=np.float64)
        found[str(sensor_id), str(quantity)] = _Reference(values, grid, float(table["n_per_day"].iloc[0]), int(table["n_days"].iloc[0]))
    return found


def windows_per_day(sample: Floats, *, days: NDArray[np.datetime64]) -> float:
    """How many independent windows a day is worth, by the distances of the days with 20 windows from all others; at least 1.

    `sample` in time order, `days` the day of each. With fewer than 5 such days the AR(1) effective number has to do.
    """
    names, place, sizes = np.unique(days, return_inverse=True, return_counts=True)
    is_long_enough = sizes >= MIN_WINDOWS
    if is_long_enough.sum() < MIN_DAYS:
        return max(1.0, effective_number(sample) / len(names))
    distances = _from_the_others(sample, place=place, sizes=sizes)[is_long_enough]
    # the others are worth k - 1 such days, so that the pair is worth n (k - 1) / k windows
    others = len(names) / (len(names) - 1)
    answers = [(KOLMOGOROV_MEAN / max(distances.mean(), 1e-6)) ** 2, (KOLMOGOROV_Q90 / max(np.quantile(distances, 0.9), 1e-6)) ** 2]
    bound = (1 - ONE_SIDED_95 * KOLMOGOROV_VARIATION / np.sqrt(len(distances))) ** 2
    return float(np.clip(min(answers) * others * bound, 1.0, sizes.max()))


def _from_the_others(sample: Floats, *, place: NDArray[np.intp], sizes: NDArray[np.intp]) -> Floats:
    """The two-sample KS distance of each day from all other days; `place` says which day a value is of."""
    order = np.argsort(sample, kind="stable")
    is_last_of_ties = np.append(np.diff(sample[order]) > 0, True)
    upto = np.cumsum(place[order] == np.arange(len(sizes))[:, None], axis=1)[:, is_last_of_ties]
    all_upto = np.arange(1, len(sample) + 1)[is_last_of_ties]
    n = sizes[:, None]
    distances: Floats = np.abs(upto / n - (all_upto - upto) / (len(sample) - n)).max(axis=1)
    return distances


def effective_number(means: Floats) -> float:
    """n (1 - r) / (1 + r) with r the lag-one autocorrelation, between 2 and n; a constant series counts as 2."""
    centred = means - means.mean()
    power = float((centred**2).sum())
    if power <= 0:
        return 2.0
    r = float(np.clip((centred[1:] * centred[:-1]).sum() / power, 0.0, 0.999))
    return float(np.clip(len(means) * (1 - r) / (1 + r), 2.0, len(means)))


def ks_distance(sample: Floats, *, values: Floats, probabilities: Floats) -> float:
    """Largest distance between the sample's distribution function and the reference's, given by its quantiles."""
    ordered = np.sort(sample)
    # equal quantiles (a value that repeats) are a step of the distribution function: approach it from both sides
    steps, first = np.unique(values, return_index=True)
    last = np.append(first[1:], len(values)) - 1
    from_left = np.interp(ordered, steps, probabilities[first], left=0.0, right=1.0)
    from_right = np.interp(ordered, steps, probabilities[last], left=0.0, right=1.0)
    before = np.searchsorted(ordered, ordered, side="left") / len(ordered)
    upto = np.searchsorted(ordered, ordered, side="right") / len(ordered)
    return float(max(np.max(upto - from_right), np.max(from_left - before), 0.0))


def ks_p_value(distance: float, *, n_effective: tuple[float, float]) -> float:
    """Asymptotic two-sample p-value with Stephens' correction for small samples (Numerical Recipes, 14.3)."""
    n, m = n_effective
    root = float(np.sqrt(n * m / (n + m)))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:
        return 1.0
    terms = np.arange(1, 101)
    return float(np.clip(2.0 * np.sum((-1.0) ** (terms - 1) * np.exp(-2.0 * (terms * x) ** 2)), 0.0, 1.0))


def stability_index(sample: Floats, *, values: Floats, probabilities: Floats) -> float:
    """PSI = sum (a - e) ln(a / e) over the reference's tenths: e its shares, a the sample's with half a window added to each."""
    inner = np.unique(np.interp(np.arange(1, PSI_BINS) / PSI_BINS, probabilities, values))
    upto = np.searchsorted(values, inner, side="right") / len(values)
    expected = np.diff(np.concatenate(([0.0], upto, [1.0])))
    actual = np.bincount(np.searchsorted(inner, sample, side="left"), minlength=len(expected)).astype(np.float64)
    actual = (actual + 0.5) / (actual.sum() + 0.5 * len(actual))
    expected = np.maximum(expected, 1e-4)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def benjamini_hochberg(p: Floats, *, rate: float) -> NDArray[np.bool_]:
    """Which hypotheses fall at a false discovery rate."""
    order = np.argsort(p, kind="stable")
    passes = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / max(len(p), 1))
    fallen = np.zeros(len(p), dtype=np.bool_)
    if len(passes):
        fallen[order[: passes[-1] + 1]] = True
    return fallen
