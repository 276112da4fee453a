"""A report becomes a self-contained HTML page, JSON, or text for a terminal. Every value is escaped on its way into HTML."""

import json
import re
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

from assets.reporting.page import TEMPLATE
from assets.reporting.report import Cell, Report, Table, shown

if TYPE_CHECKING:
    from jinja2 import Template

BADGE_COLUMNS = frozenset({"verdict", "state", "priority", "grade", "result"})
TONES = {
    "bad": ("credible", "urgent", "F", "failed", "refused", "rejected", "not met"),
    "warn": ("investigate", "high", "C", "awaiting_decision", "warning", "deferred", "not promoted", "manageable"),
    "info": ("medium", "B", "proposed", "approved", "scheduled", "in_progress"),
    "good": ("A", "completed", "accepted", "passed", "promoted", "met"),
}
_TONE_OF = {word: tone for tone, words in TONES.items() for word in words}


def to_html(report: Report) -> str:
    return str(_template().render(report=report, next_number=count(1).__next__))


def to_json(report: Report) -> str:
    return json.dumps(report.as_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def to_text(report: Report) -> str:
    lines = [report.title, f"{report.scope}, {span(report)}, from {report.generated_from}; times are UTC", ""]
    for section in report.sections:
        lines += [section.title, "=" * len(section.title), *([section.text] if section.text else [])]
        lines += _aligned(
            [(f.label, f"{shown(f.value)} {f.unit}".strip(), f.note) for f in section.figures], is_number=(False, True, False)
        )
        for table in section.tables:
            lines += ["", table.title, *_text_table(table)]
        lines += ["", *(f"[chart] {c.title}: {c.alt}" for c in section.charts)] if section.charts else []
        lines.append("")
    return "\n".join(line.rstrip() for line in lines)


def span(report: Report) -> str:
    return str(report.start) if report.start == report.end else f"{report.start} to {report.end}"


def _text_table(table: Table) -> list[str]:
    is_number = tuple(_is_number_column(table, i) for i in range(len(table.columns)))
    body = _aligned(
        [table.columns, *(tuple(_words(c, v) for c, v in zip(table.columns, row, strict=True)) for row in table.rows)], is_number=is_number
    )
    return [body[0], "-" * min(100, max(map(len, body))), *body[1:]]


def _aligned(rows: list[tuple[str, ...]], *, is_number: tuple[bool, ...]) -> list[str]:
    if not rows:
        return []
    one_line = [[re.sub(r"\s+", " ", v) for v in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*one_line, strict=True)]
    return ["  ".join(v.rjust(w) if n else v.ljust(w) for v, w, n in zip(row, widths, is_number, strict=True)).rstrip() for row in one_line]


def _is_number_column(table: Table, index: int) -> bool:
    values = [row[index] for row in table.rows if row[index] is not None]
    return bool(values) and all(isinstance(v, int | float) for v in values)


def _words(column: str, value: Cell) -> str:
    return shown(value).replace("_", " ") if column in BADGE_COLUMNS else shown(value)


def _badge(column: str, value: Cell) -> str | None:
    """The tone of a badge, or None where the cell is plain text."""
    return _TONE_OF.get(str(value), "plain") if column in BADGE_COLUMNS and value is not None else None


def _own_ids(svg: str, number: int) -> str:
    """Two charts in one page must not share ids, or one would be clipped by the other's frame."""
    svg = re.sub(r'\bid="', f'id="c{number}-', svg)
    return svg.replace('href="#', f'href="#c{number}-').replace("url(#", f"url(#c{number}-")


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    # The only values that are not escaped: elements that matplotlib wrote, with their texts escaped by it.
    environment.filters["svg"] = lambda svg, number: Markup(_own_ids(svg, number))  # noqa: S704
    environment.globals.update(badge=_badge, is_number_column=_is_number_column, span=span)
    return environment.from_string(TEMPLATE)
