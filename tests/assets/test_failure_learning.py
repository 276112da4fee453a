"""Labelled failures become a model in a real MLflow store, which foresees each day: skill where there is a reason, none where not."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import insert, select

from assets.failure_learning import failure_model, material_of
from assets.learned_prognosis import learned_predictions
from assets.partitions import SiteDay
from assets.reporting.maintenance import sections
from assets.reporting.scope import Scope
from cli.serve import free_port
from expectations.contracts import MACHINE_FEATURES
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.failure_models import failure_model_record, record_failure_model
from resources.ledger.ledger import LedgerResource
from resources.ledger.machine_events import failure_history, import_events, machines_that_failed
from resources.ledger.rows import read_frame
from resources.ledger.tables import learned_predictions as predictions_table
from resources.ledger.tables import maintenance_log
from resources.models import CHALLENGER, CHAMPION, FAILURE_MODEL, ModelsResource
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource
from tests.resources.test_models import flip_a_byte, store

__all__ = ["store"]  # the fixture

FIRST, N_DAYS, N_MACHINES = date(2026, 9, 7), 24, 6
START = pd.Timestamp(FIRST, tz="UTC")
LAST = FIRST + timedelta(days=N_DAYS - 1)
MACHINES = [f"P{n}" for n in range(1, N_MACHINES + 1)]
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-08-01",
        "window_minutes": 60,
        "machines": [
            {
                "machine_id": machine,
                "machine_class": "pump",
                "sensors": [
                    {"sensor_id": f"{machine}-T", "type": "temperature", "unit": "°C", "interval_s": 3600},
                    {"sensor_id": f"{machine}-V", "type": "vibration", "unit": "mm/s", "interval_s": 3600},
                ],
            }
            for machine in MACHINES
        ],
    }
)
FAILURES = [
    (machine, START + pd.Timedelta(hours=hour, minutes=20)) for n, machine in enumerate(MACHINES) for hour in (130 + 9 * n, 450 - 13 * n)
]


@dataclass(frozen=True)
class Works:
    """The site's lake, ledger and store, and a Dagster instance."""

    lake: LakeResource
    ledger: LedgerResource
    models: ModelsResource
    resources: dict[str, object]
    instance: dg.DagsterInstance

    def train(self, until: date | None = None) -> dict[str, object]:
        config = dg.RunConfig(ops={"failure_model": {"config": {"until": until.isoformat() if until else None}}})
        done = dg.materialize([failure_model], partition_key="s", resources=self.resources, instance=self.instance, run_config=config)
        [made] = done.asset_materializations_for_node("failure_model")
        return {name: value.value for name, value in made.metadata.items()}

    def foresee(self, day: date, *, raises: bool = True) -> dg.ExecuteInProcessResult:
        key = SiteDay(day, "s").key
        return dg.materialize(
            [learned_predictions], partition_key=key, resources=self.resources, instance=self.instance, raise_on_error=raises
        )

    def foreseen(self) -> pd.DataFrame:
        with self.ledger.begin() as connection:
            return read_frame(connection, select(predictions_table).order_by(predictions_table.c.day, predictions_table.c.machine_id))

    def label(self, kind: str, events: list[tuple[str, pd.Timestamp]], code: str) -> None:
        rows = pd.DataFrame([(machine, at, code) for machine, at in events], columns=["machine_id", "at", "code"])
        with self.ledger.begin() as connection:
            import_events(connection, rows, site="s", kind=kind, source_name="f.csv", import_id="1")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the store, which knows where an experiment's first run put them."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def works(ledger: LedgerResource, store: str, artifacts: Path, tmp_path: Path) -> Iterator[Works]:
    """24 days of hours; each machine's vibration rises for 30 hours before each of its two failures."""
    lake = LakeResource(root=str(tmp_path / "lake"))
    stored_features(lake)
    models = ModelsResource(tracking_uri=store, artifacts=str(artifacts), cache=str(tmp_path / "cache"))
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "s.yaml").write_text(yaml.safe_dump(SITE.model_dump(mode="json", exclude_defaults=True)))
    resources = {
        "lake": lake,
        "ledger": ledger,
        "models": models,
        "plant": PlantResource(folder=str(tmp_path / "plant")),
        "validation_pages": ValidationPagesResource(root=str(tmp_path / "validation")),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["s"])
        yield Works(lake, ledger, models, resources, instance)
    forget_models(models)


