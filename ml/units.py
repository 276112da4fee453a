"""What turns a value in one unit into another: an affine conversion, computed once per pair of units.

Units come from drops, so they are text of any kind: only what is spelled like a unit reaches `pint`. What is the same letter by
letter needs no knowledge at all, so a sensor may have a unit that nobody else knows.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # plant files are read by commands that need no numpy
    from ml.columns import Floats

_LONGEST = 32  # characters; those in earnest, such as "gram/kilowatt_hour", have about 20
_LOOKALIKES = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹º", "-0123456789°")  # º, the mark of an ordinal, is written for a degree
_FACTOR = re.compile(r"\s*([/*·]?)\s*((?:[^\W\d_]|[°%])(?:[^\W\d]|[°%]|\d(?=[^\W\d_]))*|1(?=/))(?:(?:\*\*|\^)?(-?[1-9]))?\s*")
_TEMPERATURES = {
    spelling: unit
    for unit, spellings in {
        "degC": ("c", "°c", "℃", "degc", "degreec", "degreesc", "celsius", "degcelsius", "degreescelsius"),
        "degF": ("f", "°f", "℉", "degf", "degreef", "degreesf", "fahrenheit", "degfahrenheit", "degreesfahrenheit"),
        "kelvin": ("k", "°k", "degk", "kelvin"),
    }.items()
    for spelling in spellings
}
# What pint does not know, or knows as something else: its mil is a length only under the name thou, its cfm a product of prefixes.
_SPELLINGS = {
    "amps": "ampere",
    "cfm": "foot**3/minute",
    "gpm": "gallon/minute",
    "ips": "inch/second",
    "lpm": "liter/minute",
    "mil": "thou",
    "mils": "thou",
    "psi": "psi",
    "bar": "bar",
    "rpm": "rpm",
}
_OF_A_TYPE = {
    ("vibration", "g"): "standard_gravity",
    ("rotation_speed", "Hz"): "revolution/second",
    ("rotation_speed", "hz"): "revolution/second",
    ("rotation_speed", "1/s"): "revolution/second",
    ("rotation_speed", "1/min"): "rpm",
    ("rotation_speed", "min-1"): "rpm",
    ("rotation_speed", "U/min"): "rpm",
}


class WrongUnit(ValueError):
    """A unit that nobody knows, or one that measures something else; the message says which."""


@dataclass(frozen=True)
class Conversion:
    """`(value + before) * factor + after`: the shift stands where it is a round number, so that 32 °F are 0 °C to the last digit."""

    before: float
    factor: float
    after: float

    @property
    def is_identity(self) -> bool:
        return (self.before, self.factor, self.after) == (0, 1, 0)

    def __call__(self, values: "Floats") -> "Floats":
        converted: Floats = (values + self.before) * self.factor + self.after
        return converted


SAME = Conversion(0, 1, 0)


@lru_cache(maxsize=4096)
def conversion(given: str, due: str, *, sensor_type: str) -> Conversion:
    """From `given` to `due`. What a letter means depends on the sensor: C is a degree for a thermometer. Raises WrongUnit."""
    if given == due:
        return SAME
    registry = _registry()
    source, target = _unit(given, sensor_type), _unit(due, sensor_type)
    # pint takes angles and counts for plain numbers, so that 1 Hz would be 9.55 rpm: their root units differ.
    if registry.get_root_units(source)[1] != registry.get_root_units(target)[1]:
        raise WrongUnit(f"{given!r} and {due!r} do not measure the same thing")
    at_0, at_1, at_2 = (_converted(registry, Fraction(x), source, target) for x in (0, 1, 2))
    factor = at_1 - at_0
    if at_2 != at_0 + 2 * factor:
        raise WrongUnit(f"{given!r} is no straight line in {due!r}")
    before = at_0 / factor
    if Fraction(float(before)) == before:
        return Conversion(float(before), float(factor), 0)
    return Conversion(0, float(factor), float(at_0))


def _converted(registry: Any, value: Fraction, source: Any, target: Any) -> Fraction:
    import pint

    try:
        return Fraction(registry.Quantity(value, source).to(target).magnitude)
    except (pint.PintError, ArithmeticError, TypeError) as error:  # a scale that is not linear, such as decibels
        raise WrongUnit(f"values in {str(source)!r} cannot be turned into {str(target)!r}") from error


@lru_cache(maxsize=4096)
def _unit(text: str, sensor_type: str) -> Any:
    import pint

    try:
        return _registry().parse_units(_spelt(text.strip().translate(_LOOKALIKES), sensor_type))
    except (pint.PintError, AssertionError, AttributeError, TypeError, ValueError) as error:  # of '¼' pint asserts that it is a number
        raise WrongUnit(f"{text[:_LONGEST]!r} is no known unit") from error


def _spelt(text: str, sensor_type: str) -> str:
    """As pint spells it. Raises ValueError for what is no unit by its form."""
    if sensor_type == "temperature":
        unit = _TEMPERATURES.get(re.sub(r"[\s_]", "", text).lower())
        if unit is not None:
            return unit
    if (sensor_type, text) in _OF_A_TYPE:
        return _OF_A_TYPE[sensor_type, text]
    if text == "1":
        return "dimensionless"
    factors: list[str] = []
    at = 0
    while at < len(text) <= _LONGEST:
        match = _FACTOR.match(text, at)
        if match is None or (match[1] and not factors):
            break
        sign = "/" if match[1] == "/" else "*"
        factors.append(f"{sign}({_name(match[2])})**{match[3] or 1}")
        at = match.end()
    if not factors or at < len(text):
        raise ValueError(text)
    return "1" + "".join(factors)


def _name(name: str) -> str:
    """Exactly as written if it is known so; else the case of letters does not count, provided that the word is long enough."""
    known = _SPELLINGS.get(name.lower())
    if known is not None:
        return known
    return name.lower() if len(name) >= 4 and name not in _registry() and name.lower() in _registry() else name


@lru_cache(maxsize=1)
def _registry() -> Any:
    """0.7 CPU-seconds with the import, paid by whoever meets a unit that is not the sensor's own."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)
