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
from ml.plant import DetectionPolicy, Machine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOVED_Z = 4.0
MAX_NAMED_SENSORS = 5
MIN_NAMED_SHARE = 0.05
UNUSUAL_SHARE = 0.5  # of the score at which an incident opens
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

    `score` (m,), `members` (m, members), `top` (m,) the sensor among `sensor_ids` that contributes most. Of the k at `told`, places among
    the m, the sensors are named: the largest contributions first, at most MAX_NAMED_SENSORS: `place` (k, 5) among `sensor_ids`, `is_named`
    (k, 5) where the share is worth telling, `share` and `z` (k, 5), `quantity` (k, 5) places in QUANTITIES. Where many share the
    movement evenly, none is named.
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
    top: Ints
    told: Ints
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


def score_pool(pool: Sequence[Looked], *, rate: AlarmRate, policy: DetectionPolicy) -> Scored:
    n_windows = np.array([len(m.starts) for m in pool])
    surprise, of_members = surprise_of(member_p([m.model for m in pool], [m.judged.statistics for m in pool]))
    score, members = rate.score(surprise), rate.score(of_members)
    return Scored(
        machine_ids=tuple(m.model.machine_id for m in pool),
        n_windows=n_windows,
        sensor_ids=tuple(sensor_id for m in pool for sensor_id in m.model.members.sensor_ids),
        starts=np.concatenate([m.starts for m in pool]),
        state=np.concatenate([m.state for m in pool]),
        rows=np.concatenate([m.rows + first for m, first in zip(pool, np.cumsum(n_windows) - n_windows, strict=True)]),
        score=score,
        members=members,
        n_agreeing=(np.nan_to_num(members) >= policy.on_threshold).sum(axis=1),
        **_moved(pool, of_members, is_unusual=score >= min(UNUSUAL_SHARE * policy.on_threshold, policy.off_threshold)),
    )


def _moved(pool: Sequence[Looked], surprise: Floats, *, is_unusual: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """What a Scored says of sensors, together for all machines with as many of them.

    Named are those of unusual windows, and of windows in which a sensor moved: an ordinary one has nothing to explain, and most are.
    """
    n_sensors = np.array([len(m.model.members.sensor_ids) for m in pool])
    n_rows = np.array([len(m.rows) for m in pool])
    first_sensor = np.repeat(np.cumsum(n_sensors) - n_sensors, n_rows)
    n_moved, top = np.zeros((2, len(surprise)), dtype=np.int64)
    place, quantity = np.zeros((2, len(surprise), MAX_NAMED_SENSORS), dtype=np.int64)
    share, z = np.zeros((2, len(surprise), MAX_NAMED_SENSORS))
    is_told = is_unusual.copy()
    for width in np.unique(n_sensors):
        judged = [m.judged for m in pool if len(m.model.members.sensor_ids) == width]
        at = np.flatnonzero(np.repeat(n_sensors == width, n_rows))
        shares = shares_of(np.concatenate([j.shares for j in judged]), surprise[at])
        all_z, all_quantities = np.concatenate([j.z for j in judged]), np.concatenate([j.quantity for j in judged])
        n_moved[at] = (np.abs(all_z) >= MOVED_Z).sum(axis=1)
        top[at] = shares.argmax(axis=1) + first_sensor[at]
        is_told[at] |= n_moved[at] > 0
        some = np.flatnonzero(is_told[at])
        order = np.argsort(-shares[some], axis=1, kind="stable")[:, :MAX_NAMED_SENSORS]
        told = np.ix_(at[some], np.arange(order.shape[1]))
        place[told] = order + first_sensor[at[some], None]
        share[told], z[told], quantity[told] = (np.take_along_axis(a[some], order, axis=1) for a in (shares, all_z, all_quantities))
    of_told = {"place": place, "is_named": share >= MIN_NAMED_SHARE, "share": share, "z": z, "quantity": quantity}
    return {"n_moved": n_moved, "top": top, "told": np.flatnonzero(is_told), **{name: a[is_told] for name, a in of_told.items()}}
