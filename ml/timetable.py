"""Who and what is taken when, in slots: calendars, bookings, where a job could be, and the earliest such place.

All of a crew work on a job at the same time, within one shift of each and within one stop window of the machine. Breaks of any of them
interrupt the job: it occupies its people and its machine until it ends, and ends so much later. Between two jobs in different areas
everyone who does both travels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

Slots = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Span = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Slot 0 begins at `origin`."""

    origin: pd.Timestamp
    minutes: int
    horizon: int

    @property
    def day(self) -> int:
        return 1440 // self.minutes

    def at(self, slot: int) -> pd.Timestamp:
        return self.origin + pd.Timedelta(minutes=slot * self.minutes)

    def floor(self, instant: pd.Timestamp) -> int:
        return int((instant - self.origin) // pd.Timedelta(minutes=self.minutes))

    def ceil(self, instant: pd.Timestamp) -> int:
        return -int((self.origin - instant) // pd.Timedelta(minutes=self.minutes))

    def length(self, hours: float) -> int:
        return ceil(round(hours * 60, 6) / self.minutes)


@dataclass(frozen=True)
class Job:
    """A work order in slots. `earliest` heeds readiness and parts; `due` is the slot by which it should have ended.

    roles: for each of the crew who could fill the place; crews: who could do it together, the least versatile first, in sorted names;
    length: slots of work; spare_min: what the work leaves of its last slot. `is_narrowed`: there are more crews than are listed.
    """

    order_id: str
    machine_id: str
    area: str
    weight: int
    length: int
    spare_min: float
    earliest: int
    due: int | None
    roles: tuple[tuple[str, ...], ...]
    crews: tuple[tuple[str, ...], ...]
    is_urgent: bool
    is_narrowed: bool = False


class Place(NamedTuple):
    """Where a job stands: who does it, from which slot on, and the slot before which it has ended."""

    technicians: tuple[str, ...]
    start: int
    end: int


class Booking(NamedTuple):
    """A technician's time that is taken; in which area, and what is left of the last slot."""

    start: int
    end: int
    area: str
    spare_min: float


@dataclass(frozen=True)
class Calendar:
    """Per slot. works: at work and on no break; shift: which shift, -1 outside all; stop: which stop window of the machine, -1 outside.

    A machine that is not in `stop` may be stopped at any time.
    """

    horizon: int
    works: Mapping[str, Flags]
    shift: Mapping[str, Slots]
    stop: Mapping[str, Slots]
    _known: dict[tuple[tuple[str, ...], str | None, int], tuple[Slots, Slots]] = field(default_factory=dict)

    def places(self, technicians: tuple[str, ...], machine_id: str | None, length: int) -> tuple[Slots, Slots]:
        """Starts at which so much work could begin, were everybody free, and where it would end. Without a machine: whenever they work."""
        key = (technicians, machine_id if machine_id in self.stop else None, length)
        if key not in self._known:
            self._known[key] = self._places(*key)
        return self._known[key]

    def _places(self, technicians: tuple[str, ...], machine_id: str | None, length: int) -> tuple[Slots, Slots]:
        at_work = np.flatnonzero(np.logical_and.reduce([self.works[t] for t in technicians]))
        if len(at_work) < length:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        starts, lasts = at_work[: len(at_work) - length + 1], at_work[length - 1 :]
        labels = [self.shift[t] for t in technicians] + ([self.stop[machine_id]] if machine_id is not None else [])
        within_one = np.logical_and.reduce([(of[starts] == of[lasts]) & (of[starts] >= 0) for of in labels])
        return starts[within_one], lasts[within_one] + 1


@dataclass
class Timetable:
    """A calendar with bookings of technicians and machines; `travel_minutes(area, area)` between jobs."""

    calendar: Calendar
    slot_minutes: int
    travel_minutes: Callable[[str, str], int]
    by_technician: dict[str, list[Booking]] = field(default_factory=dict)
    by_machine: dict[str, list[Span]] = field(default_factory=dict)

    def book(self, job: Job, place: Place) -> None:
        for technician_id in place.technicians:
            self.by_technician.setdefault(technician_id, []).append(Booking(place.start, place.end, job.area, job.spare_min))
        self.by_machine.setdefault(job.machine_id, []).append((place.start, place.end))

    def release(self, job: Job, place: Place) -> None:
        for technician_id in place.technicians:
            self.by_technician[technician_id].remove(Booking(place.start, place.end, job.area, job.spare_min))
        self.by_machine[job.machine_id].remove((place.start, place.end))

    def book_all(self, jobs: Sequence[Job], *, placed: Mapping[str, Place]) -> Self:
        """Book every job that has a place; gives itself."""
        for job in jobs:
            if place := placed.get(job.order_id):
                self.book(job, place)
        return self

    def copy(self) -> "Timetable":
        people = {key: list(bookings) for key, bookings in self.by_technician.items()}
        machines = {key: list(spans) for key, spans in self.by_machine.items()}
        return Timetable(self.calendar, self.slot_minutes, self.travel_minutes, people, machines)

    def places(self, job: Job, technicians: tuple[str, ...]) -> tuple[Slots, Slots]:
        """Starts and ends of the free places that this crew has for the job, in turn."""
        starts, ends = self.calendar.places(technicians, job.machine_id, job.length)
        first = int(np.searchsorted(starts, job.earliest))
        starts, ends = starts[first:], ends[first:]
        is_free = np.ones(len(starts), dtype=bool)
        for begins, finishes in self.taken(job, technicians):
            is_free &= (starts >= finishes) | (ends <= begins)
        return starts[is_free], ends[is_free]

    def taken(self, job: Job, technicians: tuple[str, ...]) -> Iterator[Span]:
        """Spans that the job must not overlap if this crew does it: bookings of the crew with travel, and of the machine."""
        yield from self.by_machine.get(job.machine_id, ())
        for technician_id in technicians:
            for booking in self.by_technician.get(technician_id, ()):
                minutes = self.travel_minutes(job.area, booking.area)
                yield booking.start - self.slots(minutes, job.spare_min), booking.end + self.slots(minutes, booking.spare_min)

    def slots(self, minutes: float, spare_min: float) -> int:
        """Slots that travel takes after a job that leaves so much of its last slot."""
        return max(0, ceil((minutes - spare_min) / self.slot_minutes))

    def fits(self, job: Job, place: Place) -> bool:
        if place.technicians not in job.crews:
            return False
        starts, ends = self.places(job, place.technicians)
        at = int(np.searchsorted(starts, place.start))
        return at < len(starts) and int(starts[at]) == place.start and int(ends[at]) == place.end

    def soonest(self, job: Job, *, not_before: int = 0) -> Place | None:
        """The free place that begins first; among equals the one that ends first, then the first of `job.crews`."""
        best: tuple[int, int, int] | None = None
        for at_least, n in self.hopeful(job, not_before=not_before):
            if best is not None and at_least > best[0]:
                break
            starts, ends = self.places(job, job.crews[n])
            at = int(np.searchsorted(starts, not_before))
            if at < len(starts) and (best is None or (int(starts[at]), int(ends[at]), n) < best):
                best = int(starts[at]), int(ends[at]), n
        return Place(job.crews[best[2]], best[0], best[1]) if best else None

    def hopeful(self, job: Job, *, not_before: int = 0) -> list[tuple[int, int]]:
        """For each crew that may have room: a slot before which it cannot begin, and its number in `job.crews`; in this turn."""
        if len(job.roles) == 1:
            return [(0, n) for n in range(len(job.crews))]
        first: dict[str, int] = {}
        for t in sorted({t for able in job.roles for t in able}):
            starts, _ = self.places(job, (t,))
            at = int(np.searchsorted(starts, not_before))
            if at < len(starts):
                first[t] = int(starts[at])
        return sorted((max(first[t] for t in crew), n) for n, crew in enumerate(job.crews) if all(t in first for t in crew))

    def at_any_hour(self, job: Job, technicians: tuple[str, ...], *, not_before: int, blocked: Sequence[Span]) -> Place:
        """The earliest place in or out of shifts and stop windows, without breaks, outside `blocked`."""
        start = not_before
        for begins, finishes in sorted([*self.taken(job, technicians), *blocked]):
            if begins < start + job.length and start < finishes:
                start = finishes
        return Place(technicians, start, start + job.length)


def place_in_turn(jobs: Sequence[Job], *, table: Timetable, previous: Mapping[str, Place]) -> dict[str, Place]:
    """Each job in turn where it stood before, if that still fits and is on time, else in the earliest gap. Books them in `table`."""
    placed: dict[str, Place] = {}
    for job in jobs:
        place = previous.get(job.order_id)
        if place is None or not table.fits(job, place) or (job.due is not None and place.end > job.due):
            place = table.soonest(job)
        if place is not None:
            placed[job.order_id] = place
            table.book(job, place)
    return placed
