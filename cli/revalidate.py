"""`maintenance revalidate`: rules that were changed in the plant file run again over history, shown before anything changes.

The verdicts are given anew from the stored evidence; readings and scores stay as they are, and so does what people decided. Where
`policy.detection` would find other incidents in the stored scores, these days' incidents are found and judged anew. What rests on them
(health, predictions, work orders, schedule, reports) is then made anew by the ordinary job.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import dagster as dg
import pandas as pd
from rich.console import Console
from rich.padding import Padding
from rich.text import Text
from sqlalchemy import Connection

from assets.partitions import HEALTH_FALLS_WITHIN_DAYS, SITE_TAG, SiteDay
from assets.recording import keep_validation, show_validations
from cli.environment import Environment
from cli.errors import CommandError
from cli.launch import Launcher, launcher
from cli.planner import demand_site, ledger_of
from cli.process import Stages, run_site_days
from cli.refinding import FoundOtherwise, found_otherwise
from expectations.rejudging import Change, Rejudged, rejudge
from expectations.validation import ValidationOutcome
from jobs.pipeline import SITE_DAY_ASSETS
from jobs.requests import UNDER_WAY
from ml.feedback import fit_calibration
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.findings import labelled_incidents
from resources.ledger.intake import days_with_readings, pending_site_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.reopening import reopen_site_days
from resources.ledger.verdicts import (
    lock_verdicts,
    orders_of,
    record_revalidation,
    replace_verdicts,
    verdicts_between,
)
from resources.validation_pages import ValidationPagesResource

RESTING = "health, predictions, work orders, schedule and reports"
RUN_LIMIT = timedelta(hours=2)  # dagster.yaml ends runs that take longer: what still stands as started then is dead


@dataclass(frozen=True)
class Span:
    """Days of a site, both inclusive."""

    site: Site
    start: date
    end: date


@dataclass(frozen=True)
class Revalidation:
    """What changes; no id where nothing was written. `days` rest on it and are to be made anew, `waiting` ones wait for the whole chain."""

    revalidation_id: int | None
    rejudged: Rejudged
    refound: tuple[FoundOtherwise, ...]
    days: tuple[date, ...]
    waiting: tuple[date, ...]
    orders: pd.DataFrame
    outcomes: Mapping[SiteDay, ValidationOutcome]

    @property
    def is_change(self) -> bool:
        return bool(self.rejudged.changes or self.refound)


def judge_again(
    environment: Environment,
    *,
    start: date,
    end: date,
    site: str | None,
    is_applied: bool,
    operator: str,
    why: str,
    console: Console,
) -> None:
    """Print what would change, or change it. Raises CommandError."""
    demand_site(environment, site)
    if end < start:
        raise CommandError(f"The range ends ({end}) before it starts ({start}).")
    if is_applied and not (operator.strip() and why.strip()):
        raise CommandError("--apply needs --operator and --why: verdicts that change without them cannot be audited.")
    if not is_applied and (operator or why):
        raise CommandError("--operator and --why go with --apply; without it nothing is written.")
    ledger = ledger_of(environment)
    lake = LakeResource(root=str(environment.home.folder("lake")))
    spans = [Span(s, start, end) for s in environment.sites if site in (None, s.site)]
    if not is_applied:
        looked = [(span, look(ledger, span, lake=lake)) for span in spans]
        for span, found in looked:
            show(found, span=span, console=console)
            if found.days:
                console.print(f"{_spans(found.days)}: {RESTING} would be made anew.", highlight=False)
        if any(found.is_change for _, found in looked):
            console.print("Nothing was written. To write it: the same command with --apply --operator NAME --why TEXT.")
        return
    with launcher(environment) as started:
        for span in spans:
            demand_idle(started.instance, span.site.site)
            done = apply(ledger, span, lake=lake, operator=operator.strip(), why=why.strip())
            show(done, span=span, console=console)
            if done.revalidation_id is not None:
                pages = ValidationPagesResource(root=str(environment.home.folder("validation")))
                show_validations(done.outcomes, ledger=ledger, pages=pages)
                console.print(f"Written as revalidation {done.revalidation_id}, by {operator}.", highlight=False, markup=False)
                _follow(done, span.site.site, launcher=started, console=console)


def _follow(done: Revalidation, site: str, *, launcher: Launcher, console: Console) -> None:
    """Make anew what rests on the verdicts, and say what stays. Raises CommandError."""
    if done.waiting:
        console.print(f"{_spans(done.waiting)}: wait to be processed anyway; {RESTING} come with it.", highlight=False)
    if done.days:
        console.print(
            f"{_spans(done.days)}: {RESTING} rest on the old {'incidents' if done.refound else 'verdicts'} and are made anew.",
            highlight=False,
        )
        try:
            bring_up_to_date(launcher, site=site, days=done.days, stages=Stages(console), is_found_anew=bool(done.refound))
        except CommandError as error:
            raise CommandError(
                f"The verdicts are written, but what rests on them could not be made anew: {error} The days wait; "
                "`maintenance up` or the next `maintenance run` takes them through the chain."
            ) from error
    orders = [f"{o['order_id']} ({str(o['state']).replace('_', ' ')})" for o in done.orders.drop_duplicates("order_id").to_dict("records")]
    if orders:
        console.print(f"Orders keep their state, as only people close them: {', '.join(orders)}.", highlight=False)


def look(ledger: LedgerResource, span: Span, *, lake: LakeResource) -> Revalidation:
    """What would change."""
    with ledger.begin() as connection:
        return _examine(connection, span, lake=lake)


def apply(ledger: LedgerResource, span: Span, *, lake: LakeResource, operator: str, why: str) -> Revalidation:
    """Write the new verdicts, who wanted them and why, and which site-days wait for it, in one transaction.

    Incidents that would be found otherwise are left to the runs that these days wait for.
    """
    site = span.site.site
    with ledger.begin() as connection:
        lock_verdicts(connection, site)
        found = _examine(connection, span, lake=lake)
        rejudged = found.rejudged
        if not found.is_change:
            return found
        if rejudged.changes:
            replace_verdicts(connection, [{"incident_id": c.incident_id, "day": c.day, **asdict(c.after)} for c in rejudged.changes])
        revalidation_id = record_revalidation(
            connection,
            {
                "site": site,
                "first_day": span.start,
                "last_day": span.end,
                "who": operator,
                "why": why,
                "policy": span.site.policy.verdict.model_dump(mode="json"),
                "changes": [*(c.record() for c in rejudged.felt), *(row for day in found.refound for row in day.record())],
            },
        )
        for site_day, outcome in found.outcomes.items():
            keep_validation(connection, outcome, site_day, run_id=f"revalidation-{revalidation_id}")
        reopen_site_days(connection, site=site, days=[*found.days, *found.waiting])
    return replace(found, revalidation_id=revalidation_id)


def _examine(connection: Connection, span: Span, *, lake: LakeResource) -> Revalidation:
    site = span.site.site
    refound = found_otherwise(connection, lake, site=span.site, start=span.start, end=span.end)
    anew = {found.day for found in refound}  # judged when they are found
    stored = [row for row in verdicts_between(connection, site=site, start=span.start, end=span.end) if row["day"] not in anew]
    days = sorted({row["day"] for row in stored})
    calibrations = {day: fit_calibration(labelled_incidents(connection, site=site, before=day)).apply for day in days}
    rejudged = rejudge(stored, policy=span.site.policy.verdict, calibrations=calibrations)
    resting = resting_on(rejudged.changes, found_anew=anew, stored=days_with_readings(connection, site=site))
    pending = {p.day for p in pending_site_days(connection, site=site)}
    return Revalidation(
        None,
        rejudged,
        refound,
        days=tuple(day for day in resting if day not in pending),
        waiting=tuple(day for day in resting if day in pending),
        orders=orders_of(connection, {c.incident_id for c in rejudged.felt} | {name for found in refound for name in found.gone}),
        outcomes={SiteDay(day, site): rejudged.outcomes[day] for day in sorted({c.day for c in rejudged.changes})},
    )


def resting_on(changes: Collection[Change], *, found_anew: Collection[date] = (), stored: Collection[date]) -> list[date]:
    """Stored days whose health, predictions, orders or reports the changes bear on: a fall of health is looked for days later, too."""
    reached = {c.day for c in changes if c.is_shown} | set(found_anew)
    felt = {c.day for c in changes if c.is_felt} | set(found_anew)
    reached |= {day + timedelta(days=n) for day in felt for n in range(1, HEALTH_FALLS_WITHIN_DAYS + 1)}
    return sorted(reached.intersection(stored))


def bring_up_to_date(launcher: Launcher, *, site: str, days: Sequence[date], stages: Stages, is_found_anew: bool = False) -> None:
    """Run what follows from incidents, and only that: scores would be those of today's champion. Raises CommandError.

    With `is_found_anew` the incidents, too.
    """
    following = dg.AssetSelection.assets("incidents").downstream(include_self=is_found_anew) & dg.AssetSelection.assets(*SITE_DAY_ASSETS)
    keys = following.resolve(launcher.definitions.resolve_asset_graph())
    with stages.stage(f"{site}: what rests on it", len(days)) as advance:
        run_site_days(launcher, site, days, advance, assets=keys)


def demand_idle(instance: dg.DagsterInstance, site: str) -> None:
    """A run that has read the old verdicts must not write after us. Raises CommandError."""
    under_way = dg.RunsFilter(
        job_name="process_site_day",
        statuses=list(UNDER_WAY),
        created_after=datetime.now(UTC) - RUN_LIMIT,
    )
    for record in instance.get_run_records(under_way):
        tags = record.dagster_run.tags
        if site in (tags.get(SITE_TAG), tags.get("dagster/partition/site")):
            raise CommandError(f"A run of {site} is under way ({record.dagster_run.run_id}); apply when it has ended.")


def show(found: Revalidation, *, span: Span, console: Console) -> None:
    """Print what changes of one site."""
    if found.refound:
        console.print(f"[bold]{span.site.site}[/bold]: by the plant file as it is now, from the stored scores", highlight=False)
        for day in found.refound:
            console.print(Padding(Text.assemble((str(day.day), "cyan"), "  ", day.words()), (0, 0, 0, 2), expand=False))
        console.print(f"On {_count(len(found.refound), 'day')} incidents are found and judged anew.", highlight=False)
    _show_verdicts(found, span=span, console=console)


def _show_verdicts(found: Revalidation, *, span: Span, console: Console) -> None:
    rejudged = found.rejudged
    where = f"{span.site.site}, {span.start} to {span.end}"
    if found.refound and not rejudged.n_judged:
        return
    if not rejudged.n_judged and not rejudged.without_evidence:
        console.print(f"{where}: no incident was judged.", highlight=False)
        return
    judged = f"{_count(rejudged.n_judged, 'verdict')} on {_count(rejudged.n_incidents, 'incident')} from stored evidence"
    console.print(f"[bold]{where}[/bold]: {judged}", highlight=False)
    for incident_id, of_incident in groupby(sorted(rejudged.felt, key=lambda c: (c.incident_id, c.day)), key=lambda c: c.incident_id):
        console.print(Text(incident_id, style="bold"))
        for said, days in groupby(of_incident, key=_said):
            console.print(Padding(Text.assemble((_spans([c.day for c in days]), "cyan"), "  ", said[0]), (0, 0, 0, 2), expand=False))
            for rule in said[1:]:
                console.print(Padding(Text(rule), (0, 0, 0, 6), expand=False))
    n_noted = len(rejudged.changes) - len(rejudged.felt)
    if not rejudged.changes:
        console.print("No verdict changes." if found.refound else "Nothing changes.")
    elif not rejudged.felt:
        console.print(f"No verdict or confidence changes; {_count(n_noted, 'verdict')} would be explained by the rules as they are now.")
    else:
        kept = rejudged.n_judged - len(rejudged.felt)
        changed = f"{_count(len(rejudged.felt), 'verdict')} change, or their confidence"
        console.print(f"{changed}; {kept} keep verdict and confidence.", highlight=False)
    for n, names in groupby(sorted(rejudged.not_gathered, key=rejudged.not_gathered.__getitem__), key=rejudged.not_gathered.__getitem__):
        left_out = f"Left out of {_count(n, 'verdict')}, whose days were processed before the evidence for it was gathered"
        console.print(f"{left_out}: {', '.join(names)}.", highlight=False)
    if rejudged.without_evidence:
        console.print(f"{_count(rejudged.without_evidence, 'verdict')} have no evidence stored and stay as they are.", highlight=False)


def _said(change: Change) -> tuple[str, ...]:
    before, after = change.before, change.after
    moved = f"{_words(before.verdict)} {before.confidence:.2f} → {_words(after.verdict)} {after.confidence:.2f}"
    return (moved, *change.rules())


def _words(verdict: str) -> str:
    return verdict.replace("_", " ")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _spans(days: Sequence[date]) -> str:
    """Days in words, consecutive ones as a span."""
    said = []
    for _, run in groupby(enumerate(sorted(days)), key=lambda at: at[1] - timedelta(days=at[0])):
        of_run = [day for _, day in run]
        said.append(str(of_run[0]) if len(of_run) == 1 else f"{of_run[0]} to {of_run[-1]}")
    return ", ".join(said)
