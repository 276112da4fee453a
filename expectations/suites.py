"""The suites: what must hold of each kind of stored table, as Great Expectations rules with names that read as claims.

Suites run over compact tables (a profile of a site-day, a row per incident), never over raw readings: the library
does about 0.2 million rows a second.
"""

import sys
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from expectations.contracts import SENSOR_QUALITY, Column, Contract
from expectations.validation import Rule, Severity, Suite, gx_expectation
from ml.plant import FAILURE_MODE_NAMES, Site

_DAY = pd.Timedelta(days=1)
READINGS_PROFILE_COLUMNS = (
    "sensor_id", "is_in_plant", "n_readings", "n_duplicate_timestamps", "n_null", "n_outside_physical",
    "first_at", "last_at", "is_first_in_day", "is_last_in_day",
)  # fmt: skip


def _whole_rows(kind: str, columns: tuple[str, ...]) -> Callable[[], Any]:
    def build() -> Any:
        from expectations import whole_rows

        return getattr(whole_rows, kind)(column_list=list(columns))

    return build


def complete(columns: tuple[str, ...]) -> Rule:
    if len(columns) == 1:  # the library refuses a rule over many columns that names one
        build = gx_expectation("ExpectColumnValuesToNotBeNull", column=columns[0])
    else:
        build = _whole_rows("ExpectRowsToBeComplete", columns)
    return Rule("no_value_is_missing", f"no value is missing in {', '.join(columns)}", "critical", build, columns)


def _finite(columns: tuple[str, ...]) -> Rule:
    if len(columns) == 1:
        largest = sys.float_info.max
        build = gx_expectation("ExpectColumnValuesToBeBetween", column=columns[0], min_value=-largest, max_value=largest)
    else:
        build = _whole_rows("ExpectRowsToBeFinite", columns)
    return Rule("numbers_are_finite", f"no number is infinite in {', '.join(columns)}", "critical", build, columns)


def between(
    column: str,
    low: float | None,
    high: float | None,
    *,
    name: str | None = None,
    severity: Severity = "critical",
    words: str | None = None,
) -> Rule:
    """Passes on missing values: a suite that uses it also demands `complete`, or means "where present"."""
    bounds = {word: bound for word, bound in (("at least", low), ("at most", high)) if bound is not None}
    claim = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items())
    name = name or f"{column}_is_{claim}".replace("-", "minus_").replace(".", "_").replace(" ", "_")
    build = gx_expectation("ExpectColumnValuesToBeBetween", column=column, min_value=low, max_value=high)
    return Rule(name, words or f"{column} is {claim}", severity, build, (column,))


def one_of(
    column: str, values: tuple[Any, ...], *, name: str | None = None, severity: Severity = "critical", words: str | None = None
) -> Rule:
    """Passes on missing values, as `between` does."""
    described = words or f"{column} is one of {', '.join(map(str, values))}"
    build = gx_expectation("ExpectColumnValuesToBeInSet", column=column, value_set=list(values))
    return Rule(name or f"{column}_is_a_known_one", described, severity, build, (column,))


