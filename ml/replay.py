"""Past drops taken through the same steps as in production, in memory: readings, features, grades, detector, scores, alarms.

The detector learns from the first part and scores the rest; each Sunday at 3 in the site's zone a challenger is trained on the latest
healthy days and takes the champion's place if it passes the gate, as the site's weekly training does. Nothing here knows a label.

Not as in production: the first detector learns from the stretch that the caller names, to the minute, instead of whole days of a
minimum number, and a stretch from which no detector can be trained is prolonged by a day at a time; nobody says which
incidents were false, and no verdict is asked for: all windows of earlier incidents are cut out of the training, and the gate
takes none of them for real, so that challenger and champion are compared by their false alarms alone; a new champion does not
score anew the days before it.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import pandas as pd

from ml.detectors.fleet import NotTrainable, SiteDetector
from ml.detectors.look_back import remembered_days
from ml.detectors.pace import machine_days
from ml.features import build_features
from ml.frames import UTC_TIME
from ml.gate import objections, performance
from ml.healthy import Distrust, distrusted, healthy_rows, split_days
from ml.incidents import alarms
from ml.merging import merge_readings
from ml.plant import Site
from ml.quality import assess_sensors
from ml.readings import parse_drop
from ml.recent_windows import FEATURES, HISTORY_DAYS

FIRST, PROMOTED = "first detector", "promoted"
_RETRAINING_HOUR = time(3)
_DAY = pd.Timedelta(days=1)


class NoReadings(ValueError):
    """There is nothing to replay; the message says of which site."""


@dataclass(frozen=True)
class History:
    """What is stored of a site before any detector: features of all days, and the grades (day, sensor_id, grade) of their sensors."""

    site: Site
    features: pd.DataFrame
    grades: pd.DataFrame
    n_rows: int
    n_refused: int

    def distrust(self, *, until: pd.Timestamp, since: date = date.min) -> Distrust:
        """What the grades of the days before `until` keep out of a training."""
        return distrusted(self.grades[(self.grades["day"] >= since) & (self.grades["day"] < until.date())], site=self.site)


@dataclass(frozen=True)
class Training:
    """One training: when, from which day's features on and how many rows of them, and what became of it."""

    at: pd.Timestamp
    learned_from: pd.Timestamp
    n_rows: int
    word: str

    @property
    def made_a_champion(self) -> bool:
        return self.word in (FIRST, PROMOTED)


@dataclass(frozen=True)
class Replayed:
    """`scores` as in `anomaly_scores`; `raised` has machine_id, onset_at, last_window_at and raised_at of each alarm, once each.

    `scored_from` is None where no detector could be trained: then both are empty.
    """

    site: Site
    scores: pd.DataFrame
    raised: pd.DataFrame
    trainings: tuple[Training, ...]
    scored_from: pd.Timestamp | None

    @property
    def machine_days(self) -> float:
        """Time scored, summed over the machines."""
        return machine_days(self.scores, site=self.site)


def history_of(drops: Sequence[bytes], *, site: Site, received_at: datetime) -> History:
    """Parse, merge, grade and window drops, in the order in which they came. Raises UnreadableDrop for one that is none of this site."""
    parsed = [parse_drop(drop, site=site, received_at=received_at) for drop in drops]
    merged = merge_readings(None, [(seq, drop.accepted) for seq, drop in enumerate(parsed)]).table
    readings = merged.select(["sensor_id", "timestamp", "value"]).to_pandas()
    readings = readings.astype({"sensor_id": "str", "timestamp": UTC_TIME})
    features: list[pd.DataFrame] = []
    grades = [pd.DataFrame({"day": [], "sensor_id": [], "grade": []}, dtype=object)]
    for day, of_day in readings.groupby(readings["timestamp"].dt.date):
        found = build_features(of_day.reset_index(drop=True), site=site, day=day)
        features.append(found)
        recent = [table for table in features[-HISTORY_DAYS - 1 :] if len(table)]
        graded = assess_sensors(of_day, site=site, day=day, refused={}, features=pd.concat(recent, ignore_index=True)[list(FEATURES)])
        grades.append(graded[["sensor_id", "grade"]].astype(object).assign(day=day))
    return History(
        site,
        features=pd.concat(features, ignore_index=True) if features else pd.DataFrame(),
        grades=pd.concat(grades, ignore_index=True),
        n_rows=sum(drop.rows_in for drop in parsed),
        n_refused=sum(drop.quarantined.num_rows for drop in parsed),
    )


def replay(history: History, *, learn_until: pd.Timestamp, retrains: bool = True) -> Replayed:
    """Learn from the windows that ended by `learn_until`, score all that begin from it on, retraining weekly if asked to.

    Raises NoReadings where the history has no features.
    """
    if history.features.empty:
        raise NoReadings(f"none of {history.n_rows} rows is a reading of {history.site.name}")
    site, window = history.site, pd.Timedelta(minutes=history.site.window_minutes)
    starts, remembered = history.features["window_start"], pd.Timedelta(days=remembered_days(site))
    end = starts.max() + window
    trainings: list[Training] = []
    at, champion = learn_until, None
    while champion is None and at < end:
        champion, training = _first(history, until=at)
        trainings.append(training)
        at = at if champion else at + _DAY
    if champion is None:
        nothing = pd.DataFrame({"machine_id": [], "window_start": pd.Series([], dtype=UTC_TIME), "state": [], "score": []})
        return Replayed(site, nothing, raised_alarms(nothing, site=site), tuple(trainings), scored_from=None)
    tables: list[pd.DataFrame] = []
    bounds = [at, *(_sundays(at, end, site=site) if retrains else ()), end]
    for start, stop in itertools.pairwise(bounds):
        if start > at:
            scores_so_far = pd.concat(tables, ignore_index=True)
            champion, training = _again(history, champion=champion, scores=scores_so_far, at=start)
            trainings.append(training)
        seen = history.features[(starts >= start - remembered) & (starts < stop)]
        version = max(n for n, training in enumerate(trainings, start=1) if training.made_a_champion)
        scores = champion.score(seen, site=site, model_version=version)
        tables.append(scores[scores["window_start"] >= start])
    scores = pd.concat(tables, ignore_index=True).sort_values(["machine_id", "window_start"], kind="stable", ignore_index=True)
    return Replayed(site, scores, raised_alarms(scores, site=site), tuple(trainings), scored_from=at)


