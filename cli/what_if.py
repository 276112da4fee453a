"""`maintenance what-if`: past days once more under another policy, detector or roster, beside the ledger and never in it.

A copy of the ledger is taken back to the morning of the first day, and the days are run twice: as things are, and as they might be. So
what differs comes of the change alone. What people decided and reported in those days is done again at the end of its day, where the
same order is there and can take it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, func, or_, select

from assets.partitions import LOOK_BACK_DAYS, SiteDay
from cli.environment import Environment, prepared
from cli.errors import CommandError
from cli.launch import Launcher
from cli.planner import demand_site, ledger_of
from cli.process import Stages, run_site_days
from ml.plant import MAX_HISTORY_DAYS, Site
from ml.policy import OPEN_STATES, IllegalMove
from ml.what_if import INCIDENT_COLUMNS, ORDER_COLUMNS, PLACE_COLUMNS, Difference, Outcome, difference
from resources.ledger.deeds import Completion, Decision
from resources.ledger.findings import latest_assessments
from resources.ledger.intake import days_with_readings
from resources.ledger.learning import version_record
from resources.ledger.ledger import LedgerResource
from resources.ledger.rewind import copy_ledger, rewind
from resources.ledger.rows import jsonable, read_frame
from resources.ledger.tables import assignments, decisions, maintenance_log, work_order_events, work_orders
from resources.ledger.work import UnknownOrder, complete, decide
from resources.models import CHAMPION, ModelsResource
from resources.plant_files import LOADER, read_plant
from resources.postgres import URL_VARIABLE, database_url
from resources.scratch import scratch_home

FINDINGS = ("incidents", "machine_health", "failure_predictions", "work_orders", "maintenance_schedule")


@dataclass(frozen=True)
class Question:
    """The days of some sites, and what is to be otherwise: files to read policy and technicians from, a detector version."""

    start: date
    end: date
    site: str | None = None
    policy: Path | None = None
    roster: Path | None = None
    model: int | None = None


@dataclass(frozen=True)
class Deed:
    """What a person did in production in those days, to be done again."""

    site: str
    at: datetime
    what: Decision | Completion


@dataclass(frozen=True)
class Answer:
    """`not_done`: deeds that found no such order, or one in another state, as things are and as they might be."""

    difference: Difference
    before: Outcome
    after: Outcome
    not_done: tuple[list[str], list[str]]
    is_rescored: bool


def ask(environment: Environment, question: Question, *, console: Console) -> Answer:
    """Run the days twice in a scratch folder. Raises CommandError, PlantError."""
    demand_site(environment, question.site)
    if question.end < question.start:
        raise CommandError(f"The range ends ({question.end}) before it starts ({question.start}).")
    if question.policy is None and question.roster is None and question.model is None:
        raise CommandError("Say what is to be otherwise: --policy FILE, --roster FILE, --model VERSION, or several of them.")
    sites = [s.site for s in environment.sites if question.site in (None, s.site)]
    if len(sites) > 1 and (question.model is not None or question.roster is not None):
        raise CommandError(f"--model and --roster are of one site; name it with --site: {', '.join(sites)}.")
    look_back = question.start - timedelta(days=LOOK_BACK_DAYS + MAX_HISTORY_DAYS)
    ledger_url = database_url(environment.server_url, "smart_maintenance")
    with scratch_home(environment.home, start=look_back, end=question.end) as home:
        plants = {name: home.root / "plants" / name for name in ("before", "after")}
        _write_plants(environment, plants, question=question, sites=sites)
        champions = _champions(environment, sites, cache=home.folder("models"), also=question.model)
        pinned = {**champions, **({sites[0]: question.model} if question.model is not None else {})}
        is_rescored = question.model is not None or _detects_otherwise(plants, sites)
        with ledger_of(environment).begin() as connection:
            deeds = deeds_between(connection, sites, start=question.start, end=question.end)
        with _embedded(), prepared(home=home.root, plant=plants["before"]) as scratch:
            scratch_url = database_url(scratch.server_url, "smart_maintenance")
            trial = _Trial(scratch, question, sites, deeds, assets=(*(("anomaly_scores",) if is_rescored else ()), *FINDINGS))
            copy_ledger(ledger_url, scratch_url)
            before, not_done = trial.run("as it is", plants["before"], pinned=champions, console=console)
            after, not_done_after = trial.run("as it might be", plants["after"], pinned=pinned, console=console)
    return Answer(difference(before, after), before, after, (not_done, not_done_after), is_rescored)


@contextmanager
def _embedded() -> Iterator[None]:
    """The scratch ledger is a server of its own, also where a server is named for production."""
    named = os.environ.pop(URL_VARIABLE, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[URL_VARIABLE] = named


def _write_plants(environment: Environment, plants: Mapping[str, Path], *, question: Question, sites: Sequence[str]) -> None:
    """The plant files as they are, and as they might be. Raises CommandError for files that hold nothing of the kind, PlantError."""
    policy = _part(question.policy, ("policy",)) if question.policy else {}
    roster = _part(question.roster, ("technicians", "parts")) if question.roster else {}
    for name, folder in plants.items():
        folder.mkdir(parents=True)
        for site in environment.sites:
            content = yaml.load((environment.plant / f"{site.site}.yaml").read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506
            if name == "after" and site.site in sites:
                content["policy"] = _merged(content.get("policy") or {}, policy.get("policy", {}))
                content |= roster
            text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
            (folder / f"{site.site}.yaml").write_text(text, encoding="utf-8")
        read_plant(folder)


def _part(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{path}: not valid YAML ({error}).") from error
    found = {key: content[key] for key in keys if isinstance(content, dict) and key in content}
    if not found:
        raise CommandError(f"{path} has none of the keys {', '.join(keys)}; write them as in a plant file.")
    return found


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` over `old`, key by key, down to values that are no mappings."""
    merged = dict(old)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _detects_otherwise(plants: Mapping[str, Path], sites: Sequence[str]) -> bool:
    """Whether scores would differ: they count members at the on-threshold."""
    before, after = ({s.site: s.policy.detection for s in read_plant(folder)} for folder in plants.values())
    return any(before[site] != after[site] for site in sites)


