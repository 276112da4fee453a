"""A CSV of what happened to machines becomes a table of events, or a sentence about the first row that cannot be one."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.columns import Bools
from ml.frames import UTC_TIME
from ml.instants import instants
from ml.plant import Site

DELIMITERS = ",;\t|"


class UnreadableEvents(ValueError):
    """The file cannot be taken as it is; the message names line and reason."""


@dataclass(frozen=True)
class EventColumns:
    """What the file calls them."""

    machine: str = "machine_id"
    at: str = "at"
    code: str = "code"


def read_events(content: bytes, *, site: Site, columns: EventColumns, now: pd.Timestamp) -> pd.DataFrame:
    """[machine_id, at (UTC), code], each event once. Machines by their id or their name in the drops; times ISO 8601, naive ones in the
    site's zone (of two that a clock change makes of one, the first). Raises UnreadableEvents."""
    lines, rows = _rows(content, columns)
    texts = {name: [row[place].strip() for row in rows] for place, name in enumerate(("machine", "at", "code"))}
    machine_of = {m.name_in_drops: m.machine_id for m in site.machines} | {m.machine_id: m.machine_id for m in site.machines}
    machines = pd.Series(texts["machine"], dtype="str").map(machine_of)
    read = instants(pa.chunked_array([pa.array(texts["at"], pa.string())]), "iso", zone=site.zone)
    at = pd.Series(pd.to_datetime(read.at_us, unit="us", utc=True)).astype(UTC_TIME)  # type: ignore[call-overload]
    skipped = read.is_skipped if read.is_skipped is not None else np.zeros(len(rows), bool)
    known = ", ".join(sorted(machine_of)[:10]) + (", ..." if len(machine_of) > 10 else "")
    said: Sequence[tuple[Bools, str]] = (
        (np.array([not text for text in texts["machine"]], bool), f"the column {columns.machine} is empty"),
        (machines.isna().to_numpy(), f"{site.site} has no machine {{machine!r}}; it has {known}"),
        (skipped, f"the time {{at!r}} does not exist in {site.time_zone}: clocks were put forward"),
        (~read.is_instant, "the time {at!r} cannot be read; write ISO 8601, such as 2026-03-01 14:05"),
        (at.to_numpy() > now, "the time {at!r} lies in the future"),
        (np.array([not text for text in texts["code"]], bool), f"the column {columns.code} is empty"),
    )
    _demand(said, lines=lines, texts=texts)
    return pd.DataFrame({"machine_id": machines, "at": at, "code": texts["code"]}).drop_duplicates(ignore_index=True)


def _rows(content: bytes, columns: EventColumns) -> tuple[list[int], list[tuple[str, str, str]]]:
    """(physical line of each row, its three cells)"""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UnreadableEvents(f"line {line}: not UTF-8; save the file as UTF-8") from error
    head = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=head.count))
    names = [name.strip() for name in next(reader, [])]
    wanted = (columns.machine, columns.at, columns.code)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise UnreadableEvents(f"line 1: there is no column {', '.join(missing)}; the columns are {', '.join(names) or 'none'}")
    places = [names.index(name) for name in wanted]
    lines, rows = [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(places):
            raise UnreadableEvents(f"line {reader.line_num}: it has {len(row)} columns, the first line has {len(names)}")
        lines.append(reader.line_num)
        rows.append((row[places[0]], row[places[1]], row[places[2]]))
    if not rows:
        raise UnreadableEvents("there is no row below the first line")
    return lines, rows


def _demand(said: Sequence[tuple[Bools, str]], *, lines: Sequence[int], texts: Mapping[str, Sequence[str]]) -> None:
    """The first wrong line is named, with the first of the reasons that holds for it."""
    wrong = np.logical_or.reduce([is_wrong for is_wrong, _ in said])
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    reason = next(words for is_wrong, words in said if is_wrong[row])
    more = int(wrong.sum()) - 1
    cells = {name: column[row] for name, column in texts.items()}
    raise UnreadableEvents(f"line {lines[row]}: {reason.format(**cells)}" + (f" ({more} more rows are wrong, too)" if more else ""))