def raised_alarms(scores: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """Every alarm once, with `raised_at`: the end of the window that completed the on-delay, before which nobody could have known."""
    columns = ["machine_id", "onset_at", "last_window_at", "raised_at"]
    if scores.empty:
        return pd.DataFrame({name: pd.Series([], dtype="str" if name == "machine_id" else UTC_TIME) for name in columns})
    found = alarms(scores, site=site)
    window, delay = pd.Timedelta(minutes=site.window_minutes), site.policy.detection.on_delay_windows
    scored = scores[(scores["state"] == "scored") & scores["score"].notna()]
    starts_of = {m: pd.DatetimeIndex(of["window_start"]).sort_values() for m, of in scored.groupby("machine_id")}
    raised = []
    for machine_id, onset in zip(found["machine_id"], found["onset_at"], strict=True):
        starts = starts_of[machine_id]
        raised.append(starts[starts.searchsorted(onset) + delay - 1] + window)
    return found.assign(raised_at=pd.Series(raised, dtype=UTC_TIME, index=found.index))[columns]


def at_threshold(site: Site, threshold: float) -> Site:
    """The site with another on-threshold; the off-threshold keeps its share of it."""
    detection = site.policy.detection
    off = threshold * detection.off_threshold / detection.on_threshold
    changed = detection.model_copy(update={"on_threshold": threshold, "off_threshold": off})
    return site.model_copy(update={"policy": site.policy.model_copy(update={"detection": changed})})


def _first(history: History, *, until: pd.Timestamp) -> tuple[SiteDetector | None, Training]:
    window = pd.Timedelta(minutes=history.site.window_minutes)
    features = history.features
    learned = features[features["window_start"] + window <= until]
    learned = healthy_rows(learned, spans=_spans(()), distrust=history.distrust(until=until), window=window)
    policy = history.site.policy.training
    start = features["window_start"].min()
    held_out_from = until - (until - start) * policy.held_out_share
    try:
        detector = SiteDetector.fit(learned, site=history.site, held_out_from=held_out_from, seed=policy.seed)
    except NotTrainable as error:
        return None, Training(until, start, len(learned), f"not trained: {error}")
    return detector, Training(until, start, len(learned), FIRST)


def _again(history: History, *, champion: SiteDetector, scores: pd.DataFrame, at: pd.Timestamp) -> tuple[SiteDetector, Training]:
    """The weekly challenger, and who is champion after the gate."""
    site, policy = history.site, history.site.policy.training
    window = pd.Timedelta(minutes=site.window_minutes)
    known = history.features[history.features["window_start"] + window <= at]
    days = sorted(set(known["window_start"].dt.date))[-policy.max_days :]
    split = split_days(days, held_out_share=policy.held_out_share, has_champion=True)
    features = known[known["window_start"] >= pd.Timestamp(days[0], tz="UTC")]
    suspect = alarms(scores, site=site)
    healthy = healthy_rows(features, spans=_spans((suspect,)), distrust=history.distrust(since=days[0], until=at), window=window)
    until = pd.Timestamp(split.comparison_from, tz="UTC") if split.comparison_from else at
    learned = healthy[healthy["window_start"] < until]

    def said(word: str) -> Training:
        return Training(at, pd.Timestamp(days[0], tz="UTC"), len(learned), word)

    try:
        held_out_from = pd.Timestamp(split.held_out_from, tz="UTC")
        challenger = SiteDetector.fit(learned, site=site, held_out_from=held_out_from, seed=policy.seed)
    except NotTrainable as error:
        return champion, said(f"not trained: {error}")
    nothing = suspect.iloc[:0]
    compared = [
        performance(
            detector.score(features, site=site, model_version=1),
            site=site,
            machines=len(detector.models),
            real=nothing,
            maintenance=nothing.rename(columns={"onset_at": "started_at", "last_window_at": "ended_at"}),
            observed_from=pd.Timestamp(split.observed[0], tz="UTC"),
        )
        for detector in (challenger, champion)
    ]
    refused_for = objections(*compared)
    return (champion, said(f"refused: {'; '.join(refused_for)}")) if refused_for else (challenger, said(PROMOTED))


def _spans(found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    spans = [table.rename(columns={"onset_at": "start", "last_window_at": "end"})[["machine_id", "start", "end"]] for table in found]
    return pd.concat(spans) if spans else pd.DataFrame({"machine_id": [], "start": [], "end": []})


def _sundays(start: pd.Timestamp, end: pd.Timestamp, *, site: Site) -> Iterator[pd.Timestamp]:
    """Sundays at 3 in the site's zone, after `start` and before `end`."""
    day = start.tz_convert(site.time_zone).date()
    while True:
        day += timedelta(days=1)
        at = pd.Timestamp(datetime.combine(day, _RETRAINING_HOUR)).tz_localize(site.time_zone).tz_convert("UTC")
        if at >= end:
            return
        if day.isoweekday() == 7 and at > start:
            yield at
