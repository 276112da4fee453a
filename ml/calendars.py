"""When people work and machines may stop, slot by slot: a site's rosters as the calendar that jobs are placed in."""

import numpy as np
import pandas as pd

from ml.plant import Site
from ml.rosters import Interval, absences, break_intervals, stop_intervals, working_intervals
from ml.timetable import Calendar, Flags, Grid, Slots, Span


def calendar_of(site: Site, *, grid: Grid) -> Calendar:
    """Over the grid's horizon. Slots that a shift or a stop window covers in part are outside it, those that a break touches are break."""
    start, end = grid.origin.to_pydatetime(), grid.at(grid.horizon).to_pydatetime()
    works: dict[str, Flags] = {}
    shift: dict[str, Slots] = {}
    for technician in site.technicians:
        of = _labelled(working_intervals(technician, site=site, start=start, end=end), grid=grid)
        at_work = of >= 0
        for begins, finishes in break_intervals(technician, site=site, start=start, end=end):
            at_work[max(0, grid.floor(pd.Timestamp(begins))) : max(0, grid.ceil(pd.Timestamp(finishes)))] = False
        shift[technician.technician_id], works[technician.technician_id] = of, at_work
    stop = {
        machine.machine_id: _labelled(stop_intervals(machine, site=site, start=start, end=end), grid=grid)
        for machine in site.machines
        if machine.stop_windows
    }
    return Calendar(grid.horizon, works, shift, stop)


def absent_spans(site: Site, *, grid: Grid) -> dict[str, list[Span]]:
    """Per technician the slots in which nobody may call."""
    return {
        t.technician_id: [(grid.floor(pd.Timestamp(a)), grid.ceil(pd.Timestamp(b))) for a, b in absences(t, site=site)]
        for t in site.technicians
    }


def _labelled(intervals: list[Interval], *, grid: Grid) -> Slots:
    """Per slot the number of the interval that covers it whole, -1 where none does."""
    of = np.full(grid.horizon, -1, dtype=np.int64)
    for n, (begins, finishes) in enumerate(intervals):
        of[max(0, grid.ceil(pd.Timestamp(begins))) : max(0, grid.floor(pd.Timestamp(finishes)))] = n
    return of
