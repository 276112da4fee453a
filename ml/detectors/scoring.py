"""One machine's fitted model turned to its windows: scores, agreeing members, and which sensors moved."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.detectors.forest import Forest
from ml.detectors.fusion import Tail, combined_surprise, score_of
from ml.detectors.members import QUANTITIES, Baseline, Pca, robust_z_statistic
from ml.detectors.windows import SCORED, TOO_FEW, MachineWindows, taken, with_sensors
from ml.plant import Machine

Floats = NDArray[np.float64]

MEMBERS = ("robust_z", "pca_t2", "pca_q", "isolation_forest")
MOVED_Z = 4.0
MAX_NAMED_SENSORS = 5
MIN_NAMED_SHARE = 0.05


@dataclass(frozen=True)
class Members:
    """The fitted members of one machine; the sensors they were fitted on, in the order of the baseline's columns."""

    sensor_ids: tuple[str, ...]
    baseline: Baseline
    pca: Pca
    forest: Forest

    def statistics(self, windows: MachineWindows) -> tuple[Floats, Floats, Floats]:
        """(statistics (n, members) with NaN for a member that cannot score, hourly z (n, d), contribution shares (n, members, s))."""
        z, hourly = self.baseline.standardise(windows)
        present = np.isfinite(z)
        complete = self.pca.impute(z)
        to_t2, to_q = (np.where(present, c, 0.0) for c in self.pca.contributions(complete))
        table = np.column_stack(
            [
                robust_z_statistic(hourly),
                to_t2.sum(axis=1),
                to_q.sum(axis=1) if self.pca.has_residual else np.full(len(z), np.nan),
                self.forest.statistic(complete),
            ]
        )
        to_z = np.nan_to_num(hourly) ** 2
        # the forest has no exact contributions; the squared z stand in for them
        shares = np.stack([self._by_sensor(c) for c in (to_z, to_t2, to_q, to_z)], axis=1)
        return table, hourly, shares

    def _by_sensor(self, contributions: Floats) -> Floats:
        sums = np.zeros((len(contributions), len(self.sensor_ids)))
        for column, sensor in enumerate(self.baseline.sensor_of):
            sums[:, sensor] += contributions[:, column]
        total = sums.sum(axis=1, keepdims=True)
        return np.asarray(np.divide(sums, total, out=np.zeros_like(sums), where=total > 0), dtype=np.float64)


@dataclass(frozen=True)
class MachineModel:
    """Members and their calibration. `source` is `own`, or `class` if the windows of the machine's class were pooled."""

    machine_id: str
    source: str
    n_fit_windows: int
    n_held_out_windows: int
    members: Members
    tails: tuple[Tail, ...]
    fused: Tail

    def member_p(self, statistics: Floats) -> Floats:
        return np.column_stack([tail.p(column) for tail, column in zip(self.tails, statistics.T, strict=True)])


def score_machine(windows: MachineWindows, *, model: MachineModel, machine: Machine, on: float) -> pd.DataFrame:
    place = {s.sensor_id: i for i, s in enumerate(machine.sensors)}
    known = with_sensors(windows, [place.get(s) for s in model.members.sensor_ids])
    has_any = np.isfinite(known.mean).any(axis=1)
    state = np.where(windows.is_scored & ~has_any, TOO_FEW, windows.state)
    scored = np.flatnonzero(state == SCORED)
    statistics, hourly, shares = model.members.statistics(taken(known, state == SCORED))
    p = model.member_p(statistics)
    member_scores = score_of(p)
    fused = score_of(model.fused.p(combined_surprise(p))) if len(p) else np.empty(0)
    # a sensor's share: its shares of the members' statistics, weighted by how surprised each member is
    weight = np.nan_to_num(-np.log10(p)) + 1e-9
    share = (shares * weight[:, :, None]).sum(axis=1) / weight.sum(axis=1)[:, None]
    n_moved, top, moved = _movements(share, hourly=hourly, members=model.members)

    n = len(windows.starts)

    def spread(values: Floats) -> Floats:
        column = np.full(n, np.nan)
        column[scored] = values
        return column

    def counted(values: NDArray[Any]) -> NDArray[np.int32]:
        column = np.zeros(n, dtype=np.int32)
        column[scored] = values
        return column

    top_column, moved_column = np.full(n, None, dtype=object), np.full(n, "{}", dtype=object)
    top_column[scored], moved_column[scored] = top, moved
    columns: dict[str, Any] = {"state": state, "score": spread(fused)}
    columns |= {name: spread(member_scores[:, i]) for i, name in enumerate(MEMBERS)}
    columns |= {
        "n_members_agreeing": counted((np.nan_to_num(member_scores) >= on).sum(axis=1)),
        "n_sensors_moved": counted(n_moved),
        "top_sensor_id": top_column,
        "moved_sensors": moved_column,
    }
    return score_table(model.machine_id, starts=windows.starts, columns=columns)


def _movements(share: Floats, *, hourly: Floats, members: Members) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """(sensors with |z| >= MOVED_Z, the sensor that contributes most, the moved_sensors JSON) of each window."""
    n, n_sensors = share.shape
    strongest = np.zeros((n, n_sensors))
    quantity = np.zeros((n, n_sensors), dtype=np.int64)
    z = np.nan_to_num(hourly)
    for column, (sensor, place) in enumerate(zip(members.baseline.sensor_of, members.baseline.quantity_of, strict=True)):
        is_stronger = np.abs(z[:, column]) > np.abs(strongest[:, sensor])
        strongest[:, sensor] = np.where(is_stronger, z[:, column], strongest[:, sensor])
        quantity[:, sensor] = np.where(is_stronger, place, quantity[:, sensor])
    order = np.argsort(-share, axis=1, kind="stable")
    moved = []
    for row in range(n):
        named = {}
        for sensor in order[row, :MAX_NAMED_SENSORS]:
            if share[row, sensor] >= MIN_NAMED_SHARE:
                named[members.sensor_ids[sensor]] = {
                    "share": round(float(share[row, sensor]), 4),
                    "z": round(float(strongest[row, sensor]), 2),
                    "feature": QUANTITIES[quantity[row, sensor]],
                }
        moved.append(json.dumps(named))
    n_moved = (np.abs(strongest) >= MOVED_Z).sum(axis=1)
    return n_moved, [members.sensor_ids[i] for i in order[:, 0]], moved


def score_table(machine_id: str, *, starts: NDArray[np.datetime64], columns: Mapping[str, Any]) -> pd.DataFrame:
    n = len(starts)
    blank: dict[str, Any] = {"state": np.empty(0, dtype=object), "score": np.empty(0)}
    blank |= dict.fromkeys(MEMBERS, np.empty(0))
    blank |= {name: np.empty(0, dtype=np.int32) for name in ("n_members_agreeing", "n_sensors_moved")}
    blank |= {name: np.empty(0, dtype=object) for name in ("top_sensor_id", "moved_sensors")}
    table = pd.DataFrame({"machine_id": [machine_id] * n, "window_start": pd.DatetimeIndex(starts).tz_localize("UTC"), **blank, **columns})
    text = dict.fromkeys(("machine_id", "state", "top_sensor_id", "moved_sensors"), "str")
    return table.astype(text)
