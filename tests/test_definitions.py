"""The code location: what it promises to hold, and that it loads light."""

import subprocess
import sys

import dagster as dg
import pytest

from definitions import defs
from expectations.contracts import MEMBERS
from tests.conftest import CHECKOUT

GROUPS = {
    "drops": ("data_acquisition", None),
    "sensor_readings": ("data_acquisition", "site_days"),
    "sensor_quality": ("data_manipulation", "site_days"),
    "machine_features": ("data_manipulation", "site_days"),
    "anomaly_scores": ("state_detection", "site_days"),
    "incidents": ("state_detection", "site_days"),
    "machine_health": ("health_assessment", "site_days"),
    "failure_predictions": ("prognostics", "site_days"),
    "learned_predictions": ("prognostics", "site_days"),
    "work_orders": ("advisory_generation", "site_days"),
    "maintenance_schedule": ("advisory_generation", "site_days"),
    "maintenance_reports": ("advisory_generation", "site_days"),
    "detector_model": ("learning", "site"),
    "failure_model": ("learning", "site"),
    "drift_report": ("learning", "site_days"),
}
HEAVY = ("mlflow", "prophet", "great_expectations", "sklearn", "scipy", "ortools", "matplotlib", "holidays")


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def partitions_of(spec: dg.AssetSpec) -> str | None:
    if isinstance(spec.partitions_def, dg.MultiPartitionsDefinition):
        return "site_days"
    return "site" if isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition) else None


def test_the_assets_their_groups_and_partitions_are_these() -> None:
    assert {name: (spec.group_name, partitions_of(spec)) for name, spec in specs().items()} == GROUPS


@pytest.mark.parametrize("name", GROUPS)
def test_each_asset_says_what_it_is_who_owns_it_and_what_it_is_made_of(name: str) -> None:
    spec = specs()[name]
    assert spec.description
    assert len(spec.description.split()) > 20, "a newcomer must understand it"
    assert spec.owners
    assert spec.kinds
    assert spec.code_version


def test_the_detector_names_all_of_its_members() -> None:
    said = str(specs()["detector_model"].description).lower()
    assert [member for member in MEMBERS if member.replace("_", " ").removeprefix("pca ") not in said] == []


def test_every_dependency_and_every_check_names_an_asset_that_is_there() -> None:
    keys = {spec.key for spec in specs().values()}
    assert {dep.asset_key for spec in specs().values() for dep in spec.deps} <= keys
    checks = list(defs.resolve_asset_graph().asset_check_keys)
    assert {check.asset_key for check in checks} <= keys
    assert len(checks) >= 10
    for check in checks:
        spec = defs.resolve_asset_graph().get_check_spec(check)
        assert spec.description, f"{check.name} must say what it claims"


def test_every_asset_that_stores_a_table_shows_its_columns() -> None:
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        if name not in ("detector_model", "failure_model", "maintenance_reports"):  # models and pages, no tables
            columns = spec.metadata["dagster/column_schema"].columns
            assert columns, name
            assert all(column.type for column in columns), name
    drops = next(spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() == "drops")
    shown = {column.name: column for column in drops.metadata["dagster/column_schema"].columns}
    assert shown["sha256"].description == "of the delivered bytes"
    assert shown["releases"].constraints.nullable
    assert not shown["rows_in"].constraints.nullable


def checks_of(job_name: str) -> set[str]:
    return {check.name for check in defs.resolve_job_def(job_name).asset_layer.asset_graph.asset_check_keys}


def test_checks_over_the_whole_history_run_each_night_and_in_no_other_job() -> None:
    history = {"every_drop_adds_up", "files_of_drops_are_whole", "readings_come_from_drops", "promotions_form_a_chain"}
    assert checks_of("check_history") == history
    for job in ("intake", "process_site_day", "plan_site_day", "train_detectors", "train_failure_model"):
        assert not checks_of(job) & history, job
    assert "rows_add_up" in checks_of("intake"), "its own checks it keeps"


def test_each_job_selects_what_it_says_and_is_described() -> None:
    selected = {
        "intake": {"drops"},
        "train_detectors": {"detector_model"},
        "train_failure_model": {"failure_model"},
        "check_history": set(),
        "plan_site_day": {"maintenance_schedule", "maintenance_reports"},
        "process_site_day": set(GROUPS) - {"drops", "detector_model", "failure_model"},
    }
    for name, assets in selected.items():
        job = defs.resolve_job_def(name)
        assert {key.to_user_string() for key in job.asset_layer.selected_asset_keys} == assets, name
        assert job.description
    for name, fields in {
        "submit_decision": {"order_id", "decision", "operator", "reason"},
        "complete_work_order": {"order_id", "technician", "finding"},
        "generate_report": {"start", "end", "site"},
    }.items():
        job = defs.resolve_job_def(name)
        shape = job.all_node_defs[0].config_schema.as_field().config_type.fields  # type: ignore[union-attr]
        assert fields <= set(shape), name
        assert all(field.description for field in shape.values()), name


def test_sensors_and_schedules_run_without_a_click() -> None:
    repository = defs.get_repository_def()
    assert {s.name for s in repository.sensor_defs} == {
        "landing_sensor",
        "new_drops_sensor",
        "decisions_sensor",
        "first_detector_sensor",
        "drift_sensor",
        "new_champion_sensor",
        "notifications_sensor",
        "failures_sensor",
    }
    wanted = {"reconcile", "nightly_history_check", "close_of_day_hamburg", "weekly_training_houston", "weekly_failure_training_hamburg"}
    assert {s.name for s in repository.schedule_defs} >= wanted
    assert all(s.default_status is dg.DefaultSensorStatus.RUNNING for s in repository.sensor_defs)
    assert all(s.default_status is dg.DefaultScheduleStatus.RUNNING for s in repository.schedule_defs)


def test_the_code_location_loads_without_the_heavy_libraries() -> None:
    script = f"import sys, definitions; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
