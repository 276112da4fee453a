"""The forecast against ramps whose crossing time is known from their own slope."""

import dataclasses
import logging
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import ml.sensor_forecast
from ml.conformal import Stretch
from ml.plant import Band, Machine, Sensor
from ml.prognosis import PREDICTION_COLUMNS, MachinePrognosis, predict_machine, predictions_frame
from ml.sensor_forecast import SensorForecast, forecast
from ml.trends import NotFitted, robust_line, without_spikes

OPEN = Band()
AS_OF = pd.Timestamp("2026-03-11T00:00Z")
Days = npt.NDArray[np.float64]


def series(trend: Callable[[Days], Days], *, n: int = 240, noise: float = 0.5, seed: int = 0, season: float = 0.0) -> pd.DataFrame:
    """n hourly means up to AS_OF; `trend` is a function of days from AS_OF."""
    hours = np.arange(-n + 1, 1)
    stamps = pd.Series(AS_OF + pd.to_timedelta(hours, unit="h")).astype("datetime64[us, UTC]")
    value = trend(hours / 24) + noise * np.random.default_rng(seed).standard_normal(n) + season * np.sin(2 * np.pi * hours / 24)
    return pd.DataFrame({"timestamp": stamps, "value": value})


def a_sensor(sensor_id: str = "s", *, alarm: Band = OPEN, trip: Band = OPEN) -> Sensor:
    return Sensor(sensor_id=sensor_id, type="temperature", unit="degC", alarm=alarm, trip=trip)


def forecast_of(history: pd.DataFrame, *, alarm: Band = OPEN, trip: Band = OPEN, seed: int = 1) -> SensorForecast:
    return forecast(history, sensor=a_sensor(alarm=alarm, trip=trip), as_of=AS_OF, seed=seed)


def test_a_rising_ramp_reaches_its_limits_when_its_slope_says_so():
    found = forecast_of(series(lambda d: 80 + 0.8 * d), alarm=Band(high=88), trip=Band(high=92))
    assert (found.method, found.limit_kind, found.limit_side, found.limit_value) == ("prophet", "trip", "high", 92)
    assert found.ttf_p10_days < found.ttf_p50_days < found.ttf_p90_days
    assert found.ttf_p50_days == pytest.approx(15, rel=0.15)  # (92 - 80) / 0.8
    assert found.probability_7d < 0.05
    assert found.probability_30d > 0.95
    alarm = next(p for p in found.passages if p.limit_kind == "alarm")
    assert alarm.ttf_p50_days == pytest.approx(10, rel=0.15)  # (88 - 80) / 0.8


def test_a_falling_negative_series_reaches_its_low_limit():
    found = forecast_of(series(lambda d: -20 - 0.8 * d), trip=Band(low=-32, high=50))
    assert found.limit_side == "low"
    assert found.ttf_p50_days == pytest.approx(15, rel=0.15)


def test_a_ramp_that_began_two_days_ago_is_followed_and_not_averaged_away():
    found = forecast_of(series(lambda d: 80 + 2 * np.maximum(d + 2, 0)), trip=Band(high=92))
    assert found.ttf_p50_days == pytest.approx(4, abs=2)  # at 84 now, 2 a day


def test_a_daily_season_is_not_taken_for_a_trend():
    found = forecast_of(series(lambda d: 80 + 0 * d, season=3), trip=Band(high=92))
    assert found.probability_30d < 0.05
    # The sine of the day, one above and one below 80, goes on 6 and 18 hours from now.
    assert found.trajectory["p50"].iloc[[0, 2]].tolist() == pytest.approx([83, 77], abs=0.7)


def test_a_side_without_a_trip_limit_fails_at_its_alarm_limit():
    found = forecast_of(series(lambda d: 20 - 0.8 * d), alarm=Band(low=12, high=40), trip=Band(high=50))
    assert (found.limit_kind, found.limit_side) == ("alarm", "low")
    assert found.ttf_p50_days == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("level", [80.0, 0.0, -7.5])
