"""Which runs the waiting segments call for; shared by the new-drop sensor and the reconciling schedule."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta

import dagster as dg

from assets.partitions import LOOK_BACK_DAYS, SiteDay, range_tags
from resources.ledger.intake import PendingSiteDay, days_with_readings, pending_site_days
from resources.ledger.ledger import LedgerResource

ACTIVE = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
SINGLE_RUNS_UP_TO = 4  # consecutive days of a site beyond this many are processed by one run


def reopened(pending: Iterable[PendingSiteDay], stored: Mapping[str, Collection[date]]) -> list[SiteDay]:
    """Site-days with unmerged segments, and the stored days after them that look back on them."""
    due: set[SiteDay] = set()
    for item in pending:
        due.add(SiteDay(item.day, item.site))
        following = (item.day + timedelta(days=n) for n in range(1, LOOK_BACK_DAYS))
        due.update(SiteDay(day, item.site) for day in following if day in stored.get(item.site, ()))
    return sorted(due)


def run_requests(due: Sequence[SiteDay], *, key: str) -> Iterator[dg.RunRequest]:
    """One run per site-day, or one per stretch of consecutive days of a site where there are many."""
    for stretch in stretches(due):
        if len(stretch) <= SINGLE_RUNS_UP_TO:
            for site_day in stretch:
                yield dg.RunRequest(run_key=f"{site_day.key}:{key}", job_name="process_site_day", partition_key=site_day.key)
        else:
            yield dg.RunRequest(run_key=f"{stretch[0].key}..{stretch[-1].key}:{key}", job_name="process_site_day", tags=range_tags(stretch))


def key_of(pending: Iterable[PendingSiteDay]) -> str:
    """A run key that changes whenever another segment waits."""
    content = "\n".join(f"{p.site} {p.day} {' '.join(p.drop_ids)}" for p in pending)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def pending_requests(ledger: LedgerResource) -> list[dg.RunRequest]:
    """Runs for everything that waits to be merged, and for the later days that look back on it."""
    with ledger.begin() as connection:
        pending = pending_site_days(connection)
        stored = {site: set(days_with_readings(connection, site=site)) for site in {p.site for p in pending}}
    return list(run_requests(reopened(pending, stored), key=key_of(pending))) if pending else []


def is_at_work(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or under way."""
    return bool(instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=list(ACTIVE)), limit=1))


def stretches(due: Sequence[SiteDay]) -> Iterator[list[SiteDay]]:
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
