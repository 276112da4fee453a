"""Ruin and recreate: jobs are taken out of a plan and put back where each costs least, and what comes of it is kept if it is worth it.

Taken out are strings of neighbouring jobs of a few technicians about one moment, as in the slack induction by string removals of
Christiaens and Vanden Berghe (2020, Transportation Science 54); they come back in the turn of the weight per slot, of the starts that
they had, of the size of the crew or in any, now and then past the best place. A dearer plan is accepted with simulated annealing. Cheap
steps are what makes this work: free time is one long integer per technician, in which a job's first place is a few shifts away.
"""

import math
import time
from collections.abc import Iterable, Mapping
from operator import itemgetter
from random import Random

import numpy as np

from ml.scheduling import Problem
from ml.timetable import Booking, Job, Place, Span

STEPS_PER_JOB = 40
CHECKED_EVERY = 64  # steps between looks at the clock
MOST_TECHNICIANS, LONGEST_STRING = 4, 6  # taken out at once
BLINKS = 0.02  # share of the places that are overlooked
HOTTEST, COLDEST = 2.0, 0.05  # temperatures, in slots of a job of mean weight
_Starts = list[tuple[int, int]]


def reinsert(problem: Problem, *, placed: Mapping[str, Place], enough: float, seed: int, time_limit_s: float) -> dict[str, Place]:
    """A plan at most as costly as `placed`; `enough` is a cost to be content with. Only a limit in seconds could end it elsewhere."""
    deadline = time.monotonic() + time_limit_s
    steps = STEPS_PER_JOB * len(problem.jobs)
    mean_weight = sum(job.weight for job in problem.jobs) / max(1, len(problem.jobs))
    hottest, cooling = HOTTEST * mean_weight, (COLDEST / HOTTEST) ** (1 / max(1, steps))
    rng = Random(seed)  # noqa: S311 - a search, no secret
    board = _Board(problem, placed=placed)
    cost = lowest = problem.cost(placed)
    best = dict(placed)
    for step in range(steps):
        if lowest <= enough or (step % CHECKED_EVERY == 0 and time.monotonic() >= deadline):
            break
        taken = _string_of(board, rng=rng)
        before, rooms = {n: board.places[n] for n in taken}, (dict(board.rooms), dict(board.machine_rooms))
        change = board.refill(_in_turn(board, taken, rng=rng), before=before, rng=rng)
        if change > -hottest * cooling**step * math.log(1 - rng.random()):
            board.put_back(before)
            board.rooms, board.machine_rooms = rooms
            continue
        cost += change
        if cost < lowest:
            lowest, best = cost, board.plan()
    return best


def _string_of(board: "_Board", *, rng: Random) -> list[int]:
    """Jobs to take out: those that have no place, and strings about one job's start, of it and of others who could do it."""
    jobs = board.jobs
    first = rng.randrange(len(jobs))
    at = board.places[first]
    moment = at.start if at else jobs[first].earliest
    taken = dict.fromkeys(n for n in board.left_out if rng.random() < 0.5)
    taken[first] = None
    able = list(board.able[first])
    rng.shuffle(able)
    people = [*(at.technicians if at else ()), *able][: rng.randint(1, MOST_TECHNICIANS)]
    for technician_id in people:
        theirs = sorted(board.of_technician[technician_id], key=lambda n: (abs(board.start_of(n) - moment), n))
        taken.update(dict.fromkeys(theirs[: rng.randint(1, LONGEST_STRING)]))
    rivals = board.of_machine[jobs[first].machine_id]
    taken.update(dict.fromkeys(n for n in rivals if rng.random() < 0.5))
    return list(taken)


def _in_turn(board: "_Board", taken: list[int], *, rng: Random) -> list[int]:
    jobs, rule = board.jobs, rng.randrange(4)
    if rule == 0:
        return rng.sample(taken, len(taken))
    if rule == 1:
        return sorted(taken, key=lambda n: (board.start_of(n), n))
    if rule == 2:
        return sorted(taken, key=lambda n: (-len(jobs[n].roles), -jobs[n].weight / jobs[n].length, n))
    noise = {n: rng.uniform(0.7, 1.4) for n in taken}
    return sorted(taken, key=lambda n: (-noise[n] * jobs[n].weight / jobs[n].length, n))


