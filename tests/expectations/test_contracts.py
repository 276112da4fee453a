"""One source of truth: what the stores, the code that fills them and the Dagster UI say of a table is what its contract says."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql

from assets.recording import column_schema
from cli.bench_suites import rows_of
from definitions import defs
from expectations import contracts, ledger_contracts
from expectations.contracts import CONTRACTS, Column, Contract
from expectations.ledger_contracts import LEDGER_CONTRACTS
from expectations.rules import suite_from_contract
from expectations.validation import validate_table
from ml import drift, health, incidents, merging, policy, prognosis, readings, row_verdicts, runs
from ml.frames import UTC_TIME
from resources.ledger.ledger import LedgerResource

ALL = [*CONTRACTS.values(), *LEDGER_CONTRACTS.values()]
SITE_DAY = contracts.SITE_DAY


def by_table(contract: Contract) -> str:
    return contract.table


@pytest.mark.parametrize("contract", ALL, ids=by_table)
def test_rows_that_keep_their_contract_pass_its_suite(contract: Contract) -> None:
    outcome = validate_table(rows_of(contract, 2), suite=suite_from_contract(contract))
    assert [r.name for r in outcome.results if not r.success] == []


@pytest.mark.parametrize("contract", ALL, ids=by_table)
def test_the_key_and_every_rule_name_columns_that_the_contract_has(contract: Contract) -> None:
    assert len(set(contract.names)) == len(contract.names)
    assert set(contract.key) <= set(contract.names)
    assert not [c.name for c in contract.columns if c.name in contract.key and c.nullable and contract is not contracts.QUARANTINED_ROWS]
    assert all(c.description for c in contract.columns)


# --- the lake ---


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=by_table)
def test_a_table_of_the_lake_comes_back_from_its_file_with_the_columns_of_its_contract(contract: Contract, tmp_path: Any) -> None:
    stored = pa.Table.from_pandas(rows_of(contract, 2), schema=contract.schema, preserve_index=False)
    pq.write_table(stored, tmp_path / "data.parquet")
    read = pq.read_table(tmp_path / "data.parquet")
    assert read.schema.remove_metadata() == contract.schema
    assert validate_table(read.to_pandas(), suite=suite_from_contract(contract)).success


def as_stored(schema: pa.Schema) -> pa.Schema:
    """A dictionary of texts is text in the file."""
    return pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema])


@pytest.mark.parametrize(
    ("schema", "contract"),
    [
        (readings.ACCEPTED_SCHEMA, contracts.SEGMENTS),
        (runs.SEGMENT_SCHEMA, contracts.SEGMENTS),
        (merging.MERGED_SCHEMA, contracts.SENSOR_READINGS),
        (row_verdicts.QUARANTINED_SCHEMA, contracts.QUARANTINED_ROWS),
    ],
)
def test_the_schemas_that_parsing_writes_by_are_those_of_the_contracts(schema: pa.Schema, contract: Contract) -> None:
    assert as_stored(schema) == contract.schema


# --- what the code computes ---

KINDS = {
    "str": {"string", "extension<arrow.json>"}, "float64": {"double"}, "int32": {"int32"}, "int64": {"int32", "int64"}, "bool": {"bool"},
    UTC_TIME: {"timestamp[us, tz=UTC]"},
}  # fmt: skip


def assert_same(kinds: dict[str, str], columns: dict[str, Column]) -> None:
    assert set(kinds) == set(columns)
    assert [n for n, kind in kinds.items() if str(columns[n].type) not in KINDS[kind]] == []


def columns_of(contract: Contract, *, without: tuple[str, ...] = ()) -> dict[str, Column]:
    return {c.name: c for c in contract.columns if c.name not in (*SITE_DAY, *without)}


ADDED_TO_PREDICTIONS = ("as_of", "incident_ids", "fails_p10_at", "fails_p50_at", "fails_p90_at", "model_version")


def test_computed_tables_have_the_columns_of_their_contracts() -> None:
    assert_same(drift.REFERENCE_COLUMNS, columns_of(contracts.DRIFT_REFERENCE))
    assert_same(drift.COLUMNS, columns_of(ledger_contracts.DRIFT_FINDINGS, without=("model_version",)))
    assert_same(health.COLUMNS, columns_of(ledger_contracts.MACHINE_HEALTH))
    assert set(prognosis.PREDICTION_COLUMNS) == set(columns_of(ledger_contracts.PREDICTIONS, without=ADDED_TO_PREDICTIONS))
    verdict = (
        "evidence",
        "confidence_before",
        "confidence_by_rules",
        "confidence",
        "verdict",
        "failed",
        "reasons",
        "rules",
        "model_version",
    )
    known = columns_of(ledger_contracts.INCIDENTS, without=("label",)) | columns_of(ledger_contracts.INCIDENT_ASSESSMENTS, without=verdict)
    assert_same(incidents.COLUMNS, known)


def test_the_words_of_a_column_are_those_that_the_code_knows() -> None:
    words = {(c.table, column.name): column.one_of for c in ALL for column in c.columns if column.one_of}
    assert words["work_orders", "state"] == policy.STATES
    assert words["work_orders", "priority"] == policy.PRIORITIES
    assert set(words["incident_assessments", "verdict"]) == set(health.VERDICT_WEIGHTS)


# --- the ledger ---

SQL = {
    "string": "TEXT", "double": "DOUBLE PRECISION", "int32": "INTEGER", "bool": "BOOLEAN", "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE", "extension<arrow.json>": "JSONB",
}  # fmt: skip


def test_tables_of_the_ledger_have_names_types_nulls_and_keys_of_their_contracts(ledger: LedgerResource) -> None:
    """In both directions: a column that only the contract has, or only the migrated database, is a difference."""
    with ledger.begin() as connection:
        database = inspect(connection)
        for table, contract in LEDGER_CONTRACTS.items():
            found = {(c["name"], c["type"].compile(postgresql.dialect()), c["nullable"]) for c in database.get_columns(table)}
            assert found == {(c.name, SQL[str(c.type)], c.nullable) for c in contract.columns}, table
            assert set(database.get_pk_constraint(table)["constrained_columns"]) == set(contract.key), table


# --- the Dagster UI ---

SHOWN = {
    "sensor_readings": contracts.SENSOR_READINGS,
    "sensor_quality": contracts.SENSOR_QUALITY,
    "machine_features": contracts.MACHINE_FEATURES,
    "anomaly_scores": contracts.ANOMALY_SCORES,
    "incidents": ledger_contracts.INCIDENT_ASSESSMENTS,
    "machine_health": ledger_contracts.MACHINE_HEALTH,
    "failure_predictions": ledger_contracts.PREDICTIONS,
    "learned_predictions": ledger_contracts.LEARNED_PREDICTIONS,
    "work_orders": ledger_contracts.WORK_ORDERS,
    "maintenance_schedule": ledger_contracts.ASSIGNMENTS,
    "drift_report": ledger_contracts.DRIFT_FINDINGS,
}
WITHOUT_A_TABLE = {"drops", "detector_model", "failure_model", "maintenance_reports"}  # files and books, models, pages


def test_every_asset_that_stores_a_table_shows_the_columns_of_its_contract() -> None:
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
    assert set(specs) == set(SHOWN) | WITHOUT_A_TABLE
    for name, contract in SHOWN.items():
        shown = specs[name].metadata["dagster/column_schema"]
        assert shown == column_schema(contract), name
        assert [(c.name, c.constraints.nullable) for c in shown.columns] == [(c.name, c.nullable) for c in contract.columns], name


def test_a_unit_is_shown_with_the_column_it_belongs_to() -> None:
    (noise,) = [c for c in column_schema(contracts.SENSOR_QUALITY).columns if c.name == "longest_gap_s"]
    assert (noise.type, noise.description) == ("number", "longest time without a reading [s]")
    (evidence,) = [c for c in column_schema(ledger_contracts.INCIDENT_ASSESSMENTS).columns if c.name == "evidence"]
    assert evidence.type == "json"


BLOCKING = {
    "readings_hold_their_contract", "features_hold_their_contract", "scores_hold_their_contract", "health_holds_its_contract",
    "predictions_are_coherent", "orders_can_be_worked_with", "the_plan_can_be_carried_out",
}  # fmt: skip
CHECKS = BLOCKING | {
    "grades_hold_their_contract", "incidents_are_judged", "orders_without_a_place_say_why", "drift_holds_its_contract",
    "learned_predictions_hold_their_contract",
}  # fmt: skip


def test_each_stored_table_is_checked_by_the_step_that_writes_it_and_the_check_says_how_grave_a_failure_is() -> None:
    """`check_specs` are those of the assets themselves, not of checks that run later."""
    own = [spec for made in defs.resolve_asset_graph().assets_defs for spec in made.check_specs if spec.name in CHECKS]
    assert {spec.name for spec in own} == CHECKS
    assert {spec.asset_key.to_user_string() for spec in own} == set(SHOWN)
    assert {spec.name for spec in own if spec.blocking} == BLOCKING
    assert [spec.name for spec in own if "A failure is a" not in str(spec.description)] == []
