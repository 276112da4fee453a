"""The detector of one site: a model per machine, fitted on healthy windows, scoring windows and naming the sensors that moved.

A site without a model for a machine does not score that machine: it is absent from the table and named in `untrained`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.detectors.forest import Forest, fit_forest
from ml.detectors.fusion import Tail, combined_surprise, fit_tail, pooled_shape
from ml.detectors.members import Baseline, Pca, fit_baseline, fit_pca
from ml.detectors.packing import Packer, Unpacker
from ml.detectors.scoring import MEMBERS, MachineModel, Members, score_machine, score_table
from ml.detectors.windows import MachineWindows, each_machine, roles, taken, with_sensors
from ml.plant import Machine, Site

Floats = NDArray[np.float64]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

MIN_FIT_WINDOWS = 100
MIN_HELD_OUT_WINDOWS = 40
T = TypeVar("T")


class NotTrainable(ValueError):
    """No machine of the site has what a detector needs; the message says what is missing."""


@dataclass(frozen=True)
class SiteDetector:
    site: str
    held_out_from: pd.Timestamp
    models: Mapping[str, MachineModel]
    untrained: Mapping[str, str]

    @classmethod
    def fit(cls, features: pd.DataFrame, *, site: Site, held_out_from: pd.Timestamp, seed: int) -> Self:
        """From the features of healthy days: members on the windows before `held_out_from`, calibration on those from it on.

        A machine with too few windows takes the model of its class if another machine of the class has the same types
        of sensors, else it is listed in `untrained`. Raises NotTrainable if no machine can be trained, ValueError if
        `held_out_from` has no time zone.
        """
        if held_out_from.tzinfo is None:
            raise ValueError(f"held_out_from {held_out_from} has no time zone; pass a UTC timestamp")
        parts = {w.machine_id: _split(w, held_out_from=held_out_from) for w in each_machine(features, site=site)}
        enough = {m for m, (fit, held) in parts.items() if len(fit.starts) >= MIN_FIT_WINDOWS and len(held.starts) >= MIN_HELD_OUT_WINDOWS}
        members: dict[str, tuple[str, Members, MachineWindows, int]] = {}
        untrained: dict[str, str] = {}
        for machine in site.machines:
            found = _windows_to_fit(machine, site=site, parts=parts, enough=enough)
            if isinstance(found, str):
                untrained[machine.machine_id] = found
                continue
            source, fit, held = found
            fitted = _fit_members(fit, sensor_ids=tuple(s.sensor_id for s in machine.sensors), seed=seed)
            if fitted is None:
                untrained[machine.machine_id] = "no sensor has any spread in the healthy windows"
            else:
                members[machine.machine_id] = (source, fitted, held, len(fit.starts))
        if not members:
            reasons = "; ".join(f"{m}: {why}" for m, why in untrained.items())
            raise NotTrainable(f"no machine of {site.site} can be trained ({reasons}); wait for more healthy days")
        models = _calibrate(members)
        return cls(site=site.site, held_out_from=pd.Timestamp(held_out_from), models=models, untrained=untrained)

    def score(self, features: pd.DataFrame, *, site: Site, model_version: int) -> pd.DataFrame:
        """The anomaly_scores of all windows given, sorted by machine and window.

        Settling after a stop looks at earlier windows: pass the day before too, and cut.
        """
        tables = [
            score_machine(
                windows,
                model=self.models[windows.machine_id],
                machine=site.machine(windows.machine_id),
                on=site.policy.detection.on_threshold,
            )
            for windows in each_machine(features, site=site)
            if windows.machine_id in self.models
        ]
        empty = score_table("", starts=np.empty(0, dtype="datetime64[us]"), columns={})
        scores = pd.concat(tables or [empty], ignore_index=True).sort_values(
            ["machine_id", "window_start"], kind="stable", ignore_index=True
        )
        scores["model_version"] = np.full(len(scores), model_version, dtype=np.int32)
        return scores

    def to_bytes(self) -> bytes:
        """Numbers and JSON in a zip without times: the same data and seed give the same bytes."""
        packer = Packer()
        machines = []
        for place, model in enumerate(self.models.values()):
            parts: dict[str, DataclassInstance] = {
                "baseline": model.members.baseline,
                "pca": model.members.pca,
                "forest": model.members.forest,
                "fused": model.fused,
            }
            parts |= {f"tail_{name}": tail for name, tail in zip(MEMBERS, model.tails, strict=True)}
            machines.append(
                {
                    "machine_id": model.machine_id,
                    "source": model.source,
                    "n_fit_windows": model.n_fit_windows,
                    "n_held_out_windows": model.n_held_out_windows,
                    "sensor_ids": list(model.members.sensor_ids),
                    "parts": {name: packer.add(f"{place}.{name}", part) for name, part in parts.items()},
                }
            )
        return packer.pack(
            {"site": self.site, "held_out_from": self.held_out_from.isoformat(), "machines": machines, "untrained": dict(self.untrained)}
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError if the bytes are not a detector of this version."""
        stored = Unpacker(data)
        models = [_unpack_model(stored, place=place, entry=entry) for place, entry in enumerate(stored.manifest["machines"])]
        return cls(
            site=stored.manifest["site"],
            held_out_from=pd.Timestamp(stored.manifest["held_out_from"]),
            models={m.machine_id: m for m in models},
            untrained=stored.manifest["untrained"],
        )


