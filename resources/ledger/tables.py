"""The ledger's tables, as SQLAlchemy Core declares them; migrations make them, `Ledger` writes them.

What site-days compute has its columns from `expectations.ledger_contracts`; here stand the constraints that a contract does not
know, and the tables that keep the books. Times are timestamptz, days are UTC days. What a site-day computes is replaced per
(site, day) in one transaction, so that any site-day can be processed again, in any order.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint
from sqlalchemy.types import TypeEngine

from expectations.contracts import TIMESTAMP, Contract
from expectations.ledger_contracts import (
    ALARM_KPIS,
    ASSIGNMENTS,
    DAY,
    DRIFT_FINDINGS,
    INCIDENT_ALARMS,
    INCIDENT_ASSESSMENTS,
    INCIDENTS,
    JSON,
    LEARNED_PREDICTIONS,
    MACHINE_HEALTH,
    PLANS,
    PREDICTIONS,
    UNPLANNED_ORDERS,
    WORK_ORDERS,
)
from ml.policy import OPEN_STATES, STATES
from ml.receivers import SEVERITIES

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

TIME = DateTime(timezone=True)
_KINDS: dict[pa.DataType, type[TypeEngine[Any]] | TypeEngine[Any]] = {
    pa.string(): Text,
    pa.int32(): Integer,
    pa.float64(): Double,
    pa.bool_(): Boolean,
    DAY: Date,
    TIMESTAMP: TIME,
    JSON: JSONB,
}


def _columns(contract: Contract) -> list[Column[Any]]:
    """The contract's columns, in its order; its key is the primary key."""
    return [Column(c.name, _KINDS[c.type], primary_key=c.name in contract.key, nullable=c.nullable) for c in contract.columns]


