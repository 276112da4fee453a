"""Labelled failures and remaining life as the command evaluates them: small made-up files of the same form, and the measures by hand."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cli.errors import CommandError
from cli.evaluate import folders_of
from cli.evaluation import ai4i, azure, azure_ahead, cmapss, faults
from cli.evaluation.cases import SetResult
from ml.coverage import whole
from ml.failure_calibration import SIMULATED_COVERAGE
from ml.failure_figures import calibration_error, episodes
from resources.models import ModelsResource
from tests.resources.test_models import store

__all__ = ["store"]  # the fixture

START = pd.Timestamp("2026-03-02T06:00")


def nothing(_: int) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def milling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """800 processes of which those with a power above 9 kW fail; the five causes say it all."""
    folder = tmp_path_factory.mktemp("ai4i")
    rng, n = np.random.default_rng(5), 800
    frame = pd.DataFrame(
        {
            "Type": rng.choice(["L", "M", "H"], n),
            ai4i.AIR: 300 + rng.standard_normal(n),
            ai4i.PROCESS: 310 + rng.standard_normal(n),
            ai4i.SPEED: rng.uniform(1200, 2000, n).round(),
            ai4i.TORQUE: rng.uniform(20, 60, n).round(1),
            ai4i.WEAR: rng.integers(0, 240, n),
        }
    )
    fails = frame[ai4i.SPEED] * frame[ai4i.TORQUE] * 2 * np.pi / 60 > 9000
    frame[ai4i.FAILURE] = fails.astype(int)
    for cause in ai4i.CAUSES:
        frame[cause] = fails.astype(int)
    frame.to_csv(folder / ai4i.FILE, index=False)
    return folder


def test_processes_that_fail_by_their_power_are_told_from_the_others(milling: Path) -> None:
    figures = ai4i.evaluate(milling, nothing).figures
    assert figures["average_precision"] > 0.9
    assert figures["mcc"] > 0.8
    assert figures["n_found"] <= figures["n_events"] == (pd.read_csv(milling / ai4i.FILE)[ai4i.FAILURE]).sum()


def test_what_is_known_only_afterwards_is_no_feature(milling: Path) -> None:
    processes = pd.read_csv(milling / ai4i.FILE)
    features = ai4i.features_of(processes)
    assert not set(features.columns) & {*ai4i.CAUSES, ai4i.FAILURE}
    inverted = processes.assign(**{name: 1 - processes[name] for name in (*ai4i.CAUSES, ai4i.FAILURE)})
    assert ai4i.features_of(inverted).equals(features)
    # 1000 rpm at 30 Nm: 104.72 rad/s x 30 Nm
    one = processes.iloc[:1].assign(**{ai4i.SPEED: 1000, ai4i.TORQUE: 30, ai4i.WEAR: 100})
    assert ai4i.features_of(one)["power_w"].iloc[0] == pytest.approx(3141.6, abs=0.1)
    assert ai4i.features_of(one)["strain_min_nm"].iloc[0] == 3000


def test_the_correlation_of_matthews_and_the_error_of_calibration() -> None:
    truth = np.array([True] * 5 + [False] * 7)
    said = np.array([True] * 4 + [False] * 7 + [True])
    # (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) with TP 4, TN 6, FP 1, FN 1
    assert ai4i.mcc(truth, said) == pytest.approx((4 * 6 - 1) / np.sqrt(5 * 5 * 7 * 7))
    assert np.isnan(ai4i.mcc(truth, np.zeros(12, dtype=bool)))
    sure = np.array([0.2] * 10 + [0.9] * 10)
    happened = np.array([True] * 2 + [False] * 8 + [True] * 7 + [False] * 3)
    assert calibration_error(happened, sure, bins=2) == pytest.approx(0.1)  # (|0.2 - 0.2| + |0.7 - 0.9|) / 2


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 engines to failure and 4 cut off, whose end is known; one sensor wears."""
    folder = tmp_path_factory.mktemp("cmapss")
    rng = np.random.default_rng(6)

    def fleet(n: int) -> pd.DataFrame:
        parts = []
        for unit in range(1, n + 1):
            life = int(rng.integers(150, 220))
            cycle = np.arange(1, life + 1)
            wear = 10 * np.exp((cycle - life) / 40)
            parts.append(pd.DataFrame({"unit": unit, "cycle": cycle, "s1": 518.67, "s2": 640 + wear + 0.4 * rng.standard_normal(life)}))
        return pd.concat(parts, ignore_index=True)

    fleet(12).to_csv(folder / cmapss.TRAIN, index=False)
    test = fleet(4)
    left = test["unit"].map({1: 20, 2: 45, 3: 80, 4: 140})
    ends = test.groupby("unit")["cycle"].transform("max")
    test[test["cycle"] <= ends - left].to_csv(folder / cmapss.TEST, index=False)
    (folder / cmapss.TRUTH).write_text("20\n45\n80\n140\n")
    return folder


