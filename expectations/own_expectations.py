"""Expectations that Great Expectations lacks: rows are complete, their numbers finite, columns of their types; each over many columns.

One of these costs about 4 ms where an expectation per column would cost 3 ms for each of two dozen columns. This module
imports Great Expectations (over 1 s): import it only inside the function that validates, after `expectations.loading.library()`.
"""

from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation, MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import multicolumn_condition_partial
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import MulticolumnMapMetricProvider
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

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


class ColumnKinds(TableMetricProvider):  # type: ignore[misc]
    """What each column holds, in the words of `expectations.rules.kind_of_values`; None where no value is present."""

    metric_name = "table.column_kinds"

    @metric_value(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, execution_engine: PandasExecutionEngine, metric_domain_kwargs: dict[str, Any], **_: Any) -> dict[str, str | None]:  # noqa: N805
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type="table")
        return {name: kind_of(frame[name]) for name in frame.columns}


def kind_of(column: pd.Series) -> str | None:
    kind = column.dtype
    if isinstance(kind, pd.DatetimeTZDtype):
        return "UTC times" if str(kind.tz) == "UTC" else f"times in {kind.tz}"
    if isinstance(kind, pd.StringDtype):
        return "text"
    if pd.api.types.is_object_dtype(kind):
        inferred = pd.api.types.infer_dtype(column, skipna=True)
        return {"string": "text", "date": "days", "boolean": "yes or no", "empty": None}.get(inferred, inferred)
    return {"b": "yes or no", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}.get(kind.kind, str(kind))


class ExpectColumnsToHold(BatchExpectation):  # type: ignore[misc]
    """Expect each named column to be there and to hold values of its kind; one without any value holds any kind."""

    kinds: dict[str, str]

    metric_dependencies: ClassVar[tuple[str, ...]] = (ColumnKinds.metric_name,)
    success_keys: ClassVar[tuple[str, ...]] = ("kinds",)

    def _validate(self, metrics: dict[str, Any], **_: Any) -> dict[str, Any]:
        found: dict[str, str | None] = metrics[ColumnKinds.metric_name]
        wrong = [f"{name} is not there" for name in self.kinds if name not in found]
        wrong += [
            f"{name} holds {found[name]}, not {kind}"
            for name, kind in self.kinds.items()
            if kind != "anything" and found.get(name) not in (None, kind)
        ]
        return {"success": not wrong, "result": {"observed_value": "; ".join(wrong)}}
