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


# --- limits of which one is missing ---


def _near(value: float, *, unit: str = "bar", kind: str = "pressure", **bands: Band) -> float:
    """limit_part of a machine whose one sensor reads this value all day."""
    sensor = Sensor.model_validate({"sensor_id": "A-x", "type": kind, "unit": unit, **bands})
    return float(_of(sensor, means=[value] * 40)["limit_part"])


def _of(*sensors: Sensor, means: list[float], running: list[float] | None = None, score: float = 0.2) -> pd.Series:
    """The health of a machine whose sensors all read these means."""
    machine = Machine(machine_id="A", machine_class="pump", sensors=sensors)
    site = SITE.model_copy(update={"machines": (machine,)})
    times = MIDNIGHT + pd.to_timedelta(np.arange(len(means)) * 10, unit="min")
    ran = running or [1.0] * len(means)
    columns = {"machine_id": "A", "window_start": times, "running_share": ran, "mean": means}
    features = pd.concat([pd.DataFrame({**columns, "sensor_id": sensor.sensor_id}) for sensor in sensors])
    scores = pd.DataFrame({"machine_id": "A", "window_start": times, "score": np.where(np.array(ran) == 1, score, np.nan)})
    return machine_health(scores, features=features, incidents=_incidents(), site=site, day=DAY).iloc[0]


@pytest.mark.parametrize(
    ("bands", "points"),
    [
        # an upper alarm alone: the distance is a tenth of it, 1; it begins half of that before
        ({"alarm": Band(high=10)}, {9.5: 0, 9.75: 12.5, 10: 25, 10.5: 37.5, 11: 50}),
        # a trip limit alone: the alarm is taken to lie a tenth of it before
        ({"trip": Band(high=10)}, {8.5: 0, 9: 25, 9.5: 37.5, 10: 50}),
        # both alarms: the distance is a tenth of that between them, 2, on either side
        ({"alarm": Band(low=-10, high=10)}, {9: 0, 10: 25, 11: 37.5, 12: 50, -10: 25, -12: 50}),
        ({"alarm": Band(low=4, high=8), "trip": Band(low=2)}, {3: 37.5, 2: 50, 8.2: 37.5, 8.4: 50}),
        ({"alarm": Band(high=10), "trip": Band(high=10)}, {9.5: 0, 10: 25, 11: 50}),
        ({}, {1e6: 0}),
    ],
)
def test_where_a_limit_is_missing_its_distance_is_taken_by_hand(bands: dict[str, Band], points: dict[float, float]) -> None:
    assert {value: _near(value, **bands) for value in points} == {value: pytest.approx(p) for value, p in points.items()}


def test_a_temperature_is_as_near_in_any_unit() -> None:
    """The upper alarm of 80 °C alone, and 84 °C: half of the tenth beyond. 176 °F and 183.2 °F, 353.15 K and 357.15 K."""
    for unit, alarm, value in (("°C", 80, 84), ("°F", 176, 183.2), ("K", 353.15, 357.15)):
        assert _near(value, unit=unit, kind="temperature", alarm=Band(high=alarm)) == pytest.approx(37.5)
    assert _near(84, unit="of an oven", kind="temperature", alarm=Band(high=80)) == pytest.approx(37.5), "a unit that nobody knows"


def _windows(values: list[float]) -> dict[str, object]:
    return {"machine_id": "A", "window_start": MIDNIGHT + pd.to_timedelta(np.arange(len(values)), unit="min")}


# --- monotone ---

_INCIDENT = st.tuples(st.floats(0, 1), st.integers(0, 2))
_SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
_MORE = st.lists(st.floats(0, 1), min_size=30, max_size=30)


@settings(max_examples=25, deadline=None)
@given(
    scores=_SCORES, temperatures=_SCORES, pressures=_SCORES, found=st.lists(_INCIDENT, max_size=3), worse=_MORE, nearer=_MORE,
    extra=st.lists(_INCIDENT, max_size=2), graver=st.floats(0, 1), which=st.integers(0, 2),
)  # fmt: skip
def test_health_never_rises_when_anything_gets_worse(
    scores: list[float], temperatures: list[float], pressures: list[float], found: list[tuple[float, int]], worse: list[float],
    nearer: list[float], extra: list[tuple[float, int]], graver: float, which: int,
) -> None:  # fmt: skip
    """Each window's score, each window's distance from a limit, one incident's peak or verdict: each alone, and all at once."""

    def health(scores: list[float], temperatures: list[float], pressures: list[float], found: list[tuple[float, int]]) -> float:
        hot, low = [60 + 40 * t for t in temperatures], [8 - 8 * p for p in pressures]
        features = pd.concat(
            [
                pd.DataFrame({**_windows(hot), "sensor_id": "A-temp", "running_share": 1.0, "mean": hot}),
                pd.DataFrame({**_windows(low), "sensor_id": "A-pres", "running_share": 1.0, "mean": low}),
            ]
        )
        incidents = _incidents(*((peak, VERDICTS[v]) for peak, v in found))
        row = _health(pd.DataFrame({**_windows(scores), "score": scores}), features, incidents)
        assert row["health"] == pytest.approx(max(0, 100 - row["score_part"] - row["limit_part"] - row["incident_part"]))
        return float(row["health"])

    def raised(values: list[float], by: list[float]) -> list[float]:
        return [max(a, b) for a, b in zip(values, by, strict=False)]

    before = health(scores, temperatures, pressures, found)
    assert 0 <= before <= 100
    graver_one = [(max(peak, graver), min(v + 1, 2)) if i == which else (peak, v) for i, (peak, v) in enumerate(found)]
    worse_scores, hotter, lower = raised(scores, worse), raised(temperatures, nearer), raised(pressures, nearer)
    everything = health(worse_scores, hotter, lower, graver_one + extra)
    for after in (
        health(worse_scores, temperatures, pressures, found),
        health(scores, hotter, pressures, found),
        health(scores, temperatures, lower, found),
        health(scores, temperatures, pressures, graver_one),
        health(scores, temperatures, pressures, found + extra),
    ):
        assert after <= before + 1e-9
        assert everything <= after + 1e-9


