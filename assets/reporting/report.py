"""A report as values: sections of text, figures, tables and charts, with the range of data that every figure rests on.

There is no wall-clock time in it: the same stored data gives the same report, byte for byte.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

Kind = Literal["performance_summary", "anomaly_summary", "maintenance_summary", "system_health"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Cell = str | int | float | None
NOTHING = "Nothing in this range."
MAX_ROWS = 100


@dataclass(frozen=True)
class Figure:
    """A key figure. `note` says what it rests on, where the label does not: how many, of which, since when."""

    label: str
    value: Cell
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Chart:
    """`svg` is one <svg> element to be put into an HTML page; `alt` says in words what it shows."""

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Section:
    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True)
class Report:
    """`start` and `end` are UTC days, both inclusive; `scope` is a site's name or "all sites"."""

    kind: Kind
    title: str
    scope: str
    start: date
    end: date
    generated_from: str
    sections: tuple[Section, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON: days as ISO text, charts by title and alt text."""
        return _plain(self)  # type: ignore[no-any-return]


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name != "svg"}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, date) else value


def cell(value: Any) -> Cell:
    """A stored value as a cell: missing is None, times are UTC to the minute, lists are one line."""
    if isinstance(value, list | tuple | np.ndarray):
        return "; ".join(str(v) for v in value)
    if value is None or pd.isna(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float) else str(value)


def table(title: str, frame: pd.DataFrame, columns: Mapping[str, str]) -> Table:
    """The frame's rows under `columns` (name in the frame -> heading); of a long frame the first, and the title says so."""
    if len(frame) > MAX_ROWS:
        title = f"{title} (the first {MAX_ROWS} of {len(frame)})"
        frame = frame.head(MAX_ROWS)
    rows = tuple(tuple(cell(v) for v in row) for row in frame[list(columns)].itertuples(index=False, name=None))
    return Table(title, tuple(columns.values()), rows)


def tables(*candidates: Table) -> tuple[Table, ...]:
    """Those that have rows: a report shows no empty table."""
    return tuple(t for t in candidates if t.rows)


def charts(*candidates: Chart | None) -> tuple[Chart, ...]:
    return tuple(c for c in candidates if c is not None)


def shown(value: Cell) -> str:
    """How a cell reads for a person: thousands separated, three significant digits or so, a dash where nothing is known."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return re.sub(r"\.?0+$", "", f"{value:,.{digits}f}") if digits else f"{value:,.0f}"


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
