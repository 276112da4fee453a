"""The verdict policy in a plant file: single rules are overridden, and a mistake is named by its field when the file is read."""

from pathlib import Path

import pytest
import yaml

from ml.plant import DEFAULT_ADJUSTMENTS, VerdictPolicy
from resources.plant_files import PlantError, read_plant


def policy(folder: Path, **verdict: object) -> VerdictPolicy:
    machine = {"machine_id": "P", "machine_class": "pump", "sensors": [{"sensor_id": "P-T", "type": "temperature", "unit": "°C"}]}
    site = {"site": "a", "name": "A", "first_day": "2026-09-01", "machines": [machine], "policy": {"verdict": verdict}}
    (folder / "a.yaml").write_text(yaml.safe_dump(site))
    return read_plant(folder)[0].policy.verdict


def test_a_rule_that_is_set_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    adjusted = policy(tmp_path, adjustments={"peak_is_high": -0.5}).adjustments
    assert adjusted == {**DEFAULT_ADJUSTMENTS, "peak_is_high": -0.5}
    assert policy(tmp_path).adjustments == DEFAULT_ADJUSTMENTS


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        (
            {"adjustments": {"memebers_agree": -0.1}},
            "a.yaml: policy.verdict.adjustments: Value error, there is no rule memebers_agree; the rules are "
            + ", ".join(DEFAULT_ADJUSTMENTS),
        ),
        (
            {"adjustments": {"peak_is_high": 0.2}},
            "a.yaml: policy.verdict.adjustments.peak_is_high: Input should be less than or equal to 0",
        ),
        (
            {"adjustments": {"peak_is_high": float("nan")}},
            "a.yaml: policy.verdict.adjustments.peak_is_high: Input should be less than or equal to 0",
        ),
        (
            {"adjustments": {"peak_is_high": "much"}},
            "a.yaml: policy.verdict.adjustments.peak_is_high: Input should be a valid number, unable to parse string as a number",
        ),
        ({"min_runing_share": 0.4}, "a.yaml: policy.verdict.min_runing_share: Extra inputs are not permitted"),
        ({"min_running_share": 40}, "a.yaml: policy.verdict.min_running_share: Input should be less than or equal to 1"),
        (
            {"credible_from": 0.3},
            "a.yaml: policy.verdict: Value error, investigate_from (0.4) must not exceed credible_from (0.3)",
        ),
    ],
)
def test_a_mistake_is_named_by_its_field_when_the_file_is_read(tmp_path: Path, verdict: dict[str, object], sentence: str) -> None:
    with pytest.raises(PlantError) as error:
        policy(tmp_path, **verdict)
    assert str(error.value) == sentence
