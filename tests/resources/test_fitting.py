"""Fits in other processes: the same answers, and a fit that hangs or dies costs its answer only."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import resources.fitting
from ml.plant import Band, Machine, Sensor
from ml.prognosis import predict_machine
from ml.sensor_forecast import Question, fitted, question_of
from ml.trends import NotFitted
from resources.fitting import GRACE_S, fit_workers

AS_OF = pd.Timestamp("2026-03-11T00:00Z")
WORKER = """
import sys, time
from multiprocessing.connection import Connection
from resources.fit_worker import serve
{sabotage}
serve(Connection(int(sys.argv[1])))
"""
# of the sensor that is named so; the others are fitted as ever
BY_PYTHON = """
import os, signal
import ml.trends
honest = ml.trends.without_spikes
def sabotaged(value):
    if value[0] > 1000:
        {deed}
    return honest(value)
ml.trends.without_spikes = sabotaged
"""
PYTHON_HANGS = BY_PYTHON.format(deed="while True: pass")
PYTHON_DIES = BY_PYTHON.format(deed="os.kill(os.getpid(), signal.SIGSEGV)")
PYTHON_EATS = BY_PYTHON.format(deed="bytearray(3 << 30)")
# of all sensors: another process in place of CmdStan's
BY_OPTIMISER = """
import subprocess, types
import cmdstanpy.model
def sabotaged(cmd, *args, **kwargs):
    return subprocess.Popen([sys.executable, "-c", {script!r}, "optimiser-of-a-test"], *args, **kwargs)
cmdstanpy.model.subprocess = types.SimpleNamespace(**dict(vars(subprocess), Popen=sabotaged))
"""
HEEDS_NO_SIGTERM = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
EATS = """
import pathlib
said = pathlib.Path({said!r})
try:
    said.write_text(str(len(bytearray(6 << 30))))
except MemoryError:
    said.write_text("none")
    raise
"""
ERROR_OF_OURS = """
import ml.trends
def broken(value):
    raise KeyError("a mistake of ours")
ml.trends.without_spikes = broken
"""


def program(folder: Path, sabotage: str = "") -> tuple[str, ...]:
    script = folder / "worker.py"
    script.write_text(WORKER.format(sabotage=sabotage))
    return (sys.executable, str(script))


def history(level: float = 80.0, *, seed: int = 0) -> pd.DataFrame:
    """Ten days that rise by 0.8 a day."""
    hours = np.arange(-239, 1)
    stamps = pd.Series(AS_OF + pd.to_timedelta(hours, unit="h")).astype("datetime64[us, UTC]")
    return pd.DataFrame({"timestamp": stamps, "value": level + hours / 30 + 0.5 * np.random.default_rng(seed).standard_normal(240)})


def a_sensor(sensor_id: str = "s", *, trip: float = 92) -> Sensor:
    return Sensor(sensor_id=sensor_id, type="temperature", unit="degC", trip=Band(high=trip))


def question(level: float = 80.0, *, sensor_id: str = "s", seed: int = 0) -> Question:
    return question_of(history(level, seed=seed), sensor=a_sensor(sensor_id, trip=level + 12), as_of=AS_OF, seed=1)


@contextmanager
def timeout_of(seconds: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resources.fitting, "FIT_TIMEOUT_S", seconds)
        yield


def processes(word: str) -> list[int]:
    """Live processes whose command line holds the word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_another_process_says_the_same_to_the_last_bit():
    with fit_workers() as fit:
        there, here = fit(question(), within_s=60), fitted(question(), within_s=60)
    assert there == here
    assert there.method == "prophet"
    pd.testing.assert_frame_equal(there.trajectory, here.trajectory, check_exact=True)


def test_workers_stay_for_the_next_fit_and_are_gone_in_the_end_with_what_they_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    started = program(tmp_path)
    with fit_workers(program=started) as fit:
        fit(question(), within_s=60)
        first = processes(str(tmp_path / "worker.py"))
        fit(question(seed=1), within_s=60)
        assert processes(str(tmp_path / "worker.py")) == first
        assert len(first) == 1
        assert len(list(tmp_path.glob("fits-*"))) == 1
    assert processes(str(tmp_path / "worker.py")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"worker.py"}


def test_a_second_worker_starts_where_there_is_much_to_fit_and_no_third(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resources.fitting, "WORTH_A_WORKER", 3)
    with fit_workers(program=program(tmp_path)) as fit, ThreadPoolExecutor(max_workers=4) as pool:
        few = list(pool.map(lambda n: fit(question(seed=n), within_s=120), range(3)))
        assert len(processes(str(tmp_path / "worker.py"))) == 1
        many = list(pool.map(lambda n: fit(question(seed=n), within_s=120), range(8)))
        assert len(processes(str(tmp_path / "worker.py"))) == 2
    assert many[:3] == few


