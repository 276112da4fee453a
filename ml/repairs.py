"""Values are put right where the plant file asks for it: converted to the sensor's unit, or set on the edge of what it can measure."""

import numpy as np
import pyarrow as pa

from ml.columns import Bools, Floats, Ints, codes, is_number
from ml.drop_format import DropFormat
from ml.plant import Sensor
from ml.units import SAME, Conversion, WrongUnit, conversion

_NO_UNIT = ""


def without_missing(value: Floats, drops: DropFormat) -> Floats:
    """NaN for the numbers that stand for no value; texts that do are no numbers anyway."""
    marks = [float(text.strip().replace(",", ".")) for text in drops.missing_values if is_number(text)]
    return np.where(np.isin(value, marks), np.nan, value) if marks else value


def in_sensor_units(
    value: Floats, code: Ints, *, sensors: tuple[Sensor, ...], given: pa.ChunkedArray | None, row: Ints | None
) -> tuple[Floats, Bools | None, Bools | None]:
    """The values in each sensor's unit; which are in a unit that cannot be one of the sensor's, which were converted (None: none).

    `code` numbers `sensors` (below 0: no sensor), `given` holds the unit of each row, `row` the row of each value. A value
    without a unit of its own is in the sensor's source_unit if it has one. If it has none, and the drops have a column for units, the unit
    is not known, and so a wrong one.
    """
    if given is None:
        if all(s.source_unit in (None, s.unit) for s in sensors):
            return value, None, None
        unit, units = np.zeros(len(code), np.int64), [_NO_UNIT]
    else:
        seen: dict[str, int] = {}
        unit = codes(given, lambda text: seen.setdefault(text, len(seen)))
        unit, units = (unit if row is None else unit[row]), list(seen)
    n_sensors = len(sensors)
    pair = np.where(code < 0, n_sensors, code) * max(len(units), 1) + unit
    found = np.flatnonzero(np.bincount(pair, minlength=1))
    is_wrong_pair, is_other_pair = np.zeros(len(found), bool), np.zeros(len(found), bool)
    parts = np.zeros((len(found), 3))
    for i, (of_sensor, of_unit) in enumerate(zip(*np.divmod(found, max(len(units), 1)), strict=True)):
        wanted = SAME if of_sensor == n_sensors else _conversion(sensors[of_sensor], units[of_unit], is_stated=given is not None)
        is_wrong_pair[i] = wanted is None
        made = wanted or SAME
        parts[i] = made.before, made.factor, made.after
        is_other_pair[i] = not made.is_identity
    if not is_wrong_pair.any() and not is_other_pair.any():
        return value, None, None
    place = np.searchsorted(found, pair)
    is_wrong, is_converted = is_wrong_pair[place], is_other_pair[place]
    rows = np.flatnonzero(is_converted)
    before, factor, after = parts[place[rows]].T
    value = value.copy()
    value[rows] = (value[rows] + before) * factor + after
    return value, is_wrong, is_converted


def _conversion(sensor: Sensor, given: str, *, is_stated: bool) -> Conversion | None:
    """None where there is none."""
    unit = given or sensor.source_unit or (sensor.unit if not is_stated else _NO_UNIT)
    if not unit:
        return None
    try:
        return conversion(unit, sensor.unit, sensor_type=sensor.type)
    except WrongUnit:
        return None


def clamped(value: Floats, code: Ints, *, limits: tuple[Floats, Floats], within: Floats | None) -> tuple[Floats, Bools | None]:
    """Values outside the physical band of their sensor, by no more than its clamp_within, set on its edge; and which these are.

    `limits` (lowest and highest value) and `within` (None: nowhere asked for) are by code.
    """
    if within is None:
        return value, None
    low, high, reach = limits[0][code], limits[1][code], within[code]
    is_low, is_high = (value < low) & (value >= low - reach), (value > high) & (value <= high + reach)
    return np.where(is_low, low, np.where(is_high, high, value)), is_low | is_high
