"""A plan that changes job by job, for searches of many cheap steps: the first free place of a job, booked and released in microseconds.

Time is bits: one long integer per technician and kind of job, in which a job's first place is a few shifts away. A kind of job is an
area (those that are alike to travel to are one) and the minutes that the work leaves of its last slot: what travel depends on.
"""

from collections.abc import Iterable, Mapping
from random import Random

import numpy as np

from ml.scheduling import Problem
from ml.timetable import Job, Place, Slots, Span

BLINKS = 0.02  # share of the places that are overlooked
_Starts = list[tuple[int, int]]  # per time that the work takes with its breaks: where it could begin, were everybody free
_Crews = dict[str, list[tuple[tuple[str, ...], tuple[str, ...], _Starts]]]  # per member: the others, all, and when
Standing = tuple[int, Place | None, list[int], int]  # a job, its place, the bits that it takes, what it costs


class Board:
    """Jobs by their number in `problem.jobs`; `left_out`: those without a place; `starts`: of those the earliest slot there is."""

    def __init__(self, problem: Problem, *, placed: Mapping[str, Place]) -> None:
        self.problem, self.jobs, table = problem, list(problem.jobs), problem.table
        self.all = (1 << problem.horizon) - 1
        self._learn_kinds()
        self._learn_choices()
        people = sorted({t for able in self.able for t in able})
        self.of_technician: dict[str, dict[int, list[int]]] = {t: {} for t in people}
        self.of_machine: dict[str, dict[int, int]] = {job.machine_id: {} for job in self.jobs}
        self.held = {
            t: [_taken(b.start, b.end, self._travels(b.area, b.spare_min)) for b in table.by_technician.get(t, ())] for t in people
        }
        self.held_machines = {m: _any(_bits(*span) for span in table.by_machine.get(m, ())) for m in self.of_machine}
        self.rooms: dict[str, dict[int, int]] = {t: {} for t in people}
        self.left_out = dict.fromkeys(range(len(self.jobs)))
        self.starts = [job.earliest for job in self.jobs]
        self.places: list[Place | None] = [None] * len(self.jobs)
        self.taken: list[list[int]] = [[]] * len(self.jobs)
        self.out = [problem.cost_of(job, None) for job in self.jobs]
        self.costs = list(self.out)
        for n, job in enumerate(self.jobs):
            if place := placed.get(job.order_id):
                self.book(n, place, cost=problem.cost_of(job, place))

    def plan(self) -> dict[str, Place]:
        return {job.order_id: place for job, place in zip(self.jobs, self.places, strict=True) if place}

    def standing(self, n: int) -> Standing:
        return n, self.places[n], self.taken[n], self.costs[n]

    def book(self, n: int, place: Place, *, cost: int, taken: list[int] | None = None) -> None:
        self.places[n], self.starts[n], self.costs[n] = place, place.start, cost
        del self.left_out[n]
        taken = self.taken[n] = taken or _taken(place.start, place.end, self.travels[n])
        for t in place.technicians:
            self.of_technician[t][n] = taken
            self.rooms[t] = {}
        self.of_machine[self.jobs[n].machine_id][n] = _bits(place.start, place.end)

    def release(self, n: int) -> None:
        place = self.places[n]
        if place is None:
            return
        self.places[n], self.starts[n], self.costs[n] = None, self.jobs[n].earliest, self.out[n]
        self.left_out[n] = None
        for t in place.technicians:
            del self.of_technician[t][n]
            self.rooms[t] = {}
        del self.of_machine[self.jobs[n].machine_id][n]

    def put_back(self, before: Iterable[Standing]) -> None:
        """As these jobs, and no others, stood."""
        before = list(before)
        for n, *_ in before:
            self.release(n)
        for n, place, taken, cost in before:
            if place is not None:
                self.book(n, place, cost=cost, taken=taken)

    def insert(self, n: int, *, rng: Random) -> None:
        """Books the free place at the least cost for this job, blinks apart; none if it is better left out."""
        job, cost_of = self.jobs[n], self.problem.cost_of
        best, least = None, self.out[n]
        previous = self.problem.previous.get(job.order_id)
        machine = self._machine_free(n)
        if previous is not None and self._is_free(n, previous, machine=machine):
            best, least = previous, cost_of(job, previous)
        first = self._first(n, machine=machine, rng=rng)
        if first is not None and (cost := cost_of(job, first)) < least:
            best, least = first, cost
        if best is not None:
            self.book(n, best, cost=least)

    def _first(self, n: int, *, machine: int, rng: Random) -> Place | None:
        """The free place that begins first; among equals that of who is the least versatile."""
        kind, length, hopes = self.kind[n], self.jobs[n].length, self.hopes[n]
        is_alone = not self.crews[n]
        overlooked = int(rng.random() / BLINKS)
        lowest = 1 << self.problem.horizon
        best: Place | None = None
        firsts: dict[str, int] = {}
        key = kind << 16 | length
        for i, (t, hope) in enumerate(hopes):
            known = self.rooms[t]
            room = known.get(key)
            if room is None:
                could = known.get(kind << 16, self.all) & hope  # more than where it could begin, and cheaper to know
                if not could or could & -could >= lowest:
                    continue
                room = self._room(t, kind, length)
            could = room & hope
            if not could:
                continue
            low = could & -could
            if not is_alone:
                firsts[t] = low
            elif low < lowest and i != overlooked:
                found = self._first_of(n, (t,), self.alone[n][t], machine=machine, lowest=lowest)
                if found is not None:
                    lowest, best = found
        return best if is_alone else self._first_together(n, firsts, machine=machine, rng=rng)

    def _first_together(self, n: int, firsts: dict[str, int], *, machine: int, rng: Random) -> Place | None:
        """As `_first`, for a crew; `firsts`: a slot (as a bit) before which each cannot begin."""
        lowest, best = 1 << self.problem.horizon, None
        seen: set[str] = set()
        crews = self.crews[n]
        for t in sorted(firsts, key=firsts.__getitem__):
            if firsts[t] >= lowest:
                break
            seen.add(t)
            for others, crew, starts in crews[t]:
                if not seen.issuperset(others) or rng.random() < BLINKS:
                    continue
                found = self._first_of(n, crew, starts, machine=machine, lowest=lowest)
                if found is not None:
                    lowest, best = found
        return best

    def _first_of(self, n: int, crew: tuple[str, ...], starts: _Starts, *, machine: int, lowest: int) -> tuple[int, Place] | None:
        """The crew's first free place, if it begins before `lowest` (a slot as a bit), with its start as a bit."""
        kind, from_earliest, best = self.kind[n], self.from_earliest[n], None
        for elapsed, of in starts:
            free = of & from_earliest
            for t in crew:
                room = self.rooms[t].get(kind << 16 | elapsed)
                free &= self._room(t, kind, elapsed) if room is None else room
            if free and machine != self.all:
                free &= _free_for(machine, elapsed)
            low = free & -free
            if low and low < lowest:
                start = low.bit_length() - 1
                lowest, best = low, (low, Place(crew, start, start + elapsed))
        return best

    def _is_free(self, n: int, place: Place, *, machine: int) -> bool:
        at, elapsed = 1 << place.start, place.end - place.start
        if place.technicians not in self.jobs[n].crews or not _free_for(machine, elapsed) & self.from_earliest[n] & at:
            return False
        if not any(e == elapsed and of & at for e, of in self._starts_of(place.technicians, self.jobs[n])):
            return False
        return all(self._room(t, self.kind[n], elapsed) & at for t in place.technicians)

    def _room(self, technician_id: str, kind: int, elapsed: int) -> int:
        """Where the technician is free for so long."""
        known = self.rooms[technician_id]
        key = kind << 16
        free = known.get(key)
        if free is None:
            taken = 0
            for of_kind in self.of_technician[technician_id].values():
                taken |= of_kind[kind]
            for of_kind in self.held[technician_id]:
                taken |= of_kind[kind]
            free = known[key] = self.all & ~taken
        room = known[key | elapsed] = _free_for(free, elapsed)
        return room

    def _machine_free(self, n: int) -> int:
        machine_id = self.jobs[n].machine_id
        return self.all & ~(self.held_machines[machine_id] | _any(self.of_machine[machine_id].values()))

    def _learn_kinds(self) -> None:
        table = self.problem.table
        areas = sorted({job.area for job in self.jobs} | {b.area for bookings in table.by_technician.values() for b in bookings})
        legs = {a: tuple((table.travel_minutes(a, b), table.travel_minutes(b, a)) for b in areas) for a in areas}
        like: dict[tuple[Span, ...], str] = {}
        alike = {a: like.setdefault(legs[a], a) if table.travel_minutes(a, a) == 0 else a for a in areas}
        of_job = [(alike[job.area], job.spare_min) for job in self.jobs]
        self.kinds = list(dict.fromkeys(of_job))
        self.kind = [self.kinds.index(kind) for kind in of_job]
        of_kind = [self._travels(area, spare_min) for area, spare_min in self.kinds]
        self.travels = [of_kind[kind] for kind in self.kind]

    def _travels(self, area: str, spare_min: float) -> list[Span]:
        """Per kind of job the slots that it takes from such a job to this, and from this to such a job."""
        table = self.problem.table
        return [
            (table.slots(table.travel_minutes(a, area), s), table.slots(table.travel_minutes(a, area), spare_min)) for a, s in self.kinds
        ]

    def _learn_choices(self) -> None:
        calendar = self.problem.table.calendar
        self.able = [tuple(dict.fromkeys(t for crew in job.crews for t in crew)) for job in self.jobs]
        people = sorted({t for able in self.able for t in able})
        labels: dict[bytes, int] = {}
        self.hours = {t: labels.setdefault(calendar.works[t].tobytes() + calendar.shift[t].tobytes(), len(labels)) for t in people}
        self.stops = {m: labels.setdefault(of.tobytes(), len(labels)) for m, of in calendar.stop.items()}
        self.known: dict[tuple[tuple[int, ...], int | None, int], _Starts] = {}
        self.from_earliest = [self.all >> max(0, job.earliest) << max(0, job.earliest) for job in self.jobs]
        self.alone = [{t: self._starts_of((t,), job) for t in able} for job, able in zip(self.jobs, self.able, strict=True)]
        self.hopes = [
            [(t, _any(of for _, of in starts) & from_earliest) for t, starts in alone.items()]
            for alone, from_earliest in zip(self.alone, self.from_earliest, strict=True)
        ]
        self.crews = [self._crews_of(job) if len(job.roles) > 1 else {} for job in self.jobs]

    def _crews_of(self, job: Job) -> _Crews:
        crews: _Crews = {t: [] for crew in job.crews for t in crew}
        for crew in job.crews:
            if starts := self._starts_of(crew, job):
                for t in crew:
                    crews[t].append((tuple(other for other in crew if other != t), crew, starts))
        return crews

    def _starts_of(self, crew: tuple[str, ...], job: Job) -> _Starts:
        key = tuple(sorted({self.hours[t] for t in crew})), self.stops.get(job.machine_id), job.length
        if key not in self.known:
            begins, ends = self.problem.table.calendar.places(crew, job.machine_id, job.length)
            elapsed = ends - begins
            self.known[key] = [(int(e), _marked(begins[elapsed == e], self.problem.horizon)) for e in np.unique(elapsed)]
        return self.known[key]


def _marked(slots: Slots, horizon: int) -> int:
    flags = np.zeros(horizon, dtype=bool)
    flags[slots] = True
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _taken(start: int, end: int, travels: Iterable[Span]) -> list[int]:
    """Per kind of job the slots that one of it must not be in, travel and all."""
    return [_bits(start - to, end + back) for to, back in travels]


def _any(many: Iterable[int]) -> int:
    found = 0
    for bits in many:
        found |= bits
    return found


def _bits(start: int, end: int) -> int:
    start = max(0, start)
    return (1 << max(start, end)) - (1 << start)


def _free_for(free: int, elapsed: int) -> int:
    """The slots from which on so many are free."""
    n = 1
    while 2 * n <= elapsed:
        free &= free >> n
        n *= 2
    return free & free >> (elapsed - n)
