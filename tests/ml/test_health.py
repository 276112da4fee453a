from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.health import machine_health
from ml.plant import Band, Machine, Sensor, Site

DAY = date(2026, 3, 8)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
VERDICTS = ("false_positive_suspected", "investigate", "credible")
SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=(
        Machine(
            machine_id="A",
            machine_class="pump",
            sensors=(
                Sensor(sensor_id="A-temp", type="temperature", unit="°C", alarm=Band(high=80), trip=Band(high=90)),
                Sensor(sensor_id="A-pres", type="pressure", unit="bar", alarm=Band(low=4), trip=Band(low=2)),
            ),
        ),
        Machine(machine_id="B", machine_class="pump", sensors=(Sensor(sensor_id="B-flow", type="flow", unit="m3/h"),)),
    ),
)


def _scores(value: float, n: int = 144) -> pd.DataFrame:
    return pd.DataFrame({"machine_id": "A", "window_start": MIDNIGHT + pd.to_timedelta(np.arange(n) * 10, unit="min"), "score": value})


def _features(temperature: float = 50.0, pressure: float = 8.0, *, running: float = 1.0) -> pd.DataFrame:
    times = MIDNIGHT + pd.to_timedelta(np.arange(144) * 10, unit="min")
    columns = {"machine_id": "A", "window_start": times, "running_share": running}
    return pd.concat([pd.DataFrame({**columns, "sensor_id": s, "mean": v}) for s, v in (("A-temp", temperature), ("A-pres", pressure))])


def _incidents(*found: tuple[float, str]) -> pd.DataFrame:
    return pd.DataFrame({"machine_id": "A", "peak_score": [p for p, _ in found], "verdict": pd.Series([v for _, v in found], dtype="str")})


def _health(scores: pd.DataFrame, features: pd.DataFrame, incidents: pd.DataFrame) -> pd.Series:
    table = machine_health(scores, features=features, incidents=incidents, site=SITE, day=DAY)
    assert table["machine_id"].tolist() == ["A"]
    return table.iloc[0]


def test_a_machine_at_rest_with_itself_is_at_100() -> None:
    row = _health(_scores(0.2), _features(), _incidents())
    assert row["health"] == 100
    assert row["explanation"] == "nothing unusual"


@pytest.mark.parametrize(
    ("temperature", "pressure", "points"),
    [
        (75, 8, 0),
        (77.5, 8, 12.5),
        (80, 8, 25),
        (85, 8, 37.5),
        (90, 8, 50),
        (200, 8, 50),
        (50, 5, 0),
        (50, 4, 25),
        (50, 3, 37.5),
        (50, 2, 50),
    ],
)
def test_nearness_to_limits_by_hand(temperature: float, pressure: float, points: float) -> None:
    assert _health(_scores(0.2), _features(temperature, pressure), _incidents())["limit_part"] == pytest.approx(points)


def test_the_parts_by_hand() -> None:
    row = _health(_scores(0.675), _features(80), _incidents((0.8, "investigate"), (1.0, "false_positive_suspected")))
    assert row["score_part"] == pytest.approx(25 * 0.5)
    assert row["incident_part"] == pytest.approx(30 * (1 - 0.6 * 0.9))
    assert row["health"] == pytest.approx(100 - 12.5 - 25 - 13.8)
    assert "A-temp at 80 °C is near its upper alarm limit" in row["explanation"]
    assert "1 investigate, 1 false positive suspected" in row["explanation"]


def test_a_standing_machine_is_not_held_against_its_lower_limits() -> None:
    row = _health(_scores(0.2).assign(score=np.nan), _features(20, 0, running=0.0), _incidents())
    assert row["health"] == 100
    assert row["explanation"] == "the machine did not run a whole window"


def test_other_days_do_not_count() -> None:
    yesterday = _scores(1.0).assign(window_start=lambda t: t["window_start"] - pd.Timedelta(days=1))
    assert _health(pd.concat([yesterday, _scores(0.1)]), _features(), _incidents())["health"] == 100


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown verdicts maybe"):
        _health(_scores(0.2), _features(), _incidents((0.5, "maybe")))


_INCIDENT = st.tuples(st.floats(0, 1), st.integers(0, 2))


@settings(max_examples=40, deadline=None)
@given(
    score=st.floats(0, 1), temperature=st.floats(0, 150), pressure=st.floats(0, 20),
    found=st.lists(_INCIDENT, max_size=3), worse_score=st.floats(0, 1), hotter=st.floats(0, 50), lower=st.floats(0, 10),
    extra=st.lists(_INCIDENT, max_size=2), graver=st.floats(0, 1),
)  # fmt: skip
def test_health_never_rises_when_something_gets_worse(
    score: float, temperature: float, pressure: float, found: list[tuple[float, int]],
    worse_score: float, hotter: float, lower: float, extra: list[tuple[float, int]], graver: float,
) -> None:  # fmt: skip
    def health(score: float, temperature: float, pressure: float, found: list[tuple[float, int]]) -> float:
        incidents = _incidents(*((peak, VERDICTS[v]) for peak, v in found))
        return float(_health(_scores(score, n=12), _features(temperature, pressure), incidents)["health"])

    before = health(score, temperature, pressure, found)
    assert 0 <= before <= 100
    graver_ones = [(max(peak, graver), min(v + 1, 2)) for peak, v in found]
    assert health(max(score, worse_score), temperature, pressure, found) <= before
    assert health(score, temperature + hotter, pressure, found) <= before
    assert health(score, temperature, pressure - lower, found) <= before
    assert health(score, temperature, pressure, found + extra) <= before + 1e-9
    assert health(score, temperature, pressure, graver_ones) <= before + 1e-9
