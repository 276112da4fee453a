"""A reading that jumps at once by a known factor, alone, and stays there, comes in another unit: the machine did not do that.

A sensor is configured anew, exchanged, or read by another driver, and °C become °F. The level then jumps from one window to the next
to where the conversion puts it, while a machine fault passes through the values between, or lands elsewhere, or moves other sensors too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ml.columns import Bools, Floats, Ints

# Units that are mistaken for each other, by how many of the family's base unit each one is.
_FAMILIES: tuple[dict[str, float], ...] = (
    {"bar": 1e5, "psi": 6894.757293168361, "kPa": 1e3, "MPa": 1e6, "mbar": 1e2, "Pa": 1.0},
    {"mm/s": 1e-3, "in/s": 0.0254, "m/s": 1.0},
    {"m3/h": 1 / 3600, "l/min": 1e-3 / 60, "l/s": 1e-3, "gpm": 3.785411784e-3 / 60, "m3/s": 1.0},
    {"m/s2": 1.0, "g": 9.80665},
    {"mm": 1e-3, "in": 0.0254, "um": 1e-6, "mil": 2.54e-5},
    {"rpm": 2 * np.pi / 60, "Hz": 2 * np.pi, "rad/s": 1.0},
    {"A": 1.0, "mA": 1e-3},
    {"V": 1.0, "mV": 1e-3, "kV": 1e3},
    {"kW": 1e3, "W": 1.0, "MW": 1e6},
)
_TEMPERATURES: dict[tuple[str, str], tuple[float, float]] = {  # factor, offset
    ("°C", "°F"): (1.8, 32.0),
    ("°C", "K"): (1.0, 273.15),
    ("°F", "°C"): (1 / 1.8, -32 / 1.8),
    ("°F", "K"): (1 / 1.8, 459.67 / 1.8),
    ("K", "°C"): (1.0, -273.15),
    ("K", "°F"): (1.8, -459.67),
}
_SPELLINGS = {
    "C": "°C", "degC": "°C", "F": "°F", "degF": "°F", "degK": "K", "m³/h": "m3/h", "m^3/h": "m3/h", "L/min": "l/min", "L/s": "l/s",
    "m/s²": "m/s2", "m/s^2": "m/s2", "µm": "um", "μm": "um", "1/min": "rpm", "ips": "in/s", "m³/s": "m3/s",
}  # fmt: skip
_SCALES = {"x10": 10.0, "x100": 100.0, "x1000": 1000.0, "x0.1": 0.1, "x0.01": 0.01, "x0.001": 0.001}
MIN_CHANGE = 2.0  # a unit less than twice or half the other cannot be told from another load

# In windows of the machine running: what is needed before and after a jump, at least these many and these hours.
BEFORE, BEFORE_H = 36, 6
AFTER, AFTER_H = 6, 1
_BESIDE = 3  # windows whose median is the level beside a jump: one that mixes both levels does not shift it
MIN_LIKE_BEFORE = 0.8  # share of the windows after the jump that must be usual once they are converted back


@dataclass(frozen=True)
class Conversion:
    """What is shown instead of a value of the sensor's own unit: factor x value + offset; `name` is the unit, or the scale (x10)."""

    name: str
    factor: float
    offset: float = 0.0

    @property
    def is_scale(self) -> bool:
        return self.name in _SCALES

    def shown(self, values: Floats) -> Floats:
        return values * self.factor + self.offset

    def meant(self, shown: Floats) -> Floats:
        return (shown - self.offset) / self.factor

    def words(self, unit: str) -> str:
        if not self.is_scale:
            return f"looks like {self.name} instead of {unit}"
        return f"{self.factor:g} times too high" if self.factor > 1 else f"{1 / self.factor:.0f} times too low"


@dataclass(frozen=True)
class UnitChange:
    """Windows from `first` up to `end` (excluded; None: all that follow) show another unit.

    `usual` and `level` are the medians before it and within it.
    """

    conversion: Conversion
    first: int
    end: int | None
    usual: float
    level: float


