"""One declaration per stored table: columns, types, units, ranges, null rule and key. Here those of the lake.

From a contract come the Parquet schema, the ledger's table (`expectations.ledger_contracts`), the column schema shown in the
Dagster UI and the Great Expectations suite.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
SITE_DAY = ("site", "day")


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType
    description: str
    unit: str | None = None
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    one_of: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Contract:
    """A stored table; `key` names the columns that identify a row; a file of the lake is sorted by them."""

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    @property
    def of_one_site_day(self) -> "Contract":
        """The rows of one site-day before they are stored: site and day say where, they are not in them."""
        columns = tuple(c for c in self.columns if c.name not in SITE_DAY)
        return replace(self, columns=columns, key=tuple(k for k in self.key if k not in SITE_DAY))


def number(name: str, description: str, unit: str | None = None, **rules: float | bool | None) -> Column:
    return Column(name, pa.float64(), description, unit, **rules)  # type: ignore[arg-type]


SENSOR_ID = Column("sensor_id", pa.string(), "the sensor, as named in the plant file")
MACHINE_ID = Column("machine_id", pa.string(), "the machine, as named in the plant file")
WINDOW_START = Column("window_start", TIMESTAMP, "start of the window; it covers the site's window length", "UTC")

SEGMENTS = Contract(
    "segments",
    (
        SENSOR_ID,
        Column("timestamp", TIMESTAMP, "when the value was measured", "UTC"),
        number("value", "the measured value", "the sensor's unit"),
    ),
    key=("sensor_id", "timestamp"),
)

SENSOR_READINGS = Contract(
    "sensor_readings",
    (*SEGMENTS.columns, Column("drop_seq", pa.int32(), "the drop it came from: drops.drop_seq in the ledger", low=1)),
    key=SEGMENTS.key,
)

QUARANTINED_ROWS = Contract(
    "quarantined_rows",
    (
        Column("line", pa.int64(), "physical line of the delivered text, the first being 1, or row of a Parquet file", low=1),
        Column("column", pa.string(), "the column of a wide file; null in a long one", nullable=True),
        Column("sensor_id", pa.string(), "the sensor, as named in the plant file; null where it is not known", nullable=True),
        Column("timestamp", TIMESTAMP, "when the value was measured; null where it could not be read", "UTC", nullable=True),
        Column("reason", pa.string(), "why it was refused"),
        Column("raw", pa.string(), "the row as delivered"),
    ),
    key=("line", "column"),
)

SENSOR_QUALITY = Contract(
    "sensor_quality",
    (
        SENSOR_ID,
        MACHINE_ID,
        Column("n_readings", pa.int64(), "readings stored for the day", low=0),
        Column("n_expected", pa.int64(), "readings due for the day (to the last reading of the site, if the day goes on)", low=0),
        number("coverage", "share of the due intervals that hold a reading", low=0, high=1),
        number("longest_gap_s", "longest time without a reading", "s", low=0),
        number("stuck_share", "share of the day within runs of one repeated value", low=0, high=1),
        number("refused_share", "share of the delivered rows outside the physical range", low=0, high=1),
        number("noise", "robust standard deviation of the second differences", "the sensor's unit", nullable=True, low=0),
        number("clock_jitter", "robust spread of the reading interval, over the nominal interval", nullable=True, low=0),
        number("last_value_age_s", "age of the last reading at the end of what the site delivered for the day", "s", low=0),
        number("level", "median level while the machine ran and had settled", "the sensor's unit", nullable=True),
        number("usual_level", "the same of the seven days before", "the sensor's unit", nullable=True),
        number("noise_ratio", "scatter within the windows, over what is usual in the seven days before", nullable=True, low=0),
        number("clock_drift_s_per_day", "by how much the timestamps gain on the sensor's own interval", "s per day", nullable=True),
        number("score", "0 unusable .. 1 faultless", low=0, high=1),
        Column("grade", pa.string(), "A good, B fair, C poor, F unusable", one_of=("A", "B", "C", "F")),
        Column(
            "faults",
            pa.string(),
            "faults recognised: dead, wrong_unit, out_of_range, stuck, noisy, clock_drift; separated by blanks, the gravest first",
        ),
        Column("findings", pa.string(), "what cost points, in words; empty for a faultless sensor"),
    ),
    key=("sensor_id",),
)

MACHINE_FEATURES = Contract(
    "machine_features",
    (
        MACHINE_ID,
        WINDOW_START,
        SENSOR_ID,
        Column("n_readings", pa.int32(), "readings in the window", low=1),
        number("coverage", "share of the readings due in the window", low=0, high=1),
        number("mean", "mean", "the sensor's unit"),
        number("std", "sample standard deviation; 0 for a single reading", "the sensor's unit", low=0),
        number("min", "smallest value", "the sensor's unit"),
        number("max", "largest value", "the sensor's unit"),
        number("last", "last value", "the sensor's unit"),
        number("slope_per_h", "least-squares slope", "the sensor's unit per hour"),
        number("rms", "root mean square; vibration only", "the sensor's unit", nullable=True, low=0),
        number("kurtosis", "excess kurtosis; vibration only, null below 4 readings or without spread", nullable=True),
        number("crest_factor", "peak over RMS; vibration only", nullable=True, low=0),
        number("running_share", "share of the window in which the machine ran", low=0, high=1),
    ),
    key=("machine_id", "window_start", "sensor_id"),
)

MEMBERS = ("robust_z", "ewma", "cusum", "pca_t2", "pca_q", "isolation_forest", "forecast")

ANOMALY_SCORES = Contract(
    "anomaly_scores",
    (
        MACHINE_ID,
        WINDOW_START,
        Column("state", pa.string(), "why a window has a score or none", one_of=("scored", "stopped", "settling", "too_few_readings")),
        number("score", "fused anomaly score, higher is more anomalous; null unless scored", nullable=True, low=0, high=1),
        *(
            number(m, f"score of the member {m}, on the same scale; null where it cannot score", nullable=True, low=0, high=1)
            for m in MEMBERS
        ),
        Column("n_members_agreeing", pa.int32(), "members at or above the on-threshold", low=0),
        Column("n_sensors_moved", pa.int32(), "sensors with a robust z of 4 or more in any feature", low=0),
        Column("top_sensor_id", pa.string(), "the sensor that contributes most; null unless scored", nullable=True),
        Column(
            "moved_sensors",
            pa.string(),
            'JSON object sensor_id -> {"share": 0..1, "z": signed, "feature": name}, the largest contributions first; empty where the '
            "score is below half of what opens an incident and no sensor moved, and where many share the movement evenly",
        ),
        Column("model_version", pa.int32(), "version of the site's detector in MLflow", low=1),
    ),
    key=("machine_id", "window_start"),
)

DRIFT_REFERENCE = Contract(
    "drift_reference",
    (
        SENSOR_ID,
        Column("quantity", pa.string(), "level: the windows' means; spread: their standard deviations", one_of=("level", "spread")),
        number("probability", "of a healthy window's level or spread at or below the value", low=0, high=1),
        number("value", "that quantile", "the sensor's unit"),
        number("n_per_day", "how many independent windows a day is worth", low=0),
        Column("n_days", pa.int32(), "days that the windows are from", low=1),
    ),
    key=("sensor_id", "quantity", "probability"),
)

CONTRACTS: dict[str, Contract] = {
    c.table: c for c in (SEGMENTS, QUARANTINED_ROWS, SENSOR_READINGS, SENSOR_QUALITY, MACHINE_FEATURES, ANOMALY_SCORES, DRIFT_REFERENCE)
}
