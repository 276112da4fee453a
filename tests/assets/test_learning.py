"""Training around the detector: which days, what is healthy, the gate with real detectors, and the order of what is written."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import select

from assets.champions import note_champion
from assets.contest import compare, judge
from assets.learning import drift_report
from assets.partitions import SiteDay
from assets.training import days_to_learn_from, material_of, put_to_work, training_of
from expectations.contracts import MACHINE_FEATURES
from ml.detectors.fleet import SiteDetector
from ml.drift import reference_sample
from ml.healthy import Split, split_days
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.findings import replace_incidents
from resources.ledger.learning import latest_champion, record_version, version_record
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import drift_findings, incidents, maintenance_log, promotions, segments
from resources.models import ModelsResource, Registered
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource
from tests.ledger_states import days_from, deliver

FIRST = date(2026, 9, 1)
N_DAYS = 12
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-08-01",
        "policy": {"training": {"min_healthy_days": 6, "held_out_share": 0.5}},
        "machines": [
            {
                "machine_id": machine_id,
                "machine_class": "pump",
                "sensors": [
                    {"sensor_id": f"{machine_id}-T", "type": "temperature", "unit": "°C"},
                    {"sensor_id": f"{machine_id}-F", "type": "flow", "unit": "m3/h"},
                ],
            }
            for machine_id in ("P1", "P2")
        ],
    }
)
FAULT = (datetime(2026, 9, 4, 6, tzinfo=UTC), datetime(2026, 9, 4, 18, tzinfo=UTC))  # of P1; its temperature rises


@pytest.fixture
def lake(tmp_path: Path) -> LakeResource:
    return LakeResource(root=str(tmp_path / "lake"))


def stored_features(lake: LakeResource, *, n_days: int = N_DAYS) -> None:
    rng = np.random.default_rng(5)
    for day in days_from(FIRST, n_days):
        starts = pd.date_range(pd.Timestamp(day, tz="UTC"), periods=144, freq="10min", unit="us")
        load = np.cos(2 * np.pi * np.arange(144) / 144) + 0.3 * rng.standard_normal(144)
        parts = []
        for sensor, level in zip(SITE.sensors, (50.0, 100.0, 50.0, 100.0), strict=True):
            mean = level + 3 * load + 0.5 * rng.standard_normal(144)
            if sensor.sensor_id == "P1-T":
                mean += np.where((starts >= FAULT[0]) & (starts <= FAULT[1]), 40.0, 0.0)
            parts.append(
                pd.DataFrame(
                    {
                        "machine_id": sensor.sensor_id[:2],
                        "window_start": starts,
                        "sensor_id": sensor.sensor_id,
                        "n_readings": 10,
                        "coverage": 1.0,
                        **dict.fromkeys(("mean", "min", "max", "last"), mean),
                        "std": 0.5 * np.sqrt(rng.chisquare(9, 144) / 9),
                        "slope_per_h": rng.standard_normal(144),
                        **dict.fromkeys(("rms", "kurtosis", "crest_factor"), np.nan),
                        "running_share": 1.0,
                    }
                )
            )
        table = pd.concat(parts).sort_values(list(MACHINE_FEATURES.key), ignore_index=True).astype({"n_readings": "int32"})
        lake.write("machine_features", table, site="s", day=day)


def note_incident(ledger: LedgerResource, *, verdict: str = "credible", label: str | None = None, machine_id: str = "P1") -> None:
    onset, last = FAULT
    found = {
        "incident_id": f"{machine_id}@{onset:%Y-%m-%dT%H:%M}Z", "machine_id": machine_id, "onset_at": onset, "last_window_at": last,
        "ended_at": None, "n_windows": 73, "duration_s": 43800.0, "peak_score": 1.0, "mean_score": 1.0, "n_members_agreeing": 4,
        "n_sensors_moved": 1, "top_sensor_id": f"{machine_id}-T", "direction": 1, "failure_mode": "OHE", "moved_sensors": {},
        "evidence": {}, "confidence_before": 0.9, "confidence_by_rules": 0.9, "confidence": 0.9,
        "verdict": verdict, "failed": [], "reasons": [], "rules": [],
        "model_version": 1,
    }  # fmt: skip
    with ledger.begin() as connection:
        replace_incidents(connection, pd.DataFrame([found]), site="s", day=onset.date())
        connection.execute(incidents.update().values(label=label))


def the_split(*, has_champion: bool) -> Split:
    return split_days(days_from(FIRST, N_DAYS), held_out_share=0.5, has_champion=has_champion)


class KeptModels(ModelsResource):
    """The registry's part in a training, without MLflow: what was put under which alias, and the bytes of the champion."""

    kept: str = ""
    champion: int | None = None

    def version_of(self, site: str, alias: str) -> int | None:
        return self.champion

    def load(self, site: str, version: int, *, artifact_sha256: str) -> bytes:
        return Path(self.kept).read_bytes()

    def promote(self, site: str, version: int, *, description: str) -> None:
        raise ConnectionError(f"no registry for {site} {version}: {description}")