def _champions(environment: Environment, sites: Sequence[str], *, cache: Path, also: int | None) -> dict[str, int]:
    """The version that scores each site now; its bytes, and those of the version asked for, are put into the scratch cache."""
    folder = environment.home.folder
    models = ModelsResource(tracking_uri=database_url(environment.server_url, "mlflow"), artifacts=str(folder("mlflow")), cache=str(cache))
    found = {}
    for site in sites:
        champion = models.version_of(site, CHAMPION)
        if champion is None:
            raise CommandError(f"{site} has no detector yet: there is nothing to compare.")
        found[site] = champion
        for version in {champion, also} - {None}:
            with ledger_of(environment).begin() as connection:
                known = version_record(connection, site=site, version=int(version or 0))
            if known is None:
                raise CommandError(f"{site} has no detector version {version} that was trained here.")
            models.load(site, known["version"], artifact_sha256=known["artifact_sha256"])
    return found


def deeds_between(connection: Connection, sites: Sequence[str], *, start: date, end: date) -> list[Deed]:
    since, until = (datetime.combine(day, time(), tzinfo=UTC) for day in (start, end + timedelta(days=1)))
    found = []
    for table, at, kind in ((decisions, decisions.c.decided_at, Decision), (maintenance_log, maintenance_log.c.ended_at, Completion)):
        query = select(table).where(table.c.site.in_(sites), at >= since, at < until, table.c.order_id.is_not(None))
        for row in connection.execute(query).mappings():
            known = {f.name: row[f.name] for f in fields(kind) if f.name in row}
            found.append(Deed(row["site"], row[at.name], kind(**known)))
    return sorted(found, key=lambda deed: deed.at)


@dataclass(frozen=True)
class _Trial:
    """Runs the days in the scratch folder, each time from the same morning."""

    environment: Environment
    question: Question
    sites: Sequence[str]
    deeds: Sequence[Deed]
    assets: Sequence[str]

    def run(self, name: str, plant: Path, *, pinned: Mapping[str, int], console: Console) -> tuple[Outcome, list[str]]:
        from definitions import build_definitions

        ledger, stages, not_done = ledger_of(self.environment), Stages(console), list[str]()
        sites = {s.site: s for s in read_plant(plant)}
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions("site", list(self.sites))
            started = Launcher(build_definitions(self.environment.home, plant=plant, pinned=pinned), instance)
            for site in self.sites:
                with ledger.begin() as connection:
                    rewind(connection, site=site, start=self.question.start)
                    stored = days_with_readings(connection, site=site)
                days = [day for day in stored if self.question.start <= day <= self.question.end]
                with stages.stage(f"{site}: {name}", len(days)) as advance:
                    for stretch, deeds in self._stretches(site, days):
                        keys = [dg.AssetKey(asset) for asset in self.assets]
                        run_site_days(started, site, stretch, advance, assets=keys)
                        not_done += replayed(ledger, deeds)
                        if deeds and stretch:
                            plan = [dg.AssetKey("maintenance_schedule")]
                            started.run("plan_site_day", partition_key=SiteDay(stretch[-1], site).key, assets=plan)
        with ledger.begin() as connection:
            return _outcome(connection, [sites[site] for site in self.sites], self.question), not_done

    def _stretches(self, site: str, days: Sequence[date]) -> Iterator[tuple[list[date], list[Deed]]]:
        """The days up to and including each on which people did something, with what they did."""
        by_day: dict[date, list[Deed]] = {}
        for deed in self.deeds:
            if deed.site == site:
                by_day.setdefault(deed.at.astimezone(UTC).date(), []).append(deed)
        rest = list(days)
        for day, deeds in sorted(by_day.items()):
            stretch = [d for d in rest if d <= day]
            rest = rest[len(stretch) :]
            yield stretch, deeds
        if rest:
            yield rest, []


