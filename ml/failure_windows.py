"""What was known of a machine in each hour: its telemetry, errors and replacements so far; and whether it failed soon after.

The hours may be steps of another length, `step_h`; a window of so many hours then is the nearest whole number of steps.

An hour's features use nothing later than the hour, and of replacements nothing of the hour itself: the record of a repair bears the hour of
the failure that it repairs. `refuse_future` proves the first for any features: it makes them again from tables that end earlier.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Tables = Mapping[str, pd.DataFrame]

MEANS_H = (3, 12, 24, 48)
SPREADS_H = (24, 48)
ERRORS_H = (24, 72)
N_CHECKED = 5  # instants at which the features are made again without what came later
KEY = ["machine_id", "at"]
Direction = Literal["backward", "forward"]


class KnowsTheFuture(ValueError):
    """A feature of an hour changes with what happens after it."""


def hours_in_order(telemetry: pd.DataFrame) -> pd.DataFrame:
    return telemetry.sort_values(KEY, ignore_index=True)


def window_features(tables: Tables, *, errors: Sequence[str], components: Sequence[str], step_h: float = 1) -> pd.DataFrame:
    """One row per row of `hours_in_order(telemetry)`; errors and components: the names that count, whether or not one has occurred yet.

    tables: telemetry (machine_id, at, quantities; one row per hour), errors (machine_id, at, error), replacements (machine_id, at,
    component), machines (machine_id, and what is fixed of a machine, as numbers). Hours since a replacement that never was are NaN.
    """
    hours = hours_in_order(tables["telemetry"])
    features = pd.concat(
        [
            _telemetry_features(hours, step_h=step_h),
            _error_counts(hours, tables["errors"], codes=errors, step_h=step_h),
            _hours_since(hours, tables["replacements"], components=components),
        ],
        axis=1,
    )
    machines = tables["machines"].set_index("machine_id")
    for name in machines.columns:
        features[str(name)] = hours["machine_id"].map(machines[name]).to_numpy(dtype=np.float64)
    return features


def hours_to_failure(hours: pd.DataFrame, failures: pd.DataFrame) -> Floats:
    """To the next failure of the hour's machine, 0 in the hour of one, infinite where none comes; failures: machine_id, at."""
    nearest = _joined(hours, failures, direction="forward", is_exact=True)
    return np.asarray((nearest - hours["at"]).dt.total_seconds().fillna(np.inf) / 3600, dtype=np.float64)


def is_in_repair(hours: pd.DataFrame, failures: pd.DataFrame, *, replacements: pd.DataFrame) -> Flags:
    """From the hour of a failure to that of the machine's next replacement, both included: what is seen then is no forecast."""
    failed = _joined(hours, failures, direction="backward", is_exact=True)
    known = failed.notna()
    asked = pd.DataFrame({"machine_id": hours.loc[known, "machine_id"], "at": failed[known]})
    repaired = _joined(asked, replacements, direction="forward", is_exact=True)
    still = np.zeros(len(hours), dtype=np.bool_)
    still[known.to_numpy()] = (repaired.isna() | (hours.loc[known, "at"] <= repaired)).to_numpy()
    return still


def fails_within(to_failure_h: Floats, *, horizon_h: float) -> Flags:
    """Which hours are followed by a failure in time; that of a failure itself is not."""
    return (to_failure_h > 0) & (to_failure_h <= horizon_h)


def spread_instants(telemetry: pd.DataFrame) -> list[pd.Timestamp]:
    """N_CHECKED of its instants, spread evenly; the first and the last apart."""
    times = telemetry["at"].drop_duplicates().sort_values()
    return [times.iloc[round((len(times) - 1) * k / (N_CHECKED + 1))] for k in range(1, N_CHECKED + 1)]


def refuse_future(make: Callable[[Tables], pd.DataFrame], tables: Tables, *, at: Sequence[pd.Timestamp]) -> None:
    """Make the features again from tables that end at each of the instants. Raises KnowsTheFuture, naming the columns, where the features
    of the last hour are not the same."""
    hours, whole = hours_in_order(tables["telemetry"]), make(tables)
    for instant in at:
        cut = {name: table[table["at"] <= instant] if "at" in table.columns else table for name, table in tables.items()}
        then = hours_in_order(cut["telemetry"])
        seen = make(cut)[(then["at"] == instant).to_numpy()]
        known = whole[(hours["at"] == instant).to_numpy()]
        same = np.isclose(seen.reindex(columns=known.columns).to_numpy(dtype=np.float64), known.to_numpy(dtype=np.float64), equal_nan=True)
        if not same.all():
            named = ", ".join(str(name) for name, is_same in zip(known.columns, same.all(axis=0), strict=True) if not is_same)
            raise KnowsTheFuture(f"{named}: not the same at {instant} when nothing later is known")


def _steps(hours: Sequence[int], *, step_h: float, at_least: int) -> dict[int, int]:
    """Hours -> steps, of the windows that are so many steps long."""
    return {n: round(n / step_h) for n in hours if round(n / step_h) >= at_least}


def _telemetry_features(hours: pd.DataFrame, *, step_h: float) -> pd.DataFrame:
    quantities = [name for name in hours.columns if name not in KEY]
    by_machine = hours.groupby("machine_id", sort=False)[quantities]
    means, spreads = _steps(MEANS_H, step_h=step_h, at_least=1), _steps(SPREADS_H, step_h=step_h, at_least=2)
    parts = [by_machine.rolling(steps, min_periods=1).mean().add_suffix(f"_mean_{n}h") for n, steps in means.items()]
    parts += [by_machine.rolling(steps, min_periods=2).std().add_suffix(f"_std_{n}h") for n, steps in spreads.items()]
    return pd.concat([part.reset_index(drop=True) for part in parts], axis=1)


def _error_counts(hours: pd.DataFrame, errors: pd.DataFrame, *, codes: Sequence[str], step_h: float) -> pd.DataFrame:
    counts: dict[str, Floats] = {}
    index = pd.MultiIndex.from_frame(hours[KEY])
    for code in codes:
        in_hour = errors[errors["error"] == code].groupby(KEY).size().reindex(index, fill_value=0).astype("float64").reset_index(drop=True)
        by_machine = in_hour.groupby(hours["machine_id"], sort=False)
        for n, steps in _steps(ERRORS_H, step_h=step_h, at_least=1).items():
            counts[f"{code}_count_{n}h"] = np.asarray(by_machine.rolling(steps, min_periods=1).sum(), dtype=np.float64)
    return pd.DataFrame(counts, index=hours.index)


def _hours_since(hours: pd.DataFrame, replacements: pd.DataFrame, *, components: Sequence[str]) -> pd.DataFrame:
    since = {}
    for component in components:
        latest = _joined(hours, replacements[replacements["component"] == component], direction="backward", is_exact=False)
        since[f"hours_since_{component}"] = ((hours["at"] - latest) / pd.Timedelta(hours=1)).to_numpy(dtype=np.float64)
    return pd.DataFrame(since, index=hours.index)


def _joined(hours: pd.DataFrame, happened: pd.DataFrame, *, direction: Direction, is_exact: bool) -> "pd.Series[pd.Timestamp]":
    """The nearest instant of what happened to the hour's machine, in a direction, by the hours' index."""
    instants = happened[KEY].drop_duplicates().sort_values("at").assign(happened_at=lambda rows: rows["at"])
    asked = hours[KEY].rename_axis("row").reset_index().sort_values("at")
    found = pd.merge_asof(asked, instants, on="at", by="machine_id", direction=direction, allow_exact_matches=is_exact)
    return pd.Series(found.set_index("row")["happened_at"].sort_index())