class DescribedModels(KeptModels):
    """A registry that takes descriptions, and promotes nobody."""

    def describe(self, site: str, version: int, *, description: str) -> None:
        assert description.startswith("refused: ")


def kept_models(path: Path, detector: SiteDetector) -> KeptModels:
    path.write_bytes(detector.to_bytes())
    return KeptModels(tracking_uri="", artifacts="", cache="", kept=str(path))


def record(ledger: LedgerResource, *, version: int, until: date) -> None:
    known = {"site": "s", "version": version, "mlflow_run_id": "r", "artifact_sha256": "a", "data_sha256": "d", "metrics": {}}
    with ledger.begin() as connection:
        record_version(connection, {**known, "data_start": FIRST, "data_end": until})


def test_only_days_whose_features_are_stored_are_learned_from(ledger: LedgerResource, lake: LakeResource) -> None:
    deliver(ledger, "s", days_from(FIRST, 8))
    stored_features(lake, n_days=5)
    with (
        ledger.begin() as connection,
        pytest.raises(dg.Failure, match="7 finished days of readings, 5 of them with features; training needs 6"),
    ):
        days_to_learn_from(connection, lake=lake, site=SITE, until=None)
    stored_features(lake, n_days=7)
    with ledger.begin() as connection:
        assert days_to_learn_from(connection, lake=lake, site=SITE, until=None) == days_from(FIRST, 7)
        assert days_to_learn_from(connection, lake=lake, site=SITE, until=date(2026, 9, 6)) == days_from(FIRST, 6)


def test_the_newest_day_is_learned_from_only_when_it_is_over(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake, n_days=8)
    deliver(ledger, "s", days_from(FIRST, 8))  # to two o'clock
    midnight = datetime(2026, 9, 9, tzinfo=UTC)
    for last, n in ((midnight - timedelta(minutes=11), 7), (midnight - timedelta(minutes=10), 8)):
        with ledger.begin() as connection:
            connection.execute(segments.update().where(segments.c.day == date(2026, 9, 8)).values(last_at=last))
            assert days_to_learn_from(connection, lake=lake, site=SITE, until=None) == days_from(FIRST, n)


def stored_grades(lake: LakeResource, grades: Mapping[str, str]) -> None:
    """sensor -> a grade per day; the other sensors have A."""
    for n, day in enumerate(days_from(FIRST, N_DAYS)):
        rows = [{"sensor_id": s.sensor_id, "grade": grades.get(s.sensor_id, "A" * N_DAYS)[n]} for s in SITE.sensors]
        path = lake.path("sensor_quality", site="s", day=day)
        path.parent.mkdir(parents=True)
        pd.DataFrame(rows).to_parquet(path)


def test_a_bad_grade_takes_the_machine_day_out_and_a_dead_sensor_itself(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake)
    stored_grades(lake, {"P1-T": "AFAAAAAAAAAA", "P2-F": "FFFFFFFAAAAA"})
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=False))
    healthy = material.healthy
    days = healthy.groupby("sensor_id")["window_start"].agg(lambda at: at.dt.date.nunique()).to_dict()
    assert days == {"P1-T": 11, "P1-F": 11, "P2-T": 12}
    assert not (healthy["window_start"].dt.date == date(2026, 9, 2))[healthy["machine_id"] == "P1"].any()
    assert material.remarks.sensors == {"P2-F": "graded worse than C on 7 of 12 days"}


def leaking(lake: LakeResource, *machines: str) -> None:
    """The flow of these machines becomes their temperature in another unit."""
    for day in days_from(FIRST, N_DAYS):
        table = lake.read("machine_features", site="s", day=day)
        assert table is not None
        for machine in machines:
            is_copy = table["sensor_id"] == f"{machine}-F"
            table.loc[is_copy, "mean"] = 1.8 * table.loc[table["sensor_id"] == f"{machine}-T", "mean"].to_numpy() + 32
        lake.write("machine_features", table, site="s", day=day)


