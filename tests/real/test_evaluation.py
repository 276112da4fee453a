"""Our detectors over public data, as `maintenance evaluate` runs them: what must hold whatever the detectors are.

How good they are is what the command is for; here stand only the one target that is met, and floors that tell a broken harness.
"""

import json
import shutil
from pathlib import Path

import pytest

from cli.evaluation import azure, ims, nab

pytestmark = pytest.mark.shared_data

SOME = (
    "realAWSCloudwatch/ec2_network_in_257a54.csv",
    "realAWSCloudwatch/elb_request_count_8c0756.csv",
    "artificialNoAnomaly/art_noisy.csv",
)


def nothing(_: int) -> None:
    """Nobody looks at the progress."""


def test_the_benchmarks_corpus_is_read_whole(shared_data: Path) -> None:
    cases, corpus = nab.read_cases(shared_data / "nab")
    labels = json.loads((shared_data / "nab" / nab.WINDOWS).read_text())
    assert len(cases) == len(labels) == 23
    assert [len(series.windows) for series in corpus] == [len(spans) for spans in labels.values()]
    assert {c.site.window_minutes for c in cases} == {5, 30}
    assert all(case.learn_until < case.events["onset_at"].min() for case in cases if len(case.events))


def test_some_series_of_the_benchmark_score_above_a_silent_detector(shared_data: Path, tmp_path: Path) -> None:
    labels = json.loads((shared_data / "nab" / nab.WINDOWS).read_text())
    (tmp_path / nab.WINDOWS).write_text(json.dumps({name: labels[name] for name in SOME}))
    shutil.copyfile(shared_data / "nab" / nab.PROFILES, tmp_path / nab.PROFILES)
    for name in SOME:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(shared_data / "nab" / name, tmp_path / name)
    result = nab.evaluate(tmp_path, nothing)
    assert result.figures["n_events"] == 3
    assert result.figures["n_found"] >= 2
    assert 0 < result.figures["nab_standard"] <= result.figures["nab_standard_at_best_threshold"] <= 100
    assert result.figures["average_precision"] > result.figures["anomalous_share"]


def test_the_failing_bearing_is_named_three_days_before_the_end_and_before_any_other(shared_data: Path) -> None:
    result = ims.evaluate(shared_data / "ims_bearing", nothing)
    assert result.figures["target_met"] == 1, result.said


def test_the_ten_machines_have_nine_failures_after_the_learning(shared_data: Path) -> None:
    case = azure.read_case(shared_data / "azure_pdm")
    assert len(case.events) == 9
    assert case.events["kind"].tolist().count("comp1 and comp2") == 1
    assert case.learn_until.isoformat() == "2015-01-31T00:00:00+00:00"
