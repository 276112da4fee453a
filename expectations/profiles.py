"""Large tables made small before they are looked at: a row per sensor or machine that counts what is wrong with its rows.

Great Expectations does about 0.2 million rows a second; a site-day of 1,000 sensors has 144,000 rows of features and may have
millions of readings. A profile is made at columnar speed, names the sensor, and is what `expectations.suites` look at.
"""

from collections.abc import Collection, Sequence
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from expectations.contracts import ANOMALY_SCORES, MACHINE_FEATURES, Contract
from ml.plant import Site

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

_DAY = pd.Timedelta(days=1)
READINGS_PROFILE_COLUMNS = (
    "sensor_id", "is_in_plant", "n_readings", "n_duplicate_timestamps", "n_null", "n_outside_physical",
    "first_at", "last_at", "is_first_in_day", "is_last_in_day",
)  # fmt: skip


def readings_profile(readings: pd.DataFrame, *, site: Site, day: date) -> pd.DataFrame:
    """One row per sensor of the plant, also the silent ones, and per unknown sensor found (then `is_in_plant` is 0).

    A reading outside [low, high] of the sensor's physical band counts in `n_outside_physical`; a missing or infinite value or a missing
    timestamp in `n_null`; a second reading at the same sensor and timestamp in `n_duplicate_timestamps`.
    `is_first_in_day` and `is_last_in_day` are 1 if the first and last reading lie in the UTC day (or there are none).
    """
    known = [s.sensor_id for s in site.sensors]
    place, found = pd.factorize(readings["sensor_id"])
    ids = known + sorted(set(map(str, found)) - set(known))
    codes = pd.Index(ids).get_indexer(pd.Index(found))[place] if len(found) else place
    if (place < 0).any():
        n = int((place < 0).sum())
        raise ValueError(f"{n} readings of {site.site} on {day} name no sensor; only readings with a sensor_id can be profiled")
    at = readings["timestamp"].astype("datetime64[us, UTC]")
    ticks = at.to_numpy(dtype="datetime64[us]").astype(np.int64)
    value = pd.to_numeric(readings["value"], errors="coerce").to_numpy(dtype=np.float64)
    low, high = _physical_bounds(site, n=len(ids))
    counts = {
        "n_readings": np.ones(len(codes), dtype=bool),
        "n_duplicate_timestamps": _is_repeated(codes, ticks),
        "n_null": ~np.isfinite(value) | at.isna().to_numpy(),
        "n_outside_physical": (value < low[codes]) | (value > high[codes]),
    }
    profile = pd.DataFrame({"sensor_id": pd.Series(ids, dtype="str")})
    profile["is_in_plant"] = (np.arange(len(ids)) < len(known)).astype(np.int64)
    for name, flags in counts.items():
        profile[name] = np.bincount(codes[flags], minlength=len(ids)).astype(np.int64)
    extremes = at.groupby(codes).agg(["min", "max"]).reindex(range(len(ids)))
    profile["first_at"] = extremes["min"].to_numpy()
    profile["last_at"] = extremes["max"].to_numpy()
    for name in ("first_at", "last_at"):
        profile[name] = pd.to_datetime(profile[name], utc=True).astype("datetime64[us, UTC]")
    midnight = pd.Timestamp(day, tz="UTC")
    for name, edge in (("is_first_in_day", "first_at"), ("is_last_in_day", "last_at")):
        inside = (profile[edge] >= midnight) & (profile[edge] < midnight + _DAY)
        profile[name] = (inside | (profile["n_readings"] == 0)).astype(np.int64)
    return profile[list(READINGS_PROFILE_COLUMNS)]