@dataclass(frozen=True)
class UsualBand:
    """Where a sensor's windows usually lie: the central 96 %, and a margin of half its width."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Floats, *, margin: float = 0.0) -> "UsualBand":
        low, high = np.quantile(values, (0.02, 0.98))
        margin += (high - low) / 2
        return cls(float(low - margin), float(high + margin))

    def holds(self, values: Floats) -> Bools:
        return np.asarray((values >= self.low) & (values <= self.high), dtype=np.bool_)


@cache
def conversions(unit: str) -> tuple[Conversion, ...]:
    """What readings of a unit are mistaken for: its family's other units, the likeliest first, then scales of 10, 100 and 1000."""
    own = _SPELLINGS.get(unit.strip(), unit.strip())
    found = [Conversion(other, *change) for (one, other), change in _TEMPERATURES.items() if one == own]
    for family in _FAMILIES:
        if own in family:
            found += [Conversion(other, family[own] / size) for other, size in family.items() if other != own]
    found = [c for c in found if c.offset or not 1 / MIN_CHANGE < c.factor < MIN_CHANGE]
    known = [c.factor for c in found if not c.offset]
    scales = [Conversion(name, factor) for name, factor in _SCALES.items()]
    return (*found, *(c for c in scales if not np.isclose(known, c.factor, rtol=1e-6).any()))


def find_unit_change(values: Floats, *, at: Ints, since: int, known: Sequence[Conversion], window_minutes: int) -> UnitChange | None:
    """The change of unit, the best matching one, whose readings reach to window `since` or beyond; None without one.

    `values` are a sensor's means of the windows `at`, ascending, in which its machine ran. A change begins where the level of three
    windows is, converted back, that of the three before: within a tenth, plus four times what neighbouring levels differed by until
    then; three times that where a stop lies between, for then the machine may still be cold. What follows must be usual when
    converted back, until it is usual again as it is. At least 36 windows (and 6 h) before the change say what is usual; it must have
    lasted 6 windows (and 1 h).
    """
    n_before, n_after = (max(n, hours * 60 // window_minutes) for n, hours in ((BEFORE, BEFORE_H), (AFTER, AFTER_H)))
    if len(values) < n_before + n_after or at[-1] < since:
        return None
    level = np.median(np.lib.stride_tricks.sliding_window_view(values, _BESIDE), axis=1)
    before, after = level[:-_BESIDE], level[_BESIDE:]  # of the jump at window _BESIDE + i
    step = np.abs(after - before)
    if not (step > 0.3 * np.abs(before)).any():
        return None
    unrest = 4 * _median_so_far(step, every=n_before)
    tolerance = unrest + 0.1 * np.abs(before)
    jumps = (step > 3 * tolerance) & (tolerance > 0)
    if not jumps.any():
        return None
    has_size = np.abs(before) > 2 * unrest  # what is about zero is so in every unit that has the same zero
    allowed = tolerance * np.where(np.diff(at)[_BESIDE - 1 : -_BESIDE + 1] > 1, 3, 1)
    found = []
    for conversion in known:
        may_be = jumps & (has_size | (conversion.offset != 0))
        miss = np.divide(np.abs(conversion.meant(after) - before), allowed, out=np.full(len(step), np.inf), where=may_be)
        for i in _best_of_each_cluster(miss):
            if i + _BESIDE >= n_before:
                change = _confirmed(values, level, conversion=conversion, first=i + _BESIDE, margin=float(tolerance[i]))
                found += [(float(miss[i]), change)] if change else []
    lasting = []
    for fit, change in found:
        end = len(values) if change.end is None else change.end
        if end - change.first >= n_after and at[end - 1] >= since:
            lasting.append((fit, replace(change, first=int(at[change.first]), end=None if change.end is None else int(at[change.end]))))
    return min(lasting, key=lambda f: f[0])[1] if lasting else None


def _median_so_far(step: Floats, *, every: int) -> Floats:
    """Of the steps before each one, brought up to date `every` so many: after a jump to a unit a thousand times smaller all steps grow."""
    medians = np.array([np.median(step[: end or every]) for end in range(0, len(step), every)])
    return medians[np.arange(len(step)) // every]


def _best_of_each_cluster(miss: Floats) -> list[int]:
    """A jump matches at up to three neighbouring windows: the best of them."""
    candidates = np.flatnonzero(miss <= 1)
    if not len(candidates):
        return []
    clusters = np.split(candidates, np.flatnonzero(np.diff(candidates) > _BESIDE) + 1)
    return [int(c[np.argmin(miss[c])]) for c in clusters]


def _confirmed(values: Floats, level: Floats, *, conversion: Conversion, first: int, margin: float) -> UnitChange | None:
    usual = UsualBand.of(values[:first], margin=margin)
    while first < len(values) and usual.holds(values[first : first + 1]).all():  # the level of three may hold one from before
        first += 1
    back = np.flatnonzero(usual.holds(level[first:]))  # where three windows on end are usual as they are
    end = first + int(back[0]) if len(back) else None
    within = values[first:end]
    if not len(within) or usual.holds(conversion.meant(within)).mean() < MIN_LIKE_BEFORE:
        return None
    return UnitChange(conversion, first, end, float(np.median(values[:first])), float(np.median(within)))
