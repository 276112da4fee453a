"""A large site's schedule: 500 orders, 50 technicians, 14 days; in a process of its own, which may use both cores."""

import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import date
from datetime import time as wall

import numpy as np
import pandas as pd

from cli.benches.figures import Measured, figure, said_by
from ml.plant import Break, Delivery, Machine, Part, Sensor, Shift, Site, StopWindow, Technician, Travel

ORDERS, TECHNICIANS, MACHINES = 500, 50, 250
SEEDS = (1, 2, 3)
START = pd.Timestamp("2026-10-19T04:00Z")  # the clock changes on the first Sunday of the horizon
SKILLS = ("mechanical", "electrical", "instrumentation", "hydraulic")
AREAS = ("north", "south", "tank farm", "packaging", "utilities")


def planning() -> Iterator[Measured]:
    """Three plants with their orders, each planned twice: stopped at once, and searched to the end."""
    found = [json.loads(said_by(f"from {__name__} import plan_by_itself; plan_by_itself()", str(seed))) for seed in SEEDS]
    yield figure("planning.first_plan_s", [f["first_s"] for f in found], "s", at_most=5)
    yield figure("planning.plan_s", [f["plan_s"] for f in found], "s", at_most=60)
    yield figure("planning.plan_cpu_s", [f["cpu_s"] for f in found], "s")
    yield figure("planning.gap", [100 * f["gap"] for f in found], "%", at_most=5)
    yield figure("planning.unplanned", [f["unplanned"] for f in found], "orders")


def plan_by_itself() -> None:
    """In a process of its own: plan the seed's site, say in JSON how long it took and how good it is."""
    from ml.planning import plan

    seed = int(sys.argv[1])
    site = a_site(seed)
    work = orders_of(site, seed=seed)
    began = time.perf_counter()
    plan(work, site=site, start=START, seed=seed, time_limit_s=0)
    first = time.perf_counter()
    before = sum(os.times()[:4])
    found = plan(work, site=site, start=START, seed=seed)
    spent = time.perf_counter() - first
    cpu = sum(os.times()[:4]) - before
    told = {"first_s": first - began, "plan_s": spent, "cpu_s": cpu, "gap": found.gap, "cost": found.objective}
    json.dump({**told, "unplanned": len(found.unplanned)}, sys.stdout)


def a_site(seed: int) -> Site:
    """Three shifts with a break each, absences, five areas, stop windows on a fifth of the machines, parts in stock and on order."""
    rng = np.random.default_rng(seed)
    shifts = [
        Shift(start=wall(6), end=wall(14), breaks=(Break(start=wall(10), end=wall(10, 30)),)),
        Shift(start=wall(14), end=wall(22), breaks=(Break(start=wall(18), end=wall(18, 30)),)),
        Shift(days=("sun", "mon", "tue", "wed", "thu"), start=wall(22), end=wall(6), breaks=(Break(start=wall(2), end=wall(2, 30)),)),
    ]
    people = tuple(
        Technician(
            technician_id=f"t{n:02d}",
            name=f"Technician {n}",
            skills=tuple(sorted({SKILLS[n % 4], *rng.choice(SKILLS, rng.integers(0, 2))})),
            shifts=(shifts[int(rng.choice(3, p=(0.5, 0.35, 0.15)))],),
            absent_on=tuple(date(2026, 10, 19 + int(d)) for d in rng.choice(12, 2, replace=False)) if n % 4 == 0 else (),
        )
        for n in range(TECHNICIANS)
    )
    afternoon = StopWindow(days=("mon", "tue", "wed", "thu", "fri"), start=wall(12), end=wall(22))
    machines = tuple(
        Machine(
            machine_id=f"m{n:03d}",
            machine_class="pump",
            area=AREAS[n % 5],
            stop_windows=(afternoon,) if n % 5 == 0 else (),
            sensors=(Sensor(sensor_id=f"s{n:03d}", type="flow", unit="m3/h"),),
        )
        for n in range(MACHINES)
    )
    parts = (
        Part(part_id="seal", name="Seal", in_stock=20, on_order=(Delivery(quantity=15, expected_on=date(2026, 10, 21)),), lead_time_days=6),
    )
    return Site(
        site="bench",
        name="Bench",
        time_zone="Europe/Berlin",
        country="DE",
        first_day=date(2026, 1, 1),
        machines=machines,
        technicians=people,
        parts=parts,
        travel=tuple(Travel(between=("tank farm", area), minutes=15) for area in AREAS if area != "tank farm"),
    )


def orders_of(site: Site, *, seed: int) -> pd.DataFrame:
    """Priorities, risks and durations as a large site has them; one order in seven takes two technicians."""
    rng = np.random.default_rng(seed + 1000)
    priority = rng.choice(["urgent", "high", "medium", "low"], ORDERS, p=(0.04, 0.2, 0.46, 0.3))
    first, second = rng.choice(SKILLS, ORDERS), rng.choice(SKILLS, ORDERS)
    due_days = pd.Series(priority).map({"urgent": 2, "high": 7, "medium": 14, "low": 30}) * rng.uniform(0.5, 1, ORDERS)
    return pd.DataFrame(
        {
            "order_id": [f"o{n:03d}" for n in range(ORDERS)],
            "machine_id": [site.machines[int(n)].machine_id for n in rng.integers(0, MACHINES, ORDERS)],
            "priority": priority,
            "risk_cost": rng.lognormal(8, 1, ORDERS),
            "due_at": START + pd.to_timedelta(due_days.round(2), unit="D"),
            "crew": [((a,), (b,)) if n % 7 == 0 else ((a,),) for n, (a, b) in enumerate(zip(first, second, strict=True))],
            "duration_h": rng.choice([0.75, 1, 1.5, 2, 3, 4, 6], ORDERS),
            "parts": [("seal",) if n % 12 == 0 else () for n in range(ORDERS)],
            "is_urgent": priority == "urgent",
            "ready_at": pd.NaT,
        }
    )