@pytest.mark.parametrize(
    ("sabotage", "why"),
    [
        (PYTHON_HANGS, "it hung and was killed after"),
        (PYTHON_DIES, "its process died"),
        (PYTHON_EATS, "it asked for more than 2 GiB of memory"),
    ],
)
def test_python_that_hangs_dies_or_eats_costs_its_answer_and_the_others_are_given(tmp_path: Path, sabotage: str, why: str):
    """By three sensors of one machine, one of which brings the fit down."""
    sensors = (a_sensor("one"), a_sensor("bad", trip=5012), a_sensor("two"))
    machine = Machine(machine_id="m", machine_class="pump", sensors=sensors)
    histories = {"one": history(seed=1), "bad": history(5000), "two": history(seed=2)}
    settings = {"machine": machine, "as_of": AS_OF, "seed": 1}
    with fit_workers(program=program(tmp_path, sabotage)) as fit, timeout_of(2.0):
        found = predict_machine(histories, budget_s=60, fit=fit, **settings)
    one, bad, two = found.forecasts
    assert (bad.method, bad.is_fallback) == ("linear", True)
    assert f"Prophet gave no fit ({why}" in bad.note
    assert found.n_fallback == 1
    assert (one, two) == tuple(f for f in predict_machine(histories, budget_s=60, **settings).forecasts if f.sensor_id != "bad")


def test_an_optimiser_that_heeds_no_signal_is_killed_at_its_time_out(tmp_path: Path):
    with fit_workers(program=program(tmp_path, BY_OPTIMISER.format(script=HEEDS_NO_SIGTERM))) as fit:
        begun = time.monotonic()
        with timeout_of(2.0), pytest.raises(NotFitted, match=r"it hung and was killed after 3\.0 s"):
            fit(question(), within_s=60)
        assert time.monotonic() - begun < 30  # most of it is the start of the worker
        assert processes("optimiser-of-a-test") == []


def test_an_optimiser_that_asks_for_too_much_memory_gets_none(tmp_path: Path):
    said = tmp_path / "said"
    started = program(tmp_path, BY_OPTIMISER.format(script=EATS.format(said=str(said))))
    with fit_workers(program=started) as fit, pytest.raises(NotFitted, match=r"^Error during optimization!$"):
        fit(question(), within_s=60)
    assert said.read_text() == "none"


def test_the_budget_ends_a_fit_that_its_own_time_out_would_let_go_on(tmp_path: Path):
    with fit_workers(program=program(tmp_path, PYTHON_HANGS)) as fit:
        fit(question(), within_s=60)
        begun = time.monotonic()
        with pytest.raises(NotFitted, match=r"killed after 1\.5 s"):
            fit(question(5000), within_s=0.5)
        assert 0.5 + GRACE_S <= time.monotonic() - begun < 0.5 + GRACE_S + 1


def test_who_waits_for_a_worker_waits_no_longer_than_the_budget(tmp_path: Path):
    with fit_workers(program=program(tmp_path, PYTHON_HANGS)) as fit, timeout_of(3.0):
        fit(question(), within_s=60)
        hung = ThreadPoolExecutor(max_workers=1).submit(fit, question(5000), within_s=60)
        time.sleep(0.3)
        with pytest.raises(NotFitted, match="the time budget is used up"):
            fit(question(), within_s=0.2)
        assert fit(question(), within_s=60).method == "prophet"  # by the worker that took the hung one's place
        assert isinstance(hung.exception(), NotFitted)


def test_without_any_budget_nothing_is_started():
    with fit_workers(program=("/no/such/program",)) as fit, pytest.raises(NotFitted, match="the time budget is used up"):
        fit(question(), within_s=0.0)


def test_a_mistake_of_ours_is_raised_and_not_taken_for_a_fit_that_failed(tmp_path: Path):
    with fit_workers(program=program(tmp_path, ERROR_OF_OURS)) as fit, pytest.raises(KeyError, match="a mistake of ours"):
        fit(question(), within_s=60)


def test_a_program_that_cannot_start_is_a_fallback_and_not_a_hang(tmp_path: Path):
    with fit_workers(program=(sys.executable, "-c", "raise SystemExit(3)")) as fit, pytest.raises(NotFitted, match="its process died"):
        fit(question(), within_s=60)
