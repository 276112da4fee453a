"""A site's learned failure model, and how it is judged: on machines and on time that it had not seen."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from ml.failure_figures import Labelled, foresight
from ml.failure_history import Events, features_of, is_reported, tables_of
from ml.failure_windows import KEY, Flags, Floats, Tables
from ml.hazard import MIN_FAILURES, HazardModel, TooFewFailures, fit_hazard, held_out_probability
from ml.pickled import pack, unpack
from ml.plant import Site

N_FOLDS = 5
MIN_FAILING_MACHINES = MIN_FAILURES + 1  # so many to learn from and to calibrate with, and another one to be judged by
LEARNED_SHARE = 2 / 3  # of the time, for the judgement on later time


@dataclass(frozen=True)
class Vocabulary:
    """What counts among errors, components and machine classes, and the step of the grid; as the training met them."""

    errors: tuple[str, ...]
    components: tuple[str, ...]
    classes: tuple[str, ...]
    step: pd.Timedelta

    @classmethod
    def of(cls, events: Events, *, site: Site, step: pd.Timedelta) -> Self:
        return cls(
            tuple(sorted(events.errors["error"].unique())),
            tuple(sorted(events.replacements["component"].unique())),
            tuple(sorted({m.machine_class for m in site.machines})),
            step,
        )

    def features(self, tables: Tables) -> pd.DataFrame:
        return features_of(tables, errors=self.errors, components=self.components, step=self.step)


@dataclass(frozen=True)
class FailureModel:
    hazard: HazardModel
    vocabulary: Vocabulary
    horizon_h: int

    def latest(self, hours: pd.DataFrame, events: Events, *, site: Site) -> pd.DataFrame:
        """[machine_id, as_of, probability] at the last row of each machine that reported; hours on the grid, events as they happened."""
        words = self.vocabulary
        features = words.features(tables_of(hours, events.on_grid(words.step), site=site, classes=words.classes))
        reported = np.flatnonzero(is_reported(hours))
        last = reported[~hours["machine_id"].iloc[reported].duplicated(keep="last").to_numpy()]
        probability = self.hazard.probability(features.iloc[last]) if len(last) else np.empty(0)
        rows = hours.iloc[last][KEY].rename(columns={"at": "as_of"})
        return rows.assign(probability=probability).reset_index(drop=True)

    def to_bytes(self) -> bytes:
        return pack(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """For bytes whose hash was verified: see `ml.pickled`. Raises ValueError for those of another version, or of another model."""
        model = unpack(data)
        if not isinstance(model, cls):
            raise ValueError(f"the bytes hold a {type(model).__name__}, not a failure model")  # noqa: TRY004 - what is wrong is the bytes
        return model


def informative(features: pd.DataFrame, *, where: Flags) -> pd.DataFrame:
    """Without the columns that say the same, or nothing, in all of these rows."""
    there = features[where]
    return features.loc[:, (there.max() > there.min()).to_numpy() | (there.isna().any() & there.notna().any()).to_numpy()]


@dataclass(frozen=True)
class Judgement:
    """Figures over rows that the model had not seen, the failures that it missed, and how the rows were held out, in words."""

    figures: dict[str, float]
    missed: list[str]
    words: str


def judged_by_machine(features: pd.DataFrame, labels: Labelled, *, seed: int, n_folds: int = N_FOLDS) -> Judgement:
    """Each machine by a model of others. Raises TooFewFailures."""
    machines = labels.hours["machine_id"].to_numpy()
    n_failing = len(np.unique(machines[labels.is_usable & labels.fails]))
    if n_failing < MIN_FAILING_MACHINES:
        raise TooFewFailures(
            f"{n_failing} machines with a failure that telemetry precedes are too few: {MIN_FAILURES} are needed to learn from, and "
            "another one to be judged by"
        )
    folds = min(n_folds, n_failing)
    found = held_out_probability(features, fails=labels.fails, is_usable=labels.is_usable, groups=machines, n_folds=folds, seed=seed)
    figures, missed = foresight(labels, found)
    return Judgement(figures, missed, f"each machine judged by a model of the others ({folds} folds)")


def judged_by_time(features: pd.DataFrame, labels: Labelled, *, horizon_h: int, seed: int) -> Judgement:
    """The last part of the time by a model of what was known before it began. Raises TooFewFailures."""
    at, machines = labels.hours["at"], labels.hours["machine_id"].to_numpy()
    span = at[labels.is_usable]
    cut = (span.min() + LEARNED_SHARE * (span.max() - span.min())).floor("D")
    learn = labels.is_usable & (at + pd.Timedelta(hours=horizon_h) <= cut).to_numpy()
    judge = labels.is_usable & (at >= cut).to_numpy()
    if not labels.fails[judge].any():
        raise TooFewFailures(f"no failure from {cut:%Y-%m-%d} on, so nothing to be judged by")
    model = fit_hazard(features[learn], fails=labels.fails[learn], groups=machines[learn], seed=seed)
    found: Floats = np.full(len(features), np.nan)
    found[judge] = model.probability(features[judge])
    figures, missed = foresight(labels, found, is_judged=judge)
    return Judgement(figures, missed, f"learned from what was known until {cut:%Y-%m-%d}, judged on the time after it")
