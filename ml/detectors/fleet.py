"""The detector of one site: a model per machine, fitted on healthy windows, scoring windows and naming the sensors that moved.

A site without a model for a machine does not score that machine: it is absent from the table and named in `untrained`. A sensor that
never moved in the healthy windows, or was hardly ever read, is not looked at and named in `refused_sensors`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.detectors.alarm_rate import AlarmRate, Healthy, fit_alarm_rate
from ml.detectors.baseline import Baseline, fit_baseline
from ml.detectors.calibration import N_BLOCKS, Held, fit_tails
from ml.detectors.forecast import Forecast
from ml.detectors.forest import Forest
from ml.detectors.fusion import Tail
from ml.detectors.operating import OperatingStates, infer_states
from ml.detectors.pace import memory_of, pace_of, paced
from ml.detectors.packing import Packer, Unpacker
from ml.detectors.pca import Pca
from ml.detectors.robust_z import RobustZ
from ml.detectors.score_table import score_table
from ml.detectors.scored import look_at, pools, score_pool
from ml.detectors.scoring import MEMBERS, MachineModel, Members, member_p, surprise_of
from ml.detectors.slow_drift import Cusum, Ewma
from ml.detectors.windows import MachineWindows, each_machine, joined, roles, taken, with_sensors
from ml.plant import Machine, Sensor, Site

Floats = NDArray[np.float64]

MIN_FIT_WINDOWS = 100
MIN_HELD_OUT_WINDOWS = 40
MIN_READINGS = 20
_PARTS: dict[str, type] = {
    "states": OperatingStates,
    "baseline": Baseline,
    "robust_z": RobustZ,
    "ewma": Ewma,
    "cusum": Cusum,
    "pca": Pca,
    "forest": Forest,
    "forecast": Forecast,
}
_OF_A_MODEL = ("machine_id", "source", "n_fit_days", "n_fit_windows", "n_held_out_windows")


class NotTrainable(ValueError):
    """No machine of the site has what a detector needs; the message says what is missing."""


@dataclass(frozen=True)
class _Material:
    """What one machine is fitted on and calibrated with."""

    source: str
    states: OperatingStates
    fit: MachineWindows
    held: MachineWindows


@dataclass(frozen=True)
class SiteDetector:
    site: str
    held_out_from: pd.Timestamp
    rate: AlarmRate
    models: Mapping[str, MachineModel]
    untrained: Mapping[str, str]
    refused_sensors: Mapping[str, str]

    @classmethod
    def fit(cls, features: pd.DataFrame, *, site: Site, held_out_from: pd.Timestamp, seed: int) -> Self:
        """From the features of healthy days: members on the windows before `held_out_from`, calibration on those from it on.

        A machine with too few windows takes the model of its class if another machine of the class has the same types
        of sensors, else it is listed in `untrained`. Raises NotTrainable if no machine can be trained, ValueError if
        `held_out_from` has no time zone.
        """
        if held_out_from.tzinfo is None:
            raise ValueError(f"held_out_from {held_out_from} has no time zone; pass a UTC timestamp")
        parts = {w.machine_id: _split(w, site=site, held_out_from=held_out_from) for w in each_machine(features, site=site)}
        enough = {
            m for m, part in parts.items() if len(part.fit.starts) >= MIN_FIT_WINDOWS and len(part.held.starts) >= MIN_HELD_OUT_WINDOWS
        }
        members: dict[str, tuple[_Material, Members]] = {}
        untrained: dict[str, str] = {}
        refused: dict[str, str] = {}
        for machine in site.machines:
            found = _material(machine, site=site, parts=parts, enough=enough)
            if isinstance(found, str):
                untrained[machine.machine_id] = found
                continue
            fitted, why = _fit_members(found, machine=machine, site=site, seed=seed)
            refused |= why
            if fitted is None:
                untrained[machine.machine_id] = "no sensor has any spread in the healthy windows"
            else:
                members[machine.machine_id] = (found, fitted)
        # a class's model is calibrated by the machines that it is of
        if not any(found.source == "own" for found, _ in members.values()):
            reasons = "; ".join(f"{m}: {why}" for m, why in untrained.items())
            raise NotTrainable(f"no machine of {site.site} can be trained ({reasons}); wait for more healthy days")
        models, rate = _calibrate(members, site=site)
        return cls(
            site=site.site,
            held_out_from=pd.Timestamp(held_out_from),
            rate=rate,
            models=models,
            untrained=untrained,
            refused_sensors=refused,
        )

    def score(self, features: pd.DataFrame, *, site: Site, model_version: int, since: pd.Timestamp | None = None) -> pd.DataFrame:
        """The anomaly_scores of all windows given, or of those from `since` on, sorted by machine and window.

        Settling after a stop and the members' memory look at earlier windows: pass the days before too, and say `since`.
        """
        first = np.datetime64(0, "us") if since is None else np.datetime64(since.tz_convert("UTC").tz_localize(None), "us")
        machines = {machine.machine_id: machine for machine in site.machines}
        looked = (
            look_at(
                windows,
                model=self.models[windows.machine_id],
                machine=machines[windows.machine_id],
                settle_windows=site.policy.detection.settle_windows,
                since=first,
            )
            for windows in sorted(each_machine(features, site=site), key=lambda w: w.machine_id)
            if windows.machine_id in self.models
        )
        scored = [score_pool(pool, rate=self.rate, policy=site.policy.detection) for pool in pools(looked)]
        return score_table(scored, model_version=model_version)

    def to_bytes(self) -> bytes:
        """Numbers and text without times: the same data and seed give the same bytes."""
        packer, models = Packer(), list(self.models.values())
        for name in _OF_A_MODEL:
            packer.add(name, [getattr(model, name) for model in models])
        packer.add("sensor_ids", [model.members.sensor_ids for model in models])
        packer.add("pace", [model.members.pace for model in models])
        for name in _PARTS:
            packer.add_parts(name, [getattr(model.members, name) for model in models])
        for place, name in enumerate(MEMBERS):
            packer.add_parts(f"tail_{name}", [model.tails[place] for model in models])
        return packer.pack(
            {
                "site": self.site,
                "held_out_from": self.held_out_from.isoformat(),
                "rate": asdict(self.rate),
                "untrained": dict(self.untrained),
                "refused_sensors": dict(self.refused_sensors),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ValueError if the bytes are not a detector of this version."""
        stored = Unpacker.of(data)
        parts = zip(*(stored.parts(kind, name) for name, kind in _PARTS.items()), strict=True)
        members = [
            Members(tuple(sensor_ids), pace, **dict(zip(_PARTS, of_machine, strict=True)))
            for sensor_ids, pace, of_machine in zip(stored.column("sensor_ids"), stored.column("pace"), parts, strict=True)
        ]
        tails = zip(*(stored.parts(Tail, f"tail_{name}") for name in MEMBERS), strict=True)
        of_models = zip(*map(stored.column, _OF_A_MODEL), members, tails, strict=True)
        return cls(
            site=stored.about["site"],
            held_out_from=pd.Timestamp(stored.about["held_out_from"]),
            rate=AlarmRate(**stored.about["rate"]),
            models={machine_id: MachineModel(machine_id, *told) for machine_id, *told in of_models},
            untrained=stored.about["untrained"],
            refused_sensors=stored.about["refused_sensors"],
        )


