"""Fits that are remembered: equal to the computed ones, asked for by all they rest on, and never believed when damaged."""

import dataclasses
import os
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resources.fits
from ml.conformal import Stretch
from ml.passage import Limit
from ml.plant import Band, Machine, Sensor
from ml.prognosis import MachinePrognosis, predict_machine
from ml.sensor_forecast import Question, SensorForecast, fitted, question_of, without_fit
from resources.fits import FitsResource, Fitting, key_of
from resources.home import Home
from resources.scratch import scratch_home

AS_OF = pd.Timestamp("2026-03-11T00:00Z")
SENSOR = Sensor(sensor_id="s", type="temperature", unit="degC", alarm=Band(high=88), trip=Band(high=92))


def history(seed: int = 0) -> pd.DataFrame:
    hours = np.arange(-239, 1)
    stamps = pd.Series(AS_OF + pd.to_timedelta(hours, unit="h")).astype("datetime64[us, UTC]")
    return pd.DataFrame({"timestamp": stamps, "value": 80 + hours / 30 + 0.5 * np.random.default_rng(seed).standard_normal(240)})


def question(seed: int = 0) -> Question:
    return question_of(history(seed), sensor=SENSOR, as_of=AS_OF, seed=1)


def a_forecast(asked: Question, *, within_s: float) -> SensorForecast:
    """Prophet's in form, at no cost."""
    return dataclasses.replace(without_fit(asked), method="prophet")


def no_fit(asked: Question, *, within_s: float) -> SensorForecast:
    raise AssertionError("it should have been known")


@pytest.fixture
def fits(tmp_path: Path) -> FitsResource:
    return FitsResource(folder=str(tmp_path / "fits"))


def test_what_is_remembered_is_what_was_computed_to_the_last_bit(fits: FitsResource):
    computed = fitted(question(), within_s=60)
    assert Fitting(fits, fitted)(question(), within_s=60) == computed
    known = Fitting(fits, no_fit)(question(), within_s=60)
    assert known == computed
    assert known.passages == computed.passages
    assert len(known.passages) == 2
    pd.testing.assert_frame_equal(known.trajectory, computed.trajectory, check_exact=True)


def predict(fit: Fitting, **changes: object) -> MachinePrognosis:
    machine = Machine(machine_id="m", machine_class="pump", sensors=(SENSOR, SENSOR.model_copy(update={"sensor_id": "t"})))
    histories = {"s": history(), "t": history(1)}
    settings: dict[str, object] = {"machine": machine, "as_of": AS_OF, "seed": 1, "budget_s": 60.0, **changes}
    return predict_machine(histories, fit=fit, **settings)


def test_a_day_that_is_run_again_fits_nothing_even_without_a_budget(fits: FitsResource):
    with fits.fitting() as first:
        before = predict(first)
    assert (first.n_made, first.n_known) == (2, 0)
    with fits.fitting() as second:
        assert predict(second, budget_s=0.0) == before
    assert (second.n_made, second.n_known) == (0, 2)


def test_another_calibration_needs_no_new_fits(fits: FitsResource):
    raw = predict(Fitting(fits, fitted))
    again = Fitting(fits, no_fit)
    right = predict(again, calibration={"OHE": Stretch(50, -3.0, -1.0, 0.0)})
    assert again.n_known == 2
    assert right.forecasts[0].calibrated_on == 50
    assert right.ttf_p50_days < raw.ttf_p50_days
    assert right == predict(fitted, calibration={"OHE": Stretch(50, -3.0, -1.0, 0.0)})


@pytest.mark.parametrize(
    "change",
    [
        {"sensor_id": "t"},
        {"limits": (Limit("alarm", "high", 88.0), Limit("trip", "high", 92.5))},
        {"limits": (Limit("alarm", "high", 88.0), Limit("trip", "low", 92.0))},
        {"as_of": AS_OF + pd.Timedelta(hours=1)},
        {"seed": 2},
        {"horizon_days": 31},
        {"history_days": 9},
        {"value": question().value + np.eye(240)[3] * 1e-9},
        {"hours": question().hours - np.eye(240)[0]},
        {"hours": question().hours[1:], "value": question().value[1:]},
    ],
    ids="+".join,
)
def test_whatever_a_forecast_rests_on_is_asked_for(change: dict[str, object]):
    assert {f.name for f in dataclasses.fields(Question)} == {
        "sensor_id", "limits", "as_of", "hours", "value", "seed", "horizon_days", "history_days",
    }, "a field that is new must be among the changes, too"  # fmt: skip
    assert key_of(question()) == key_of(question())
    assert key_of(dataclasses.replace(question(), **change)) != key_of(question())


