"""Which runs the waiting segments call for; shared by the new-drop sensor, the reconciling schedule and the command line."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

from assets.partitions import REACH_DAYS, SITE_TAG, SiteDay, range_tags
from resources.ledger.intake import PendingSiteDay, days_with_readings, pending_site_days
from resources.ledger.ledger import LedgerResource

WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
ACTIVE = (*WAITING, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def reopened(pending: Iterable[PendingSiteDay], stored: Mapping[str, Collection[date]]) -> list[SiteDay]:
    """Site-days with waiting segments, and the stored days after them that look back on them."""
    due: set[SiteDay] = set()
    for item in pending:
        due.add(SiteDay(item.day, item.site))
        following = (item.day + timedelta(days=n) for n in range(1, REACH_DAYS))
        due.update(SiteDay(day, item.site) for day in following if day in stored.get(item.site, ()))
    return sorted(due)


def run_requests(due: Sequence[SiteDay], *, key: str) -> Iterator[dg.RunRequest]:
    """One run per stretch of consecutive days of a site, in order of time; `key` tells this request from an earlier one."""
    for stretch in stretches(due):
        if len(stretch) == 1:
            only = stretch[0]
            yield dg.RunRequest(
                run_key=f"{only.key}:{key}", job_name="process_site_day", partition_key=only.key, tags={SITE_TAG: only.site}
            )
        else:
            run_key = f"{stretch[0].key}..{stretch[-1].key}:{key}"
            yield dg.RunRequest(run_key=run_key, job_name="process_site_day", tags=range_tags(stretch))


def pending_requests(ledger: LedgerResource, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """Runs for everything that has not gone through the chain, but for stretches that a queued run will take along."""
    with ledger.begin() as connection:
        pending = pending_site_days(connection)
        stored = {site: set(days_with_readings(connection, site=site)) for site in {p.site for p in pending}}
    taken_along = _queued_stretches(instance) if pending else set()
    requests: list[dg.RunRequest] = []
    for site in sorted(stored):
        of_site = [p for p in pending if p.site == site]
        for stretch in stretches(reopened(of_site, stored)):
            if (stretch[0], stretch[-1]) not in taken_along:
                waiting = [p for p in of_site if stretch[0].day <= p.day <= stretch[-1].day]
                requests.extend(run_requests(stretch, key=key_of(waiting)))
    return requests


def key_of(pending: Iterable[PendingSiteDay]) -> str:
    """A run key that changes whenever another segment waits."""
    content = "\n".join(f"{p.site} {p.day} {' '.join(p.drop_ids)}" for p in pending)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def is_at_work(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or under way."""
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(ACTIVE)), limit=1))


def _queued_stretches(instance: dg.DagsterInstance) -> set[tuple[SiteDay, SiteDay]]:
    """First and last site-day of each run that has not begun to read."""
    found = set()
    for record in instance.get_run_records(dg.RunsFilter(job_name="process_site_day", statuses=list(WAITING))):
        tags = record.dagster_run.tags
        first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
        last = tags.get("dagster/asset_partition_range_end") or first
        if first and last:
            found.add((SiteDay.of(first), SiteDay.of(last)))
    return found


def stretches(due: Sequence[SiteDay]) -> Iterator[list[SiteDay]]:
    """The site-days cut into runs of consecutive days of one site."""
    by_site: dict[str, list[SiteDay]] = defaultdict(list)
    for site_day in sorted(due):
        by_site[site_day.site].append(site_day)
    for days in by_site.values():
        stretch = [days[0]]
        for site_day in days[1:]:
            if site_day.day - stretch[-1].day == timedelta(days=1):
                stretch.append(site_day)
            else:
                yield stretch
                stretch = [site_day]
        yield stretch