def test_a_machine_with_a_leaking_column_gets_no_model_and_mlflow_is_told(
    ledger: LedgerResource, lake: LakeResource, tmp_path: Path
) -> None:
    stored_features(lake)
    leaking(lake, "P1")
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=False))
    detector = SiteDetector.fit(material.learned, site=material.trainable(SITE), held_out_from=material.held_out_from, seed=1)
    assert detector.models.keys() == {"P2"}, "not even the one of its class"
    comparison = compare(detector, material, champion=None, ledger=ledger, models=kept_models(tmp_path / "n", detector), site=SITE)
    training = training_of(detector, material, comparison, site=SITE, run_id="r")
    assert training.tags["no_model.P1"].startswith("a leaking column: P1-F is a linear function of P1-T (all but ")
    assert training.metrics["machines_untrained"] == 1.0


def test_a_site_of_which_no_machine_can_be_trained_is_refused_in_a_sentence(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake)
    leaking(lake, "P1")
    stored_grades(lake, {"P2-T": "FFFFFFAAAAAA", "P2-F": "AAAAAAFFFFAA"})
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=False))
    with pytest.raises(
        dg.Failure, match=r"No machine of s can be trained \(P1: a leaking column: P1-F is .*; P2: 2 healthy days, 3 are needed"
    ):
        material.trainable(SITE)


def test_a_machine_with_too_few_days_takes_the_model_of_its_class(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake)
    note_work(ledger, "P1", FIRST, FIRST + timedelta(days=9))
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
    assert material.remarks.few_days == {"P1": "2 healthy days, 3 are needed, and no other pump could stand in for it"}
    detector = SiteDetector.fit(material.learned, site=material.trainable(SITE), held_out_from=material.held_out_from, seed=1)
    assert {machine: model.source for machine, model in detector.models.items()} == {"P1": "class", "P2": "own"}
    assert material.remarks.without_model(detector.untrained) == {}


def note_work(ledger: LedgerResource, machine_id: str, first: date, last: date) -> None:
    started, ended = (datetime.combine(day, time(12), UTC) for day in (first, last))
    row = {"request_id": "w", "site": "s", "machine_id": machine_id, "started_at": started, "ended_at": ended}
    with ledger.begin() as connection:
        connection.execute(maintenance_log.insert().values(**row, technician="ben", finding="VIB", note=""))


def test_the_same_days_and_seed_give_the_same_detector_byte_for_byte(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake)
    note_incident(ledger)

    def trained_once() -> bytes:
        with ledger.begin() as connection:
            material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
        return SiteDetector.fit(material.learned, site=material.trainable(SITE), held_out_from=material.held_out_from, seed=1).to_bytes()

    assert trained_once() == trained_once()


@pytest.mark.parametrize(
    ("verdict", "label", "is_cut", "is_to_find"),
    [
        ("credible", None, True, True),
        ("investigate", None, True, False),
        ("false_positive_suspected", None, False, False),
        ("false_positive_suspected", "confirmed", True, True),
        ("credible", "false_alarm", False, False),
    ],
)
def test_what_people_said_of_an_incident_decides_whether_it_is_healthy_data(
    ledger: LedgerResource, lake: LakeResource, verdict: str, label: str | None, is_cut: bool, is_to_find: bool
) -> None:
    stored_features(lake)
    note_incident(ledger, verdict=verdict, label=label)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
    assert len(material.features) == N_DAYS * 144 * 4
    cut = 144 if label == "confirmed" else 73 if is_cut else 0  # the whole day, or 06:00 to 18:00
    assert len(material.features) - len(material.healthy) == 2 * cut  # two sensors
    assert len(material.real) == int(is_to_find)


def test_the_days_of_the_comparison_are_not_learned_from(ledger: LedgerResource, lake: LakeResource) -> None:
    stored_features(lake)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
    assert material.learned["window_start"].max() < pd.Timestamp("2026-09-11", tz="UTC") <= material.healthy["window_start"].max()


