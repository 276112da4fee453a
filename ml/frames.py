"""Rows with declared columns and types become a table, also when there are no rows, or nothing but missing instants."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

UTC_TIME = "datetime64[us, UTC]"


def typed_frame(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    """One column per entry of `kinds` (name -> dtype), in that order."""
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        values: Any = pd.Series([row[name] for row in rows], dtype=object)
        # a cast of nothing but NaT to an aware type fails, hence the detour
        columns[name] = pd.to_datetime(values, utc=True).astype(UTC_TIME) if kind == UTC_TIME else values.astype(kind)
    return pd.DataFrame(columns)
