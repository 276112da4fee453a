"""The contracts of what site-days leave in the ledger; `resources.ledger.tables` makes the tables of them.

Keys, foreign keys and constraints that reach over several tables stand there. Whose rows belong to one site-day has `site` and
`day` in its key; work orders live on from day to day.
"""

import pyarrow as pa

from expectations.contracts import MACHINE_ID, MEMBERS, SENSOR_ID, TIMESTAMP, Column, Contract, number
from ml.plant import FAILURE_MODE_NAMES

DAY = pa.date32()
JSON = pa.json_()
ALARM_PRIORITIES = ("high", "medium", "low")
VERDICTS = ("credible", "investigate", "false_positive_suspected")
ORDER_STATES = (
    "proposed", "awaiting_decision", "approved", "scheduled", "in_progress", "completed", "rejected", "deferred", "cancelled",
)  # fmt: skip

_SITE = Column("site", pa.string(), "the site, as named in its plant file")
_DAY = Column("day", DAY, "the day", "UTC")
_MODE = Column("failure_mode", pa.string(), "ISO 14224 code of what is likely to fail, and how", one_of=tuple(FAILURE_MODE_NAMES))
_INCIDENT_ID = Column("incident_id", pa.string(), "machine and onset: a re-run finds the same incident")
_ORDER_ID = Column("order_id", pa.string(), "the work order")
_MODEL_VERSION = Column("model_version", pa.int32(), "version of the site's detector in MLflow", low=1)

MACHINE_HEALTH = Contract(
    "machine_health",
    (
        _SITE,
        _DAY,
        MACHINE_ID,
        number("health", "100 well .. 0: what the parts leave of 100", low=0, high=100),
        number("score_part", "points for anomalous windows", low=0, high=25),
        number("limit_part", "points for nearness to alarm and trip limits", low=0, high=50),
        number("incident_part", "points for incidents, by verdict", low=0, high=30),
        Column("explanation", pa.string(), "what cost points, in words"),
    ),
    key=("site", "day", "machine_id"),
)

PREDICTIONS = Contract(
    "predictions",
    (
        _SITE,
        _DAY,
        MACHINE_ID,
        _MODE,
        Column("as_of", TIMESTAMP, "end of the last window that was known", "UTC"),
        number("probability_7d", "probability of failure within 7 days", low=0, high=1),
        number("probability_30d", "probability of failure within 30 days", low=0, high=1),
        number("ttf_p10_days", "time to failure that one in ten falls short of; null: not within the horizon", "d", nullable=True, low=0),
        number("ttf_p50_days", "median time to failure; null: not within the horizon", "d", nullable=True, low=0),
        number("ttf_p90_days", "time to failure that nine in ten fall short of; null: not within the horizon", "d", nullable=True, low=0),
        Column("fails_p10_at", TIMESTAMP, "as_of and ttf_p10_days later", "UTC", nullable=True),
        Column("fails_p50_at", TIMESTAMP, "as_of and ttf_p50_days later", "UTC", nullable=True),
        Column("fails_p90_at", TIMESTAMP, "as_of and ttf_p90_days later", "UTC", nullable=True),
        Column("leading_sensor_id", pa.string(), "the sensor most likely to reach its limit; null: none comes near one", nullable=True),
        Column("limit_kind", pa.string(), "the limit that stands for the failure", nullable=True, one_of=("alarm", "trip")),
        Column("limit_side", pa.string(), "from which side it is reached", nullable=True, one_of=("low", "high")),
        number("limit_value", "that limit", "the sensor's unit", nullable=True),
        Column(
            "method", pa.string(), "how the sensor was forecast; observed: it is beyond its limit", one_of=("prophet", "linear", "observed")
        ),
        Column(
            "calibrated_on",
            pa.int32(),
            "so many simulated failures put the probabilities and times right; null: they are the forecast's own",
            nullable=True,
            low=1,
        ),
        Column("model_version", pa.string(), "what computed it, with version and calibration; null: not kept then", nullable=True),
        Column("passages", JSON, "each limit of the leading sensor by itself, alarms and trips apart; null: not kept then", nullable=True),
        Column("note", pa.string(), "what a reader must know of it; empty where nothing"),
        Column("incident_ids", JSON, "the incidents it was asked for; empty: falling health"),
    ),
    key=("site", "day", "machine_id", "failure_mode"),
)

LEARNED_PREDICTIONS = Contract(
    "learned_predictions",
    (
        _SITE,
        _DAY,
        MACHINE_ID,
        Column("as_of", TIMESTAMP, "end of the last step of the day in which the machine reported", "UTC"),
        Column("horizon_h", pa.int32(), "the probability is that of a failure within so many hours", "h", low=1),
        number("probability", "probability of failure within the horizon, calibrated", low=0, high=1),
        Column("model_version", pa.int32(), "version of the site's failure model in MLflow", low=1),
        Column("artifact_sha256", pa.string(), "sha256 of the model's bytes"),
    ),
    key=("site", "day", "machine_id"),
)