def forget_models(models: ModelsResource) -> None:
    """The store is the module's: the next test begins without a version."""
    client = models._client()
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)


def stored_features(lake: LakeResource) -> None:
    rng = np.random.default_rng(8)
    n = 24 * N_DAYS
    at = (START + pd.to_timedelta(np.arange(n), unit="h")).as_unit("us")
    parts = []
    for machine in MACHINES:
        vibration = 5 + 0.5 * rng.standard_normal(n)
        for failed, when in FAILURES:
            if failed == machine:
                hour = int((when - START) / pd.Timedelta(hours=1))
                vibration[hour - 30 : hour] += np.linspace(0, 4, 30)
        for sensor, values in ((f"{machine}-T", 60 + rng.standard_normal(n)), (f"{machine}-V", vibration)):
            parts.append(pd.DataFrame({"machine_id": machine, "window_start": at, "sensor_id": sensor, "mean": values}))
    rows = pd.concat(parts, ignore_index=True).assign(n_readings=1, coverage=1.0, std=0.0, slope_per_h=0.0, running_share=1.0)
    rows = rows.assign(min=rows["mean"], max=rows["mean"], last=rows["mean"], rms=np.nan, kurtosis=np.nan, crest_factor=np.nan)
    rows = rows.astype({"n_readings": "int32"}).sort_values(["machine_id", "window_start", "sensor_id"])
    for day, of_day in rows.groupby(rows["window_start"].dt.date):
        lake.write("machine_features", of_day[MACHINE_FEATURES.names].reset_index(drop=True), site="s", day=day)


def label_all(works: Works) -> None:
    """The failures as they were, each repaired two hours later; known until five minutes before the end."""
    works.label("failure", FAILURES, "bearing")
    works.label("replacement", [(machine, at + pd.Timedelta(hours=2)) for machine, at in FAILURES], "bearing")
    works.label("error", [(MACHINES[0], START + pd.Timedelta(days=N_DAYS) - pd.Timedelta(minutes=5))], "e1")


def test_a_model_is_learned_judged_twice_registered_and_foresees_a_day_as_it_was_known(works: Works) -> None:
    label_all(works)
    made = works.train()
    assert made["is_champion"] is True
    assert str(made["why"]).startswith("promoted: its PR-AUC on machines held out is ")
    assert works.models.version_of("s", CHAMPION, family=FAILURE_MODEL) == made["version"] == 1
    with works.ledger.begin() as connection:
        known = failure_model_record(connection, site="s", version=1)
    assert known is not None
    metrics = known["metrics"]
    assert metrics["failures_labelled"] == metrics["held_out_machines/n_events"] == 12
    assert metrics["held_out_machines/n_found"] >= 10
    assert metrics["held_out_machines/average_precision"] > 0.8
    assert metrics["held_out_time/n_events"] == 6, "the second failure of each machine"
    assert metrics["held_out_time/average_precision"] > 0.7
    # by hand: all hours but the three from each failure (at 20 past) to its repair, and the 25 whose day after had not ended at 23:55
    assert metrics["rows"] == N_MACHINES * (24 * N_DAYS - 25) - 12 * 3
    assert metrics["held_out_machines/anomalous_share"] == pytest.approx(12 * 24 / metrics["rows"])

    import mlflow

    run = works.models._client().get_run(known["mlflow_run_id"])
    assert run.data.metrics == pytest.approx(metrics)
    assert run.data.tags["data_sha256"] == known["data_sha256"]
    assert run.data.params["data_end"] == LAST.isoformat()
    version = works.models._client().get_model_version("failure-model-s", "1")
    assert "| PR-AUC |" in version.description.replace("&emsp;", "")
    served = mlflow.pyfunc.load_model("models:/failure-model-s@champion")
    example = served.input_example
    assert served.metadata.signature.inputs.input_names() == list(example.columns)
    assert (served.predict(example)["probability"] > 0.3).mean() >= 0.5, "hours before failures"

    day = FIRST + timedelta(days=17)
    ahead = {
        machine: at - pd.Timestamp(day + timedelta(days=1), tz="UTC") for machine, at in FAILURES if at.date() == day + timedelta(days=1)
    }
    assert set(ahead) == {"P1", "P2"}, "hours 450 and 437, of which the day's end is hour 432"
    works.foresee(day)
    found = works.foreseen()
    assert found["machine_id"].tolist() == MACHINES
    assert set(found["as_of"]) == {pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=1)}
    assert (found["model_version"].unique().tolist(), found["horizon_h"].unique().tolist()) == ([1], [24])
    assert found["artifact_sha256"].unique().tolist() == [known["artifact_sha256"]]
    assert set(found.loc[found["probability"] >= 0.5, "machine_id"]) == {"P1", "P2"}
    # what the day's step computes from four days is what training computes from all of them
    material = material_of(works.lake, works.ledger, site=SITE, days=[FIRST + timedelta(days=n) for n in range(N_DAYS)])
    last = (material.hours["at"] == found["as_of"].iloc[0]).to_numpy()
    from ml.failure_model import FailureModel

    model = FailureModel.from_bytes(works.models.load("s", 1, artifact_sha256=known["artifact_sha256"], family=FAILURE_MODEL))
    np.testing.assert_allclose(model.hazard.probability(material.features[last]), found["probability"], atol=1e-9)
    works.foresee(day)
    pd.testing.assert_frame_equal(works.foreseen(), found)

    with works.ledger.begin() as connection:
        told = {s.title: s for s in sections(Scope(connection, works.lake, (SITE,), "s", day, day))}
    section = told["Failures foreseen by the learned model"]
    assert {row[0] for row in section.tables[0].rows[:2]} == {"P1", "P2"}
    assert {f.label: f.value for f in section.figures}["Failures found on later time"] == metrics["held_out_time/n_found"]
    with works.ledger.begin() as connection:
        before = [s.title for s in sections(Scope(connection, works.lake, (SITE,), "s", FIRST, FIRST))]
    assert "Failures foreseen by the learned model" not in before


