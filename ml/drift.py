"""Has a day's behaviour left what the detector was trained on? Kolmogorov-Smirnov and PSI per sensor, over running windows' means.

Neighbouring windows resemble each other, so a day's 144 windows are worth far fewer independent ones. The test
counts n (1 - r) / (1 + r) of them, r the correlation between neighbours (the AR(1) effective sample size). A sensor
has drifted if the test stands after Benjamini-Hochberg over the site's sensors and the shift is also large (PSI).
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.plant import Site

Floats = NDArray[np.float64]

REFERENCE_COLUMNS: dict[str, str] = {"sensor_id": "str", "probability": "float64", "value": "float64", "n_effective": "float64"}
COLUMNS: dict[str, str] = {
    "sensor_id": "str",
    "machine_id": "str",
    "ks": "float64",
    "ks_p": "float64",
    "psi": "float64",
    "n": "int64",
    "is_drifted": "bool",
}
N_QUANTILES = 201
PSI_BINS = 10
PSI_LARGE = 0.25
FALSE_DISCOVERY_RATE = 0.05
MIN_WINDOWS = 20


def reference_sample(features: pd.DataFrame) -> pd.DataFrame:
    """A compact table of the training windows: per sensor 201 quantiles of the running windows' means and their effective number."""
    rows = []
    for sensor_id, means in _running_means(features):
        if len(means) >= MIN_WINDOWS:
            grid = np.linspace(0.0, 1.0, N_QUANTILES)
            values = np.quantile(means, grid)
            rows.append(
                pd.DataFrame({"sensor_id": sensor_id, "probability": grid, "value": values, "n_effective": effective_number(means)})
            )
    empty = pd.DataFrame(columns=list(REFERENCE_COLUMNS))
    return pd.concat(rows or [empty], ignore_index=True).astype(REFERENCE_COLUMNS)


def drift(features: pd.DataFrame, reference: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """The drift of each sensor with a reference and at least 20 running windows, in the plant file's order; types as in COLUMNS.

    ks: largest distance between the distribution functions; ks_p: its p-value at the effective sample sizes;
    psi: population stability index over the reference's tenths; n: windows.
    """
    machine_of = {s.sensor_id: m.machine_id for m in site.machines for s in m.sensors}
    means = dict(_running_means(features))
    references = {str(s): table.sort_values("probability") for s, table in reference.groupby("sensor_id", sort=True)}
    rows: list[dict[str, object]] = []
    for sensor_id, machine_id in machine_of.items():
        sample = means.get(sensor_id, np.empty(0))
        if sensor_id not in references or len(sample) < MIN_WINDOWS:
            continue
        table = references[sensor_id]
        values, grid = table["value"].to_numpy(dtype=np.float64), table["probability"].to_numpy(dtype=np.float64)
        distance = ks_distance(sample, values=values, probabilities=grid)
        p = ks_p_value(distance, n_effective=(effective_number(sample), float(table["n_effective"].iloc[0])))
        psi = stability_index(sample, values=values, probabilities=grid)
        rows.append({"sensor_id": sensor_id, "machine_id": machine_id, "ks": distance, "ks_p": p, "psi": psi, "n": len(sample)})
    table = pd.DataFrame(rows, columns=[c for c in COLUMNS if c != "is_drifted"])
    stands = benjamini_hochberg(table["ks_p"].to_numpy(dtype=np.float64), rate=FALSE_DISCOVERY_RATE)
    table["is_drifted"] = stands & (table["psi"].to_numpy(dtype=np.float64) >= PSI_LARGE)
    return table.astype(COLUMNS)


def _running_means(features: pd.DataFrame) -> list[tuple[str, Floats]]:
    """(sensor, means in time order) of the windows in which the machine ran throughout."""
    running = features[features["running_share"] >= 1 - 1e-9].sort_values(["sensor_id", "window_start"], kind="stable")
    return [(str(s), rows["mean"].to_numpy(dtype=np.float64)) for s, rows in running.groupby("sensor_id", sort=True)]


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