INCIDENTS = Contract(
    "incidents",
    (
        _INCIDENT_ID,
        _SITE,
        MACHINE_ID,
        Column("onset_at", TIMESTAMP, "start of its first anomalous window", "UTC"),
        Column("label", pa.string(), "what people found; null while nobody said", nullable=True, one_of=("confirmed", "false_alarm")),
    ),
    key=("incident_id",),
)

INCIDENT_ASSESSMENTS = Contract(
    "incident_assessments",
    (
        _INCIDENT_ID,
        Column("day", DAY, "what was known of the incident at the end of this day", "UTC"),
        _SITE,
        Column("last_window_at", TIMESTAMP, "start of its latest anomalous window", "UTC"),
        Column("ended_at", TIMESTAMP, "when it was over; null while it goes on", "UTC", nullable=True),
        Column("n_windows", pa.int32(), "anomalous windows", low=1),
        number("duration_s", "from onset to the end of the latest anomalous window", "s", low=0),
        number("peak_score", "highest anomaly score", low=0, high=1),
        number("mean_score", "mean anomaly score of its windows", low=0, high=1),
        Column("n_members_agreeing", pa.int32(), "members of the detector that saw it", low=0, high=len(MEMBERS)),
        Column("n_sensors_moved", pa.int32(), "sensors that moved", low=0),
        Column("top_sensor_id", pa.string(), "the sensor that contributes most"),
        Column("direction", pa.int32(), "where that sensor went: 1 up, -1 down, 0 where no sensor leads", low=-1, high=1),
        _MODE,
        Column("moved_sensors", JSON, "sensor_id -> its share of the movement, z and feature"),
        Column("evidence", JSON, "what the verdict rests on"),
        number("confidence_before", "confidence before the rules", low=0, high=1),
        number("confidence_by_rules", "confidence after the rules", low=0, high=1),
        number("confidence", "the same, calibrated by what people found of earlier incidents", low=0, high=1),
        Column("verdict", pa.string(), "what the confidence makes of it", one_of=VERDICTS),
        Column("failed", JSON, "names of the rules it failed"),
        Column("reasons", JSON, "the same in words"),
        Column("rules", JSON, "every rule as it was applied: its claim, the value, whether it held, what it took off"),
        _MODEL_VERSION,
    ),
    key=("incident_id", "day"),
)

INCIDENT_ALARMS = Contract(
    "incident_alarms",
    (
        _SITE,
        _DAY,
        _INCIDENT_ID,
        MACHINE_ID,
        Column("alarm_id", pa.string(), "the incident's own name, or that of the event of the whole site that it is part of"),
        Column("is_site_event", pa.bool_(), "its machine moved together with most of the site: they share one alarm"),
        Column("priority", pa.string(), "by criticality, verdict and peak, as judged when the day was processed", one_of=ALARM_PRIORITIES),
        Column("opened_at", TIMESTAMP, "end of the window that completed the on-delay", "UTC"),
        Column("raised_at", TIMESTAMP, "when its alarm was raised, once; null while it is held back", "UTC", nullable=True),
        Column("shelving_id", pa.int32(), "the shelving that holds it back; null where none does", nullable=True, low=1),
    ),
    key=("site", "day", "incident_id"),
)

_COUNTS = "of the alarms raised on the day"
ALARM_KPIS = Contract(
    "alarm_kpis",
    (
        _SITE,
        _DAY,
        Column("n_operators", pa.int32(), "people who share the site's alarms", low=1),
        Column("n_periods", pa.int32(), "periods of 10 minutes that the day had been read for", low=0, high=144),
        Column("n_alarms", pa.int32(), "alarms raised on the day; an event of the whole site is one", low=0),
        Column("n_site_events", pa.int32(), "of them, events of the whole site", low=0),
        number("rate_mean", "alarms per 10 minutes and operator, mean of the periods", low=0),
        number("rate_peak", "alarms per 10 minutes and operator, highest of the periods", low=0),
        Column("n_flood_periods", pa.int32(), "periods in flood: from more than 10 alarms per operator to fewer than 5", low=0, high=144),
        Column("n_chattering", pa.int32(), "machines with their third alarm within 24 hours", low=0),
        Column("n_fleeting", pa.int32(), "alarms of the day that were over within 30 minutes", low=0),
        Column("n_stale", pa.int32(), "alarms that had stood for more than 24 hours, without those shelved", low=0),
        Column("n_standing", pa.int32(), "alarms that still stood at the end, without those shelved", low=0),
        Column("n_held_back", pa.int32(), "active incidents whose alarm a shelving held back", low=0),
        Column("n_high", pa.int32(), f"{_COUNTS}, those of priority high", low=0),
        Column("n_medium", pa.int32(), f"{_COUNTS}, those of priority medium", low=0),
        Column("n_low", pa.int32(), f"{_COUNTS}, those of priority low", low=0),
    ),
    key=("site", "day"),
)

