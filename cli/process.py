"""The main job, headless: take drops in, train a first detector and, if asked, each week again, process every site-day, by stages."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import groupby

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.environment import Environment
from cli.errors import CommandError
from cli.launch import Launcher, chunks
from ml.plant import Site
from resources.ledger.intake import days_with_readings, pending_site_days, processed_days
from resources.ledger.learning import latest_champion, versions_of
from resources.ledger.ledger import LedgerResource
from resources.postgres import database_url

FILES_PER_RUN = 10
DAYS_PER_RUN = 7
Advance = Callable[[int], None]


@dataclass
class Stages:
    """Progress bars, and how long each stage took in seconds."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Advance]:
        columns = (TextColumn("{task.description:<30}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        began = time.monotonic()
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(name, total=total)
            yield lambda n: progress.advance(task, n)
        self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - began


@dataclass(frozen=True)
class MainJob:
    """Takes what lies in the landing zone through to work orders and reports.

    With `is_retraining`, a challenger is trained before each Sunday's day is processed, as the weekly schedule of a plant that
    runs would have done.
    """

    environment: Environment
    launcher: Launcher
    stages: Stages
    is_retraining: bool = False

    @property
    def ledger(self) -> LedgerResource:
        return LedgerResource(url=database_url(self.environment.server_url, "smart_maintenance"))

    def run(self, files: Sequence[str]) -> list[str]:
        """Take in the named files, then process; returns sentences about what could not be done."""
        self._take_in(files)
        remarks: list[str] = []
        for site in self.environment.sites:
            done: set[date] = set()
            while due := self._due(site) - done:  # a run may find that days far behind its own rest on what it changed
                remarks.extend(self._process(site, due))
                done |= due
        return remarks

    def _due(self, site: Site) -> set[date]:
        from jobs.requests import reopened

        with self.ledger.begin() as connection:
            pending = pending_site_days(connection, site=site.site)
            stored = {site.site: days_with_readings(connection, site=site.site)}
        return {site_day.day for site_day in reopened(pending, stored)}

    def _take_in(self, files: Sequence[str]) -> None:
        with self.stages.stage("take drops in", len(files)) as advance:
            for some in chunks(files, FILES_PER_RUN):
                self.launcher.run("intake", config=dg.RunConfig(ops={"drops": {"config": {"files": list(some), "max_files": len(some)}}}))
                advance(len(some))

    def _process(self, site: Site, pending: set[date]) -> Iterator[str]:
        """First the days to learn from, then a detector, then the days that it scores."""
        with self.ledger.begin() as connection:
            days = days_with_readings(connection, site=site.site)
            is_trained = latest_champion(connection, site=site.site) is not None
        due = [day for day in days if day in pending]
        to_learn_from: list[date] = []
        if due and not is_trained:
            needed = site.policy.training.min_healthy_days
            to_learn_from = days[:needed]
            if len(days) <= needed:
                yield (
                    f"{site.site}: {len(days)} days of readings; a detector needs {needed} and days to score after them, "
                    "so nothing was scored."
                )
        with self.stages.stage(f"{site.site}: days to learn from", len(to_learn_from)) as advance:
            self._site_days(site, to_learn_from, advance)
        if to_learn_from and len(days) > len(to_learn_from):
            with self.stages.stage(f"{site.site}: train detectors", 1) as advance:
                self._train(site, until=to_learn_from[-1])
                advance(1)
        rest = [day for day in due if day not in to_learn_from]
        with self.stages.stage(f"{site.site}: process days", len(rest)) as advance:
            if not self.is_retraining:
                self._site_days(site, rest, advance)
                return
            for sunday, week in groupby(rest, key=_sunday_of):
                yield from self._train_again(site, until=sunday - timedelta(days=1))
                self._site_days(site, list(week), advance)

    def _train_again(self, site: Site, *, until: date) -> Iterator[str]:
        """A challenger, unless later days are processed already or learned from; a refusal to train it is a remark."""
        with self.ledger.begin() as connection:
            processed = processed_days(connection, site=site.site)
            learned = [version["data_end"] for version in versions_of(connection, site=site.site)]
        if not learned or max(learned) >= until or max(processed) > until:
            return
        try:
            self._train(site, until=until)
        except CommandError as refusal:
            yield f"{site.site}: no challenger from the days until {until}. {refusal}"

    def _train(self, site: Site, *, until: date) -> None:
        config = dg.RunConfig(ops={"detector_model": {"config": {"until": until.isoformat()}}})
        self.launcher.run("train_detectors", partition_key=site.site, config=config)

    def _site_days(self, site: Site, days: Sequence[date], advance: Advance) -> None:
        run_site_days(self.launcher, site.site, days, advance)


def _sunday_of(day: date) -> date:
    """The Sunday on which the day's week begins.

    >>> _sunday_of(date(2026, 10, 3)), _sunday_of(date(2026, 10, 4))  # a Saturday, a Sunday
    (datetime.date(2026, 9, 27), datetime.date(2026, 10, 4))
    """
    return day - timedelta(days=day.isoweekday() % 7)


def run_site_days(
    launcher: Launcher, site: str, days: Sequence[date], advance: Advance, *, assets: Collection[dg.AssetKey] | None = None
) -> None:
    """Take these days through the chain, or through these assets of it, in as few runs as memory and time allow."""
    from assets.partitions import SiteDay
    from jobs.requests import run_requests, stretches

    for stretch in stretches([SiteDay(day, site) for day in days]):
        for some in chunks(stretch, DAYS_PER_RUN):
            for request in run_requests(some, key=""):
                launcher.run("process_site_day", partition_key=request.partition_key, tags=request.tags, assets=assets)
            advance(len(some))
