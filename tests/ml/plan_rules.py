"""Whether a plan keeps every rule, judged minute by minute on the site's wall clock, without any code that plans."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from itertools import pairwise, permutations

import pandas as pd

from ml.planning import Plan
from ml.plant import WEEKDAYS, Break, Shift, Site, Technician

MINUTE = timedelta(minutes=1)


def broken_rules(found: Plan, work: pd.DataFrame, *, site: Site, start: pd.Timestamp) -> list[str]:
    """What is wrong with the plan, in words; for plants without public holidays and orders that have not begun."""
    orders = {row["order_id"]: row for row in work.to_dict("records")}
    rows = found.assignments.to_dict("records")
    told = [o for o, n in Counter([*{r["order_id"] for r in rows}, *found.unplanned["order_id"]]).items() if n > 1]
    wrong = [f"{o} is both planned and unplanned" for o in told]
    wrong += [f"{o} is lost" for o in orders if o not in {*(r["order_id"] for r in rows), *found.unplanned["order_id"]}]
    for order_id in dict.fromkeys(r["order_id"] for r in rows):
        wrong += _order_rules([r for r in rows if r["order_id"] == order_id], orders[order_id], site=site, start=start)
    areas = {m.machine_id: m.area for m in site.machines}
    for technician in site.technicians:
        own = sorted((r["start_at"], r["end_at"], r["order_id"]) for r in rows if r["technician_id"] == technician.technician_id)
        for (_, ends, one), (begins, _, other) in pairwise(own):
            travel = site.travel_minutes(areas[orders[one]["machine_id"]], areas[orders[other]["machine_id"]])
            if begins < ends + travel * MINUTE:
                wrong.append(f"{technician.technician_id} goes from {one} to {other} in no time")
    for machine_id in areas:
        own = sorted({(r["start_at"], r["end_at"], r["order_id"]) for r in rows if orders[r["order_id"]]["machine_id"] == machine_id})
        wrong += [f"{machine_id}: {one} and {other} at once" for (_, ends, one), (begins, _, other) in pairwise(own) if begins < ends]
    return wrong + list(_parts_rules({r["order_id"]: r["start_at"] for r in rows}, orders, site=site, start=start))


def _order_rules(rows: list[dict], order: dict, *, site: Site, start: pd.Timestamp) -> Iterator[str]:
    name, row = order["order_id"], rows[0]
    people = [next(t for t in site.technicians if t.technician_id == r["technician_id"]) for r in rows]
    if len({(r["start_at"], r["end_at"], r["is_overtime"], r["is_late"]) for r in rows}) > 1:
        yield f"{name}: its crew is not together"
    if len({t.technician_id for t in people}) < len(people) or len(people) != len(order["crew"]):
        yield f"{name}: {len(people)} technicians for a crew of {len(order['crew'])}"
    if not any(all(set(s) <= set(t.skills) for s, t in zip(order["crew"], turn, strict=True)) for turn in permutations(people)):
        yield f"{name}: skills are missing"
    if row["start_at"] < start or (not pd.isna(order["ready_at"]) and row["start_at"] < order["ready_at"]):
        yield f"{name}: begins too early"
    if row["is_late"] != (not pd.isna(order["due_at"]) and row["end_at"] > order["due_at"]):
        yield f"{name}: late or not"
    yield from (
        _call_out_rules(row, order, people, site=site, start=start) if row["is_overtime"] else _shift_rules(row, order, people, site=site)
    )


def _call_out_rules(row: dict, order: dict, people: list[Technician], *, site: Site, start: pd.Timestamp) -> Iterator[str]:
    minutes = _minutes(row)
    if not order["is_urgent"] or row["start_at"] < start + site.policy.planning.overtime_response_h * pd.Timedelta(hours=1):
        yield f"{row['order_id']}: called out without need, or too soon"
    if any(m.astimezone(site.zone).date() in t.absent_on for m in minutes for t in people):
        yield f"{row['order_id']}: called out of an absence"
    if len(minutes) != order["duration_h"] * 60:
        yield f"{row['order_id']}: takes {len(minutes)} minutes"


def _shift_rules(row: dict, order: dict, people: list[Technician], *, site: Site) -> Iterator[str]:
    minutes = _minutes(row)
    for t in people:
        if len({_shift_at(m, t, site=site) for m in minutes}) != 1 or _shift_at(minutes[0], t, site=site) is None:
            yield f"{row['order_id']}: {t.technician_id} is not in one shift"
    worked = [m for m in minutes if not any(_is_break(m, t, site=site) for t in people)]
    if len(worked) != order["duration_h"] * 60 or worked[-1] != minutes[-1] or worked[0] != minutes[0]:
        yield f"{row['order_id']}: {len(worked)} minutes of work"
    machine = site.machine(order["machine_id"])
    if machine.stop_windows and not all(any(_is_within(m, w, w.days, site=site) for w in machine.stop_windows) for m in minutes):
        yield f"{row['order_id']}: {machine.machine_id} may not stop then"


def _minutes(row: dict) -> list[datetime]:
    return [row["start_at"].to_pydatetime() + n * MINUTE for n in range(int((row["end_at"] - row["start_at"]) / MINUTE))]


def _parts_rules(begun: dict[str, pd.Timestamp], orders: dict[str, dict], *, site: Site, start: pd.Timestamp) -> Iterator[str]:
    for part in site.parts:
        used = sorted((at, orders[o]["parts"].count(part.part_id)) for o, at in begun.items())
        for at, _ in used:
            arrived = sum(
                d.quantity for d in part.on_order if at >= datetime.combine(d.expected_on + timedelta(days=1), time(0), tzinfo=site.zone)
            )
            taken = sum(n for when, n in used if when <= at)
            if at < start + part.lead_time_days * pd.Timedelta(days=1) and taken > part.in_stock + arrived:
                yield f"{part.part_id}: {taken} taken by {at}"


def _shift_at(minute: datetime, technician: Technician, *, site: Site) -> tuple[int, object] | None:
    """Number and first day of the shift that the technician is in."""
    local = minute.astimezone(site.zone)
    for n, shift in enumerate(technician.shifts):
        for day in (local.date(), local.date() - timedelta(days=1)):
            is_on = WEEKDAYS[day.weekday()] in shift.days and day not in technician.absent_on
            if is_on and _covers(shift.start, shift.end, local, day) and not (local.date() != day and local.date() in technician.absent_on):
                return n, day
    return None


def _is_break(minute: datetime, technician: Technician, *, site: Site) -> bool:
    in_shift = _shift_at(minute, technician, site=site)
    if in_shift is None:
        return False
    shift: Shift = technician.shifts[in_shift[0]]
    return any(_break_covers(pause, shift, in_shift[1], minute, site=site) for pause in shift.breaks)


def _break_covers(pause: Break, shift: Shift, day, minute: datetime, *, site: Site) -> bool:
    begins = datetime.combine(day if pause.start >= shift.start else day + timedelta(days=1), pause.start, tzinfo=site.zone)
    lasts = timedelta(hours=pause.end.hour - pause.start.hour, minutes=pause.end.minute - pause.start.minute)
    return timedelta(0) <= minute - begins.astimezone(minute.tzinfo) < lasts


def _is_within(minute: datetime, window, days, *, site: Site) -> bool:
    local = minute.astimezone(site.zone)
    on = (local.date(), local.date() - timedelta(days=1))
    return any(WEEKDAYS[day.weekday()] in days and _covers(window.start, window.end, local, day) for day in on)


def _covers(start: time, end: time, local: datetime, day) -> bool:
    """Whether hours that begin on `day` cover the local time, by the hands of the clock."""
    if end > start:
        return local.date() == day and start <= local.time() < end
    return local.time() >= start if local.date() == day else local.time() < end