class _Board:
    """A plan that changes: jobs by their number, and who and what is taken, as bits: one long integer per technician and kind of job.

    A kind of job is an area and the minutes that the work leaves of its last slot: what travel depends on.
    """

    def __init__(self, problem: Problem, *, placed: Mapping[str, Place]) -> None:
        self.problem, self.jobs, table = problem, list(problem.jobs), problem.table
        self.all = (1 << problem.horizon) - 1
        self.able = [tuple(sorted({t for role in job.roles for t in role})) for job in self.jobs]
        of_job = [(job.area, job.spare_min) for job in self.jobs]
        self.kinds = list(dict.fromkeys(of_job))
        self.travels: dict[tuple[str, float], list[Span]] = {}
        self.starts: dict[tuple[tuple[str, ...], str | None, int], _Starts] = {}
        self.kind = [self.kinds.index(kind) for kind in of_job]
        self.places: list[Place | None] = [None] * len(self.jobs)
        self.left_out = dict.fromkeys(range(len(self.jobs)))
        people = sorted({t for able in self.able for t in able})
        self.of_technician: dict[str, dict[int, list[int]]] = {t: {} for t in people}
        self.of_machine: dict[str, dict[int, int]] = {job.machine_id: {} for job in self.jobs}
        self.held = {t: [self._taken_by(booking) for booking in table.by_technician.get(t, ())] for t in people}
        self.held_machines = {m: [_bits(start, end) for start, end in table.by_machine.get(m, ())] for m in self.of_machine}
        self.rooms: dict[str, dict[tuple[int, int], int]] = {t: {} for t in people}
        self.machine_rooms: dict[str, dict[int, int]] = {m: {} for m in self.of_machine}
        self.choices = [self._choices(job, crews=job.crews) for job in self.jobs]
        of_one = [self._choices(job, crews=[(t,) for t in self.able[n]] if len(job.roles) > 1 else []) for n, job in enumerate(self.jobs)]
        self.alone = [{crew[0]: starts for _, crew, starts in found} for found in of_one]
        for n, job in enumerate(self.jobs):
            if place := placed.get(job.order_id):
                self.book(n, place)

    def start_of(self, n: int) -> int:
        place = self.places[n]
        return place.start if place else self.jobs[n].earliest

    def plan(self) -> dict[str, Place]:
        return {job.order_id: place for job, place in zip(self.jobs, self.places, strict=True) if place}

    def book(self, n: int, place: Place) -> None:
        job = self.jobs[n]
        self.places[n] = place
        del self.left_out[n]
        taken = self._taken_by(Booking(place.start, place.end, job.area, job.spare_min))
        for t in place.technicians:
            self.of_technician[t][n] = taken
            self.rooms[t] = {}
        self.of_machine[job.machine_id][n] = _bits(place.start, place.end)
        self.machine_rooms[job.machine_id] = {}

    def release(self, n: int) -> None:
        place, machine_id = self.places[n], self.jobs[n].machine_id
        if place is None:
            return
        self.places[n] = None
        self.left_out[n] = None
        for t in place.technicians:
            del self.of_technician[t][n]
            self.rooms[t] = {}
        del self.of_machine[machine_id][n]
        self.machine_rooms[machine_id] = {}

    def refill(self, turn: list[int], *, before: Mapping[int, Place | None], rng: Random) -> int:
        """Takes these jobs out and puts them back in this turn; what that costs more."""
        cost_of = self.problem.cost_of
        for n in turn:
            self.release(n)
        change = 0
        for n in turn:
            place = self.cheapest(n, rng=rng)
            if place is not None:
                self.book(n, place)
            change += cost_of(self.jobs[n], place) - cost_of(self.jobs[n], before[n])
        return change

    def put_back(self, before: Mapping[int, Place | None]) -> None:
        for n in before:
            self.release(n)
        for n, place in before.items():
            if place is not None:
                self.book(n, place)

    def cheapest(self, n: int, *, rng: Random) -> Place | None:
        """The free place at the least cost for this job, blinks apart."""
        job, problem = self.jobs[n], self.problem
        best, least = None, problem.cost_of(job, None)
        previous = problem.previous.get(job.order_id)
        if previous is not None and self._is_free(n, previous):
            best, least = previous, problem.cost_of(job, previous)
        earliest: Place | None = None  # of those without their previous place
        for at_least, crew, starts in self._hopeful(n):
            if earliest is not None and at_least > earliest.start:
                break
            if rng.random() < BLINKS:
                continue
            found = self._first(n, crew, starts, before=earliest.start if earliest else problem.horizon)
            if found is not None:
                earliest = Place(crew, *found)
                cost = problem.cost_of(job, earliest)
                if cost < least:
                    best, least = earliest, cost
        return best

    def _hopeful(self, n: int) -> list[tuple[int, tuple[str, ...], _Starts]]:
        """The crews that may have room, those that could begin first at the head: a slot before which they cannot, who, and when."""
        if len(self.jobs[n].roles) == 1:
            return self.choices[n]
        first: dict[str, int] = {}
        for t, starts in self.alone[n].items():
            found = self._first(n, (t,), starts, before=self.problem.horizon)
            if found is not None:
                first[t] = found[0]
        crews = [(max([first[t] for t in crew]), crew, starts) for _, crew, starts in self.choices[n] if all(t in first for t in crew)]
        crews.sort(key=itemgetter(0))
        return crews

    def _is_free(self, n: int, place: Place) -> bool:
        starts = next((starts for _, crew, starts in self.choices[n] if crew == place.technicians), [])
        elapsed = place.end - place.start
        return any(e == elapsed and self._room(n, place.technicians, e) & of & (1 << place.start) for e, of in starts)

    def _first(self, n: int, crew: tuple[str, ...], starts: _Starts, *, before: int) -> Span | None:
        """The first free place that begins before a slot."""
        best, wanted = None, (1 << before) - 1
        for elapsed, of in starts:
            if not of & wanted:
                continue
            free = of & wanted & self._room(n, crew, elapsed)
            if free:
                first = free & -free
                wanted = first - 1
                start = first.bit_length() - 1
                best = start, start + elapsed
        return best

    def _room(self, n: int, crew: tuple[str, ...], elapsed: int) -> int:
        """Where the crew and the machine are free for so long."""
        machine_id, kind = self.jobs[n].machine_id, self.kind[n]
        of_machine = self.machine_rooms[machine_id]
        room = of_machine.get(elapsed)
        if room is None:
            taken = 0
            for bits in (*self.held_machines[machine_id], *self.of_machine[machine_id].values()):
                taken |= bits
            room = of_machine[elapsed] = _free_for(self.all & ~taken, elapsed)
        for t in crew:
            known = self.rooms[t]
            found = known.get((kind, elapsed))
            if found is None:
                found = known[kind, elapsed] = _free_for(self._free_of(t, kind), elapsed)
            room &= found
        return room

    def _free_of(self, technician_id: str, kind: int) -> int:
        known = self.rooms[technician_id]
        if (kind, 1) not in known:
            taken = 0
            for of_kind in (*self.held[technician_id], *self.of_technician[technician_id].values()):
                taken |= of_kind[kind]
            known[kind, 1] = self.all & ~taken
        return known[kind, 1]

    def _taken_by(self, booking: Booking) -> list[int]:
        """Per kind of job the slots that one of it must not be in, travel and all."""
        travels = self.travels.get((booking.area, booking.spare_min))
        if travels is None:
            table, travels = self.problem.table, []
            for area, spare_min in self.kinds:
                minutes = table.travel_minutes(area, booking.area)
                travels.append((table.slots(minutes, spare_min), table.slots(minutes, booking.spare_min)))
            self.travels[booking.area, booking.spare_min] = travels
        return [_bits(booking.start - to, booking.end + back) for to, back in travels]

    def _choices(self, job: Job, *, crews: Iterable[tuple[str, ...]]) -> list[tuple[int, tuple[str, ...], _Starts]]:
        """Where each crew could begin, were everybody free: per time that the work takes with its breaks, as bits."""
        found = []
        for crew in crews:
            key = crew, job.machine_id if job.machine_id in self.problem.table.calendar.stop else None, job.length
            if key not in self.starts:
                begins, ends = self.problem.table.calendar.places(*key)
                self.starts[key] = [(int(e), sum(1 << s for s in begins[ends - begins == e].tolist())) for e in np.unique(ends - begins)]
            earliest = max(0, job.earliest)
            found.append((0, crew, [(e, of) for e, bits in self.starts[key] if (of := bits >> earliest << earliest)]))
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