def _split(windows: MachineWindows, *, site: Site, held_out_from: pd.Timestamp) -> _Material:
    is_late = windows.starts >= np.datetime64(held_out_from.tz_convert("UTC").tz_localize(None))
    before = taken(windows, windows.is_scored & ~is_late)
    states = infer_states(site.machine(windows.machine_id), before, min_idle=MIN_FIT_WINDOWS)
    told = states.apply(windows, settle_windows=site.policy.detection.settle_windows)
    return _Material("own", states, taken(told, told.is_scored & ~is_late), taken(told, told.is_scored & is_late))


def _material(machine: Machine, *, site: Site, parts: Mapping[str, _Material], enough: set[str]) -> _Material | str:
    """What the machine can be fitted on, or the reason why there is nothing."""
    pace, policy = pace_of(machine, window_minutes=site.window_minutes), site.policy.detection
    if pace > policy.merge_gap_windows + 1 and policy.on_delay_windows > 1:
        return (
            f"its sensors are read every {pace:.0f} windows of {site.window_minutes} minutes, too far apart for an incident's "
            f"{policy.on_delay_windows} in a row: lengthen window_minutes or policy.detection.merge_gap_windows"
        )
    if machine.machine_id in enough:
        return parts[machine.machine_id]
    own_roles = roles(machine)
    own = parts.get(machine.machine_id)
    n_fit, n_held = (len(own.fit.starts), len(own.held.starts)) if own else (0, 0)
    pools: tuple[list[MachineWindows], list[MachineWindows]] = ([], [])
    for other in site.machines:
        is_alike = other.machine_class == machine.machine_class and sorted(roles(other)) == sorted(own_roles)
        if is_alike and (other.machine_id in enough or (other.machine_id == machine.machine_id and own)):
            places = [roles(other).index(role) for role in own_roles]
            for pool, windows in zip(pools, (parts[other.machine_id].fit, parts[other.machine_id].held), strict=True):
                pool.append(with_sensors(windows, places))
    if not any(w.machine_id in enough for w in pools[0]):
        return (
            f"{n_fit} healthy running windows to fit on and {n_held} held out, {MIN_FIT_WINDOWS} and {MIN_HELD_OUT_WINDOWS} are needed, "
            f"and no other {machine.machine_class} with the same types of sensors has them"
        )
    fit, held = (joined(pool) for pool in pools)
    return _Material("class", infer_states(machine, fit, min_idle=MIN_FIT_WINDOWS), fit, held)