drops = Table(
    "drops",
    metadata,
    Column("drop_id", Text, primary_key=True, comment="first 16 hex digits of the sha256 of site and delivered bytes"),
    Column("drop_seq", Integer, nullable=False, unique=True, comment="order of intake, without gaps; the latest drop wins"),
    Column("sha256", Text, nullable=False, comment="of the delivered bytes"),
    Column("site", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_at", TIME, nullable=False, comment="modification time of the delivered file, or of its arrival if that is later"),
    Column("taken_in_at", TIME, nullable=False),
    Column("state", Text, nullable=False, comment="accepted, or refused as a whole"),
    Column("refused_because", Text),
    Column("rows_in", BigInteger, nullable=False),
    Column("rows_accepted", BigInteger, nullable=False),
    Column("rows_duplicate", BigInteger, nullable=False),
    Column("rows_quarantined", BigInteger, nullable=False),
    Column(
        "rows_repaired",
        BigInteger,
        nullable=False,
        comment="of the accepted: put right as the plant file asks, or converted to the sensor's unit",
    ),
    Column(
        "releases", Text, ForeignKey("drops.drop_id"), comment="the drop whose quarantined rows this one judged anew; null for a delivery"
    ),
    Column("kept_as", Text, nullable=False, comment="where the untouched original lies, relative to the data folder"),
    Column("run_id", Text, nullable=False),
    CheckConstraint("rows_in = rows_accepted + rows_duplicate + rows_quarantined", name="rows_add_up"),
    CheckConstraint("rows_repaired <= rows_accepted + rows_duplicate", name="repaired_rows_are_good"),
    CheckConstraint("state in ('accepted', 'refused')", name="state"),
    UniqueConstraint("site", "sha256"),
    Index(None, "site", "received_at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", BigInteger, Identity(), primary_key=True),
    Column("drop_id", Text, ForeignKey("drops.drop_id"), nullable=False, index=True),
    Column("site", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("delivered_at", TIME, nullable=False, comment="modification time of the file"),
    Column("is_duplicate", Boolean, nullable=False, comment="these bytes had been taken in before"),
    UniqueConstraint("drop_id", "file_name", "delivered_at"),
)

segments = Table(
    "segments",
    metadata,
    Column("drop_id", Text, ForeignKey("drops.drop_id"), primary_key=True),
    Column("site", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("first_at", TIME, nullable=False),
    Column("last_at", TIME, nullable=False),
    Column("merged_at", TIME, comment="null until it is part of sensor_readings"),
    Column("assessed_at", TIME, comment="null until the site-day's work orders rest on it"),
    Column("processed_at", TIME, comment="null until schedule and reports rest on it, too"),
    Column("reopened_at", TIME, comment="when it was last made to wait again, because something that its site-day rests on had changed"),
    Index("ix_segments_pending", "site", "day", postgresql_where=text("processed_at is null")),
    Index(None, "site", "day"),
)

quarantine_counts = Table(
    "quarantine_counts",
    metadata,
    Column("count_id", BigInteger, Identity(), primary_key=True),
    Column("drop_id", Text, ForeignKey("drops.drop_id"), nullable=False, index=True),
    Column("site", Text, nullable=False),
    Column("day", Date, comment="null where the timestamp is not known"),
    Column("sensor_id", Text, comment="null where the sensor is not known"),
    Column("reason", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column(
        "released_by", Text, ForeignKey("drops.drop_id"), comment="the drop that judged these rows anew; null while they lie in quarantine"
    ),
    Index(None, "site", "day"),
)

validations = Table(
    "validations",
    metadata,
    Column("site", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("suite", Text, primary_key=True),
    Column("is_success", Boolean, nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("n_failed", Integer, nullable=False, comment="expectations that failed, of any severity"),
    Column("results", JSONB, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("validated_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
)

detector_versions = Table(
    "detector_versions",
    metadata,
    Column("site", Text, primary_key=True),
    Column("version", Integer, primary_key=True, comment="version of the site's registered model in MLflow"),
    Column("mlflow_run_id", Text, nullable=False),
    Column("artifact_sha256", Text, nullable=False, comment="an artifact with any other hash is refused"),
    Column("data_sha256", Text, nullable=False),
    Column("data_start", Date, nullable=False),
    Column("data_end", Date, nullable=False, comment="the last day it has seen, inclusive"),
    Column("metrics", JSONB, nullable=False),
    Column("trained_at", TIME, nullable=False),
)

machine_events = Table(
    "machine_events",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    Column("site", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("at", TIME, nullable=False),
    Column("kind", Text, nullable=False),
    Column("code", Text, nullable=False, comment="of a failure its mode, of a replacement the component, of an error its code"),
    Column("source_name", Text, nullable=False, comment="name of the file it was imported from"),
    Column("import_id", Text, nullable=False, comment="first 16 hex digits of the sha256 of that file"),
    Column("recorded_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("kind in ('failure', 'replacement', 'error')", name="kind"),
    UniqueConstraint("site", "machine_id", "kind", "at", "code"),
    Index(None, "site", "at"),
)

failure_model_versions = Table(
    "failure_model_versions",
    metadata,
    Column("site", Text, primary_key=True),
    Column("version", Integer, primary_key=True, comment="version of the site's registered failure model in MLflow"),
    Column("mlflow_run_id", Text, nullable=False),
    Column("artifact_sha256", Text, nullable=False, comment="an artifact with any other hash is refused"),
    Column("data_sha256", Text, nullable=False),
    Column("data_start", Date, nullable=False),
    Column("data_end", Date, nullable=False, comment="the last day it has seen, inclusive"),
    Column("horizon_h", Integer, nullable=False),
    Column("metrics", JSONB, nullable=False, comment="on machines and on time held out"),
    Column("is_champion", Boolean, nullable=False, comment="made champion by its training"),
    Column("why", Text, nullable=False, comment="why it was made champion, or was not"),
    Column("trained_at", TIME, nullable=False),
)

promotions = Table(  # a trigger refuses to change or delete rows
    "promotions",
    metadata,
    Column("promotion_id", BigInteger, Identity(), primary_key=True),
    Column("site", Text, nullable=False),
    Column("place", Integer, nullable=False, comment="1, 2, 3, ... within the site, without a gap"),
    Column("from_version", Integer),
    Column("to_version", Integer, comment="null: the alias was taken away"),
    Column("is_promoted", Boolean, nullable=False, comment="false: the gate refused the challenger"),
    Column("at", TIME, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("comparison", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False, comment="of the version, as its training measured them; empty: not trained here"),
    Column(
        "data",
        JSONB,
        nullable=False,
        comment="that the version was trained on: first and last day, sha256; and sha256 of the artifact",
    ),
    Column("previous_sha256", Text, nullable=False, comment="sha256 of the site's row before; zeros for the first"),
    Column("sha256", Text, nullable=False, comment="over all of the row but its id and this: see ml.promotion_chain"),
    UniqueConstraint("site", "place"),
)

drift_findings = Table("drift_findings", metadata, *_columns(DRIFT_FINDINGS))

incidents = Table("incidents", metadata, *_columns(INCIDENTS), UniqueConstraint("machine_id", "onset_at"), Index(None, "site", "onset_at"))

incident_assessments = Table(
    "incident_assessments",
    metadata,
    *_columns(INCIDENT_ASSESSMENTS),
    ForeignKeyConstraint(["incident_id"], ["incidents.incident_id"]),
    CheckConstraint("verdict in ('credible', 'investigate', 'false_positive_suspected')", name="verdict"),
    Index(None, "site", "day"),
)

incident_labels = Table(
    "incident_labels",
    metadata,
    Column("label_id", BigInteger, Identity(), primary_key=True, comment="of an incident's labels the last one holds"),
    Column("incident_id", Text, ForeignKey("incidents.incident_id"), nullable=False, index=True),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False, comment="a decision on its work order, the work's completion, or a person's word"),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at", TIME, nullable=False, comment="when it was found; for a completion, the end of the work"),
    Column("recorded_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("order_id", Text, ForeignKey("work_orders.order_id"), comment="null for a person's word"),
    CheckConstraint("label in ('confirmed', 'false_alarm')", name="label"),
    CheckConstraint("source in ('decision', 'completion', 'person')", name="source"),
)

shelvings = Table(
    "shelvings",
    metadata,
    Column("shelving_id", Integer, Identity(), primary_key=True),
    Column("site", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("incident_id", Text, comment="null: the machine with all its incidents"),
    Column("start_at", TIME, nullable=False, comment="in the time of the readings, as all three times"),
    Column("until", TIME, nullable=False, comment="when it is over by itself"),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("recorded_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("ended_at", TIME, comment="when a person ended it before its time; null where nobody did, as the next three"),
    Column("ended_by", Text),
    Column("ended_why", Text),
    Column("end_recorded_at", TIME),
    CheckConstraint("until > start_at", name="in_order"),
    CheckConstraint("ended_at between start_at and until", name="ended_within"),
    CheckConstraint("(ended_at is null) = (ended_by is null) and (ended_at is null) = (ended_why is null)", name="ended_by_someone"),
    Index(None, "site", "until"),
)

incident_alarms = Table(
    "incident_alarms",
    metadata,
    *_columns(INCIDENT_ALARMS),
    ForeignKeyConstraint(["incident_id", "day"], ["incident_assessments.incident_id", "incident_assessments.day"], ondelete="CASCADE"),
    ForeignKeyConstraint(["shelving_id"], ["shelvings.shelving_id"]),
    CheckConstraint("raised_at >= opened_at or is_site_event", name="raised_once_open"),
    Index(None, "incident_id"),
)

alarm_kpis = Table("alarm_kpis", metadata, *_columns(ALARM_KPIS))

revalidations = Table(
    "revalidations",
    metadata,
    Column("revalidation_id", BigInteger, Identity(), primary_key=True),
    Column("site", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("policy", JSONB, nullable=False, comment="the site's verdict policy from then on"),
    Column("changes", JSONB, nullable=False, comment="incident, day, and verdict and confidence before and after, of those that changed"),
    Index(None, "site", "at"),
)

machine_health = Table("machine_health", metadata, *_columns(MACHINE_HEALTH), CheckConstraint("health between 0 and 100", name="range"))

predictions = Table(
    "predictions",
    metadata,
    *_columns(PREDICTIONS),
    CheckConstraint("probability_7d between 0 and 1 and probability_30d between probability_7d and 1", name="probabilities"),
)

learned_predictions = Table(
    "learned_predictions",
    metadata,
    *_columns(LEARNED_PREDICTIONS),
    CheckConstraint("probability between 0 and 1", name="probability"),
)

_OPEN = "state in (" + ", ".join(f"'{s}'" for s in STATES if s in OPEN_STATES) + ")"

work_orders = Table(
    "work_orders",
    metadata,
    *_columns(WORK_ORDERS),
    Index("uq_work_orders_one_open", "machine_id", "failure_mode", unique=True, postgresql_where=text(_OPEN)),
    Index(None, "site", "opened_on"),
)

work_order_incidents = Table(
    "work_order_incidents",
    metadata,
    Column("incident_id", Text, ForeignKey("incidents.incident_id"), primary_key=True),
    Column("order_id", Text, ForeignKey("work_orders.order_id"), nullable=False, index=True),
)

decisions = Table(
    "decisions",
    metadata,
    Column("request_id", Text, primary_key=True, comment="a repeated request changes nothing"),
    Column("order_id", Text, ForeignKey("work_orders.order_id"), nullable=False, index=True),
    Column("site", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("operator", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("defer_until", TIME),
    Column("decided_at", TIME, nullable=False),
    Column("is_false_alarm", Boolean, nullable=False, comment="rejected because there is no fault, not for another reason"),
    CheckConstraint("not is_false_alarm or decision = 'reject'", name="false_alarms_are_rejected"),
    Column("confidence", Double, comment="how sure the operator is; null where not said"),
    Column("priority", Text, comment="set by a modification, as the next three"),
    Column("not_before", TIME),
    Column("not_after", TIME),
    Column("skills", JSONB(none_as_null=True)),
    CheckConstraint("decision in ('approve', 'reject', 'defer', 'cancel', 'modify')", name="decision"),
    CheckConstraint("confidence between 0 and 1", name="confidence"),
    CheckConstraint(
        "(decision = 'modify') = (num_nonnulls(priority, not_before, not_after, skills) > 0)", name="changes_are_modifications"
    ),
)

work_order_events = Table(
    "work_order_events",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    Column("order_id", Text, ForeignKey("work_orders.order_id"), nullable=False, index=True),
    Column("from_state", Text, comment="null: the order was opened"),
    Column("to_state", Text, nullable=False),
    Column("at", TIME, nullable=False, comment="when it took effect; for a processed site-day, the end of what it had read"),
    Column("recorded_at", TIME, nullable=False, server_default=text("clock_timestamp()")),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("request_id", Text, ForeignKey("decisions.request_id"), unique=True),
)

plans = Table("plans", metadata, *_columns(PLANS))

assignments = Table(
    "assignments",
    metadata,
    *_columns(ASSIGNMENTS),
    ForeignKeyConstraint(["order_id"], ["work_orders.order_id"]),
    CheckConstraint("end_at > start_at", name="positive_duration"),
    # PostgreSQL itself has no GiST index on text, but one on ranges of anything.
    ExcludeConstraint(
        (text("textrange(site, site, '[]')"), "&&"),
        (text("daterange(day, day, '[]')"), "&&"),
        (text("textrange(technician_id, technician_id, '[]')"), "&&"),
        (text("tstzrange(start_at, end_at)"), "&&"),
        name="nobody_is_in_two_places",
        using="gist",
    ),
)

event.listen(assignments, "before_create", DDL("create type textrange as range (subtype = text)"))  # type: ignore[no-untyped-call]

unplanned_orders = Table(
    "unplanned_orders", metadata, *_columns(UNPLANNED_ORDERS), ForeignKeyConstraint(["order_id"], ["work_orders.order_id"])
)

maintenance_log = Table(
    "maintenance_log",
    metadata,
    Column("log_id", BigInteger, Identity(), primary_key=True),
    Column("request_id", Text, nullable=False, unique=True),
    Column("order_id", Text, ForeignKey("work_orders.order_id"), index=True),
    Column("site", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
    Column("started_at", TIME, nullable=False),
    Column("ended_at", TIME, nullable=False),
    Column("technician", Text, nullable=False),
    Column("finding", Text, nullable=False, comment="an ISO 14224 failure mode, or no_fault_found"),
    Column("note", Text, nullable=False),
    Column("failure_mechanism", Text, comment="ISO 14224 code; null where not said"),
    Column("failure_cause", Text, comment="ISO 14224 code; null where not said"),
    Column("parts_used", JSONB, nullable=False, server_default="[]", comment="part ids, one for each piece"),
    Column("hours_worked", Double, comment="hands on the machine, without waiting and ways; null where not said"),
    Column("scheduled_start_at", TIME, comment="its place in the plan of an earlier day, off which the report took it; null: none"),
    Column("scheduled_end_at", TIME),
    CheckConstraint("ended_at >= started_at", name="in_order"),
    CheckConstraint("hours_worked >= 0", name="hours_worked"),
    Index(None, "site", "machine_id", "started_at"),
)


def _one_of(column: str, values: Iterable[str]) -> str:
    return f"{column} in (" + ", ".join(f"'{v}'" for v in values) + ")"


NOTIFICATION_STATES = ("pending", "sending", "sent", "failed", "withdrawn")

notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", BigInteger, Identity(), primary_key=True),
    Column("event_key", Text, nullable=False, comment="names the event for good"),
    Column("receiver_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("site", Text, comment="null: it concerns no single site"),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="pending", comment="withdrawn: no longer true before it was sent"),
    Column("created_at", TIME, nullable=False),
    Column("next_attempt_at", TIME, nullable=False),
    Column("message_id", Text, comment="the message it went out with, alone or in a summary; the same at every attempt"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("attempted_at", TIME, comment="when the latest attempt began"),
    Column("lease_until", TIME, comment="who sends it has until then; null unless it is being sent"),
    Column("sent_at", TIME),
    Column("last_error", Text),
    CheckConstraint(_one_of("severity", SEVERITIES), name="severity"),
    CheckConstraint(_one_of("state", NOTIFICATION_STATES), name="state"),
    CheckConstraint("(state = 'sending') = (lease_until is not null)", name="lease"),
    UniqueConstraint("event_key", "receiver_id"),
    Index("ix_notifications_waiting", "receiver_id", postgresql_where=text("state in ('pending', 'sending')")),
    Index(None, "receiver_id", "attempted_at"),
)