@pytest.mark.parametrize("what", ["prophet", "cmdstanpy", "numpy", "pandas", "own"])
def test_another_version_of_a_library_or_of_our_code_remembers_nothing(what: str, monkeypatch: pytest.MonkeyPatch):
    before, now = key_of(question()), {**resources.fits.code(), what: "another"}
    monkeypatch.setattr(resources.fits, "code", lambda: now)
    assert key_of(question()) != before


def test_our_code_is_every_file_that_computes_a_fit():
    """What `fitted` calls of ours; limits come with the question, and the calibration is applied afterwards."""
    called: set[str] = set()

    def look(frame, event, _):
        called.add(frame.f_code.co_filename)

    sys.setprofile(look)
    try:
        fitted(question(), within_s=60)
    finally:
        sys.setprofile(None)
    root = Path(resources.fits.__file__).parents[1]
    ours = {file for file in map(Path, called) if file.is_relative_to(root)}
    ours = {file for file in ours if file.relative_to(root).parts[0] not in (".venv", "tests")}
    assert ours == {Path(module.__file__) for module in resources.fits.COMPUTES_A_FIT}


def cut(content: bytes) -> bytes:
    return content[:-20]


def one_digit_otherwise(content: bytes) -> bytes:
    at = content.index(b'"ttf_p50_days": ') + 16
    return content[:at] + (b"8" if content[at : at + 1] != b"8" else b"7") + content[at + 1 :]


def nothing(_: bytes) -> bytes:
    return b""


def no_text(_: bytes) -> bytes:
    return bytes(range(256))


@pytest.mark.parametrize("damage", [cut, one_digit_otherwise, nothing, no_text])
def test_a_damaged_entry_is_made_again(fits: FitsResource, damage: Callable[[bytes], bytes]):
    made = Fitting(fits, a_forecast)
    found = made(question(), within_s=60)
    path = fits.path(question())
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert fits.recall(question()) is None
    assert made(question(), within_s=60) == found
    assert made.n_made == 2
    assert path.read_bytes() == whole


def test_a_robust_line_in_place_of_a_fit_is_never_kept(fits: FitsResource):
    found = predict(Fitting(fits, fitted), budget_s=0.0)
    assert found.n_fallback == 2
    assert not list(Path(fits.folder).glob("*"))
    for wrong in (without_fit(question()), dataclasses.replace(a_forecast(question(), within_s=1), calibrated_on=5)):
        with pytest.raises(ValueError, match="kept is what Prophet said itself"):
            fits.keep(question(), wrong)


def test_the_oldest_go_where_they_take_too_much_room(tmp_path: Path):
    fits = FitsResource(folder=str(tmp_path))
    for seed in range(5):
        fits.keep(question(seed), a_forecast(question(seed), within_s=1))
        os.utime(fits.path(question(seed)), (1000 + seed, 1000 + seed))
    size = fits.path(question(0)).stat().st_size
    small = FitsResource(folder=str(tmp_path), max_bytes=int(2.5 * size))
    small.prune()
    assert [small.recall(question(seed)) is not None for seed in range(5)] == [False, False, False, True, True]
    with FitsResource(folder=str(tmp_path), max_bytes=0).fitting() as fitting:
        fitting.fit = a_forecast
        fitting(question(9), within_s=1)
    assert not list(tmp_path.glob("*")), "a run that made one tidies up"


def test_a_trial_beside_the_data_knows_the_fits_and_leaves_them_as_they_are(tmp_path: Path):
    home = Home(tmp_path)
    home.prepare()
    fits = FitsResource(folder=str(home.folder("fits")))
    fits.keep(question(), a_forecast(question(), within_s=1))
    kept = fits.path(question()).read_bytes()
    with scratch_home(home, start=date(2026, 3, 1), end=date(2026, 3, 2)) as scratch:
        there = FitsResource(folder=str(scratch.folder("fits")))
        assert there.recall(question()) == a_forecast(question(), within_s=1)
        there.path(question()).unlink()
        there.keep(question(), dataclasses.replace(a_forecast(question(), within_s=1), note="otherwise"))
        there.keep(question(2), a_forecast(question(2), within_s=1))
    assert fits.path(question()).read_bytes() == kept
    assert fits.recall(question(2)) is None
