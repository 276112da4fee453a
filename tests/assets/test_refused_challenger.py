"""A challenger that is worse is trained as every Sunday, refused, and everybody who asks is told so: Dagster, MLflow, ledger."""

from pathlib import Path

import dagster as dg
import numpy as np

from resources.lake import LakeResource
from resources.ledger.learning import champion_at, promotions_of
from resources.models import CHALLENGER, CHAMPION, DESCRIPTION_TAG, ModelsResource
from tests.assets.test_broken_off_trainings import School, school
from tests.assets.test_learning import FAULT, FIRST, N_DAYS, note_incident
from tests.ledger_states import days_from
from tests.resources.test_models import store

__all__ = ["school", "store"]  # fixtures


def blur(lake: LakeResource) -> None:
    """Most days to learn from become noise, but for that of the fault and those that are remembered while the others are scored."""
    rng = np.random.default_rng(7)
    for day in days_from(FIRST, N_DAYS - 5):
        table = lake.read("machine_features", site="s", day=day)
        assert table is not None
        if day != FAULT[0].date():
            noise = 60 * rng.standard_normal(len(table))
            lake.write("machine_features", table.assign(mean=table["mean"] + noise, std=table["std"] + abs(noise)), site="s", day=day)


def test_a_worse_challenger_is_refused_and_dagster_mlflow_and_the_ledger_say_so(school: School, store: str, tmp_path: Path) -> None:
    models = ModelsResource(tracking_uri=store, artifacts=str(tmp_path / "mlflow"), cache=str(tmp_path / "cache"))
    note_incident(school.ledger)
    assert school.train(models).success
    blur(school.resources["lake"])
    trained = school.train(models)
    assert trained.success, "a refusal is no failure of the run"

    [check] = trained.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == ("challenger_passes_the_gate", False, dg.AssetCheckSeverity.WARN)
    assert str(check.description).startswith("s, version 2: refused: it finds 0 of 1 known incidents, the champion 1")
    assert (check.metadata["site"].value, check.metadata["version"].value) == ("s", 2)
    [made] = trained.asset_materializations_for_node("detector_model")
    assert made.metadata["is_champion"].value is False

    assert (models.version_of("s", CHAMPION), models.version_of("s", CHALLENGER)) == (1, 2), "the alias stays where it was"
    client = models._client()
    version = client.get_model_version("detector-s", "2")
    described = client.get_run(version.run_id).data.tags[DESCRIPTION_TAG]
    for told in (described, version.description):
        assert told.startswith("refused: it finds 0 of 1 known incidents, the champion 1")
        assert "| known incidents found | 0 of 1 | 1 of 1 |" in told.replace("&emsp;", "")

    with school.ledger.begin() as connection:
        rows = promotions_of(connection, site="s")
        standing = champion_at(connection, site="s")
    assert [(row["from_version"], row["to_version"], row["is_promoted"], row["who"]) for row in rows] == [
        (None, 1, True, "gate"),
        (1, 2, False, "gate"),
    ]
    assert rows[1]["why"] == str(check.description).removeprefix("s, version 2: ")
    assert rows[1]["comparison"]["challenger_incidents_found"] == 0
    assert standing is not None
    assert standing["to_version"] == 1
