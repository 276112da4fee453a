"""Overtime: urgent work that no shift can finish in time is done by people who are called out for it.

A call-out may lie at any hour, on no absence, and takes no break. Of the crews and times that there are, the one that ends least late
is taken; then one within the machine's stop windows; then one that leaves `overtime_rest_h` between it and everybody's other work;
then the soonest. So stop windows and rest give way to the deadline, and nothing that is planned already gives way to rest.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ml.calendars import absent_spans
from ml.plant import Site
from ml.timetable import Grid, Job, Place, Slots, Span, Timetable


def call_outs(
    jobs: Sequence[Job],
    *,
    placed: Mapping[str, Place],
    called: Mapping[str, Place],
    table: Timetable,
    site: Site,
    grid: Grid,
    start: pd.Timestamp,
) -> dict[str, Place]:
    """Overtime for the urgent jobs that have no place or a late one; `table` holds the regular plan and takes the call-outs.

    `called` are the call-outs of the plan before; they stay, unless one can be had sooner. From `start` plus the response time on.
    """
    away = absent_spans(site, grid=grid)
    soonest = grid.ceil(start + pd.Timedelta(hours=site.policy.planning.overtime_response_h))
    rest = grid.length(site.policy.planning.overtime_rest_h)
    calls: dict[str, Place] = {}
    for job in jobs:
        regular = placed.get(job.order_id)
        is_late = regular is not None and job.due is not None and regular.end > job.due
        if not job.is_urgent or not job.crews or (regular is not None and not is_late):
            continue
        if regular:
            table.release(job, regular)
        call = _best(job, table=table, away=away, not_before=max(soonest, job.earliest), rest=rest)
        stood = called.get(job.order_id)
        if stood and stood.technicians in job.crews and job.earliest <= stood.start <= call.start:
            blocked = [span for t in stood.technicians for span in away[t]]
            again = table.at_any_hour(job, stood.technicians, not_before=stood.start, blocked=blocked)
            call = again if again.start == stood.start else call
        if regular and regular.end <= call.end:
            call = regular
        else:
            calls[job.order_id] = call
        table.book(job, call)
    return calls


def _best(job: Job, *, table: Timetable, away: Mapping[str, list[Span]], not_before: int, rest: int) -> Place:
    stop = table.calendar.stop.get(job.machine_id)
    closed = [] if stop is None else _closed(stop)
    ranked = []
    for n, technicians in enumerate(job.crews):
        absent = [span for t in technicians for span in away[t]]
        tired = [(b.start - rest, b.end + rest) for t in technicians for b in table.by_technician.get(t, ())]
        for rank, blocked in enumerate(([*closed, *tired], closed, tired, [])):
            place = table.at_any_hour(job, technicians, not_before=not_before, blocked=[*absent, *blocked])
            late = max(0, place.end - job.due) if job.due is not None else place.start
            ranked.append(((late, rank, place.start, n), place))
    return min(ranked)[1]


def _closed(stop: Slots) -> list[Span]:
    """Spans outside the stop windows; beyond the calendar's end nothing is known, and the machine may be stopped."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], stop < 0, [0]]).astype(np.int64)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