def test_with_labels_shifted_there_is_no_skill_and_no_champion(works: Works) -> None:
    """Each machine's failures moved round by its own number of hours, without repairs: their distance from one another is no chance."""
    span = pd.Timedelta(days=N_DAYS)
    moved_h = [60 + 47 * n for n in range(N_MACHINES)]
    moved = [(m, START + (at - START + pd.Timedelta(hours=moved_h[MACHINES.index(m)])) % span) for m, at in FAILURES]
    works.label("failure", moved, "bearing")
    works.label("error", [(MACHINES[0], START + span - pd.Timedelta(minutes=5))], "e1")
    made = works.train()
    assert made["is_champion"] is False
    assert str(made["why"]).startswith("not promoted: its PR-AUC on machines held out is ")
    assert works.models.version_of("s", CHAMPION, family=FAILURE_MODEL) is None
    assert works.models.version_of("s", CHALLENGER, family=FAILURE_MODEL) == 1
    with works.ledger.begin() as connection:
        metrics = failure_model_record(connection, site="s", version=1)["metrics"]  # type: ignore[index]
    assert metrics["held_out_machines/average_precision"] < 2 * metrics["held_out_machines/anomalous_share"]
    done = works.foresee(LAST)
    [made_day] = done.asset_materializations_for_node("learned_predictions")
    assert made_day.metadata["dagster/row_count"].value == 0
    assert works.foreseen().empty


def test_too_few_failures_are_said_with_numbers_and_nothing_is_registered(works: Works) -> None:
    assert "no failure is labelled" in str(works.train()["state"])
    works.label("failure", FAILURES[:6], "bearing")
    works.label("error", [(MACHINES[0], START + pd.Timedelta(days=N_DAYS - 1))], "e1")
    state = str(works.train()["state"])
    assert state.startswith("no failure model: 3 machines with a failure that telemetry precedes are too few: 3 are needed to learn from")
    assert "maintenance history import" in state
    assert works.models.version_of("s", CHALLENGER, family=FAILURE_MODEL) is None
    works.label("failure", [(MACHINES[5], START - pd.Timedelta(days=40))], "bearing")
    assert "no failure model: 3 machines with a failure" in str(works.train()["state"]), "no telemetry precedes that of the sixth"


