"""What `maintenance quarantine list` and `show` say: parts for a terminal, one after the other, or CSV."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text
from sqlalchemy import Connection

from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import demand_site, ledger_of
from cli.sinks import CsvSink, output
from ml.readings import REASONS
from ml.reasons import EXPLANATIONS
from resources.landing import LandingResource
from resources.ledger.quarantine import (
    Selection,
    UnknownDrop,
    drop_named,
    quarantined_groups,
    refused_files,
    releases_of,
)
from resources.quarantine import Group, UnreadableRelease, quarantined_rows, read_release

CSV_SCHEMA = pa.schema(
    [
        pa.field("drop_id", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("sensor_id", pa.string()),
        pa.field("timestamp", pa.timestamp("us", tz="UTC")),
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
    ]
)
SHORT = 8  # digits of a drop's id where another one is the subject; every command takes them
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a spreadsheet calculate a cell of text


def asked(
    environment: Environment,
    *,
    site: str | None = None,
    reasons: Sequence[str] | None = None,
    sensors: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    drop: str | None = None,
) -> Selection:
    """Raises CommandError for a site, reason or drop that there is not, and for a range that ends before it starts."""
    demand_site(environment, site)
    unknown = sorted(set(reasons or ()) - set(REASONS))
    if unknown:
        raise CommandError(f"There is no reason {', '.join(unknown)}; the reasons are {', '.join(REASONS)}.")
    if start and end and end < start:
        raise CommandError(f"The range ends ({end.date()}) before it starts ({start.date()}).")
    drop_id = None
    if drop is not None:
        try:
            with ledger_of(environment).begin() as connection:
                drop_id = drop_named(connection, drop)["drop_id"]
        except UnknownDrop as error:
            raise CommandError(str(error)) from error
    return Selection(
        site=site,
        drop_id=drop_id,
        reasons=reasons or None,
        sensor_ids=sensors or None,
        start=start.date() if start else None,
        end=end.date() if end else None,
    )


def listing(environment: Environment, which: Selection, *, with_released: bool, limit: int) -> Iterator[RenderableType]:
    """The latest drop first; a line holds the days of one reason and sensor."""
    with ledger_of(environment).begin() as connection:
        groups = quarantined_groups(connection, which, with_released=with_released)
        files = refused_files(connection, which)
        releases = releases_of(connection, which) if with_released else None
    lines = _lines(groups)
    shown = lines.head(limit)
    widths = [max([len(str(text)) for text in shown[name]], default=0) for name in ("reason", "sensor", "days")]
    for _, of_drop in shown.groupby("drop_id", sort=False):
        yield _heading(of_drop.iloc[0].to_dict())
        table = Table(
            *(Column(min_width=width, no_wrap=True) for width in widths),
            Column(min_width=7, justify="right"),
            Column(no_wrap=True),
            box=None,
            show_header=False,
        )
        for line in of_drop.to_dict("records"):
            released = "" if pd.isna(line["released_by"]) else f"released by {line['released_by'][:SHORT]}"
            table.add_row(line["reason"], line["sensor"], line["days"], f"{line['rows']:,}", released)
        yield Padding(table, (0, 0, 0, 2), expand=False)
    left_out = lines.iloc[limit:]
    if len(left_out):
        yield f"... and {len(left_out):,} more lines with {left_out['rows'].sum():,} rows; narrow it down, or raise --limit."
    yield from _refused_whole(files, limit=limit)
    if releases is not None:
        yield from _released(environment, releases)
    waiting = groups[groups["released_by"].isna()]
    n_rows, n_drops = waiting["rows"].sum(), waiting["drop_id"].nunique()
    yield f"In quarantine: {n_rows:,} rows of {n_drops:,} drops. Files refused whole: {len(files):,}."


def _lines(groups: pd.DataFrame) -> pd.DataFrame:
    """One per drop, reason, sensor and release, with its first and last day."""
    keys = ["drop_id", "site", "file_name", "taken_in_at", "releases", "reason", "sensor_id", "released_by"]
    lines = (
        groups.groupby(keys, sort=False, dropna=False).agg(rows=("rows", "sum"), days=("day", lambda days: _days(list(days)))).reset_index()
    )
    return lines.assign(sensor=lines["sensor_id"].fillna("unknown").map(visible))


def _days(days: list[Any]) -> str:
    known = sorted(str(day) for day in days if not pd.isna(day))
    if not known:
        return "day unknown"
    return known[0] if len(known) == 1 else f"{known[0]} to {known[-1]}"


def _heading(drop: Mapping[Any, Any]) -> Text:
    again = "" if pd.isna(drop["releases"]) else f", released from {str(drop['releases'])[:SHORT]}"
    return Text.assemble(
        (str(drop["drop_id"]), "bold"), f"  {drop['taken_in_at']:%Y-%m-%d %H:%M} UTC  ", visible(str(drop["file_name"])), again
    )


def _refused_whole(files: pd.DataFrame, *, limit: int) -> Iterator[RenderableType]:
    if len(files):
        yield Text("Refused whole", style="bold")
    for file in files.head(limit).to_dict("records"):
        head = f"{file['drop_id']}  {file['taken_in_at']:%Y-%m-%d %H:%M} UTC  {visible(file['file_name'])}"
        yield Text(head)
        yield Padding(Text(visible(file["refused_because"])), (0, 0, 0, 3), expand=False)
    if len(files) > limit:
        yield f"... and {len(files) - limit:,} more files."


def _released(environment: Environment, releases: pd.DataFrame) -> Iterator[RenderableType]:
    if len(releases):
        yield Text("Releases", style="bold")
    for row in releases.to_dict("records"):
        yield Text(f"{row['drop_id']}  {row['taken_in_at']:%Y-%m-%d %H:%M} UTC  of {row['releases'][:SHORT]}: {sum_of(row)}")
        try:
            asked_for = read_release(environment.home.root / row["kept_as"])
        except (OSError, UnreadableRelease) as error:
            said = f"Who asked for it is not known: {error}"
        else:
            said = f"{asked_for.who}: {asked_for.why}"
        yield Padding(Text(visible(said)), (0, 0, 0, 3), expand=False)


def rows_by_reason(environment: Environment, which: Selection, *, with_released: bool, limit: int) -> Iterator[RenderableType]:
    """Per drop and reason the explanation, and the first `limit` rows."""
    groups = _groups_of_drop(environment, which, with_released=with_released)
    for _, of_drop in groups.groupby("drop_id", sort=False):
        drop = of_drop.iloc[0].to_dict()
        yield _heading(drop)
        counts = of_drop.groupby("reason")["rows"].sum().to_dict()
        first = _first_rows(environment, of_drop, counts=counts, limit=limit)
        for reason in (r for r in REASONS if r in counts):
            explained = EXPLANATIONS[reason]
            yield ""
            yield Text.assemble((reason, "bold"), f"  {counts[reason]:,} row{'s' * (counts[reason] != 1)}")
            yield Padding(Text(f"{explained.meaning} {explained.remedy}"), (0, 0, 0, 2), expand=False)
            yield Padding(_rows_table(first[reason]), (0, 0, 0, 2), expand=False)
            if counts[reason] > limit:
                yield f"  ... and {counts[reason] - limit:,} more; --limit shows more of them, --format csv all."


def _first_rows(
    environment: Environment, of_drop: pd.DataFrame, *, counts: Mapping[Any, int], limit: int
) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {reason: [] for reason in counts}
    for table in _stored_rows(environment, of_drop):
        for reason, rows in found.items():
            if len(rows) < limit:
                rows.extend(table.filter(pc.equal(table["reason"], reason)).slice(0, limit - len(rows)).to_pylist())
        if all(len(rows) == min(limit, counts[reason]) for reason, rows in found.items()):
            break
    return found


def _rows_table(rows: Sequence[dict[str, Any]]) -> Table:
    is_wide = any(row["column"] is not None for row in rows)
    table = Table(
        Column("line", justify="right", no_wrap=True),
        *([Column("column")] if is_wide else []),
        Column("sensor", no_wrap=True),
        Column("time (UTC)", no_wrap=True),
        Column("as it stood in the file", overflow="fold"),
        box=None,
    )
    for row in rows:
        at = row["timestamp"]
        time = f"{at.replace(tzinfo=None)}" if isinstance(at, datetime) else "unknown"
        column = [Text(visible(str(row["column"] or "")))] if is_wide else []
        table.add_row(str(row["line"]), *column, str(row["sensor_id"] or "unknown"), time, Text(visible(str(row["raw"]))))
    return table


def rows_as_csv(environment: Environment, which: Selection, *, with_released: bool) -> None:
    """To stdout. Control characters are escaped, and what a spreadsheet would take for a formula begins with an apostrophe."""
    groups = _groups_of_drop(environment, which, with_released=with_released)
    with output(None) as file:
        sink = CsvSink(file, CSV_SCHEMA, zone=ZoneInfo("UTC"), is_plain=False)
        for drop_id, of_drop in groups.groupby("drop_id", sort=False):
            for table in _stored_rows(environment, of_drop):
                shown = table.add_column(0, CSV_SCHEMA.field("drop_id"), pa.repeat(pa.scalar(str(drop_id)), table.num_rows))
                for name in ("column", "raw"):
                    texts = pa.array([None if t is None else _harmless(visible(t)) for t in table[name].to_pylist()], pa.string())
                    shown = shown.set_column(shown.column_names.index(name), name, texts)
                sink.write(shown.select(CSV_SCHEMA.names).cast(CSV_SCHEMA))
        sink.close()


def sum_of(drop: Mapping[Any, Any]) -> str:
    return f"{drop['rows_in']:,} rows = " + " + ".join(
        f"{drop[f'rows_{what}']:,} {what}" for what in ("accepted", "duplicate", "quarantined")
    )


def visible(text: str) -> str:
    r"""The text with whatever would steer a terminal, or cannot be seen, written out: "a\nb" has a backslash and an n."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _groups_of_drop(environment: Environment, which: Selection, *, with_released: bool) -> pd.DataFrame:
    """Raises CommandError where there are none, saying why."""
    with ledger_of(environment).begin() as connection:
        groups = quarantined_groups(connection, which, with_released=with_released)
        if not len(groups):
            raise CommandError(why_none(connection, which))
    return groups


