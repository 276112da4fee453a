"""Remaining useful life in cycles, learned from units that ran to failure: the histories of others as the measure of one's own.

Unit of time is the cycle (a flight, a batch, an hour). A unit early in its life shows nothing of its end, so the target is cut at `cap`
(Heimes, PHM 2008): a prediction at the cap says "not yet in sight". Every feature of a cycle comes from that cycle and earlier ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

CAP_CYCLES = 125
BASE_CYCLES = 20  # what the unit was like when new
SHORT, LONG, LONGEST = 10, 30, 60
EWMA_SPAN = 15
MIN_CYCLES_FOR_SLOPE = 5
IN_SIGHT_CYCLES = 180  # rows further from the end are all alike to a target cut at the cap, and are not learned from
N_BOOSTED = 4
BOOSTING: dict[str, Any] = {
    "max_iter": 150,
    "learning_rate": 0.06,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 40,
    "l2_regularization": 5.0,
    "max_features": 0.2,
    "early_stopping": False,
}


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each quantity over all units, and the way it moves towards the end: +1 up, -1 down."""

    quantities: tuple[str, ...]
    mean: Floats
    deviation: Floats
    way: Floats


@dataclass(frozen=True)
class RemainingLifeModel:
    scale: Scale
    members: tuple[Any, ...]
    cap_cycles: int

    def cycles_left(self, features: pd.DataFrame) -> Floats:
        """Cycles to failure for each row of `features_of`, never above the cap; the mean of the members."""
        found = np.mean([member.predict(features.to_numpy(dtype=np.float32)) for member in self.members], axis=0)
        return np.asarray(np.clip(found, 0, self.cap_cycles), dtype=np.float64)

    def of_last_cycles(self, histories: pd.DataFrame) -> "pd.Series[float]":
        """Cycles to failure after the last cycle of each unit, by unit."""
        rows = in_order(histories)
        last = ~rows["unit"].duplicated(keep="last").to_numpy()
        return pd.Series(self.cycles_left(features_of(rows, self.scale)[last]), index=rows.loc[last, "unit"].to_numpy())


def fit_remaining_life(histories: pd.DataFrame, *, seed: int, cap_cycles: int = CAP_CYCLES) -> RemainingLifeModel:
    """`histories`: unit, cycle and one column per quantity; the last cycle of each unit is its failure. ValueError if nothing varies."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rows = in_order(histories)
    left = cycles_to_the_end(rows)
    scale = _scale_of(rows, left=left)
    features = features_of(rows, scale).to_numpy(dtype=np.float32)
    near = left <= IN_SIGHT_CYCLES
    target = np.minimum(left, cap_cycles)[near]
    with threadpool_limits(limits=1, user_api="openmp"):  # threads that wait for each other spin, and others use the machine, too
        members = tuple(
            HistGradientBoostingRegressor(random_state=seed + number, **BOOSTING).fit(features[near], target) for number in range(N_BOOSTED)
        )
    return RemainingLifeModel(scale, members, cap_cycles)


def held_out_cycles_left(histories: pd.DataFrame, *, n_folds: int, seed: int) -> Floats:
    """For each row of `in_order(histories)`, by a model that never saw the row's unit."""
    from sklearn.model_selection import GroupKFold

    rows = in_order(histories)
    units = rows["unit"].to_numpy()
    found = np.full(len(rows), np.nan)
    for learn, hold in GroupKFold(n_folds, shuffle=True, random_state=seed).split(units, groups=units):
        model = fit_remaining_life(rows.iloc[learn], seed=seed)
        found[hold] = model.cycles_left(features_of(rows.iloc[hold].reset_index(drop=True), model.scale))
    return found


def cycles_left_table(by_unit: "pd.Series[float]") -> pd.DataFrame:
    """[unit, cycles_left] of what `of_last_cycles` found."""
    return pd.DataFrame({"unit": by_unit.index.to_numpy(), "cycles_left": by_unit.to_numpy(dtype=np.float64)})


def in_order(histories: pd.DataFrame) -> pd.DataFrame:
    return histories.sort_values(["unit", "cycle"], ignore_index=True)


def cycles_to_the_end(rows: pd.DataFrame) -> Floats:
    return np.asarray(rows.groupby("unit")["cycle"].transform("max") - rows["cycle"], dtype=np.float64)


def features_of(rows: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """One row per row, which must be in order: moving means, EWMA, its distance from the unit when new, spread and slopes, of each
    quantity and of their mean in the direction of wear (`wear`)."""
    scaled = pd.DataFrame((rows[list(scale.quantities)].to_numpy(dtype=np.float64) - scale.mean) / scale.deviation)
    scaled.columns = pd.Index(scale.quantities)
    scaled["wear"] = scaled[list(scale.quantities)].to_numpy() @ scale.way / len(scale.quantities)
    parts = [_of_unit(scaled.loc[index].reset_index(drop=True)) for index in rows.groupby("unit", sort=False).indices.values()]
    features = pd.concat(parts, ignore_index=True)
    features["cycle"] = rows["cycle"].to_numpy(dtype=np.float64)
    return features


def _of_unit(z: pd.DataFrame) -> pd.DataFrame:
    new = z.expanding().mean()
    new.iloc[BASE_CYCLES:] = new.iloc[min(BASE_CYCLES, len(z)) - 1].to_numpy()
    recent = z.ewm(span=EWMA_SPAN).mean()
    parts = {
        f"mean_{SHORT}": z.rolling(SHORT, min_periods=1).mean(),
        f"mean_{LONG}": z.rolling(LONG, min_periods=1).mean(),
        "ewma": recent,
        "change": recent - new,
        f"spread_{LONG}": z.rolling(LONG, min_periods=MIN_CYCLES_FOR_SLOPE).std(),
        "new": new,
        f"slope_{LONG}": _slopes(z, LONG),
        f"slope_{LONGEST}": _slopes(z, LONGEST),
    }
    return pd.concat([part.add_suffix(f"_{name}") for name, part in parts.items()], axis=1)


def _slopes(z: pd.DataFrame, cycles: int) -> pd.DataFrame:
    """Least-squares slope per cycle over the last `cycles`: cov(t, z) / var(t); NaN before MIN_CYCLES_FOR_SLOPE."""
    t = pd.Series(np.arange(len(z), dtype=np.float64))

    def mean(of: Any) -> Any:
        return of.rolling(cycles, min_periods=MIN_CYCLES_FOR_SLOPE).mean()

    covariance = mean(z.mul(t, axis=0)) - mean(z).mul(mean(t), axis=0)
    return pd.DataFrame(covariance.div(mean(t**2) - mean(t) ** 2, axis=0))


def _scale_of(rows: pd.DataFrame, *, left: Floats) -> Scale:
    values = rows.drop(columns=["unit", "cycle"])
    deviation = values.std()
    kept = deviation[deviation > 1e-9 * values.abs().max()].index
    if kept.empty:
        raise ValueError("no quantity varies: nothing can be learned")
    way = -np.sign([np.corrcoef(values[name], left)[0, 1] for name in kept])
    return Scale(
        tuple(str(name) for name in kept), values[kept].mean().to_numpy(), deviation[kept].to_numpy(), np.asarray(way, dtype=np.float64)
    )