def test_only_days_until_the_one_named_and_events_known_by_then_are_learned_from(works: Works) -> None:
    label_all(works)
    works.label("error", [(MACHINES[0], START + pd.Timedelta(days=10))], "e0")
    until = FIRST + timedelta(days=10)
    made = works.train(until)
    with works.ledger.begin() as connection:
        known = failure_model_record(connection, site="s", version=1)
    assert known is not None
    assert (known["data_end"], known["metrics"]["failures_labelled"]) == (until, 6)
    assert made["days"] == f"{FIRST} to {until}"
    assert "held_out_time/average_precision" not in known["metrics"], "the last third of these days has no failure"


def test_changed_bytes_are_refused(works: Works, artifacts: Path) -> None:
    label_all(works)
    sha256 = works.train()["artifact_sha256"]
    stored = [p for p in artifacts.rglob("failure_model.bin") if hashlib.sha256(p.read_bytes()).hexdigest() == sha256]
    assert stored
    for path in stored:  # the same labels give the same bytes, and the store has those of earlier tests
        flip_a_byte(path)
    done = works.foresee(LAST, raises=False)
    assert not done.success
    error = str(done.failure_data_for_node("learned_predictions").error)  # type: ignore[union-attr]
    assert "failure-model-s version 1 is refused: its sha256 is " in error
    assert works.foreseen().empty


def test_with_mlflow_gone_before_a_new_champion_was_fetched_the_one_before_it_foresees(works: Works) -> None:
    label_all(works)
    works.train()
    works.foresee(LAST)
    expected = works.foreseen()
    with works.ledger.begin() as connection:
        first = failure_model_record(connection, site="s", version=1)
        assert first is not None
        known = {name: value for name, value in first.items() if name != "trained_at"}
        record_failure_model(connection, {**known, "version": 2, "artifact_sha256": "2" * 64})
    nobody = f"http://127.0.0.1:{free_port()}"
    away = ModelsResource(tracking_uri=nobody, artifacts=works.models.artifacts, cache=works.models.cache)
    offline = replace(works, resources={**works.resources, "models": away})
    [made] = offline.foresee(LAST).asset_materializations_for_node("learned_predictions")
    said = str(made.metadata["warning"].value)
    assert said.startswith(f"MLflow at {nobody} does not answer")
    assert "Version 1 is used, the last champion that lies in the cache: version 2, the last champion among the failure models of s" in said
    pd.testing.assert_frame_equal(works.foreseen(), expected)
    for kept in Path(works.models.cache).rglob("*.bin"):
        kept.unlink()
    failed = offline.foresee(LAST, raises=False).failure_data_for_node("learned_predictions")
    assert "Version 2 does not lie in the cache either" in str(failed.error)  # type: ignore[union-attr]
    pd.testing.assert_frame_equal(works.foreseen(), expected)


def test_faults_that_completed_work_found_are_failures_and_repairs(ledger: LedgerResource) -> None:
    base = {"site": "s", "technician": "ben", "note": ""}
    work = [("a", "P1", "VIB", 10), ("b", "P1", "no_fault_found", 40), ("c", "P2", "OHE", 50), ("d", "P2", "OHE", 200)]
    with ledger.begin() as connection:
        for request_id, machine, finding, hour in work:
            started = START + pd.Timedelta(hours=hour)
            times = {"started_at": started.to_pydatetime(), "ended_at": (started + pd.Timedelta(hours=3)).to_pydatetime()}
            connection.execute(insert(maintenance_log).values(**base, **times, request_id=request_id, machine_id=machine, finding=finding))
        found = failure_history(connection, site="s", until=(START + pd.Timedelta(hours=100)).to_pydatetime())
        assert machines_that_failed(connection, site="s") == 2
    assert found.failures.to_dict("list") == {
        "machine_id": ["P1", "P2"],
        "at": [START + pd.Timedelta(hours=10), START + pd.Timedelta(hours=50)],
        "mode": ["VIB", "OHE"],
    }
    assert found.replacements["at"].tolist() == [START + pd.Timedelta(hours=13), START + pd.Timedelta(hours=53)]
    assert found.replacements["component"].tolist() == ["VIB", "OHE"]
    assert found.known_until == START + pd.Timedelta(hours=53)
