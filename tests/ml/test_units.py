"""Units of drops: turned into the sensor's by the factors of the published tables, or refused."""

from contextlib import suppress
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.drop_format import DropColumns, DropFormat
from ml.plant import Machine, Sensor, Site
from ml.readings import parse_drop
from ml.units import Conversion, WrongUnit, conversion

# NIST SP 811 (2008), appendix B.8: what stands in bold there is exact.
EXACT = [
    ("temperature", "°F", "°C", 212.0, 100.0),
    ("temperature", "°F", "°C", -40.0, -40.0),
    ("temperature", "K", "°C", 273.15, 0.0),
    ("temperature", "°C", "°F", 37.0, 98.6),
    ("vibration", "in/s", "mm/s", 1.0, 25.4),
    ("vibration", "ips", "mm/s", 0.3, 7.62),
    ("vibration", "mil", "µm", 1.0, 25.4),
    ("vibration", "g", "m/s2", 1.0, 9.80665),
    ("pressure", "kPa", "bar", 100.0, 1.0),
    ("pressure", "kgf/cm2", "bar", 1.0, 0.980665),
    ("flow", "l/min", "m³/h", 1000.0, 60.0),
    ("flow", "ft/min", "m/s", 1.0, 0.00508),
    ("rotation_speed", "Hz", "rpm", 25.0, 1500.0),
    ("rotation_speed", "U/min", "rpm", 1480.0, 1480.0),
    ("current", "mA", "A", 4.0, 0.004),
    ("level", "%", "1", 50.0, 0.5),
]
ROUNDED = [  # to the seven digits of the table
    ("pressure", "psi", "bar", 1.0, 0.06894757),
    ("pressure", "inHg", "mbar", 1.0, 33.86389),
    ("flow", "gpm", "m3/s", 1.0, 6.309020e-05),
    ("flow", "cfm", "m3/s", 1.0, 4.719474e-04),
    ("power", "hp", "W", 1.0, 745.6999),
]


@pytest.mark.parametrize(("sensor_type", "given", "due", "value", "expected"), EXACT)
def test_exact_factors_are_exact(sensor_type: str, given: str, due: str, value: float, expected: float) -> None:
    found = conversion(given, due, sensor_type=sensor_type)
    assert (value + found.before) * found.factor + found.after == pytest.approx(expected, rel=1e-15, abs=1e-13)


@pytest.mark.parametrize(("sensor_type", "given", "due", "value", "expected"), ROUNDED)
def test_measured_factors_agree_with_the_table(sensor_type: str, given: str, due: str, value: float, expected: float) -> None:
    found = conversion(given, due, sensor_type=sensor_type)
    assert (value + found.before) * found.factor + found.after == pytest.approx(expected, rel=5e-7), "half a unit of the last digit"


@pytest.mark.parametrize("spelling", ["°F", "℉", "ºF", "F", "°f", "degF", "Deg F", "degrees F", "Fahrenheit"])
def test_people_write_a_degree_in_many_ways(spelling: str) -> None:
    assert conversion(spelling, "°C", sensor_type="temperature") == Conversion(-32.0, 5 / 9, 0)


@pytest.mark.parametrize(
    ("sensor_type", "given", "due"),
    [
        ("temperature", "bar", "°C"),
        ("pressure", "°F", "bar"),
        ("vibration", "mm", "mm/s"),
        ("vibration", "g", "mm/s"),
        ("rotation_speed", "rad", "rpm"),
        ("other", "Hz", "rpm"),
        ("pressure", "psig", "bar"),
        ("pressure", "kg/cm2", "bar"),
        ("other", "dB", "1"),
        ("flow", "furlong", "m3/h"),
        ("power", "", "kW"),
    ],
)
def test_what_measures_something_else_or_is_unknown_is_refused(sensor_type: str, given: str, due: str) -> None:
    with pytest.raises(WrongUnit):
        conversion(given, due, sensor_type=sensor_type)


@given(st.text(max_size=40))
def test_any_text_is_a_unit_or_refused(text: str) -> None:
    with suppress(WrongUnit):
        assert conversion(text, "bar", sensor_type="pressure").factor != 0


def test_a_drop_of_three_foreign_units_is_stored_in_those_of_its_sensors() -> None:
    sensors = (
        Sensor(sensor_id="t", type="temperature", unit="°C"),
        Sensor(sensor_id="p", type="pressure", unit="bar"),
        Sensor(sensor_id="v", type="vibration", unit="mm/s"),
    )
    machine = Machine(machine_id="m", machine_class="pump", sensors=sensors)
    site = Site(site="s", name="S", first_day=date(2026, 1, 1), machines=(machine,), drops=DropFormat(columns=DropColumns(unit="unit")))
    at = "2026-02-01T00:00:00Z"
    rows = [("t", "212", "°F"), ("p", "14.5037738", "psi"), ("v", "0.177", "in/s"), ("v", "1", "psi")]
    data = "timestamp,sensor_id,value,unit\n" + "".join(f"{at},{s},{value},{unit}\n" for s, value, unit in rows[:3])
    data += f"2026-02-01T00:01:00Z,{rows[3][0]},{rows[3][1]},{rows[3][2]}\n"
    parsed = parse_drop(data.encode(), site=site, received_at=datetime(2026, 3, 1, tzinfo=UTC))
    found = {row["sensor_id"]: row["value"] for row in parsed.accepted.to_pylist()}
    assert found == {"t": 100.0, "p": pytest.approx(1.0, rel=1e-8), "v": pytest.approx(4.4958, rel=1e-14)}
    assert parsed.n_repaired == 3
    assert [(r["line"], r["reason"]) for r in parsed.quarantined.to_pylist()] == [(5, "wrong_unit")]