def why_none(connection: Connection, which: Selection) -> str:
    if which.drop_id is None:
        return "Nothing that fits lies in quarantine."
    drop = drop_named(connection, which.drop_id)
    said = f"drop {drop['drop_id']} ({visible(drop['file_name'])})"
    if drop["state"] == "refused":
        return (
            f"The file of {said} was refused whole: {visible(drop['refused_because'])} Once the plant file or the file is corrected, "
            f"copy it into the landing zone again; it lies in {drop['kept_as']}."
        )
    ever = quarantined_groups(connection, Selection(drop_id=which.drop_id), with_released=True)
    if not len(ever):
        return f"No row of {said} was refused."
    waiting = ever[ever["released_by"].isna()]
    if not len(waiting):
        return f"All {ever['rows'].sum():,} rows of {said} that were refused have been released; --all shows them."
    reasons = ", ".join(sorted(set(waiting["reason"])))
    return f"None of the {waiting['rows'].sum():,} refused rows of {said} fits; they were refused for {reasons}."


def _stored_rows(environment: Environment, of_drop: pd.DataFrame) -> Iterator[pa.Table]:
    drop = of_drop.iloc[0]
    path = landing_of(environment).quarantined_rows_path(site=drop["site"], drop_id=drop["drop_id"])
    try:
        yield from quarantined_rows(path, groups_of(of_drop))
    except (OSError, pa.ArrowInvalid) as error:
        raise CommandError(f"The refused rows of drop {drop['drop_id']} cannot be read from {path}: {error}") from error


def groups_of(frame: pd.DataFrame) -> tuple[Group, ...]:
    return tuple(
        Group(day=None if pd.isna(day) else day, sensor_id=None if pd.isna(sensor_id) else sensor_id, reason=reason)
        for day, sensor_id, reason in zip(frame["day"], frame["sensor_id"], frame["reason"], strict=True)
    )


def landing_of(environment: Environment) -> LandingResource:
    landing, archive, quarantine = (str(environment.home.folder(name)) for name in ("landing", "archive", "quarantine"))
    return LandingResource(landing=landing, archive=archive, quarantine=quarantine)
