"""Fitted models turned to their machines' windows: surprise, the members' own, and which sensors moved."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ml.detectors.baseline import QUANTITIES, Baseline
from ml.detectors.forecast import Forecast
from ml.detectors.forest import Forest
from ml.detectors.fusion import MIN_P, Tail, combined_surprise, pooled_p
from ml.detectors.operating import OperatingStates
from ml.detectors.pace import paced
from ml.detectors.pca import Pca
from ml.detectors.robust_z import RobustZ, largest
from ml.detectors.slow_drift import Cusum, Ewma
from ml.detectors.windows import MachineWindows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEMBERS = (*RobustZ.names, *Ewma.names, *Cusum.names, *Pca.names, *Forest.names, *Forecast.names)
# a week must have been seen before what is usual is known: until then these may support an alarm and not raise one
RESTS_ON_BASELINE = np.array([name not in Forecast.names for name in MEMBERS])
DAYS_OF_A_BASELINE = 7
YOUNG_P = 0.01


@dataclass(frozen=True)
class Judged:
    """Of n windows: `statistics` (n, members), NaN where a member cannot score; `shares` (n, members, s) of the sensors in them.

    `z` (n, s) is each sensor's largest signed z of any quantity, `quantity` (n, s) the place of that one in QUANTITIES.
    """

    statistics: Floats
    shares: Floats
    z: Floats
    quantity: Ints


@dataclass(frozen=True)
class Members:
    """The fitted members of one machine; the sensors they were fitted on, in the order of the baseline's columns; its pace, in windows."""

    sensor_ids: tuple[str, ...]
    pace: float
    states: OperatingStates
    baseline: Baseline
    robust_z: RobustZ
    ewma: Ewma
    cusum: Cusum
    pca: Pca
    forest: Forest
    forecast: Forecast

    @cached_property
    def _of_sensor(self) -> Floats:
        """(d, s): 1 where a column is of a sensor."""
        return np.equal.outer(self.baseline.sensor_of, np.arange(len(self.sensor_ids))).astype(np.float64)

    def judge(self, windows: MachineWindows, *, skip: int = 0) -> Judged:
        """Windows that may be scored, in order of time; the first `skip` are only looked back on."""
        in_step = paced(windows, pace=self.pace)
        view, rows = self.baseline.view(in_step.windows), in_step.rows
        telling = self.robust_z.telling(view)[rows][skip:]
        drifts = [chart.deviations(view)[rows][skip:] for chart in (self.ewma, self.cusum)]
        complete = in_step.held(self.pca.impute(view.z))
        residual = self.forecast.deviations(view, complete)[rows][skip:]
        z, complete = view.z[rows][skip:], complete[rows][skip:]
        to_t2, to_q = self.pca.contributions(complete)
        present = np.isfinite(z)
        if not present.all():
            to_t2, to_q = np.where(present, to_t2, 0.0), np.where(present, to_q, 0.0)
        statistics = np.column_stack(
            [
                largest(telling),
                *map(largest, drifts),
                to_t2.sum(axis=1),
                to_q.sum(axis=1) if self.pca.has_residual else np.full(len(z), np.nan),
                self.forest.statistic(complete),
                largest(residual),
            ]
        )
        to_z = np.nan_to_num(telling) ** 2
        # the forest has no exact contributions; the squared z stand in for them
        contributions = (to_z, *(d**2 for d in drifts), to_t2, to_q, to_z, residual**2)
        sums = np.stack([c @ self._of_sensor for c in contributions], axis=1)
        total = sums.sum(axis=2, keepdims=True)
        shares = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        return Judged(statistics, shares, *self._strongest(np.nan_to_num(telling)))

    def _strongest(self, z: Floats) -> tuple[Floats, Ints]:
        by_quantity = np.zeros((len(z), len(QUANTITIES), len(self.sensor_ids)))
        by_quantity[:, self.baseline.quantity_of, self.baseline.sensor_of] = z
        quantity = np.abs(by_quantity).argmax(axis=1)
        return np.take_along_axis(by_quantity, quantity[:, None, :], axis=1)[:, 0, :], quantity


@dataclass(frozen=True)
class MachineModel:
    """Members and their calibration. `source` is `own`, or `class` if the windows of the machine's class were pooled."""

    machine_id: str
    source: str
    n_fit_days: int
    n_fit_windows: int
    n_held_out_windows: int
    members: Members
    tails: tuple[Tail, ...]


def member_p(models: Sequence[MachineModel], statistics: Sequence[Floats]) -> Floats:
    """The members' p of several machines' windows, one machine below the other; each statistic is (n, members)."""
    p = pooled_p([model.tails for model in models], statistics)
    is_young = np.repeat([model.n_fit_days < DAYS_OF_A_BASELINE for model in models], [len(s) for s in statistics])
    if is_young.any():
        resting = np.ix_(is_young, RESTS_ON_BASELINE)
        p[resting] = np.maximum(p[resting], YOUNG_P)
    return p


def surprise_of(p: Floats) -> tuple[Floats, Floats]:
    """(of all members together (n,), of each (n, members)), -log10."""
    return combined_surprise(p), -np.log10(np.maximum(p, MIN_P))


def shares_of(shares: Floats, surprise: Floats) -> Floats:
    """A sensor's share: its shares of the members' statistics, weighted by how surprised each member is; (n, s)."""
    weight = np.nan_to_num(surprise) + 1e-9
    return np.asarray(np.einsum("nm,nms->ns", weight, shares) / weight.sum(axis=1)[:, None], dtype=np.float64)