def test_the_gate_with_real_detectors(ledger: LedgerResource, lake: LakeResource, tmp_path: Path) -> None:
    stored_features(lake)
    note_incident(ledger)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
    detector = SiteDetector.fit(material.learned, site=SITE, held_out_from=material.held_out_from, seed=1)
    # one that has learned the fault as if it were healthy, and so no longer finds it
    blunt = SiteDetector.fit(material.features, site=SITE, held_out_from=pd.Timestamp("2026-09-04T03:00Z"), seed=1)
    record(ledger, version=1, until=date(2026, 9, 11))
    models = kept_models(tmp_path / "champion.bin", detector)

    equal = compare(detector, material, champion=1, ledger=ledger, models=models, site=SITE)
    assert equal.is_better
    assert equal.figures["challenger_incidents_found"] == equal.figures["champion_incidents_found"] == 1
    assert equal.figures["days_that_the_champion_has_learned_from"] == 1
    assert equal.metrics["known_incidents_found"] == 1
    assert equal.metrics["false_alarms_per_machine_month"] == equal.figures["challenger_false_alarms_per_machine_month"]
    assert 0.5 < equal.metrics["scoring_time_ratio"] < 1.5, "it is compared with itself"
    assert equal.metrics["replayed_faults"] >= 6
    assert equal.figures["challenger_faults_found"] == equal.figures["champion_faults_found"] == equal.metrics["replayed_faults_found"]

    refused = compare(blunt, material, champion=1, ledger=ledger, models=models, site=SITE)
    assert not refused.is_better
    said = "refused: it finds 0 of 1 known incidents, the champion 1; it finds "
    assert refused.why.startswith(said)
    assert "replayed faults, the champion 12 (2026-09-11 to 2026-09-12, not learned from" in refused.why, (
        "blunt to what it took for healthy"
    )
    assert "| known incidents found | 0 of 1 | 1 of 1 |" in refused.table
    json.dumps(refused.figures)


class Says:
    """A detector that says the same of every window."""

    def __init__(self, score: float) -> None:
        self.said, self.models = score, dict.fromkeys(("P1", "P2"))

    def score(self, features: pd.DataFrame, *, site: Site, model_version: int) -> pd.DataFrame:
        windows = features.drop_duplicates(["machine_id", "window_start"])
        return windows.assign(state="scored", score=self.said, top_sensor_id=windows["sensor_id"]).sort_values(
            ["machine_id", "window_start"]
        )


def test_beside_a_champion_that_alarms_everywhere_a_challenger_is_judged_by_what_it_finds_alone(
    ledger: LedgerResource, lake: LakeResource
) -> None:
    stored_features(lake)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=True))
    seeing = SiteDetector.fit(material.learned, site=SITE, held_out_from=material.held_out_from, seed=1)

    def counted(*detectors: object) -> list[tuple[int, int]]:
        judged = judge(detectors, material, site=SITE)  # type: ignore[arg-type]
        return [(j.performance.faults_found, j.performance.faults_replayed) for j in judged]

    blind, wolf = Says(0.1), Says(1.0)
    [(found, replayed)] = counted(seeing)
    assert found > 0
    assert counted(seeing, wolf) == [(found, replayed), (0, 0)]
    assert counted(blind, wolf) == [(0, replayed), (0, 0)]
    assert counted(blind, seeing) == [(0, replayed), (found, replayed)]
    assert counted(wolf, seeing) == [(0, 0), (0, 0)]


def test_the_figures_of_a_first_detector_are_called_in_sample(ledger: LedgerResource, lake: LakeResource, tmp_path: Path) -> None:
    stored_features(lake)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=the_split(has_champion=False))
    detector = SiteDetector.fit(material.learned, site=SITE, held_out_from=material.held_out_from, seed=1)
    models = kept_models(tmp_path / "none.bin", detector)
    first = compare(detector, material, champion=None, ledger=ledger, models=models, site=SITE)
    assert first.is_better
    assert "false_alarms_per_machine_month_in_sample" in first.metrics
    assert "false_alarms_per_machine_month" not in first.metrics
    assert "in-sample" in first.table
    training = training_of(detector, material, first, site=SITE, run_id="r")
    assert "false_alarms_per_machine_month_in_sample" in training.metrics
    assert training.params["compared_from"] == "not compared"


def test_a_training_that_dies_at_the_registry_leaves_a_version_and_no_promotion(
    ledger: LedgerResource, lake: LakeResource, tmp_path: Path
) -> None:
    stored_features(lake)
    split = the_split(has_champion=False)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=split)
    detector = SiteDetector.fit(material.learned, site=SITE, held_out_from=material.held_out_from, seed=1)
    models = kept_models(tmp_path / "none.bin", detector)
    comparison = compare(detector, material, champion=None, ledger=ledger, models=models, site=SITE)
    training = training_of(detector, material, comparison, site=SITE, run_id="r")
    assert training.description.startswith("promoted: first detector of the site")
    assert sorted(training.plots) == ["contributions.png", "reliability.png", "score_history.png"]
    assert all(plot.startswith(b"\x89PNG\r\n") and len(plot) > 5000 for plot in training.plots.values())
    with pytest.raises(ConnectionError, match="in-sample"):
        put_to_work(Registered(1, "r", "a"), training, comparison, split=split, ledger=ledger, models=models, site=SITE)
    with ledger.begin() as connection:
        known = version_record(connection, site="s", version=1)
        assert known is not None, "a champion that the ledger does not know could not be loaded"
        assert (known["data_start"], known["data_end"]) == (FIRST, FIRST + timedelta(days=N_DAYS - 1))
        assert latest_champion(connection, site="s") is None


