"""The rows of `anomaly_scores`: all machines of a site put together, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.detectors.alarm_rate import AlarmRate
from ml.detectors.baseline import QUANTITIES
from ml.detectors.scoring import MEMBERS, MachineModel, shares_of
from ml.detectors.windows import SCORED, TOO_FEW, MachineWindows, taken, with_sensors
from ml.plant import Machine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOVED_Z = 4.0
MAX_NAMED_SENSORS = 5
MIN_NAMED_SHARE = 0.05


@dataclass(frozen=True)
class Scored:
    """One machine's n windows, of which the m at `rows` are scored.

    `score` (m,), `members` (m, members); the sensors that contribute most, the largest first, at most MAX_NAMED_SENSORS: `named` (m, 5)
    their places among the machine's sensors as fitted (-1: none), `share` and `z` (m, 5), `quantity` (m, 5) places in QUANTITIES.
    """

    machine_id: str
    sensor_ids: tuple[str, ...]
    starts: NDArray[np.datetime64]
    state: NDArray[np.str_]
    rows: Ints
    score: Floats
    members: Floats
    n_agreeing: Ints
    n_moved: Ints
    named: Ints
    share: Floats
    z: Floats
    quantity: Ints


def score_machine(
    windows: MachineWindows, *, model: MachineModel, machine: Machine, rate: AlarmRate, on: float, settle_windows: int, since: np.datetime64
) -> Scored:
    place = {s.sensor_id: i for i, s in enumerate(machine.sensors)}
    known = model.members.states.apply(
        with_sensors(windows, [place.get(s) for s in model.members.sensor_ids]), settle_windows=settle_windows
    )
    state = np.where(known.is_scored & ~np.isfinite(known.mean).any(axis=1), TOO_FEW, known.state)
    is_scored, is_asked = state == SCORED, windows.starts >= since
    judged = model.members.judge(taken(known, is_scored), skip=int((is_scored & ~is_asked).sum()))
    surprise, of_members = model.surprise(model.member_p(judged.statistics))
    share, members = shares_of(judged, of_members), rate.score(of_members)
    order = np.argsort(-share, axis=1, kind="stable")[:, :MAX_NAMED_SENSORS]
    top_share = np.take_along_axis(share, order, axis=1)
    # the leading sensor is always known, also where so many share the movement that none is named with its part
    named = np.where(top_share >= MIN_NAMED_SHARE, order, -1 - order)
    return Scored(
        machine_id=windows.machine_id,
        sensor_ids=model.members.sensor_ids,
        starts=windows.starts[is_asked],
        state=state[is_asked],
        rows=np.flatnonzero(is_scored[is_asked]),
        score=rate.score(surprise),
        members=members,
        n_agreeing=(np.nan_to_num(members) >= on).sum(axis=1),
        n_moved=(np.abs(judged.z) >= MOVED_Z).sum(axis=1),
        named=named,
        share=top_share,
        z=np.take_along_axis(judged.z, order, axis=1),
        quantity=np.take_along_axis(judged.quantity, order, axis=1),
    )


def score_table(scored: Sequence[Scored], *, model_version: int) -> pd.DataFrame:
    """Sorted by machine and window; types as in the contract."""
    scored = sorted(scored, key=lambda s: s.machine_id)
    lengths = np.array([len(s.starts) for s in scored], dtype=np.int64)
    n = int(lengths.sum())
    rows = np.concatenate([np.empty(0, np.int64), *(s.rows + at for s, at in zip(scored, np.cumsum(lengths) - lengths, strict=True))])

    def spread(values: Floats) -> pa.Array:
        column, is_null = np.full(n, np.nan), np.ones(n, dtype=np.bool_)
        column[rows], is_null[rows] = values, np.isnan(values)
        return pa.array(column, mask=is_null)

    def counted(values: list[Ints]) -> pa.Array:
        column = np.zeros(n, dtype=np.int32)
        column[rows] = np.concatenate([np.empty(0, np.int64), *values])
        return pa.array(column)

    members = np.concatenate([np.empty((0, len(MEMBERS))), *(s.members for s in scored)])
    top, moved = _texts(scored, rows=rows, n=n)
    starts = np.concatenate([np.empty(0, dtype="datetime64[us]"), *(s.starts for s in scored)])
    table = pa.table(
        {
            "machine_id": pa.array([s.machine_id for s in scored], pa.string()).take(np.repeat(np.arange(len(scored)), lengths)),
            "window_start": pa.array(starts, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
            "state": pa.array(np.concatenate([np.empty(0, dtype="U1"), *(s.state for s in scored)]), pa.string()),
            "score": spread(np.concatenate([np.empty(0), *(s.score for s in scored)])),
            **{name: spread(members[:, i]) for i, name in enumerate(MEMBERS)},
            "n_members_agreeing": counted([s.n_agreeing for s in scored]),
            "n_sensors_moved": counted([s.n_moved for s in scored]),
            "top_sensor_id": top,
            "moved_sensors": moved,
            "model_version": pa.array(np.full(n, model_version, dtype=np.int32)),
        }
    )
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _texts(scored: Sequence[Scored], *, rows: Ints, n: int) -> tuple[pa.Array, pa.Array]:
    """(top_sensor_id, moved_sensors as JSON) of all n rows, put together by columns: a row at a time took longer than all members."""
    first = np.cumsum([0, *(len(s.sensor_ids) for s in scored)])
    names = pa.array([sensor_id for s in scored for sensor_id in s.sensor_ids], pa.string())
    m = len(rows)
    place, is_named = np.zeros((m, MAX_NAMED_SENSORS), dtype=np.int64), np.zeros((m, MAX_NAMED_SENSORS), dtype=np.bool_)
    share, z, quantity = (
        np.zeros((m, MAX_NAMED_SENSORS)),
        np.zeros((m, MAX_NAMED_SENSORS)),
        np.zeros((m, MAX_NAMED_SENSORS), dtype=np.int64),
    )
    at = 0
    for s, offset in zip(scored, first, strict=False):
        here, width = slice(at, at := at + len(s.rows)), s.named.shape[1]
        place[here, :width] = offset + np.where(s.named >= 0, s.named, -1 - s.named)
        is_named[here, :width] = s.named >= 0
        share[here, :width], z[here, :width], quantity[here, :width] = s.share, s.z, s.quantity
    pieces = [
        _pieces(names, place[:, i], share=share[:, i], z=z[:, i], quantity=quantity[:, i], is_named=is_named[:, i], first=i == 0)
        for i in range(MAX_NAMED_SENSORS)
    ]
    text = pc.binary_join_element_wise("{", *pieces, "}", "")
    back = np.full(n, -1, dtype=np.int64)
    back[rows] = np.arange(m)
    source = pa.array(back, mask=back < 0)
    return names.take(pa.array(place[:, 0])).take(source), pc.fill_null(text.take(source), "{}")


def _pieces(
    names: pa.Array, place: Ints, *, share: Floats, z: Floats, quantity: Ints, is_named: NDArray[np.bool_], first: bool
) -> pa.Array:
    """`"sensor": {"share": 0.5, "z": 4.2, "feature": "mean"}` of each row, led by a comma but for the first; empty where none is named."""
    joined = pc.binary_join_element_wise(
        '"' if first else ', "',
        names.take(pa.array(place, mask=~is_named)),
        '": {"share": ',
        pc.cast(pa.array(np.round(share, 4)), pa.string()),
        ', "z": ',
        pc.cast(pa.array(np.round(z, 2)), pa.string()),
        ', "feature": "',
        pa.array(QUANTITIES, pa.string()).take(pa.array(quantity)),
        '"}',
        "",
    )
    return pc.fill_null(joined, "")  # joining with nulls skipped loses rows of nothing but nulls (pyarrow 25)