WORK_ORDERS = Contract(
    "work_orders",
    (
        _ORDER_ID,
        _SITE,
        MACHINE_ID,
        _MODE,
        Column("opened_on", DAY, "the day whose findings opened it", "UTC"),
        Column("assessed_on", DAY, "the latest day whose findings these figures rest on", "UTC"),
        Column("state", pa.string(), "where it stands", one_of=ORDER_STATES),
        Column("title", pa.string(), "the work, in one line"),
        Column("reason", pa.string(), "why it is worth doing"),
        Column("priority", pa.string(), "how soon it is due", one_of=("urgent", "high", "medium", "low")),
        Column("is_urgent", pa.bool_(), "likely to fail within the days that the site calls urgent"),
        number("risk_cost", "expected cost of doing nothing for 30 days", "the site's currency", low=0),
        number("probability_7d", "probability of failure within 7 days; null: nothing was predicted", nullable=True, low=0, high=1),
        number("probability_30d", "probability of failure within 30 days; null: nothing was predicted", nullable=True, low=0, high=1),
        number("confidence", "of its incidents, the highest; 0 without one", low=0, high=1),
        Column("due_at", TIMESTAMP, "the work should have ended by then", "UTC"),
        Column("actions", JSON, "what to do, step by step"),
        Column("crew", JSON, "who does it: for each technician the skills that this one must have"),
        Column("parts", JSON, "the spare parts it takes"),
        number("duration_h", "how long it takes", "h", low=0),
        Column("deferred_until", TIMESTAMP, "when it comes up again; null unless deferred", "UTC", nullable=True),
        Column("not_before", TIMESTAMP, "the work must not begin earlier, as a person said; null: at any time", "UTC", nullable=True),
        Column("set_by_people", JSON, "what a person set and no assessment changes; null: nothing", nullable=True),
    ),
    key=("order_id",),
)

PLANS = Contract(
    "plans",
    (
        _SITE,
        _DAY,
        Column("start_at", TIMESTAMP, "nothing is planned before", "UTC"),
        Column("n_orders", pa.int32(), "orders that waited for a place", low=0),
        Column("n_planned", pa.int32(), "orders that found one", low=0),
        Column("status", pa.string(), "what the planner says of it", one_of=("empty", "optimal", "feasible")),
        number("objective", "cost of the plan within shifts"),
        number("gap", "the share of it that a better plan could save at most", low=0, high=1),
    ),
    key=("site", "day"),
)

ASSIGNMENTS = Contract(
    "assignments",
    (
        _SITE,
        Column("day", DAY, "the plan it belongs to", "UTC"),
        _ORDER_ID,
        Column("technician_id", pa.string(), "who does it, as named in the plant file"),
        Column("start_at", TIMESTAMP, "when the work begins", "UTC"),
        Column("end_at", TIMESTAMP, "when it ends", "UTC"),
        Column("is_overtime", pa.bool_(), "a call-out outside the shifts"),
        Column("is_late", pa.bool_(), "it ends after the order is due"),
        Column("revision", pa.int32(), "how often its time has changed since the technician first had it", low=0),
    ),
    key=("site", "day", "order_id", "technician_id"),
)

UNPLANNED_ORDERS = Contract(
    "unplanned_orders",
    (
        _SITE,
        Column("day", DAY, "the plan that has no place for it", "UTC"),
        _ORDER_ID,
        Column("reason", pa.string(), "what stands in the way"),
        Column("earliest_alternative", TIMESTAMP, "when it could be done; null: not within reach", "UTC", nullable=True),
        Column("smallest_change", pa.string(), "what would give it a place; null: no single change that is looked for", nullable=True),
    ),
    key=("site", "day", "order_id"),
)

DRIFT_FINDINGS = Contract(
    "drift_findings",
    (
        _SITE,
        _DAY,
        SENSOR_ID,
        MACHINE_ID,
        number("ks", "largest distance between the distribution of the day's window means and the one trained on", low=0, high=1),
        number("ks_p", "its p-value at the effective sample sizes", low=0, high=1),
        number("psi", "population stability index over the tenths of what was trained on", low=0),
        number("spread_ks", "the same distance for the windows' standard deviations", low=0, high=1),
        number("spread_ks_p", "its p-value", low=0, high=1),
        number("spread_psi", "their population stability index", low=0),
        Column("n", pa.int32(), "windows of the day in which the machine ran", low=1),
        Column("is_drifted", pa.bool_(), "a distance stands among all the site's, and the shift is large"),
        Column("drifted_in", pa.string(), "what has drifted; null: nothing", nullable=True, one_of=("level", "spread", "both")),
        _MODEL_VERSION,
    ),
    key=("site", "day", "sensor_id"),
)

LEDGER_CONTRACTS: dict[str, Contract] = {
    c.table: c
    for c in (
        MACHINE_HEALTH, PREDICTIONS, INCIDENTS, INCIDENT_ASSESSMENTS, INCIDENT_ALARMS, ALARM_KPIS, WORK_ORDERS,
        PLANS, ASSIGNMENTS, UNPLANNED_ORDERS, DRIFT_FINDINGS, LEARNED_PREDICTIONS,
    )
}  # fmt: skip