def test_engines_cut_off_are_given_what_they_have_left(engines: Path) -> None:
    figures = cmapss.evaluate(engines, nothing).figures
    assert figures["rmse_clipped"] < 15 < figures["rmse_of_the_mean_clipped"]
    assert figures["rmse_raw"] > figures["rmse_clipped"]  # 140 cannot be said
    assert figures["n_engines"] == 4
    (engines / cmapss.TRUTH).write_text("20\n45\n")
    with pytest.raises(CommandError, match="has 2 lines for 4 engines"):
        cmapss.evaluate(engines, nothing)


def test_the_measures_of_remaining_life_by_hand() -> None:
    assert cmapss.rmse(np.array([10.0, 20.0]), np.array([13.0, 16.0])) == pytest.approx(np.sqrt((9 + 16) / 2))
    late, early = np.exp(10 / 10) - 1, np.exp(13 / 13) - 1
    assert cmapss.nasa_score(np.array([50.0, 50.0]), np.array([60.0, 37.0])) == pytest.approx(late + early)


def test_an_alarm_is_a_run_of_hours_of_one_machine_and_true_if_one_of_them_is() -> None:
    machines = pd.Series([1, 1, 1, 1, 1, 2, 2, 2])
    said = np.array([True, True, False, True, True, True, False, False])
    fails = np.array([False, True, False, False, False, False, False, True])
    assert episodes(machines, said=said, fails=fails).to_dict("list") == {
        "episode": [1, 2, 3],
        "machine_id": [1, 1, 2],
        "is_true": [True, False, False],
    }


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six machines, 25 days of hours; vibration rises for 30 hours before each of two failures of each."""
    folder = tmp_path_factory.mktemp("azure")
    rng, n = np.random.default_rng(4), 600
    frames, failures, errors = [], [], []
    for machine in range(1, 7):
        levels = (("volt", 170, 15), ("rotate", 450, 50), ("pressure", 100, 10), ("vibration", 40, 2))
        values = {quantity: level + spread * rng.standard_normal(n) for quantity, level, spread in levels}
        frame = pd.DataFrame({"datetime": START + pd.to_timedelta(np.arange(n), unit="h"), "machineID": machine, **values})
        for hour in (150 + 7 * machine, 400 + 11 * machine):
            frame.loc[hour - 30 : hour - 1, "vibration"] += 12
            failures += [(START + pd.Timedelta(hours=hour), machine, comp) for comp in ("comp1", "comp2")]
            errors.append((START + pd.Timedelta(hours=hour - 40), machine, "error1"))
        frames.append(frame)
    pd.concat(frames).to_csv(folder / azure.TELEMETRY, index=False)
    failed = pd.DataFrame(failures, columns=["datetime", "machineID", "failure"])
    failed.to_csv(folder / azure.FAILURES, index=False)
    failed.rename(columns={"failure": "comp"}).to_csv(folder / azure_ahead.REPLACEMENTS, index=False)
    pd.DataFrame(errors, columns=["datetime", "machineID", "errorID"]).to_csv(folder / azure_ahead.ERRORS, index=False)
    pd.DataFrame({"machineID": range(1, 7), "model": "model3", "age": 5}).to_csv(folder / azure_ahead.MACHINES, index=False)
    return folder


def test_failures_are_foreseen_a_day_ahead_on_machines_never_seen(plant: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_ahead, "N_FOLDS", 3)
    result = azure_ahead.evaluate(plant, nothing)
    figures = result.figures
    assert figures["n_events"] == 12  # two components in one hour are one
    assert figures["n_found"] >= 11
    assert figures["average_precision"] > 0.8
    assert figures["machine_months"] == pytest.approx((6 * 600 - 12) / 720)
    assert 18 <= figures["median_lead_time_h"] <= 24
    assert result.said[0].endswith("12 hours of failure and repair are out.")


def test_later_time_is_judged_by_itself_and_the_fitted_model_is_registered_with_signature_and_example(
    plant: Path, monkeypatch: pytest.MonkeyPatch, store: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(azure_ahead, "N_FOLDS", 3)
    result = azure_ahead.evaluate(plant, nothing)
    # 600 hours from 2 March 06:00: two thirds are over on the 18th, so it is learned from what was known until that day began
    assert "learned from what was known until 2026-03-18, judged on the time after it" in result.said[1]
    assert result.figures["later_n_events"] == 6, "the second failure of each machine, in hours 411 to 466"
    assert result.figures["later_n_found"] >= 5
    assert result.figures["later_average_precision"] > 0.8
    served = registered(result, store=store, folder=tmp_path)
    example = served.input_example
    assert served.metadata.signature.inputs.input_names() == list(example.columns)
    pd.testing.assert_frame_equal(served.predict(example), result.fitted.output_example)
    assert (served.predict(example)["probability"] > 0.3).all(), "hours before failures"


def registered(result: SetResult, *, store: str, folder: Path) -> Any:
    """The model that the run of an evaluation registered, as MLflow serves it."""
    import mlflow

    assert result.fitted is not None
    models = ModelsResource(tracking_uri=store, artifacts=str(folder / "mlflow"), cache=str(folder / "cache"))
    run = models.log_run("evaluation", name="r", params={}, metrics={}, tags={}, texts={}, fitted=result.fitted)
    client = mlflow.MlflowClient(tracking_uri=store)
    [version] = client.search_model_versions(f"name = '{result.fitted.name}'")
    assert (version.run_id, version.tags["artifact_sha256"]) == (run, hashlib.sha256(result.fitted.artifact).hexdigest())
    return mlflow.pyfunc.load_model(f"models:/{result.fitted.name}/{version.version}")


def test_the_model_of_remaining_life_is_registered_and_says_what_an_engine_has_left(engines: Path, store: str, tmp_path: Path) -> None:
    (engines / cmapss.TRUTH).write_text("20\n45\n80\n140\n")
    served = registered(cmapss.evaluate(engines, nothing), store=store, folder=tmp_path)
    test = pd.read_csv(engines / cmapss.TEST)
    left = served.predict(test)
    assert left["unit"].tolist() == [1, 2, 3, 4]
    assert np.abs(left["cycles_left"] - [20, 45, 80, 125]).mean() < 15
    assert served.metadata.signature.inputs.input_names() == ["unit", "cycle", "s1", "s2"]


def test_simulated_faults_need_no_data(tmp_path: Path) -> None:
    assert folders_of(tmp_path, formats=("faults",)) == {"faults": tmp_path}


def test_a_simulated_fault_is_held_against_the_forecast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All those whose coverage is kept, so that the kept one is what the evaluation finds; of the 300 that calibrate only 27."""
    monkeypatch.setattr(faults, "SIMULATED_N", 27)
    result = faults.evaluate(tmp_path, nothing)
    figures = result.figures
    assert figures["coverage_is_the_kept_one"] == 1, result.said[-1]
    assert figures["n_events"] == whole(SIMULATED_COVERAGE).n == 200
    assert {str(row["case"]): (row["failures"], row["coverage_80"]) for row in result.rows} == {
        mode: (kept.n, pytest.approx(kept.n_true / kept.n)) for mode, kept in SIMULATED_COVERAGE.items()
    }
    # 80 % of 200 are 160; were the intervals right, fewer than 144 or more than 176 would have a probability of 0.5 %
    assert 0.72 <= figures["coverage_80"] <= 0.88
    assert figures["target_met"] == 1
    assert figures["coverage_80_uncalibrated"] < 0.4
    assert figures["calibration_is_the_kept_one"] == 0