def test_a_challenger_that_was_compared_with_someone_else_than_the_present_champion_is_not_promoted(
    ledger: LedgerResource, lake: LakeResource, tmp_path: Path
) -> None:
    """Somebody has moved the alias while it was trained. The registry's promotion would raise; describing does not."""
    stored_features(lake)
    split = the_split(has_champion=False)
    with ledger.begin() as connection:
        material = material_of(connection, lake=lake, site=SITE, split=split)
    detector = SiteDetector.fit(material.learned, site=SITE, held_out_from=material.held_out_from, seed=1)
    models = kept_models(tmp_path / "none.bin", detector)
    comparison = compare(detector, material, champion=None, ledger=ledger, models=models, site=SITE)
    training = training_of(detector, material, comparison, site=SITE, run_id="r")
    moved = DescribedModels(tracking_uri="", artifacts="", cache="", champion=7)
    row = put_to_work(Registered(8, "r", "a"), training, comparison, split=split, ledger=ledger, models=moved, site=SITE)
    assert (row["is_promoted"], row["from_version"], row["to_version"]) == (False, 7, 8)
    assert row["why"] == "refused: it was compared with champion None, which is no longer the champion"
    with ledger.begin() as connection:
        assert latest_champion(connection, site="s") == 7


def test_a_champion_that_the_ledger_has_not_seen_promoted_is_noted_once(ledger: LedgerResource) -> None:
    def noted() -> list[Mapping[str, object]]:
        with ledger.begin() as connection:
            return [dict(row) for row in connection.execute(select(promotions).order_by(promotions.c.promotion_id)).mappings()]

    for champion, n in ((None, 0), (3, 1), (3, 1), (2, 2), (2, 2), (None, 3), (None, 3)):
        with ledger.begin() as connection:
            note_champion(connection, site="s", champion=champion, noticed_by="run 7")
        assert len(noted()) == n
    rows = noted()
    assert [(row["from_version"], row["to_version"], row["who"]) for row in rows] == [
        (None, 3, "mlflow"),
        (3, 2, "mlflow"),
        (2, None, "mlflow"),
    ]
    assert all(str(row["why"]).startswith("found so by run 7: ") for row in rows), "the time is that of the finding, and it says so"


class ChampionOne(ModelsResource):
    """The registry's word, without MLflow: version 1 is champion."""

    def version_of(self, site: str, alias: str) -> int | None:
        return 1


def test_the_drift_report_says_what_has_drifted_and_whether_it_lasts(ledger: LedgerResource, lake: LakeResource, tmp_path: Path) -> None:
    stored_features(lake)
    days = days_from(FIRST, N_DAYS)
    trained_on = lake.read_days("machine_features", site="s", start=days[4], end=days[8])  # the fault is on the fourth day
    lake.write_reference(reference_sample(trained_on), site="s", version=1)
    for day in days[9:]:
        table = lake.read("machine_features", site="s", day=day)
        assert table is not None
        lake.write("machine_features", table.assign(mean=table["mean"] + 30 * (table["sensor_id"] == "P2-F")), site="s", day=day)
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "s.yaml").write_text(yaml.safe_dump(SITE.model_dump(mode="json", exclude_defaults=True)))
    resources = {
        "lake": lake,
        "ledger": ledger,
        "models": ChampionOne(tracking_uri="", artifacts="", cache=""),
        "plant": PlantResource(folder=str(tmp_path / "plant")),
        "validation_pages": ValidationPagesResource(root=str(tmp_path / "validation")),
    }
    said = []
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["s"])
        for day in days[8:]:
            result = dg.materialize([drift_report], partition_key=SiteDay(day, "s").key, resources=resources, instance=instance)
            [made] = result.asset_materializations_for_node("drift_report")
            said.append((made.metadata["sensors_drifted"].value, made.metadata["sustained_drift"].value))
    assert said == [(0, "none"), (1, "none"), (1, "none"), (1, "P2-F (3 days)")]
    with ledger.begin() as connection:
        rows = connection.execute(select(drift_findings).where(drift_findings.c.is_drifted)).mappings().all()
    assert {(row["sensor_id"], row["drifted_in"]) for row in rows} == {("P2-F", "level")}
