"""Two expectations that Great Expectations lacks: a row is complete, and its numbers are finite, over many columns at once.

One of these costs about 8 ms where an expectation per column would cost 6 ms for each of a dozen columns. This module
imports Great Expectations (about 5 s): import it only inside the function that validates.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import multicolumn_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import MulticolumnMapMetricProvider

_DOMAIN = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")


class RowsComplete(MulticolumnMapMetricProvider):  # type: ignore[misc]
    condition_metric_name = "multicolumn_values.all_present"
    condition_domain_keys = _DOMAIN
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:  # noqa: N805
        return column_list.notna().all(axis=1)


class RowsFinite(MulticolumnMapMetricProvider):  # type: ignore[misc]
    condition_metric_name = "multicolumn_values.all_finite"
    condition_domain_keys = _DOMAIN
    condition_value_keys = ()

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series:  # noqa: N805
        infinite = np.isinf(column_list.to_numpy(dtype=np.float64, na_value=np.nan))
        return pd.Series(~infinite.any(axis=1), index=column_list.index)


class ExpectRowsToBeComplete(MulticolumnMapExpectation):  # type: ignore[misc]
    """Expect no missing value in any of the columns."""

    ignore_row_if: Literal["all_values_are_missing", "any_value_is_missing", "never"] = "never"
    map_metric: ClassVar[str] = RowsComplete.condition_metric_name


class ExpectRowsToBeFinite(MulticolumnMapExpectation):  # type: ignore[misc]
    """Expect no infinite number in any of the columns; a missing one is the other expectation's business."""

    ignore_row_if: Literal["all_values_are_missing", "any_value_is_missing", "never"] = "never"
    map_metric: ClassVar[str] = RowsFinite.condition_metric_name
