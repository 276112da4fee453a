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
UNDER_WAY = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
ACTIVE = (*WAITING, *UNDER_WAY)


def reopened(pending: Iterable[PendingSiteDay], stored: Mapping[str, Collection[date]]) -> list[SiteDay]:
    """Site-days that wait, and the stored days that look back on those with new readings; merging makes these wait, too."""
    due: set[SiteDay] = set()
    for item in pending:
        due.add(SiteDay(item.day, item.site))
        following = () if item.is_merged else (item.day + timedelta(days=n) for n in range(1, REACH_DAYS))
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
    """Runs for everything that has not gone through the chain, but for what a run will take along.

    A queued run takes along all that waits by then for its days; one under way, what had been merged.
    """
    with ledger.begin() as connection:
        pending = pending_site_days(connection)
        stored = {site: set(days_with_readings(connection, site=site)) for site in {p.site for p in pending}}
    if not pending:
        return []
    queued, under_way = _stretches_of(instance, WAITING), _stretches_of(instance, UNDER_WAY)
    pending = [p for p in pending if not (p.is_merged and _is_within([SiteDay(p.day, p.site)], under_way))]
    requests: list[dg.RunRequest] = []
    for site in sorted(stored):
        of_site = [p for p in pending if p.site == site]
        for stretch in stretches(reopened(of_site, stored)):
            if not _is_within(stretch, queued):
                first = stretch[0].day - timedelta(days=REACH_DAYS)
                requests.extend(run_requests(stretch, key=key_of(p for p in of_site if first < p.day <= stretch[-1].day)))
    return requests


def key_of(pending: Iterable[PendingSiteDay]) -> str:
    """A run key that changes whenever another segment waits, or a day waits again."""
    content = "\n".join(f"{p.site} {p.day} {' '.join(p.drop_ids)} {p.reopened_at}" for p in pending)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def is_at_work(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or under way."""
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(ACTIVE)), limit=1))


def _stretches_of(instance: dg.DagsterInstance, statuses: Sequence[dg.DagsterRunStatus]) -> list[tuple[SiteDay, SiteDay]]:
    """First and last site-day of each run of the chain."""
    found = []
    for record in instance.get_run_records(dg.RunsFilter(job_name="process_site_day", statuses=list(statuses))):
        tags = record.dagster_run.tags
        first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition")
        last = tags.get("dagster/asset_partition_range_end") or first
        if first and last:
            found.append((SiteDay.of(first), SiteDay.of(last)))
    return found


def _is_within(stretch: Sequence[SiteDay], others: Iterable[tuple[SiteDay, SiteDay]]) -> bool:
    return any(first.site == stretch[0].site and first <= stretch[0] and stretch[-1] <= last for first, last in others)


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
