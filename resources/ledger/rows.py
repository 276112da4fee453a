"""Tables of pandas in, rows of the ledger out: NaN and NaT become null, numpy numbers become Python's."""

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Select, Table, delete, insert


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One dictionary per row, with values that psycopg and JSON take."""
    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def plain(value: Any) -> Any:
    """The value as plain Python: numpy scalars unpacked, missing ones None, containers walked through."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def jsonable(value: Any) -> Any:
    """As `plain`, with times and days as ISO text."""
    value = plain(value)
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [jsonable(v) for v in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def replace_site_day(connection: Connection, table: Table, frame: pd.DataFrame, *, site: str, day: date) -> None:
    """The rows of (site, day) become those of the frame."""
    connection.execute(delete(table).where(table.c.site == site, table.c.day == day))
    if len(frame):
        columns = [c.name for c in table.columns if c.name in frame.columns]
        connection.execute(insert(table), [{**r, "site": site, "day": day} for r in records(frame[columns])])


def read_frame(connection: Connection, query: Select[Any]) -> pd.DataFrame:
    """The query's rows with their column names, also where there are none; times as UTC timestamps."""
    result = connection.execute(query)
    frame = pd.DataFrame(result.fetchall(), columns=list(result.keys()))
    for column, kind in zip(query.selected_columns, frame.columns, strict=True):
        if getattr(column.type, "timezone", False):
            frame[kind] = pd.to_datetime(frame[kind], utc=True).astype("datetime64[us, UTC]")
    return frame
