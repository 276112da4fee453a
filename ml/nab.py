"""The score of the Numenta Anomaly Benchmark, from its published rules.

A. Lavin, S. Ahmad: "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly Benchmark", ICMLA 2015, with the
normalisation of version 1.1 of the benchmark:

sigma(y)    2 / (1 + exp(5 y)) - 1 for the position y relative to a labelled window, -1 at its first row, 0 behind its last; -1 beyond 3
hit         only the best detection of a window counts, which is the earliest: tp_weight x sigma(y) / sigma(-1)
miss        a window without a detection: -fn_weight
false       a detection outside counts fp_weight x sigma(y), y in lengths of the window before it; -fp_weight before the first window
learning    the first 15 % of the rows, at most 750, are not scored
normalised  100 x (sum - null) / (perfect - null) over the whole corpus: null never alarms, perfect detects the first row of each window

A detection is a row of a series. A detector that alarms once has one row per alarm, one that flags rows has many: each false row counts.
What it does not know: whose threshold it was. `best_threshold` chooses one over the corpus with the labels in hand, as the
benchmark's tables do; a figure found so is an upper bound for the detector, not what it does unattended.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Times = NDArray[np.datetime64]

LEARNING_PERCENT = 15
MAX_LEARNING_ROWS = 750
_STEEPNESS = 5.0
_FAR = 3.0


@dataclass(frozen=True)
class Profile:
    """What a hit, a miss and a false detection weigh."""

    name: str
    tp_weight: float
    fn_weight: float
    fp_weight: float


@dataclass(frozen=True)
class Labelled:
    """The rows of one series in the file's order, and its labelled windows (first row, last row), both inside, in order of time."""

    name: str
    times: Times
    windows: tuple[tuple[int, int], ...]

    @property
    def n_learning(self) -> int:
        return learning_rows(len(self.times))


@dataclass(frozen=True)
class NabScore:
    """`score` is the normalised one, `raw` the sum; hits and misses count windows, false detections count rows."""

    profile: str
    score: float
    raw: float
    n_hits: int
    n_misses: int
    n_false: int


def learning_rows(n_rows: int) -> int:
    """How many rows at the beginning of a series are not scored.

    >>> learning_rows(4032), learning_rows(22695)
    (604, 750)
    """
    return min(n_rows * LEARNING_PERCENT // 100, MAX_LEARNING_ROWS)


def profiles_of(stored: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[Profile, ...]:
    """From the benchmark's file of profiles: name -> CostMatrix -> weights. Raises KeyError for a missing weight."""
    return tuple(
        Profile(name, tp_weight=w["CostMatrix"]["tpWeight"], fn_weight=w["CostMatrix"]["fnWeight"], fp_weight=w["CostMatrix"]["fpWeight"])
        for name, w in stored.items()
    )


def labelled(name: str, times: Times, windows: Sequence[tuple[np.datetime64, np.datetime64]]) -> Labelled:
    """The windows (first instant, last instant) as rows of the series.

    A window without a row, or within the learning period, asks nothing of a detector and is left out. Raises ValueError where
    windows overlap, for then a row could belong to two.
    """
    spans = []
    for start, end in sorted(windows):
        rows = np.flatnonzero((times >= start) & (times <= end))
        if len(rows) and rows[-1] >= learning_rows(len(times)):
            spans.append((int(rows[0]), int(rows[-1])))
    if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(spans)):
        raise ValueError(f"{name}: labelled windows overlap; join them")
    return Labelled(name, times, tuple(spans))


def sigma(y: Floats) -> Floats:
    """The scaled sigmoid: nearly 1 at the start of a window, 0 at its end, nearly -1 one length behind it.

    >>> sigma(np.array([-1.0, 0.0, 1.0, 4.0])).round(4).tolist()
    [0.9866, 0.0, -0.9866, -1.0]
    """
    return np.where(y > _FAR, -1.0, 2.0 / (1.0 + np.exp(_STEEPNESS * np.minimum(y, _FAR))) - 1.0)


def row_values(series: Labelled, *, profile: Profile) -> tuple[Floats, Ints]:
    """(what a detection in each row is worth, the window that the row lies in or -1); learning rows are worth 0."""
    n = len(series.times)
    value, window_of = np.full(n, -profile.fp_weight), np.full(n, -1, dtype=np.int64)
    highest = sigma(np.array([-1.0]))[0]
    for place, (first, last) in enumerate(series.windows):
        width = last - first + 1
        inside = np.arange(first, last + 1)
        value[inside] = profile.tp_weight * sigma(-(last - inside + 1) / width) / highest
        window_of[inside] = place
        behind = np.arange(last + 1, n)
        # a window of one row has no length to count in: what follows it is far away
        position = (behind - last) / (width - 1) if width > 1 else np.full(len(behind), np.inf)
        value[behind] = profile.fp_weight * sigma(position)
    value[: series.n_learning] = 0.0
    return value, window_of


def nab_score(detected: Sequence[Flags], corpus: Sequence[Labelled], *, profile: Profile) -> NabScore:
    """Of the rows detected in each series, in the order of `corpus`.

    Raises ValueError where rows and series do not fit, or no series has a labelled window (nothing to normalise by).
    """
    n_windows = sum(len(series.windows) for series in corpus)
    if not n_windows:
        raise ValueError("no series has a labelled window, so that no score can be normalised")
    raw, n_hits, n_false = 0.0, 0, 0
    for flags, series in zip(detected, corpus, strict=True):
        if len(flags) != len(series.times):
            raise ValueError(f"{series.name}: {len(flags)} flags for {len(series.times)} rows")
        value, window_of = row_values(series, profile=profile)
        counts = flags.copy()
        counts[: series.n_learning] = False
        false = counts & (window_of < 0)
        best = np.full(len(series.windows), -np.inf)
        hits = counts & (window_of >= 0)
        np.maximum.at(best, window_of[hits], value[hits])
        is_hit = np.isfinite(best)
        raw += float(best[is_hit].sum() - profile.fn_weight * (~is_hit).sum() + value[false].sum())
        n_hits += int(is_hit.sum())
        n_false += int(false.sum())
    null, perfect = -profile.fn_weight * n_windows, profile.tp_weight * n_windows
    return NabScore(
        profile=profile.name,
        score=100 * (raw - null) / (perfect - null),
        raw=raw,
        n_hits=n_hits,
        n_misses=n_windows - n_hits,
        n_false=n_false,
    )


def best_threshold(
    detected_at: Callable[[float], Sequence[Flags]], corpus: Sequence[Labelled], *, profile: Profile, thresholds: Sequence[float]
) -> tuple[float, NabScore]:
    """The one threshold for all series, of those given, that scores highest with the labels in hand, and its score.

    Of equally good ones the highest. Raises ValueError without thresholds.
    """
    if not len(thresholds):
        raise ValueError("no thresholds to choose from")
    scored = [(t, nab_score(detected_at(t), corpus, profile=profile)) for t in sorted(thresholds, reverse=True)]
    return max(scored, key=lambda pair: pair[1].score)


def detected_rows(series: Labelled, instants: Times) -> Flags:
    """Each instant at which an alarm was raised as the row that was there then: the last one before it, in the file's order.

    An alarm raised at the end of a window of readings rests on the last reading before that end. An instant before the first
    row has none and raises ValueError.
    """
    flags = np.zeros(len(series.times), dtype=np.bool_)
    order = np.argsort(series.times, kind="stable")
    place = np.searchsorted(series.times[order], instants, side="left") - 1
    if (place < 0).any():
        raise ValueError(f"{series.name}: an alarm before the first row")
    flags[order[place]] = True
    return flags