def _unpack_model(stored: Unpacker, *, place: int, entry: Mapping[str, Any]) -> MachineModel:
    def part(kind: type[T], name: str) -> T:
        return stored.build(kind, prefix=f"{place}.{name}", numbers=entry["parts"][name])

    return MachineModel(
        machine_id=entry["machine_id"],
        source=entry["source"],
        n_fit_windows=entry["n_fit_windows"],
        n_held_out_windows=entry["n_held_out_windows"],
        members=Members(tuple(entry["sensor_ids"]), part(Baseline, "baseline"), part(Pca, "pca"), part(Forest, "forest")),
        tails=tuple(part(Tail, f"tail_{name}") for name in MEMBERS),
        fused=part(Tail, "fused"),
    )


def _split(windows: MachineWindows, *, held_out_from: pd.Timestamp) -> tuple[MachineWindows, MachineWindows]:
    is_late = windows.starts >= np.datetime64(held_out_from.tz_convert("UTC").tz_localize(None))
    return taken(windows, windows.is_scored & ~is_late), taken(windows, windows.is_scored & is_late)


def _windows_to_fit(
    machine: Machine, *, site: Site, parts: Mapping[str, tuple[MachineWindows, MachineWindows]], enough: set[str]
) -> tuple[str, MachineWindows, MachineWindows] | str:
    """(source, windows to fit on, windows held out), or the reason why there are none."""
    if machine.machine_id in enough:
        fit, held = parts[machine.machine_id]
        return "own", fit, held
    own_roles = roles(machine)
    n_fit, n_held = (len(w.starts) for w in parts[machine.machine_id]) if machine.machine_id in parts else (0, 0)
    pools: tuple[list[MachineWindows], list[MachineWindows]] = ([], [])
    for other in site.machines:
        is_alike = other.machine_class == machine.machine_class and sorted(roles(other)) == sorted(own_roles)
        if is_alike and (other.machine_id in enough or (other.machine_id == machine.machine_id and other.machine_id in parts)):
            places = [roles(other).index(role) for role in own_roles]
            for pool, part in zip(pools, parts[other.machine_id], strict=True):
                pool.append(with_sensors(part, places))
    if not any(w.machine_id in enough for w in pools[0]):
        return (
            f"{n_fit} healthy running windows to fit on and {n_held} held out, {MIN_FIT_WINDOWS} and {MIN_HELD_OUT_WINDOWS} are needed, "
            f"and no other {machine.machine_class} with the same types of sensors has them"
        )
    return "class", _joined(pools[0]), _joined(pools[1])


def _joined(pool: Sequence[MachineWindows]) -> MachineWindows:
    return MachineWindows(
        pool[0].machine_id,
        starts=np.concatenate([w.starts for w in pool]),
        hours=np.concatenate([w.hours for w in pool]),
        state=np.concatenate([w.state for w in pool]),
        spell=np.concatenate([w.spell + i * 10**9 for i, w in enumerate(pool)]),
        mean=np.concatenate([w.mean for w in pool]),
        std=np.concatenate([w.std for w in pool]),
        slope=np.concatenate([w.slope for w in pool]),
    )


def _fit_members(windows: MachineWindows, *, sensor_ids: tuple[str, ...], seed: int) -> Members | None:
    baseline = fit_baseline(windows)
    if baseline is None:
        return None
    z, _ = baseline.standardise(windows)
    pca = fit_pca(np.nan_to_num(z))
    return Members(sensor_ids, baseline, pca, fit_forest(pca.impute(z), seed=seed))


def _calibrate(fitted: Mapping[str, tuple[str, Members, MachineWindows, int]]) -> dict[str, MachineModel]:
    """Tails of the members, then of their combination; the tails' shapes are shared by the site's machines."""
    statistics = {m: members.statistics(held)[0] for m, (_, members, held, _) in fitted.items()}

    def scorable(column: int) -> list[Floats]:
        return [table[:, column] for table in statistics.values() if np.isfinite(table[:, column]).all()]

    shapes = [pooled_shape(scorable(column)) for column in range(len(MEMBERS))]
    uncombined = {}
    for machine_id, (source, members, held, n_fit) in fitted.items():
        tails = tuple(fit_tail(np.nan_to_num(column), shape=shape) for column, shape in zip(statistics[machine_id].T, shapes, strict=True))
        uncombined[machine_id] = MachineModel(machine_id, source, n_fit, len(held.starts), members, tails, fused=tails[0])
    surprise = {m: combined_surprise(model.member_p(statistics[m])) for m, model in uncombined.items()}
    shape = pooled_shape(list(surprise.values()))
    return {m: replace(model, fused=fit_tail(surprise[m], shape=shape)) for m, model in uncombined.items()}
