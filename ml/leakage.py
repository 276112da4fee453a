"""Columns that would tell a detector what it is to find out by itself, and columns that tell it nothing.

A sensor leaks where it is no measurement of its own:

    copy      its window means are a linear function of another sensor's, of the same machine, or of the share in which the machine
              runs, but for half a percent of their spread (COPY_RESIDUAL): a copy, or one that was converted or rounded. Two instruments do
              not agree so well: of 42 pairs of the demonstration plant, with six seeds, the nearest differ by 5.6 % of their spread.
              Counted twice, it would make one sensor's movement look like the agreement of two
    outcome   it takes at most MAX_CODES values, and those within incidents or maintenance are never those without: it is a flag, such as
              the state of a work order, set by people who knew. In MIN_SPANS separate spans at least; the windows within MARGIN of the
              edges of a span do not count, as clocks and logs differ. The sensor by which the machine runs is exempt: maintained machines
              stand still

Limits: a non-linear function of another sensor, a copy of another machine's, a delayed copy, and a number that grows towards the outcome
(hours until the next service) are not seen. A flag that only stands in incidents which it made the detector find looks like an outcome.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.plant import Machine, Site

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

COPY_RESIDUAL = 5e-3
MIN_WINDOWS = 100
MAX_CODES = 3
MIN_SPANS = 2
MARGIN = pd.Timedelta(minutes=30)
RUNNING_SHARE = "the share of time in which the machine runs"
_CONSTANT = 1e-12  # of its size: what arithmetic leaves of no spread
_DIGITS = 9


def leaks(features: pd.DataFrame, *, spans: Mapping[str, pd.DataFrame], site: Site) -> dict[str, dict[str, str]]:
    """machine -> sensor that leaks -> why, in words that follow its name.

    `features` are all rows of the days to learn from, nothing cut out; `spans` by kind, such as incidents: machine_id, start, end.
    """
    window = pd.Timedelta(minutes=site.window_minutes)
    found: dict[str, dict[str, str]] = {}
    for machine in site.machines:
        means, running = _wide(features, machine)
        if len(means) < MIN_WINDOWS:
            continue
        own = {kind: table[table["machine_id"] == machine.machine_id] for kind, table in spans.items()}
        said = _outcomes(means, spans=own, machine=machine, window=window) | _copies(means, running, machine=machine)
        if said:
            found[machine.machine_id] = said
    return found


def constant_sensors(features: pd.DataFrame, *, site: Site) -> dict[str, set[str]]:
    """machine -> its sensors that have the same mean in every window in which it ran; of machines with rows."""
    running = features[features["running_share"] >= 1 - 1e-9]
    spread = running.groupby(["machine_id", "sensor_id"])["mean"].agg(["min", "max"])
    is_constant = (spread["max"] - spread["min"]) <= _CONSTANT * spread.abs().max(axis=1)
    known = {(m.machine_id, s.sensor_id) for m in site.machines for s in m.sensors}
    found: dict[str, set[str]] = {}
    for machine_id, sensor_id in is_constant.index[is_constant]:
        if (machine_id, sensor_id) in known:
            found.setdefault(str(machine_id), set()).add(str(sensor_id))
    return found


def _wide(features: pd.DataFrame, machine: Machine) -> tuple[pd.DataFrame, Floats]:
    """Window means, one column per sensor with rows, in the plant file's order; and the share of each window in which it ran."""
    rows = features[features["machine_id"] == machine.machine_id]
    means = rows.pivot(index="window_start", columns="sensor_id", values="mean")
    running = rows.groupby("window_start")["running_share"].min().reindex(means.index).to_numpy(dtype=np.float64)
    return means[[s.sensor_id for s in machine.sensors if s.sensor_id in means.columns]], running


def _copies(means: pd.DataFrame, running: Floats, *, machine: Machine) -> dict[str, str]:
    by = machine.running_when.sensor_id if machine.running_when else None
    columns = {str(name): column.to_numpy(dtype=np.float64) for name, column in means.items()}
    pairs = [(a, b) if b != by else (b, a) for a, b in combinations(columns, 2)]
    said: dict[str, str] = {}
    for original, copy in pairs:
        residual = residual_share(columns[copy], columns[original])
        if residual is not None and residual <= COPY_RESIDUAL:
            role = ", by which the machine runs" if original == by else ""
            said.setdefault(copy, f"is a linear function of {original}{role} ({_words(residual)})")
    for name, column in columns.items():
        residual = None if name == by else residual_share(column, running)
        if residual is not None and residual <= COPY_RESIDUAL:
            said.setdefault(name, f"is a linear function of {RUNNING_SHARE} ({_words(residual)})")
    return said


def _words(residual: float) -> str:
    return f"all but {residual:.1e} of its spread"


def residual_share(y: Floats, x: Floats) -> float | None:
    """Standard deviation that a straight line through `x` leaves of `y`'s: sqrt(1 - r^2). None where either has no spread, or rows lack."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < MIN_WINDOWS:
        return None
    x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
    size_x, size_y = float(np.sqrt((x**2).sum())), float(np.sqrt((y**2).sum()))
    if size_x == 0 or size_y == 0:
        return None
    x, y = x / size_x, y / size_y
    return float(np.sqrt(((y - (x @ y) * x) ** 2).sum()))


def _outcomes(means: pd.DataFrame, *, spans: Mapping[str, pd.DataFrame], machine: Machine, window: pd.Timedelta) -> dict[str, str]:
    by = machine.running_when.sensor_id if machine.running_when else None
    said: dict[str, str] = {}
    everything = pd.concat(spans.values()) if spans else pd.DataFrame(columns=["start", "end"])
    outside = ~_touched(means.index, everything, window=window)
    for kind, table in spans.items():
        inside, n_spans = _within(means.index, table, window=window)
        if n_spans < MIN_SPANS:
            continue
        for name, column in means.items():
            values = column.to_numpy(dtype=np.float64)
            within, without = _codes(values[inside]), _codes(values[outside])
            if name != by and within and without and len(within | without) <= MAX_CODES and not within & without:
                words = f"is {_listed(within)} in {kind} and {_listed(without)} otherwise, in {n_spans} of {len(table)} spans"
                said.setdefault(str(name), words)
    return said


def _codes(values: Floats) -> set[float]:
    known = values[np.isfinite(values)]
    return {float(f"{v:.{_DIGITS}g}") for v in np.unique(known)[: MAX_CODES + 1]} if len(known) else set()


def _listed(codes: set[float]) -> str:
    return " or ".join(f"{c:g}" for c in sorted(codes))


def _touched(starts: pd.Index, spans: pd.DataFrame, *, window: pd.Timedelta) -> Flags:
    """Windows that overlap a span, or come within the margin of one."""
    touched = np.zeros(len(starts), dtype=np.bool_)
    for span in spans.to_dict("records"):
        touched |= (starts > span["start"] - window - MARGIN) & (starts <= span["end"] + MARGIN)
    return touched


def _within(starts: pd.Index, spans: pd.DataFrame, *, window: pd.Timedelta) -> tuple[Flags, int]:
    """Windows well within a span, and the number of spans that have any."""
    within, n_spans = np.zeros(len(starts), dtype=np.bool_), 0
    for span in spans.to_dict("records"):
        inside = np.asarray((starts >= span["start"] + MARGIN) & (starts <= span["end"] - MARGIN - window), dtype=np.bool_)
        within |= inside
        n_spans += bool(inside.any())
    return within, n_spans
