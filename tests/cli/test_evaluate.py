"""Sets of labelled data as sites of ours, on small made-up files of the same form; and the command that evaluates them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.errors import CommandError
from cli.evaluate import BY_DEFAULT, FORMATS, as_json, code_sha256, folders_of
from cli.evaluation import azure, ims, labelled_csv, nab
from cli.evaluation.cases import sha256_of
from ml.nab import sigma
from resources.postgres import URL_VARIABLE, database_url
from tests.cli.conftest import Say

START = pd.Timestamp("2026-03-02")
PROFILES = {
    name: {"CostMatrix": {"tpWeight": 1.0, "fnWeight": fn, "fpWeight": fp, "tnWeight": 1.0}}
    for name, fn, fp in (("standard", 1.0, 0.11), ("reward_low_FP_rate", 1.0, 0.22), ("reward_low_FN_rate", 2.0, 0.11))
}


def nothing(_: int) -> None:
    """Nobody looks at the progress."""


def series(n: int, *, minutes: int, seed: int, shift: slice | None = None, by: float = 12) -> pd.DataFrame:
    values = 50 + np.random.default_rng(seed).standard_normal(n)
    if shift is not None:
        values[shift] += by
    return pd.DataFrame({"timestamp": START + pd.to_timedelta(np.arange(n) * minutes, unit="min"), "value": values.round(4)})


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of 2000 rows: in the first rows 1500 to 1599 are shifted, labelled from row 1450 to 1649; the second is quiet."""
    folder = tmp_path_factory.mktemp("nab")
    (folder / "real").mkdir()
    shifted = series(2000, minutes=5, seed=1, shift=slice(1500, 1600))
    shifted.to_csv(folder / "real" / "shifted.csv", index=False)
    series(2000, minutes=5, seed=2).to_csv(folder / "real" / "quiet.csv", index=False)
    times = shifted["timestamp"]
    span = [f"{times[1450]}.000000", f"{times[1649]}.000000"]
    (folder / nab.WINDOWS).write_text(json.dumps({"real/shifted.csv": [span], "real/quiet.csv": []}))
    (folder / nab.PROFILES).write_text(json.dumps(PROFILES))
    return folder


def test_a_benchmark_series_learns_from_its_first_15_percent_and_has_its_windows_as_events(benchmark: Path) -> None:
    cases, corpus = nab.read_cases(benchmark)
    assert [c.name for c in cases] == ["real/shifted.csv", "real/quiet.csv"]
    assert corpus[0].windows == ((1450, 1649),)
    assert cases[0].learn_until == (START + pd.Timedelta(minutes=5 * 300)).tz_localize("UTC")
    assert cases[0].site.window_minutes == 5
    [event] = cases[0].events.to_dict("records")
    assert event["onset_at"] == (START + pd.Timedelta(minutes=5 * 1450)).tz_localize("UTC")
    assert event["repaired_at"] == (START + pd.Timedelta(minutes=5 * 1649)).tz_localize("UTC")


def test_a_shift_within_the_labelled_window_scores_as_its_third_row(benchmark: Path) -> None:
    result = nab.evaluate(benchmark, nothing)
    # alarmed at the third shifted row, the 1502nd, or some rows later: 148 of the window's 200 rows to go, itself among them
    earliest, latest = (float(sigma(np.array([-(1649 - row + 1) / 200]))[0] / sigma(np.array([-1.0]))[0]) for row in (1502, 1506))
    # one window: null -1, perfect 1; a false alarm in the quiet series, or before the window, costs 0.11
    false = result.figures["n_false_alarms"]
    assert false <= 5  # learned from a day
    assert latest <= 2 * result.figures["nab_standard"] / 100 - 1 + 0.11 * false <= earliest + 1e-9
    assert 2 * result.figures["nab_reward_low_FP_rate"] / 100 - 1 + 0.22 * false <= earliest + 1e-9
    assert result.figures["nab_standard_at_best_threshold"] >= result.figures["nab_standard"]
    assert {f"nab_{name}" for name in PROFILES} <= set(result.figures)
    assert (result.figures["n_events"], result.figures["n_found"]) == (1, 1)
    assert [row["windows_with_a_new_alarm"] for row in result.rows] == [1, 0]
    assert result.params["window_minutes"] == "5"


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines, 40 days of hours; the first one's volt is raised for two days before a failure of two components."""
    folder = tmp_path_factory.mktemp("azure")
    rng, n = np.random.default_rng(4), 40 * 24
    frames = []
    for machine in (1, 2):
        levels = (("volt", 170, 15), ("rotate", 450, 50), ("pressure", 100, 10), ("vibration", 40, 5))
        values = {quantity: level + spread * rng.standard_normal(n) for quantity, level, spread in levels}
        frame = pd.DataFrame({"datetime": START + pd.to_timedelta(np.arange(n), unit="h"), "machineID": machine, **values})
        if machine == 1:
            frame.loc[35 * 24 - 48 : 35 * 24 - 1, "volt"] += 90
        frames.append(frame)
    pd.concat(frames).to_csv(folder / azure.TELEMETRY, index=False)
    failures = [(35, 1, "comp2"), (35, 1, "comp1"), (12, 2, "comp3"), (38, 2, "comp4")]
    rows = [{"datetime": START + pd.Timedelta(days=d), "machineID": m, "failure": f} for d, m, f in failures]
    pd.DataFrame(rows).to_csv(folder / azure.FAILURES, index=False)
    return folder