def _rare(sensor: Sensor, n: float) -> str:
    return f"is read every {sensor.interval_s / 3600:g} h: some {n:.0f} healthy readings to learn from, {MIN_READINGS} are needed"


def _constant(material: _Material, place: int) -> str:
    value = float(np.nanmedian(material.fit.mean[:, place]))
    return f"reads {value:.6g} in every one of the {len(material.fit.starts)} healthy windows: nothing can be learned from it"


def _fit_members(material: _Material, *, machine: Machine, site: Site, seed: int) -> tuple[Members | None, dict[str, str]]:
    """(members, or None where no sensor has any spread; sensor -> why it is not looked at)."""
    pace = pace_of(machine, window_minutes=site.window_minutes)
    n_read = [len(material.fit.starts) * sensor.share_due(pace * site.window_minutes) for sensor in machine.sensors]
    refused = {s.sensor_id: _rare(s, n) for s, n in zip(machine.sensors, n_read, strict=True) if n < MIN_READINGS}
    fit = with_sensors(material.fit, [None if n < MIN_READINGS else place for place, n in enumerate(n_read)])
    baseline, constant = fit_baseline(fit)
    refused |= {machine.sensors[place].sensor_id: _constant(material, place) for place in constant}
    if baseline is None:
        return None, refused
    memory, in_step = memory_of(pace * site.window_minutes), paced(fit, pace=pace)
    view = baseline.view(in_step.windows)
    pca = Pca.fit(np.nan_to_num(view.z[in_step.rows]))
    complete = in_step.held(pca.impute(view.z))
    members = Members(
        tuple(s.sensor_id for s in machine.sensors),
        pace=pace,
        states=material.states,
        baseline=baseline,
        robust_z=RobustZ.fit(view),
        ewma=Ewma.fit(view, memory=memory),
        cusum=Cusum.fit(view, memory=memory),
        pca=pca,
        forest=Forest.fit(complete[in_step.rows], seed=seed),
        forecast=Forecast.fit(view, complete, memory=memory),
    )
    return members, refused


def _calibrate(fitted: Mapping[str, tuple[_Material, Members]], *, site: Site) -> tuple[dict[str, MachineModel], AlarmRate]:
    """Tails of the members, then the rate of the alarms that they raise together.

    The alarms are counted on windows that had no part in the tails by which they are judged, block by block: among the tails' own
    windows nothing is more extreme than what made them.
    """
    held = {m: Held(material.held, members.judge(material.held).statistics) for m, (material, members) in fitted.items()}
    models = {
        machine_id: MachineModel(
            machine_id,
            material.source,
            n_fit_days=len(np.unique(material.fit.starts.astype("datetime64[D]"))),
            n_fit_windows=len(material.fit.starts),
            n_held_out_windows=len(material.held.starts),
            members=members,
            tails=tails,
        )
        for (machine_id, (material, members)), tails in zip(fitted.items(), fit_tails(list(held.values())), strict=True)
    }
    # the windows of a class are those of other machines
    own = [m for m, model in models.items() if model.source == "own"]
    unseen: dict[str, list[Healthy]] = {m: [] for m in own}
    for block in range(N_BLOCKS):
        for machine_id, tails in zip(own, fit_tails([held[m].outside(block) for m in own]), strict=True):
            inside = held[machine_id].inside(block)
            model = replace(models[machine_id], tails=tails)
            surprise, _ = surprise_of(member_p([model], [inside.statistics]))
            unseen[machine_id].append(Healthy(inside.windows.index, surprise, minutes=model.members.pace * site.window_minutes))
    healthy = [h for parts in unseen.values() for h in parts if len(h.index)]
    return models, fit_alarm_rate(healthy, policy=site.policy.detection)
