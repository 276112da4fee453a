"""The rows of `anomaly_scores`: all machines of a site put together, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.detectors.baseline import QUANTITIES
from ml.detectors.scored import MAX_NAMED_SENSORS, Scored
from ml.detectors.scoring import MEMBERS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def score_table(scored: Sequence[Scored], *, model_version: int) -> pd.DataFrame:
    """In the order given; types as in the contract."""
    lengths = np.array([len(s.starts) for s in scored], dtype=np.int64)
    n = int(lengths.sum())
    rows = _places([s.rows for s in scored], lengths=lengths, none=np.empty(0, np.int64))

    def spread(values: Floats) -> pa.Array:
        column, is_null = np.full(n, np.nan), np.ones(n, dtype=np.bool_)
        column[rows], is_null[rows] = values, np.isnan(values)
        return pa.array(column, mask=is_null)

    def counted(values: list[Ints]) -> pa.Array:
        column = np.zeros(n, dtype=np.int32)
        column[rows] = _stacked(values, np.empty(0, np.int64))
        return pa.array(column)

    members = _stacked([s.members for s in scored], np.empty((0, len(MEMBERS))))
    top, moved = _texts(scored, rows=rows, n=n)
    starts = _stacked([s.starts for s in scored], np.empty(0, dtype="datetime64[us]"))
    machine_ids = [machine_id for s in scored for machine_id in s.machine_ids]
    n_windows = _stacked([s.n_windows for s in scored], np.empty(0, np.int64))
    table = pa.table(
        {
            "machine_id": pa.array(machine_ids, pa.string()).take(np.repeat(np.arange(len(machine_ids)), n_windows)),
            "window_start": pa.array(starts, pa.timestamp("us")).cast(pa.timestamp("us", "UTC")),
            "state": pa.array(_stacked([s.state for s in scored], np.empty(0, dtype="U1")), pa.string()),
            "score": spread(_stacked([s.score for s in scored], np.empty(0))),
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


def _stacked(parts: Sequence[NDArray[Any]], none: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else none


def _places(parts: Sequence[Ints], *, lengths: Ints, none: Ints) -> Ints:
    """Places in tables of these lengths, as places in the tables put one below the other."""
    return _stacked([part + at for part, at in zip(parts, np.cumsum(lengths) - lengths, strict=True)], none)


def _texts(scored: Sequence[Scored], *, rows: Ints, n: int) -> tuple[pa.Array, pa.Array]:
    """(top_sensor_id, moved_sensors as JSON) of all n rows, put together by columns: a row at a time took longer than all members."""
    names = pa.array([sensor_id for s in scored for sensor_id in s.sensor_ids], pa.string())
    n_sensors = np.array([len(s.sensor_ids) for s in scored], dtype=np.int64)
    n_rows = np.array([len(s.rows) for s in scored], dtype=np.int64)
    none = (0, MAX_NAMED_SENSORS)
    place = _places([s.place for s in scored], lengths=n_sensors, none=np.empty(none, np.int64))
    is_named = _stacked([s.is_named for s in scored], np.empty(none, np.bool_))
    quantity = _stacked([s.quantity for s in scored], np.empty(none, np.int64))
    shares = _as_texts(_stacked([s.share for s in scored], np.empty(none)), decimals=4, then=', "z": ')
    zs = _as_texts(_stacked([s.z for s in scored], np.empty(none)), decimals=2)
    features = pa.array([f', "feature": "{name}"}}' for name in QUANTITIES], pa.string())
    pieces = []
    for i in np.flatnonzero(is_named.any(axis=0)):
        led = pc.binary_join_element_wise(', "' if i else '"', names, '": {"share": ', "")
        parts = (led.take(pa.array(place[:, i])), shares[i], zs[i], features.take(pa.array(quantity[:, i])))
        pieces.append(pc.if_else(pa.array(is_named[:, i]), pc.binary_join_element_wise(*parts, ""), ""))
    texts = pc.binary_join_element_wise("{", *pieces, "}", "") if pieces else pa.nulls(len(place), pa.string())
    told = _places([s.told for s in scored], lengths=n_rows, none=np.empty(0, np.int64))
    top = _places([s.top for s in scored], lengths=n_sensors, none=np.empty(0, np.int64))
    return names.take(_placed(top, rows, n=n)), pc.fill_null(texts.take(_placed(np.arange(len(told)), rows[told], n=n)), "{}")


def _placed(values: Ints, rows: Ints, *, n: int) -> pa.Array:
    """The values at their rows of n, null elsewhere."""
    column = np.full(n, -1, dtype=np.int64)
    column[rows] = values
    return pa.array(column, mask=column < 0)


def _as_texts(values: Floats, *, decimals: int, then: str = "") -> list[pa.Array]:
    """Rounded, as texts, column by column of (n, k). Each distinct number is written once: they are few, and writing takes longest."""
    encoded = pa.array(np.round(values, decimals).T.ravel()).dictionary_encode()
    texts = pc.binary_join_element_wise(pc.cast(encoded.dictionary, pa.string()), then, "")
    return [texts.take(encoded.indices.slice(i * len(values), len(values))) for i in range(values.shape[1])]
