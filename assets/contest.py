"""Challenger against champion: the same days, the same replayed faults, the same clock; and what the gate says to it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ml.detectors.look_back import remembered_days
from ml.fault_replay import Round, by_kind, outcome, rounds
from ml.gate import MAX_TIME_RATIO, Performance, as_markdown, objections, performance
from ml.gate import figures as gate_figures
from ml.plant import Site
from resources.ledger.learning import version_record
from resources.ledger.ledger import LedgerResource
from resources.models import ModelsResource

if TYPE_CHECKING:
    from assets.training import Material
    from ml.detectors.fleet import SiteDetector

TIMED_MACHINES, TIMED_PAIRS = 20, 5


@dataclass(frozen=True)
class Judged:
    """One detector on the days of the contest: what it makes of them, its scores of all days, and each replayed fault."""

    performance: Performance
    scores: pd.DataFrame
    faults: pd.DataFrame


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same days; `is_better` is the gate's word, `table` its figures in Markdown."""

    champion: int | None
    challenger: Judged
    rate_name: str
    figures: dict[str, Any]
    is_better: bool
    why: str
    table: str

    @property
    def description(self) -> str:
        return f"{self.why}\n\n{self.table}"

    @property
    def metrics(self) -> dict[str, float]:
        """For MLflow. The rate has a name of its own where it is from days that the detector was calibrated on."""
        p = self.challenger.performance
        said: dict[str, float | None] = {
            "known_incidents": p.incidents_known,
            "known_incidents_found": p.incidents_found,
            "replayed_faults": p.faults_replayed,
            "replayed_faults_found": p.faults_found,
            "replayed_faults_blamed_rightly": sum(k.blamed for k in p.kinds),
            self.rate_name: p.false_alarms_per_machine_month,
            "scoring_time_ratio": self.figures.get("scoring_time_ratio"),
        }
        for k in p.kinds:
            said |= {f"found_share_{k.kind}": k.found / k.replayed, f"delay_h_{k.kind}": k.delay_h, f"lead_time_h_{k.kind}": k.lead_time_h}
        return {name: float(value) for name, value in said.items() if value is not None}


def replayed_rounds(material: "Material", *, site: Site) -> tuple[Round, ...]:
    split = material.split
    start, last = (pd.Timestamp(day, tz="UTC") for day in (split.observed[0], split.observed[-1]))
    return rounds(material.healthy, site=site, start=start, end=last + pd.Timedelta(days=1), seed=site.policy.training.seed)


def judge(detectors: Sequence["SiteDetector"], material: "Material", *, site: Site) -> tuple[Judged, ...]:
    """All on the same days; of the faults replayed into them, those that each can be judged by.

    Where there are none, the first is judged by those that it can be judged by alone, and the others by none: beside one that has alarms
    everywhere, a detector that sees nothing would find no less.
    """
    replayed = replayed_rounds(material, site=site)
    scores = [detector.score(material.features, site=site, model_version=1) for detector in detectors]
    faults = [outcome(detector, replayed, clean=clean, site=site) for detector, clean in zip(detectors, scores, strict=True)]
    is_clear = [found["is_clear"].to_numpy(dtype=np.bool_) for found in faults]
    of_all = np.logical_and.reduce(is_clear)
    counted = [of_all if of_all.any() or n else is_clear[0] for n in range(len(detectors))]
    judged = []
    for detector, clean, outcomes, is_counted in zip(detectors, scores, faults, counted, strict=True):
        found = outcomes[is_counted]
        reached = performance(
            clean,
            site=site,
            machines=len(detector.models.keys() & {m.machine_id for m in site.machines}),
            real=material.real,
            maintenance=material.maintenance,
            observed_from=pd.Timestamp(material.split.observed[0], tz="UTC"),
            kinds=by_kind(found),
        )
        judged.append(Judged(reached, clean, found))
    return tuple(judged)