def _not_above(lower: str, upper: str) -> Rule:
    arguments = {"column_A": upper, "column_B": lower, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    build = gx_expectation("ExpectColumnPairValuesAToBeGreaterThanB", **arguments)
    return Rule(f"{lower}_is_not_above_{upper}", f"{lower} is at most {upper}, where both are present", "critical", build, (lower, upper))


def _unique(key: tuple[str, ...]) -> Rule:
    words = f"no two rows have the same {' and '.join(key)}"
    if len(key) == 1:
        return Rule("keys_are_unique", words, "critical", gx_expectation("ExpectColumnValuesToBeUnique", column=key[0]), key)
    build = gx_expectation("ExpectCompoundColumnsToBeUnique", column_list=list(key), ignore_row_if="never")
    return Rule("keys_are_unique", words, "critical", build, key)


def _of_type(column: Column) -> Rule:
    """Any width passes: the lake's schema sees to that."""
    word, build = _type_test(column)
    words = f"{column.name} ({column.description}) holds {word.replace('_', ' ')}"
    return Rule(f"{column.name}_is_{word}", words, "critical", build, (column.name,))


def _type_test(column: Column) -> tuple[str, Callable[[], Any]]:
    if pa.types.is_string(column.type):  # a list of types does not match pandas' own text and time types, a single one does
        return "text", gx_expectation("ExpectColumnValuesToBeOfType", column=column.name, type_="str")
    if pa.types.is_timestamp(column.type):  # a column without a time zone is a datetime64 to the library
        return "a_utc_time", gx_expectation("ExpectColumnValuesToBeOfType", column=column.name, type_="Timestamp")
    if pa.types.is_boolean(column.type):
        return "yes_or_no", gx_expectation("ExpectColumnValuesToBeOfType", column=column.name, type_="bool")
    if pa.types.is_integer(column.type):
        widths = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
        return "a_whole_number", gx_expectation("ExpectColumnValuesToBeInTypeList", column=column.name, type_list=widths)
    if pa.types.is_floating(column.type):
        return "a_number", gx_expectation("ExpectColumnValuesToBeInTypeList", column=column.name, type_list=["float32", "float64"])
    raise ValueError(f"column {column.name}: no expectation for the type {column.type}; add one to expectations.suites")


def suite_from_contract(contract: Contract, *, extra: tuple[Rule, ...] = (), min_rows: int = 1) -> Suite:
    """Types, missing values, infinities, ranges, sets and the key, as the contract declares them."""
    rules = [_of_type(c) for c in contract.columns]
    rules.append(complete(tuple(c.name for c in contract.columns if not c.nullable)))
    numbers = tuple(c.name for c in contract.columns if pa.types.is_floating(c.type))
    if numbers:
        rules.append(_finite(numbers))
    for column in contract.columns:
        if column.low is not None or column.high is not None:
            rules.append(between(column.name, column.low, column.high))
        if column.one_of is not None:
            rules.append(one_of(column.name, column.one_of))
    rules.append(_unique(contract.key))
    return Suite(contract.table, f"the contract of {contract.table}", contract.table, (*rules, *extra), contract.key, min_rows)


def sensor_quality_suite() -> Suite:
    """The contract, and a warning where a sensor is unusable."""
    words = "no sensor has grade F"
    usable = one_of("grade", ("A", "B", "C"), name="every_sensor_is_usable", severity="warning", words=words)
    return suite_from_contract(SENSOR_QUALITY, extra=(usable,))


def predictions_suite() -> Suite:
    """Columns as in the ledger's predictions. No prediction at all is a good day, not a failure."""
    percentiles = ("ttf_p10_days", "ttf_p50_days", "ttf_p90_days")
    rules = (
        complete(("machine_id", "failure_mode", "probability_7d", "probability_30d")),
        one_of("failure_mode", tuple(FAILURE_MODE_NAMES)),
        between("probability_7d", 0, 1),
        between("probability_30d", 0, 1),
        _not_above("probability_7d", "probability_30d"),
        *(between(p, 0, None) for p in percentiles),
        *(_not_above(a, b) for a, b in pairwise(percentiles)),
        *(_only_with(later, earlier) for earlier, later in pairwise(percentiles)),
        one_of("limit_kind", ("alarm", "trip")),
        one_of("limit_side", ("low", "high")),
        _unique(("machine_id", "failure_mode")),
    )
    return Suite("predictions", "failure predictions of a site-day", "predictions", rules, ("machine_id", "failure_mode"), min_rows=0)


def _only_with(later: str, earlier: str) -> Rule:
    """A missing percentile lies beyond the horizon, so an earlier one cannot be missing while a later one is known."""

    def build() -> Any:
        from great_expectations.expectations.row_conditions import Column as Tested

        return gx_expectation("ExpectColumnValuesToNotBeNull", column=earlier, row_condition=Tested(later).is_not_null())()

    return Rule(f"{later}_is_known_only_with_{earlier}", f"where {later} is known, so is {earlier}", "critical", build, (earlier, later))


def readings_profile(readings: pd.DataFrame, *, site: Site, day: date) -> pd.DataFrame:
    """One row per sensor of the plant, also the silent ones, and per unknown sensor found (then `is_in_plant` is 0).

    A reading outside [low, high] of the sensor's physical band counts in `n_outside_physical`; a missing value or
    timestamp in `n_null`; a second reading at the same sensor and timestamp in `n_duplicate_timestamps`.
    `is_first_in_day` and `is_last_in_day` are 1 if the first and last reading lie in the UTC day (or there are none).
    """
    known = [s.sensor_id for s in site.sensors]
    found = pd.unique(readings["sensor_id"].dropna())
    ids = known + sorted(set(map(str, found)) - set(known))
    codes = pd.Index(ids).get_indexer(pd.Index(readings["sensor_id"]))
    if (codes < 0).any():
        n = int((codes < 0).sum())
        raise ValueError(f"{n} readings of {site.site} on {day} name no sensor; only readings with a sensor_id can be profiled")
    at = readings["timestamp"].astype("datetime64[us, UTC]")
    ticks = at.to_numpy(dtype="datetime64[us]").astype(np.int64)
    value = pd.to_numeric(readings["value"], errors="coerce").to_numpy(dtype=np.float64)
    low, high = _physical_bounds(site, n=len(ids))
    counts = {
        "n_readings": np.ones(len(codes), dtype=bool),
        "n_duplicate_timestamps": _is_repeated(codes, ticks),
        "n_null": np.isnan(value) | at.isna().to_numpy(),
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


def readings_profile_suite() -> Suite:
    """Over `readings_profile`: what the merged readings of a site-day must be; warnings for silent sensors and unknown ones.

    Intake refuses unknown sensors, so an unknown one here has left the plant file since: its readings stay, and nobody uses them.
    """
    in_plant = "no reading is of a sensor that the plant file lacks"
    counted = [c for c in READINGS_PROFILE_COLUMNS if c not in ("first_at", "last_at")]
    has_readings = gx_expectation("ExpectColumnMaxToBeBetween", column="n_readings", min_value=1)
    rules = (
        complete(tuple(counted)),
        one_of("is_in_plant", (1,), name="every_sensor_is_in_the_plant", severity="warning", words=in_plant),
        between("n_duplicate_timestamps", 0, 0, name="timestamps_are_unique", words="no sensor has two readings at one time"),
        between("n_null", 0, 0, name="no_reading_lacks_its_value", words="every reading has a timestamp and a value"),
        between("n_outside_physical", 0, 0, name="readings_are_possible", words="every value is within what the sensor can measure"),
        one_of("is_first_in_day", (1,), name="no_reading_is_before_the_day", words="the first reading lies in the UTC day"),
        one_of("is_last_in_day", (1,), name="no_reading_is_after_the_day", words="the last reading lies in the UTC day"),
        Rule("the_day_has_readings", "at least one sensor has readings", "critical", has_readings, ("n_readings",)),
        between("n_readings", 1, None, name="every_sensor_delivered", severity="warning", words="every sensor of the plant has readings"),
        _unique(("sensor_id",)),
    )
    return Suite("sensor_readings", "profile of the readings of a site-day", "sensor_readings", rules, ("sensor_id",))
