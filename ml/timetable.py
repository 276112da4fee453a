"""Who and what is taken when, in slots: working windows, bookings, and the earliest gap for a job."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Self

import pandas as pd

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
    """A work order in slots. `earliest` heeds readiness and parts; `due` is the slot by which it should have ended."""

    order_id: str
    machine_id: str
    weight: int
    length: int
    earliest: int
    due: int | None
    technicians: tuple[str, ...]
    is_urgent: bool


@dataclass(frozen=True)
class Slot:
    """Where a job stands: who, and the first slot."""

    technician_id: str
    start: int


@dataclass
class Timetable:
    """Bookings of technicians and machines. A job lies within one window of its technician and overlaps nothing."""

    windows: dict[str, list[Span]]
    by_technician: dict[str, list[Span]] = field(default_factory=dict)
    by_machine: dict[str, list[Span]] = field(default_factory=dict)

    def book(self, span: Span, *, technician_id: str, machine_id: str | None) -> None:
        self.by_technician.setdefault(technician_id, []).append(span)
        if machine_id is not None:
            self.by_machine.setdefault(machine_id, []).append(span)

    def fits(self, job: Job, slot: Slot) -> bool:
        return (
            slot.technician_id in job.technicians
            and self.gap(job, slot.technician_id, not_before=max(slot.start, job.earliest)) == slot.start
        )

    def gap(self, job: Job, technician_id: str, *, not_before: int) -> int | None:
        """The earliest start within the technician's windows."""
        busy = self._busy(job, technician_id)
        for opens, closes in self.windows.get(technician_id, []):
            start = _after(busy, start=max(opens, not_before), length=job.length)
            if start + job.length <= closes:
                return start
        return None

    def gap_at_any_hour(self, job: Job, technician_id: str, *, not_before: int, blocked: Collection[Span]) -> int:
        """The earliest start in or out of the windows, outside `blocked`."""
        return _after([*self._busy(job, technician_id), *blocked], start=not_before, length=job.length)

    def openings(self, job: Job, technician_id: str) -> list[Span]:
        """The technician's windows without what is booked for technician or machine, where the job could be at all."""
        found: list[Span] = []
        busy = sorted(self._busy(job, technician_id))
        for opens, closes in self.windows.get(technician_id, []):
            begins = max(opens, job.earliest)
            for taken_from, taken_to in busy:
                if taken_from < closes and taken_to > begins:
                    found.append((begins, taken_from))
                    begins = taken_to
            found.append((begins, closes))
        return [(a, b) for a, b in found if b - a >= job.length]

    def book_all(self, jobs: Sequence[Job], *, placed: dict[str, Slot]) -> Self:
        """Book every job that has a place; gives itself."""
        for job in jobs:
            if slot := placed.get(job.order_id):
                self.book((slot.start, slot.start + job.length), technician_id=slot.technician_id, machine_id=job.machine_id)
        return self

    def copy(self) -> "Timetable":
        booked = ({key: list(spans) for key, spans in of.items()} for of in (self.by_technician, self.by_machine))
        return Timetable(self.windows, *booked)

    def soonest(self, job: Job) -> Slot | None:
        """The earliest gap over the job's technicians; among equals the first of `job.technicians`."""
        starts = ((self.gap(job, t, not_before=job.earliest), i, t) for i, t in enumerate(job.technicians))
        found = [(start, i, t) for start, i, t in starts if start is not None]
        return Slot(min(found)[2], min(found)[0]) if found else None

    def _busy(self, job: Job, technician_id: str) -> list[Span]:
        return self.by_technician.get(technician_id, []) + self.by_machine.get(job.machine_id, [])


def place_in_turn(jobs: Sequence[Job], *, table: Timetable, previous: dict[str, Slot]) -> dict[str, Slot]:
    """Each job in turn where it stood before, if that still fits and is on time, else in the earliest gap. Books them in `table`."""
    placed: dict[str, Slot] = {}
    for job in jobs:
        slot = previous.get(job.order_id)
        if slot is None or not table.fits(job, slot) or (job.due is not None and slot.start + job.length > job.due):
            slot = table.soonest(job)
        if slot is not None:
            placed[job.order_id] = slot
            table.book((slot.start, slot.start + job.length), technician_id=slot.technician_id, machine_id=job.machine_id)
    return placed


def _after(busy: Collection[Span], *, start: int, length: int) -> int:
    """The first slot from `start` on from which `length` slots are free of `busy`."""
    for begins, ends in sorted(busy):
        if begins < start + length and start < ends:
            start = ends
    return start