# --- comparable ---

_BANDS = st.sampled_from(
    [
        {"alarm": Band(low=20, high=60), "trip": Band(low=10, high=80)},
        {"alarm": Band(high=60), "trip": Band(high=80)},
        {"alarm": Band(high=60)},
        {"trip": Band(low=20)},
        {"alarm": Band(low=20, high=60), "trip": Band(high=80)},
        {},
    ]
)
_MEANS = st.lists(st.floats(0, 100), min_size=1, max_size=50)


def _sensor(name: str, bands: dict[str, Band], *, factor: float = 1, shift: float = 0, **kind: str) -> Sensor:
    """With its limits in another unit: value * factor + shift."""

    def turned(limit: float | None) -> float | None:
        return None if limit is None else limit * factor + shift

    limits = {name: Band(low=turned(band.low), high=turned(band.high)) for name, band in bands.items()}
    return Sensor.model_validate({"sensor_id": name, "type": "pressure", "unit": "bar", **kind, **limits})


@settings(max_examples=25, deadline=None)
@given(means=_MEANS, bands=_BANDS, score=st.floats(0, 1), n=st.integers(2, 6))
def test_health_is_the_same_with_more_sensors_that_tell_the_same(means: list[float], bands: dict[str, Band], score: float, n: int) -> None:
    one = _of(_sensor("A-0", bands), means=means, score=score)
    many = _of(*(_sensor(f"A-{i}", bands) for i in range(n)), _sensor("A-free", {}), means=means, score=score)
    assert (many["health"], many["score_part"], many["limit_part"]) == (one["health"], one["score_part"], one["limit_part"])


@settings(max_examples=25, deadline=None)
@given(means=_MEANS, bands=_BANDS, factor=st.floats(0.001, 1000))
def test_health_is_the_same_in_another_unit(means: list[float], bands: dict[str, Band], factor: float) -> None:
    """kPa for bar; and for a temperature °F for °C, whose zero is another."""
    as_it_is = _of(_sensor("A-0", bands), means=means)
    other = _of(_sensor("A-0", bands, factor=factor), means=[m * factor for m in means])
    assert other["limit_part"] == pytest.approx(as_it_is["limit_part"], abs=1e-6)
    fahrenheit = _sensor("A-0", bands, factor=1.8, shift=32, type="temperature", unit="°F")
    hot = _of(fahrenheit, means=[m * 1.8 + 32 for m in means])
    celsius = _of(_sensor("A-0", bands, type="temperature", unit="°C"), means=means)
    assert hot["limit_part"] == pytest.approx(celsius["limit_part"], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(means=_MEANS, bands=_BANDS, scores=_SCORES, times=st.integers(2, 5))
def test_health_is_the_same_with_shorter_windows(means: list[float], bands: dict[str, Band], scores: list[float], times: int) -> None:
    """Each window's values told by several."""
    assert (
        _of(_sensor("A-0", bands), means=means)["limit_part"]
        == _of(_sensor("A-0", bands), means=np.repeat(means, times).tolist())["limit_part"]
    )

    def score_part(values: list[float]) -> float:
        start = MIDNIGHT + pd.to_timedelta(np.arange(len(values)), unit="min")
        return float(
            _health(pd.DataFrame({"machine_id": "A", "window_start": start, "score": values}), _features(), _incidents())["score_part"]
        )

    assert score_part(scores) == score_part(np.repeat(scores, times).tolist())


@settings(max_examples=25, deadline=None)
@given(means=_MEANS, bands=_BANDS, score=st.floats(0, 1), idle=st.lists(st.floats(-50, 150), min_size=1, max_size=50))
def test_a_machine_that_stood_for_a_while_is_as_well_as_one_that_did_not(
    means: list[float], bands: dict[str, Band], score: float, idle: list[float]
) -> None:
    ran = _of(_sensor("A-0", bands), means=means, score=score)
    stood = _of(_sensor("A-0", bands), means=means + idle, running=[1.0] * len(means) + [0.0] * len(idle), score=score)
    assert (stood["health"], stood["explanation"]) == (ran["health"], ran["explanation"])
