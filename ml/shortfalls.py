"""Why an order has no place, and the smallest change that would give it one.

The binding reason is the first constraint without which the order would have a place in a plan of its own: parts, readiness, stop
windows, shifts; else the time of those who could do it is taken. The change is found by relaxing one constraint at a time, the
cheapest to grant first, and placing the order anew beside the rest of the plan as it stands: parts or leave in time, a stop of the machine,
overtime after a shift, one more technician. So it is always enough; whether a smaller one would do if other work moved is not looked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.plant import Site
from ml.timetable import Calendar, Grid, Job, Place, Timetable
from ml.workload import Order

MAX_OVERTIME_H = 4
EXTRA = "another technician"  # no technician's id: ids have no space


@dataclass(frozen=True)
class Shortfall:
    order_id: str
    reason: str
    earliest_alternative: pd.Timestamp | None
    smallest_change: str | None


@dataclass(frozen=True)
class Missing:
    """What a shortfall is judged by. table: the plan as it stands; beyond: empty, and reaching further than the horizon."""

    site: Site
    grid: Grid
    table: Timetable
    beyond: Timetable

    def explain(self, order: Order, *, job: Job, wait: tuple[pd.Timestamp, tuple[str, ...]] | None) -> Shortfall:
        unknown = sorted(set(order.parts) - {p.part_id for p in self.site.parts})
        if unknown:
            names = ", ".join(unknown)
            return Shortfall(order.order_id, f"not among the site's parts: {names}", None, f"{names} among the site's parts")
        later = self.beyond.soonest(job, not_before=max(job.earliest, self.grid.horizon)) if job.crews else None
        return Shortfall(
            order.order_id,
            self._reason(order, job=job, wait=wait),
            self.grid.at(later.start) if later else None,
            next(self._changes(order, job=job, wait=wait), None),
        )

    def _reason(self, order: Order, *, job: Job, wait: tuple[pd.Timestamp, tuple[str, ...]] | None) -> str:
        days = self.site.policy.planning.horizon_days
        for skills, able in zip(order.crew, job.roles, strict=True):
            if not able:
                return f"no technician has all the skills {', '.join(skills)}"
        if not job.crews:
            return f"it takes {len(job.roles)} technicians at the same time ({_crew_words(order)}), and there are not so many"
        empty = Timetable(self.table.calendar, self.table.slot_minutes, self.table.travel_minutes)
        return f"no free shift within {days} days" if empty.soonest(job) else self._out_of_reach(order, job=job, wait=wait, empty=empty)

    def _out_of_reach(self, order: Order, *, job: Job, wait: tuple[pd.Timestamp, tuple[str, ...]] | None, empty: Timetable) -> str:
        """Why the order would have no place in a plan of its own."""
        days, hours = self.site.policy.planning.horizon_days, f"{order.duration_h:g} h"
        always = replace(self.beyond, calendar=_without_stops(self.beyond.calendar, job.machine_id))
        anyhow = replace(empty, calendar=_without_stops(empty.calendar, job.machine_id))
        together = "any shift" if len(job.roles) == 1 else "any time that such a crew is on shift together"
        ready = _ready(order, grid=self.grid)
        said = f"nobody who could is at work within {days} days"
        if always.soonest(job) is None:
            said = f"longer than {together}: {hours}"
        elif wait is not None and empty.soonest(replace(job, earliest=ready)) is not None:
            said = f"parts missing until {wait[0]:%Y-%m-%d}: {', '.join(wait[1])}"
        elif order.ready_at is not None and empty.soonest(replace(job, earliest=0)) is not None:
            said = f"not to be done before {order.ready_at:%Y-%m-%d}"
        elif anyhow.soonest(job) is not None:
            said = f"{job.machine_id} may not stop for {hours} of any shift within {days} days"
        return said

    def _changes(self, order: Order, *, job: Job, wait: tuple[pd.Timestamp, tuple[str, ...]] | None) -> Iterator[str]:
        """The changes that are enough, the cheapest first."""
        table = self.table
        if wait is not None and (at := _latest(replace(job, earliest=_ready(order, grid=self.grid)), table=table)) is not None:
            yield f"{', '.join(wait[1])} at hand by {self._said(at)}"
        if order.ready_at is not None and (at := _latest(replace(job, earliest=0), table=table)) is not None:
            yield f"leave to begin by {self._said(at)}"
        anyhow = replace(table, calendar=_without_stops(table.calendar, job.machine_id))
        if job.machine_id in table.calendar.stop and (place := anyhow.soonest(job)):
            yield f"a stop of {job.machine_id} on {self._span(place)}"
        yield from self._overtime(job)
        yield from self._one_more(order, job=job)

    def _overtime(self, job: Job) -> Iterator[str]:
        """The fewest whole hours after the shifts that are enough."""
        names = {t.technician_id: t.name for t in self.site.technicians}
        for hours in range(1, MAX_OVERTIME_H + 1):
            table = replace(self.table, calendar=_with_overtime(self.table.calendar, by=self.grid.length(hours)))
            if place := table.soonest(job):
                working = self.table.calendar.works
                late = [t for t in place.technicians if not working[t][place.end - 1]]
                who = " and ".join(names[t] for t in late) or "the crew"
                yield f"{hours} h of overtime by {who} on {self._said(place.start, with_time=False)}"
                return

    def _one_more(self, order: Order, *, job: Job) -> Iterator[str]:
        """One more technician for one of the crew, at hours that somebody with these skills (or else anybody) works."""
        found = []
        for n, skills in enumerate(order.crew):
            for template in job.roles[n] or tuple(t.technician_id for t in self.site.technicians):
                table = replace(self.table, calendar=_with_another(self.table.calendar, like=template))
                others = [able for m, able in enumerate(job.roles) if m != n]
                crews = tuple(tuple(sorted((*rest, EXTRA))) for rest in _different(others))
                roles = tuple((*able, EXTRA) if m == n else able for m, able in enumerate(job.roles))
                if crews and (place := table.soonest(replace(job, roles=roles, crews=crews))):
                    found.append((place.start, n, template, place, skills))
        if found:
            _, n, _, place, skills = min(found)
            day = self.grid.at(place.start).tz_convert(self.site.zone).date()
            on_duty = sum(self._is_on(t, day) for t in job.roles[n])
            which = ("a", "a second", "a third")[on_duty] if on_duty < 3 else "one more"
            yield f"{which} technician with {' and '.join(skills)} on {self._span(place)}"

    def _is_on(self, technician_id: str, day: object) -> bool:
        slots = np.flatnonzero(self.table.calendar.works[technician_id])
        return any(self.grid.at(int(s)).tz_convert(self.site.zone).date() == day for s in slots[:: max(1, self.grid.day // 24)])

    def _said(self, slot: int, *, with_time: bool = True) -> str:
        local = self.grid.at(slot).tz_convert(self.site.zone)
        return f"{local:%a %Y-%m-%d %H:%M}" if with_time else f"{local:%a %Y-%m-%d}"

    def _span(self, place: Place) -> str:
        return f"{self._said(place.start)} to {self.grid.at(place.end).tz_convert(self.site.zone):%H:%M}"


def _ready(order: Order, *, grid: Grid) -> int:
    return max(0, grid.ceil(order.ready_at)) if order.ready_at is not None else 0


def _latest(job: Job, *, table: Timetable) -> int | None:
    """The last start that would do."""
    starts = (table.places(job, technicians)[0] for technicians in job.crews)
    return max((int(found[-1]) for found in starts if len(found)), default=None)


def _crew_words(order: Order) -> str:
    return "; ".join(", ".join(skills) for skills in order.crew)


def _different(roles: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Different people for the roles; one empty crew for none."""
    crews: list[tuple[str, ...]] = [()]
    for able in roles:
        crews = [(*crew, t) for crew in crews for t in able if t not in crew]
    return crews


def _without_stops(calendar: Calendar, machine_id: str) -> Calendar:
    return Calendar(calendar.horizon, calendar.works, calendar.shift, {m: of for m, of in calendar.stop.items() if m != machine_id})


def _with_another(calendar: Calendar, *, like: str) -> Calendar:
    works, shift = {**calendar.works, EXTRA: calendar.works[like]}, {**calendar.shift, EXTRA: calendar.shift[like]}
    return Calendar(calendar.horizon, works, shift, calendar.stop)


def _with_overtime(calendar: Calendar, *, by: int) -> Calendar:
    """Every shift so many slots longer, where no other follows."""
    works, shift = {}, {}
    for t, of in calendar.shift.items():
        longer, at_work = of.copy(), calendar.works[t].copy()
        for last in np.flatnonzero((of[:-1] >= 0) & (of[1:] != of[:-1])):
            free = np.flatnonzero(of[last + 1 : last + 1 + by] >= 0)
            end = last + 1 + (int(free[0]) if len(free) else by)
            longer[last + 1 : end], at_work[last + 1 : end] = of[last], True
        works[t], shift[t] = at_work, longer
    return Calendar(calendar.horizon, works, shift, calendar.stop)