def test_a_constant_series_fails_never(level: float):
    found = forecast_of(series(lambda d: level + 0 * d, noise=0), trip=Band(low=-100, high=100))
    assert (found.probability_7d, found.probability_30d, found.ttf_p10_days, found.ttf_p50_days, found.ttf_p90_days) == (
        0,
        0,
        None,
        None,
        None,
    )
    assert not found.is_fallback
    assert found.trajectory["p50"].to_numpy() == pytest.approx(level)


def test_a_value_beyond_the_limit_has_failed_already_but_a_single_spike_has_not():
    beyond = series(lambda d: 80 + 0 * d)
    beyond.loc[beyond.index[-3:], "value"] = 95.0
    found = forecast_of(beyond, trip=Band(high=92))
    assert (found.method, found.ttf_p10_days, found.ttf_p90_days, found.probability_7d) == ("observed", 0.0, 0.0, 1.0)
    spike = series(lambda d: 80 + 0 * d)
    spike.loc[spike.index[-2], "value"] = 95.0
    assert forecast_of(spike, trip=Band(high=92)).probability_30d < 0.05


def test_few_points_take_the_robust_line_and_fewer_none_at_all():
    short = forecast_of(series(lambda d: 80 + 0.8 * d, n=20, noise=0.01), trip=Band(high=84))
    assert (short.method, short.is_fallback) == ("linear", True)
    assert short.ttf_p50_days == pytest.approx(5, rel=0.1)
    none = forecast_of(series(lambda d: 80 + 0.8 * d, n=11), trip=Band(high=84))
    assert (none.method, none.probability_7d, none.probability_30d) == ("none", None, None)
    assert "11 hourly points" in none.note


def test_the_same_input_gives_the_same_forecast_and_leaves_the_global_generator_alone():
    history = series(lambda d: 80 + 0.8 * d, season=1)
    np.random.seed(3)
    state = np.random.get_state()[1].copy()
    first, second = (forecast_of(history, trip=Band(high=92)) for _ in range(2))
    assert first == second
    assert first.trajectory.equals(second.trajectory)
    assert (np.random.get_state()[1] == state).all()
    assert forecast_of(history, trip=Band(high=92), seed=2) != first