def compare(
    detector: "SiteDetector", material: "Material", *, champion: int | None, ledger: LedgerResource, models: ModelsResource, site: Site
) -> Comparison:
    """The gate. Without a champion that can be compared with, it is passed."""
    split = material.split
    standing = None if champion is None else _standing(champion, ledger=ledger, models=models, site=site)
    opponents = [standing.detector] if isinstance(standing, _Standing) else []
    challenger, *others = judge([detector, *opponents], material, site=site)
    days = f"{split.observed[0]} to {split.observed[-1]}"
    is_unseen = split.comparison_from is not None
    rate_name = "false_alarms_per_machine_month" if is_unseen else "false_alarms_per_machine_month_in_sample"
    figures: dict[str, Any] = {"false_alarms_counted_on": days, "challenger_has_learned_from_these_days": not is_unseen}
    on_days = f"{days}, {'not learned from' if is_unseen else 'in-sample: the challenger was calibrated on these days'}"

    def alone(why: str) -> Comparison:
        table = as_markdown(challenger.performance, None, names=("challenger", ""), days=on_days)
        said = figures | gate_figures(challenger.performance, None)
        return Comparison(champion, challenger, rate_name, said, is_better=True, why=f"promoted: {why}", table=table)

    if standing is None:
        return alone("first detector of the site, there is none to compare with")
    if isinstance(standing, str):
        return alone(standing)
    n_seen = sum(standing.data_start <= day <= standing.data_end for day in split.observed)
    against = others[0].performance
    ratio = scoring_time_ratio(detector, standing.detector, material.features, site=site)
    figures |= {"days_that_the_champion_has_learned_from": n_seen, "scoring_time_ratio": round(ratio, 3)}
    on_days += f"; the champion has learned from {n_seen} of the {len(split.observed)}" if n_seen else ""
    refused_for = objections(challenger.performance, against, time_ratio=ratio)
    why = "; ".join(refused_for) or f"finds no less than champion {champion} and raises no more false alarms than chance allows"
    return Comparison(
        champion,
        challenger,
        rate_name,
        figures | gate_figures(challenger.performance, against),
        is_better=not refused_for,
        why=f"{'refused' if refused_for else 'promoted'}: {why} ({on_days})",
        table=as_markdown(challenger.performance, against, names=("challenger", f"champion {champion}"), days=on_days, time_ratio=ratio),
    )


def head_to_head(
    one: "SiteDetector", other: "SiteDetector", material: "Material", *, site: Site, names: tuple[str, str]
) -> tuple[str, str]:
    """(table, why the gate would refuse the first where the second is champion: nothing, if it would not)."""
    first, second = (judged.performance for judged in judge([one, other], material, site=site))
    ratio = scoring_time_ratio(one, other, material.features, site=site)
    days = f"{material.split.observed[0]} to {material.split.observed[-1]}"
    table = as_markdown(first, second, names=names, days=days, time_ratio=ratio)
    return table, "; ".join(objections(first, second, time_ratio=ratio))


@dataclass(frozen=True)
class _Standing:
    detector: "SiteDetector"
    data_start: Any
    data_end: Any


def _standing(champion: int, *, ledger: LedgerResource, models: ModelsResource, site: Site) -> _Standing | str:
    """The champion, or why it cannot be compared with. Raises ArtifactRefused where its bytes were changed."""
    from ml.detectors.fleet import SiteDetector

    with ledger.begin() as connection:
        known = version_record(connection, site=site.site, version=champion)
    if known is None:
        return f"champion {champion} was not trained here, so it cannot be compared with"
    stored = models.load(site.site, champion, artifact_sha256=known["artifact_sha256"])
    try:
        detector = SiteDetector.from_bytes(stored)
    except ValueError as error:
        return f"champion {champion} was made by another version of the program, which this one cannot read ({error})"
    return _Standing(detector, known["data_start"], known["data_end"])


def scoring_time_ratio(challenger: "SiteDetector", champion: "SiteDetector", features: pd.DataFrame, *, site: Site) -> float:
    """The challenger's time over the champion's for one site-day of at most TIMED_MACHINES machines, the latest.

    Processor time, so that other work on the machine counts for little; the median over pairs, one right after the other, in turn
    who is first. Where that says too slow, it is measured once more, and the lower is believed: noise does not refuse anybody.
    """
    newest = features["window_start"].max().normalize()
    first = newest - pd.Timedelta(days=remembered_days(site))
    both = [m.machine_id for m in site.machines if m.machine_id in challenger.models and m.machine_id in champion.models]
    table = features[(features["window_start"] >= first) & features["machine_id"].isin(both[:TIMED_MACHINES])]
    if table.empty:
        return 1.0
    measured = _paired_ratio(challenger, champion, table, site=site)
    return measured if measured <= MAX_TIME_RATIO else min(measured, _paired_ratio(challenger, champion, table, site=site))


def _paired_ratio(challenger: "SiteDetector", champion: "SiteDetector", table: pd.DataFrame, *, site: Site) -> float:
    def seconds(detector: "SiteDetector") -> float:
        began = time.process_time()
        detector.score(table, site=site, model_version=1)
        return max(time.process_time() - began, 1e-6)

    ratios = []
    for n in range(TIMED_PAIRS + 1):
        if n % 2:
            of_champion, of_challenger = seconds(champion), seconds(challenger)
        else:
            of_challenger, of_champion = seconds(challenger), seconds(champion)
        ratios.append(of_challenger / of_champion)
    return median(ratios[1:])  # the first pair warms up