def test_failures_in_one_hour_are_one_event_and_those_learned_from_are_none(telemetry: Path) -> None:
    case = azure.read_case(telemetry)
    assert case.events[["machine_id", "kind"]].values.tolist() == [["M01", "comp1 and comp2"], ["M02", "comp4"]]
    events = case.events.set_index("machine_id")
    assert events.loc["M01", "failure_at"] == (START + pd.Timedelta(days=35)).tz_localize("UTC")
    assert events.loc["M01", "onset_at"] == (START + pd.Timedelta(days=32)).tz_localize("UTC")
    assert events.loc["M01", "repaired_at"] == (START + pd.Timedelta(days=36)).tz_localize("UTC")
    assert (case.site.window_minutes, len(case.site.machines)) == (60, 2)
    assert case.learn_until == (START + pd.Timedelta(days=30)).tz_localize("UTC")


def test_a_failure_with_a_raised_voltage_before_it_is_foreseen_from_telemetry(telemetry: Path) -> None:
    result = azure.evaluate(telemetry, nothing)
    assert (result.figures["n_events"], result.figures["n_found"]) == (2, 1)
    # raised 48 h before; an alarm wants three windows of an hour
    assert 40 <= result.figures["median_lead_time_h"] <= 46
    assert result.figures["machine_months"] == pytest.approx(20 / 30)
    assert any(sentence.startswith("Found: M01 comp1 and comp2 4") for sentence in result.said)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days of snapshots every ten minutes; bearing 1 gets louder from day 2.5 on, bearing 3 from day 5."""
    folder = tmp_path_factory.mktemp("ims")
    rng, n = np.random.default_rng(6), 6 * 144
    days = np.arange(n) / 144
    times = START + pd.to_timedelta(np.arange(n) * 10, unit="min")
    frame = pd.DataFrame({"Datetime": times.strftime(ims.TIMESTAMP_FORMAT)})
    for number in range(1, 5):
        frame[f"Bearing {number}"] = 0.06 + 0.001 * rng.standard_normal(n)
    frame.loc[days >= 2.5, "Bearing 1"] += 0.02
    frame.loc[days >= 5, "Bearing 3"] += 0.02
    frame.to_csv(folder / ims.FILE)
    return folder


def test_the_failing_bearing_is_named_first_and_long_enough_before(rig: Path) -> None:
    result = ims.evaluate(rig, nothing)
    assert result.figures["target_met"] == 1
    assert result.figures["bearing_1_named_days_before_end"] == pytest.approx(3.5, abs=0.1)
    assert result.figures["another_bearing_alarmed_days_before_end"] == pytest.approx(1.0, abs=0.1)
    assert result.figures["n_false_alarms"] == 1
    assert "average_precision" not in result.figures


def test_the_target_is_missed_where_another_bearing_comes_first(rig: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(rig / ims.FILE, index_col=0)
    frame.loc[frame.index >= 2.2 * 144, "Bearing 2"] += 0.02
    frame.to_csv(tmp_path / ims.FILE)
    figures = ims.evaluate(tmp_path, nothing).figures
    assert figures["bearing_1_named_days_before_end"] > ims.TARGET_DAYS
    assert figures["target_met"] == 0


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """One file of twelve days in ten-minute rows, shifted in day 9; the label says so. An earlier label lies within the learning."""
    folder = tmp_path / "own"
    folder.mkdir()
    series(12 * 144, minutes=10, seed=3, shift=slice(9 * 144, 9 * 144 + 60)).to_csv(folder / "pump 7.csv", index=False)
    day = [START + pd.Timedelta(days=d) for d in (1, 2, 9, 9.5)]
    labels = [("pump 7.csv", day[0], day[1]), ("pump 7.csv", day[2], day[3])]
    pd.DataFrame(labels, columns=["file", "start", "end"]).to_csv(folder / labelled_csv.LABELS, index=False)
    return folder


def test_own_files_learn_from_a_third_at_most_and_labels_within_that_are_not_asked_for(own: Path) -> None:
    [case] = labelled_csv.read_cases(own)
    assert case.learn_until - START.tz_localize("UTC") == pytest.approx(pd.Timedelta(days=4), abs=pd.Timedelta(minutes=10))
    assert case.events["onset_at"].tolist() == [(START + pd.Timedelta(days=9)).tz_localize("UTC")]


def test_what_is_wrong_with_own_files_is_one_sentence(own: Path) -> None:
    (own / labelled_csv.LABELS).write_text("file,start\npump 7.csv,2026-03-05\n")
    with pytest.raises(CommandError, match="lacks the columns end; it needs file, start and end"):
        labelled_csv.read_cases(own)
    (own / labelled_csv.LABELS).write_text("file,start,end\npump 8.csv,2026-03-05,2026-03-06\n")
    with pytest.raises(CommandError, match=r"names pump 8\.csv, which is not there"):
        labelled_csv.read_cases(own)
    (own / labelled_csv.LABELS).write_text("file,start,end\npump 7.csv,soon,later\n")
    with pytest.raises(CommandError, match="cannot be read"):
        labelled_csv.read_cases(own)
    (own / labelled_csv.LABELS).write_text("file,start,end\n")
    (own / "pump 7.csv").write_text("timestamp,value\n2026-03-05,?\n2026-03-06,?\n")
    with pytest.raises(CommandError, match="none of 2 rows is a reading"):
        labelled_csv.evaluate(own, nothing)


def test_the_data_folder_or_the_sets_own_folder_may_be_named(benchmark: Path, tmp_path: Path) -> None:
    assert folders_of(benchmark, formats=("nab",)) == {"nab": benchmark}
    (tmp_path / "nab").symlink_to(benchmark)
    assert folders_of(tmp_path, formats=("nab",)) == {"nab": tmp_path / "nab"}
    with pytest.raises(CommandError, match=r"There is no .*ims_bearing/test2\.csv"):
        folders_of(tmp_path, formats=())
    with pytest.raises(CommandError, match="There is no format cmaps; the formats are nab, ims, azure, azure-ahead, cmapss"):
        folders_of(tmp_path, formats=("cmaps",))
    assert set(BY_DEFAULT) < set(FORMATS)


def test_the_hash_of_the_data_tells_names_and_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("1")
    two.write_text("2")
    before = sha256_of([two, one])
    assert before == sha256_of([one, two])
    two.write_text("3")
    assert sha256_of([one, two]) != before
    assert len(code_sha256()) == 64


@pytest.fixture
def say(postgres: str, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Say:
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setenv("COLUMNS", "200")
    return typed


def test_the_command_prints_writes_and_logs_what_it_found(say: Say, own: Path, tmp_path: Path, postgres: str) -> None:
    import mlflow

    out = tmp_path / "evaluation.json"
    code, printed, _ = say("evaluate", "--data", own, "--format", "csv", "--out", out, "--home", tmp_path / "home")
    assert code == 0
    assert "own, 1 labelled files" in printed
    [written] = json.loads(out.read_text())
    assert (written["figures"]["n_events"], written["figures"]["n_found"]) == (1, 1)
    client = mlflow.MlflowClient(database_url(postgres, "mlflow"))
    experiment = client.get_experiment_by_name("evaluation")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], order_by=["start_time desc"])[0]
    assert run.info.status == "FINISHED"
    assert run.data.params["data_sha256"] == written["data_sha256"] == sha256_of(own.glob("*.csv"))
    assert run.data.params["on_threshold"] == "0.6"
    assert run.data.metrics["n_found"] == 1
    assert run.data.tags["code_sha256"] == code_sha256()


def test_what_is_not_known_is_null_in_the_json(own: Path) -> None:
    written = as_json(labelled_csv.evaluate(own, nothing))
    assert written["figures"]["median_lead_time_h"] is None  # labels name no failure
    json.dumps(written, allow_nan=False)


def test_data_that_are_not_there_are_said_with_exit_code_2(say: Say, tmp_path: Path) -> None:
    code, _, err = say("evaluate", "--data", tmp_path)
    assert code == 2
    assert "does not hold the data of format nab" in err
    assert not (tmp_path / "home").exists()