def test_a_fit_that_fails_gives_the_robust_line_and_says_so(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> None:
        raise NotFitted("no fit within 0.1 s")

    monkeypatch.setattr(ml.sensor_forecast, "prophet_paths", broken)
    found = forecast_of(series(lambda d: 80 + 0.8 * d), trip=Band(high=92))
    assert (found.method, found.is_fallback) == ("linear", True)
    assert "no fit within 0.1 s" in found.note
    assert found.ttf_p50_days == pytest.approx(15, rel=0.1)


def test_a_real_time_out_of_the_optimiser_is_a_fallback_too():
    found = forecast(series(lambda d: 80 + 0.8 * d), sensor=a_sensor(trip=Band(high=92)), as_of=AS_OF, seed=1, timeout_s=1e-6)
    assert (found.method, found.is_fallback) == ("linear", True)


def test_the_fit_is_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        forecast_of(series(lambda d: 80 + 0.8 * d), trip=Band(high=92))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_most_crossings_of_random_ramps_lie_inside_the_80_percent_interval():
    inside = 0
    for seed in range(30):
        rng = np.random.default_rng(100 + seed)
        slope, days, noise = rng.uniform(0.3, 2), rng.uniform(2, 20), rng.uniform(0.2, 1.5)
        found = forecast_of(series(lambda d, slope=slope: 80 + slope * d, noise=noise, seed=seed), trip=Band(high=80 + slope * days))
        lowest, highest = (np.inf if q is None else q for q in (found.ttf_p10_days, found.ttf_p90_days))
        inside += lowest <= days + 1 / 24 and days <= highest
    # 80 % of 30 is 24; fewer than 21 would have a probability of 6 % were the interval right. It is wider: ramps never bend, Prophet's may.
    assert inside >= 21


def test_the_trajectory_holds_ordered_quantiles_over_the_horizon():
    table = forecast_of(series(lambda d: 80 + 0.8 * d), trip=Band(high=92)).trajectory
    assert list(table.columns) == ["timestamp", "p10", "p50", "p90"]
    assert table["timestamp"].iloc[0] == AS_OF + pd.Timedelta(hours=6)
    assert table["timestamp"].iloc[-1] == AS_OF + pd.Timedelta(days=30)
    assert ((table["p10"] < table["p50"]) & (table["p50"] < table["p90"])).all()


def test_bad_input_says_what_to_do():
    with pytest.raises(ValueError, match="neither alarm nor trip"):
        forecast(series(lambda d: d), sensor=a_sensor(), as_of=AS_OF, seed=1)
    with pytest.raises(ValueError, match="lacks the columns value"):
        forecast(series(lambda d: d).drop(columns="value"), sensor=a_sensor(trip=Band(high=1)), as_of=AS_OF, seed=1)
    with pytest.raises(ValueError, match="aware"):
        forecast(series(lambda d: d), sensor=a_sensor(trip=Band(high=1)), as_of=AS_OF.tz_localize(None), seed=1)


def test_the_robust_line_ignores_a_quarter_of_gross_outliers():
    hours = np.arange(40.0)
    value = 5 + 0.25 * hours
    value[::4] += 1000
    assert robust_line(hours, value).slope_per_h == pytest.approx(0.25)


def test_spikes_are_taken_out_and_steps_stay():
    step = np.r_[np.zeros(20), np.full(20, 50.0)] + 0.1 * np.random.default_rng(0).standard_normal(40)
    spiked = step.copy()
    spiked[10] += 30
    assert abs(without_spikes(spiked)[10]) < 1
    assert without_spikes(step) == pytest.approx(step)


@pytest.mark.parametrize("seed", range(5))
def test_a_steep_daily_season_holds_no_spikes(seed: int):
    value = series(lambda d: 80 + 0 * d, season=3, seed=seed)["value"].to_numpy()
    assert (without_spikes(value) == value).all()


HOT, CALM, BLIND, EMPTY = "hot", "calm", "blind", "empty"


def a_machine() -> Machine:
    sensors = (a_sensor(HOT, trip=Band(high=92)), a_sensor(CALM, trip=Band(high=200)), a_sensor(BLIND), a_sensor(EMPTY, alarm=Band(high=9)))
    return Machine(machine_id="pump-1", machine_class="pump", sensors=sensors)


def prognosis(**changes: object) -> MachinePrognosis:
    histories = {HOT: series(lambda d: 80 + 0.8 * d), CALM: series(lambda d: 80 + 0 * d)}
    settings: dict[str, object] = {"machine": a_machine(), "as_of": AS_OF, "seed": 1, "budget_s": 60.0, **changes}
    return predict_machine(histories, **settings)


def test_a_machine_fails_with_its_leading_sensor():
    found = prognosis()
    assert (found.leading_sensor_id, found.limit_kind, found.limit_side, found.limit_value, found.method) == (
        HOT,
        "trip",
        "high",
        92,
        "prophet",
    )
    by_sensor = {f.sensor_id: f for f in found.forecasts}
    assert set(by_sensor) == {HOT, CALM, EMPTY}  # a sensor without limits cannot fail
    assert dataclasses.replace(by_sensor[HOT]) == forecast(
        series(lambda d: 80 + 0.8 * d), sensor=a_machine().sensors[0], as_of=AS_OF, seed=1
    )
    assert found.probability_30d == by_sensor[HOT].probability_30d
    assert by_sensor[CALM].method == "linear"
    assert not by_sensor[CALM].is_fallback
    assert "calm: flat and far from its limits" in found.note
    assert found.n_fallback == 0
    assert prognosis(workers=1) == found


def test_only_the_named_sensors_are_looked_at_and_a_calm_machine_has_no_leader():
    found = prognosis(only=[CALM])
    assert [f.sensor_id for f in found.forecasts] == [CALM]
    assert (found.probability_30d, found.ttf_p50_days, found.leading_sensor_id, found.limit_value) == (0.0, None, None, None)


def test_the_history_is_as_long_as_asked_for():
    """Fell for eight days, stands since: over ten days a fall, over one none."""
    history = series(lambda d: 20 - 3 * np.minimum(d + 2, 0), noise=0.1)
    sensor = a_sensor(trip=Band(low=12))

    def drop_in_30_days(days: int) -> float:
        path = forecast(history, sensor=sensor, as_of=AS_OF, seed=1, method="linear", history_days=days).trajectory["p50"]
        return float(path.iloc[0] - path.iloc[-1])

    assert drop_in_30_days(2) == pytest.approx(0, abs=3)
    assert drop_in_30_days(10) > 30
    machine = Machine(machine_id="m", machine_class="pump", sensors=(sensor,))
    few = predict_machine({"s": history}, machine=machine, as_of=AS_OF, seed=1, budget_s=60, history_days=2)
    assert few.probability_30d == pytest.approx(0, abs=0.05)
    gappy = history[history["timestamp"] < AS_OF - pd.Timedelta(days=3)]
    none = predict_machine({"s": gappy}, machine=machine, as_of=AS_OF, seed=1, budget_s=60, history_days=3)
    assert "0 hourly points within 3 days" in none.note


def test_a_used_up_budget_gives_robust_lines_and_says_so():
    found = prognosis(budget_s=0.0)
    assert (found.n_fallback, found.method) == (1, "linear")
    assert "hot: Prophet gave no fit (the time budget is used up): robust line" in found.note
    assert found.ttf_p50_days == pytest.approx(15, rel=0.1)


def test_without_any_history_nothing_is_claimed():
    found = predict_machine({}, machine=a_machine(), as_of=AS_OF, seed=1, budget_s=60)
    assert (found.probability_7d, found.probability_30d, found.method) == (None, None, "none")
    table = predictions_frame([("OHE", found)])
    assert table["probability_30d"].isna().all()


def test_predictions_make_one_row_each():
    table = predictions_frame([("OHE", prognosis()), ("PLU", prognosis(only=[CALM]))])
    assert tuple(table.columns) == PREDICTION_COLUMNS
    assert list(table["failure_mode"]) == ["OHE", "PLU"]
    assert table["leading_sensor_id"].isna().tolist() == [False, True]
    assert str(table["ttf_p10_days"].dtype) == "float64"
    assert table["calibrated_on"].isna().all()
    assert len(predictions_frame([])) == 0


def test_a_prediction_says_by_how_many_failures_its_leading_sensor_was_put_right():
    found = prognosis(calibration={"OHE": Stretch(57, -2.0, -1.0, 0.0)})
    assert (found.leading_sensor_id, found.calibrated_on) == (HOT, 57)
    assert predictions_frame([("OHE", found)])["calibrated_on"].tolist() == [57]


def test_alarms_and_trips_of_the_leading_sensor_are_kept_apart():
    sensor = a_sensor(alarm=Band(high=88), trip=Band(high=92))
    machine = Machine(machine_id="m", machine_class="pump", sensors=(sensor,))
    found = predict_machine({"s": series(lambda d: 80 + 0.8 * d)}, machine=machine, as_of=AS_OF, seed=1, budget_s=60)
    [kept] = predictions_frame([("OHE", found)])["passages"]
    assert [(p["limit_kind"], p["limit_value"]) for p in kept] == [("alarm", 88), ("trip", 92)]
    assert [p["ttf_p50_days"] for p in kept] == pytest.approx([10, 15], rel=0.15)
    assert predictions_frame([("OHE", prognosis(only=[CALM]))])["passages"].tolist() == [[]]