def replayed(ledger: LedgerResource, deeds: Sequence[Deed]) -> list[str]:
    """Do again what people did; returns why some of it could not be done."""
    not_done = []
    for deed in deeds:
        try:
            with ledger.begin() as connection:
                if isinstance(deed.what, Decision):
                    decide(connection, deed.what)
                else:
                    complete(connection, deed.what)
        except (UnknownOrder, IllegalMove, ValueError) as error:
            not_done.append(f"{deed.at:%Y-%m-%d %H:%M}: {error}")
    return not_done


def _outcome(connection: Connection, sites: Sequence[Site], question: Question) -> Outcome:
    names, currency = [s.site for s in sites], {s.site: s.currency for s in sites}
    found = latest_assessments(connection)
    in_range = found["site"].isin(names) & (found["day"] >= question.start) & (found["day"] <= question.end)
    w, a = work_orders, assignments
    since = datetime.combine(question.start, time(), tzinfo=UTC)
    is_touched = select(work_order_events.c.event_id).where(work_order_events.c.order_id == w.c.order_id, work_order_events.c.at > since)
    is_due = or_(w.c.state.in_(OPEN_STATES), is_touched.exists())
    orders = read_frame(connection, select(w).where(w.c.site.in_(names), w.c.opened_on <= question.end, is_due))
    orders["currency"] = orders["site"].map(currency)
    newest = select(a.c.order_id, func.max(a.c.day).label("day")).where(a.c.day <= question.end).group_by(a.c.order_id).subquery()
    places = read_frame(
        connection,
        select(*(a.c[name] for name in PLACE_COLUMNS))
        .join(newest, (newest.c.order_id == a.c.order_id) & (newest.c.day == a.c.day))
        .where(a.c.order_id.in_(list(orders["order_id"]))),
    )
    return Outcome(found.loc[in_range, list(INCIDENT_COLUMNS)], orders[list(ORDER_COLUMNS)], places)


def as_json(answer: Answer) -> dict[str, Any]:
    told = {f.name: getattr(answer.difference, f.name) for f in fields(Difference)}
    told["decisions_not_done"] = {"before": answer.not_done[0], "after": answer.not_done[1]}
    return dict(jsonable(told))


def show(answer: Answer, *, console: Console) -> None:
    """Print what would differ."""
    found = answer.difference
    if found.is_none:
        console.print("Nothing would differ.")
    for title, rows, style in (("incidents added", found.incidents_added, "green"), ("incidents removed", found.incidents_removed, "red")):
        _list(title, [f"{r['incident_id']}  {r['verdict'].replace('_', ' ')} {r['confidence']:.2f}" for r in rows], style, console)
    _list("incidents judged otherwise", [f"{r['incident_id']}  {_moved(r)}" for r in found.incidents_changed], "yellow", console)
    for title, rows, style in (("orders added", found.orders_added, "green"), ("orders removed", found.orders_removed, "red")):
        _list(title, [f"{r['order_id']}  {r['state'].replace('_', ' ')}, {r['priority']}: {r['title']}" for r in rows], style, console)
    _list("orders changed", [f"{r['order_id']}  {_moved(r)}" for r in found.orders_changed], "yellow", console)
    table = Table(box=None, padding=(0, 2))
    for head in ("", "as it is", "as it might be", "difference"):
        table.add_column(head, justify="right" if head else "left", header_style="dim")
    for name, (before, after) in found.figures.items():
        table.add_row(name, f"{before:,.1f}", f"{after:,.1f}", f"{after - before:+,.1f}" if after != before else "")
    console.print(table)
    for which, not_done in zip(("as it is", "as it might be"), answer.not_done, strict=True):
        _list(f"what people did and could not be done again, {which}", not_done, "dim", console)
    if answer.is_rescored:
        console.print("Both were scored anew: as it is by today's champion, whoever was champion then.", style="dim")
    console.print("Ledger, lake and registry are as they were.", style="dim")


def _list(title: str, lines: Sequence[str], style: str, console: Console) -> None:
    if lines:
        console.print(f"{title} ({len(lines)})", style=f"bold {style}", highlight=False)
        for line in lines:
            console.print(f"  {line}", highlight=False, markup=False)


def _moved(row: Mapping[str, Any]) -> str:
    def said(value: Any) -> str:
        return f"{value:,.4g}" if isinstance(value, float) else str(value).replace("_", " ")

    moved = (f"{name.replace('_', ' ')} {said(row['before'][name])} -> {said(row['after'][name])}" for name in row["before"]
             if row["before"][name] != row["after"][name])  # fmt: skip
    return ", ".join(moved)
