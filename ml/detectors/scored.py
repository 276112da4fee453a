"""The windows of a site's machines scored: machine by machine as the members want it, then pooled for all that needs no model.

A call of numpy costs as much as a machine's day of windows in it; what was done for each machine by itself took as long as the members.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.detectors.alarm_rate import AlarmRate
from ml.detectors.scoring import Judged, MachineModel, member_p, shares_of, surprise_of
from ml.detectors.windows import SCORED, TOO_FEW, MachineWindows, taken, with_sensors
from ml.plant import Machine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOVED_Z = 4.0
MAX_NAMED_SENSORS = 5
MIN_NAMED_SHARE = 0.05
POOLED_WINDOWS = 8192  # what is pooled must fit into memory for a site's month, too


@dataclass(frozen=True)
class Looked:
    """One machine's windows since the first one asked for; `judged` are those at `rows`, which may be scored."""

    model: MachineModel
    starts: NDArray[np.datetime64]
    state: NDArray[np.str_]
    rows: Ints
    judged: Judged


@dataclass(frozen=True)
class Scored:
    """The windows of some machines, `n_windows` of each, one machine below the other; the m at `rows` are scored.

    `score` (m,), `members` (m, members); the sensors that contribute most, the largest first, at most MAX_NAMED_SENSORS: `place` (m, 5)
    among `sensor_ids`, `is_named` (m, 5) where the share is worth telling, `share` and `z` (m, 5), `quantity` (m, 5) places in
    QUANTITIES. The first place is always known, also where so many share the movement that none is named with its part.
    """

    machine_ids: tuple[str, ...]
    n_windows: Ints
    sensor_ids: tuple[str, ...]
    starts: NDArray[np.datetime64]
    state: NDArray[np.str_]
    rows: Ints
    score: Floats
    members: Floats
    n_agreeing: Ints
    n_moved: Ints
    place: Ints
    is_named: NDArray[np.bool_]
    share: Floats
    z: Floats
    quantity: Ints


def look_at(windows: MachineWindows, *, model: MachineModel, machine: Machine, settle_windows: int, since: np.datetime64) -> Looked:
    place = {s.sensor_id: i for i, s in enumerate(machine.sensors)}
    known = model.members.states.apply(
        with_sensors(windows, [place.get(s) for s in model.members.sensor_ids]), settle_windows=settle_windows
    )
    state = np.where(known.is_scored & ~np.isfinite(known.mean).any(axis=1), TOO_FEW, known.state)
    is_scored, is_asked = state == SCORED, windows.starts >= since
    judged = model.members.judge(taken(known, is_scored), skip=int((is_scored & ~is_asked).sum()))
    return Looked(model, windows.starts[is_asked], state[is_asked], np.flatnonzero(is_scored[is_asked]), judged)


def pools(looked: Iterable[Looked]) -> Iterator[list[Looked]]:
    """The machines, in their order, some at a time."""
    pool: list[Looked] = []
    for machine in looked:
        pool.append(machine)
        if sum(len(m.rows) for m in pool) >= POOLED_WINDOWS:
            yield pool
            pool = []
    if pool:
        yield pool


def score_pool(pool: Sequence[Looked], *, rate: AlarmRate, on: float) -> Scored:
    n_windows = np.array([len(m.starts) for m in pool])
    surprise, of_members = surprise_of(member_p([m.model for m in pool], [m.judged.statistics for m in pool]))
    members = rate.score(of_members)
    return Scored(
        machine_ids=tuple(m.model.machine_id for m in pool),
        n_windows=n_windows,
        sensor_ids=tuple(sensor_id for m in pool for sensor_id in m.model.members.sensor_ids),
        starts=np.concatenate([m.starts for m in pool]),
        state=np.concatenate([m.state for m in pool]),
        rows=np.concatenate([m.rows + first for m, first in zip(pool, np.cumsum(n_windows) - n_windows, strict=True)]),
        score=rate.score(surprise),
        members=members,
        n_agreeing=(np.nan_to_num(members) >= on).sum(axis=1),
        **_moved(pool, of_members),
    )


def _moved(pool: Sequence[Looked], surprise: Floats) -> dict[str, NDArray[Any]]:
    """What a Scored says of sensors, together for all machines with as many of them."""
    n_sensors = np.array([len(m.model.members.sensor_ids) for m in pool])
    first_sensor = np.cumsum(n_sensors) - n_sensors
    n_rows = np.array([len(m.rows) for m in pool])
    shape = (int(n_rows.sum()), MAX_NAMED_SENSORS)
    place, quantity = np.zeros((2, *shape), dtype=np.int64)
    share, z = np.zeros((2, *shape))
    n_moved = np.zeros(shape[0], dtype=np.int64)
    for width in np.unique(n_sensors):
        alike = np.flatnonzero(n_sensors == width)
        judged = [m.judged for m in pool if len(m.model.members.sensor_ids) == width]
        at = np.repeat(n_sensors == width, n_rows)
        shares = shares_of(np.concatenate([j.shares for j in judged]), surprise[at])
        order = np.argsort(-shares, axis=1, kind="stable")[:, :MAX_NAMED_SENSORS]
        told = slice(0, order.shape[1])
        all_z, all_quantities = np.concatenate([j.z for j in judged]), np.concatenate([j.quantity for j in judged])
        place[at, told] = order + np.repeat(first_sensor[alike], n_rows[alike])[:, None]
        share[at, told], z[at, told], quantity[at, told] = (np.take_along_axis(a, order, axis=1) for a in (shares, all_z, all_quantities))
        n_moved[at] = (np.abs(all_z) >= MOVED_Z).sum(axis=1)
    return {"n_moved": n_moved, "place": place, "is_named": share >= MIN_NAMED_SHARE, "share": share, "z": z, "quantity": quantity}