def _physical_bounds(site: Site, *, n: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    for i, sensor in enumerate(site.sensors):
        low[i] = -np.inf if sensor.physical.low is None else sensor.physical.low
        high[i] = np.inf if sensor.physical.high is None else sensor.physical.high
    return low, high


def _is_repeated(codes: np.ndarray, ticks: np.ndarray) -> np.ndarray:
    """True for each reading but the first at its sensor and timestamp. Stored readings are sorted, so the sort is rarely needed."""
    step_code, step_tick = np.diff(codes), np.diff(ticks)
    is_sorted = not ((step_code < 0) | ((step_code == 0) & (step_tick < 0))).any()
    order = np.arange(len(codes)) if is_sorted else np.lexsort((ticks, codes))
    again = (np.diff(codes[order]) == 0) & (np.diff(ticks[order]) == 0)
    repeated = np.zeros(len(codes), dtype=bool)
    repeated[order[1:][again]] = True
    return repeated


def features_profile(features: pd.DataFrame, *, site: Site, day: date) -> pd.DataFrame:
    """`contract_profile` of machine_features by sensor, with a row for every sensor of the plant, and what is wrong with windows."""
    is_ordered = np.ones(len(features), bool)
    for middle in ("mean", "last"):
        for low, high in (("min", middle), (middle, "max")):
            is_ordered &= ~(features[low] > features[high]).to_numpy()
    at_us = features["window_start"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    return contract_profile(
        features,
        contract=MACHINE_FEATURES,
        by="sensor_id",
        also=[s.sensor_id for s in site.sensors],
        counted={
            "n_outside_day": _outside(features["window_start"], day=day),
            "n_off_grid": at_us % (site.window_minutes * 60_000_000) != 0,
            "n_disordered": ~is_ordered,
        },
    )


def scores_profile(scores: pd.DataFrame, *, features: pd.DataFrame, day: date, version: int) -> pd.DataFrame:
    """`contract_profile` of anomaly_scores by machine, with a row for every machine that ran.

    `n_unanswered`: windows in which the machine ran by its `features` [machine_id, window_start, running_share] and of which the
    scores do not say a word; `n_without_their_score`: windows whose state and score contradict each other.
    """
    ran = features.loc[features["running_share"] >= 1 - 1e-9, ["machine_id", "window_start"]]
    unanswered = _only_in(ran, scores)
    is_scored = (scores["state"] == "scored").to_numpy()
    profile = contract_profile(
        scores,
        contract=ANOMALY_SCORES,
        by="machine_id",
        also=unanswered.index,
        counted={
            "n_scored": is_scored,
            "n_without_their_score": is_scored != scores["score"].notna().to_numpy(),
            "n_of_another_model": (scores["model_version"] != version).to_numpy(),
            "n_outside_day": _outside(scores["window_start"], day=day),
        },
    )
    profile["n_unanswered"] = profile["machine_id"].map(unanswered).fillna(0).astype(np.int64)
    return profile


def _only_in(ran: pd.DataFrame, scores: pd.DataFrame) -> pd.Series:
    """By machine of `ran`: how many of its windows the scores do not have. As numbers: pairs of texts and times took four times as long."""
    machine, named = pd.factorize(ran["machine_id"])
    machine_ids = pd.Index(named.astype("str"))
    scored, also_named = pd.factorize(scores["machine_id"])
    ticks = [frame["window_start"].to_numpy(dtype="datetime64[us]").astype(np.int64) for frame in (ran, scores)]
    window, windows = pd.factorize(np.concatenate(ticks))
    is_missing = np.zeros((len(machine_ids) + 1, len(windows)), dtype=bool)
    is_missing[machine, window[: len(ran)]] = True
    is_missing[machine_ids.get_indexer(also_named)[scored], window[len(ran) :]] = False  # -1, who did not run, is the row too many
    return pd.Series(is_missing[:-1].sum(axis=1), index=machine_ids)


def contract_profile(
    frame: pd.DataFrame, *, contract: Contract, by: str, also: Collection[str] = (), counted: dict[str, Flags] | None = None
) -> pd.DataFrame:
    """One row per value of `by`, and per value in `also`: rows, and how many break each kind of rule of the contract.

    `n_missing`, `n_infinite`, `n_out_of_range`, `n_repeated` count values (rows for the last), `where` names their columns;
    `counted` are further flags per row of the frame. Rows without a value of `by` are counted under the empty name.
    """
    place, named = pd.factorize(frame[by].fillna(""))
    names = pd.Index(sorted({*also, *named}), dtype="str")
    codes = names.get_indexer(pd.Index(named))[place] if len(named) else place
    broken = {kind: [(c, flags) for c, flags in found if flags.any()] for kind, found in _broken(frame, contract=contract).items()}
    profile = pd.DataFrame({by: names, "n_rows": np.bincount(codes, minlength=len(names))})
    where = pd.Series("", index=profile.index, dtype="str")
    for kind, found in broken.items():
        total = np.zeros(len(names), np.int64)
        for column, flags in found:
            count = np.bincount(codes[flags], minlength=len(names))
            total += count
            where = where.where(count == 0, where + [f"{column} {n} {kind.removeprefix('n_').replace('_', ' ')}; " for n in count])
        profile[kind] = total
    profile["n_repeated"] = np.bincount(codes[frame.duplicated(list(contract.key)).to_numpy()], minlength=len(names))
    profile["where"] = where.str.removesuffix("; ")
    for name, flags in (counted or {}).items():
        profile[name] = np.bincount(codes[flags], minlength=len(names))
    return profile


def _broken(frame: pd.DataFrame, *, contract: Contract) -> dict[str, Sequence[tuple[str, Flags]]]:
    """By kind of rule, each column that the contract has a word on with its offending rows."""
    missing, infinite, out_of_range = [], [], []
    for column in contract.columns:
        values = frame[column.name]
        is_missing = values.isna().to_numpy()
        if not column.nullable:
            missing.append((column.name, is_missing))
        if pa.types.is_floating(column.type):
            infinite.append((column.name, np.isinf(values.to_numpy(dtype=np.float64, na_value=np.nan))))
        if column.one_of is not None:
            out_of_range.append((column.name, ~is_missing & ~values.isin(column.one_of).to_numpy()))
        elif column.low is not None or column.high is not None:
            number = values.to_numpy(dtype=np.float64, na_value=np.nan)
            low, high = (-np.inf if column.low is None else column.low), (np.inf if column.high is None else column.high)
            out_of_range.append((column.name, (number < low) | (number > high)))
    return {"n_missing": missing, "n_infinite": infinite, "n_out_of_range": out_of_range}


def _outside(at: pd.Series, *, day: date) -> Flags:
    midnight = pd.Timestamp(day, tz="UTC")
    flags: Flags = ~((at >= midnight) & (at < midnight + _DAY)).to_numpy()
    return flags
