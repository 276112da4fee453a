"""The chain behind one work order: who decided, what was predicted, which incidents, windows, readings, segments and drops.

Everything is looked up as it is stored; what is missing is said, never left out in silence.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version as distribution_version
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from assets.partitions import SiteDay
from assets.tracing.originals import Original, look_up
from ml.plant import Site
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.ledger.quarantine import drop_named, origin_of
from resources.ledger.rows import jsonable
from resources.ledger.tracing import (
    Row,
    detectors_behind,
    drops_by_seq,
    history_of,
    incidents_behind,
    places_of,
    prediction_behind,
    segments_of,
    work_done_on,
)
from resources.ledger.work import order_row

Trace = dict[str, Any]

# What a work order rests on, in the order in which it flows; the runs that made these are named.
STEPS = (
    "sensor_readings", "sensor_quality", "machine_features", "anomaly_scores", "incidents", "machine_health", "failure_predictions",
    "work_orders",
)  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """Where the chain is looked up. `instance` knows the runs."""

    connection: Connection
    lake: LakeResource
    landing: LandingResource
    instance: dg.DagsterInstance
    sites: Mapping[str, Site]


def trace_order(order_id: str, sources: Sources) -> Trace:
    """The whole chain, ready for JSON. Raises UnknownOrder, KeyError for an order of a site that has left the plant folder."""
    connection = sources.connection
    order = order_row(connection, order_id)
    site = sources.sites[order["site"]]
    incidents = incidents_behind(connection, order)
    behind = [_incident(row, sources, site=site) for row in incidents]
    versions = {row["model_version"] for row in incidents}
    readings = pd.concat([b.readings for b in behind]) if behind else _NO_READINGS
    drops = _drops(readings, [b.used for b in behind], sources, site=site)
    trace: Trace = jsonable(
        {
            "order": order,
            "history": history_of(connection, order_id),
            "places": places_of(connection, order_id),
            "work_done": work_done_on(connection, order_id),
            "prediction": prediction_behind(connection, order),
            "incidents": [b.told for b in behind],
            "detectors": detectors_behind(connection, site=site.site, versions=versions),
            "drops": drops,
            "runs": _runs(sources.instance, SiteDay(order["assessed_on"], site.site)),
            "code_version": distribution_version("smart-maintenance"),
        }
    )
    trace["gaps"] = gaps_of(trace)
    return trace


def gaps_of(trace: Trace) -> list[str]:
    """Every link of the chain that could not be resolved, in words; none for an order that is traced to its bytes."""
    found = []
    if trace["prediction"] is None and trace["order"]["probability_30d"] is not None:
        found.append("the prediction behind its probabilities is no longer stored: its day has been processed anew since")
    for incident in trace["incidents"]:
        if not incident["windows"]:
            found.append(f"no scored window of {incident['incident_id']} is stored")
        for window in incident["windows"]:
            lost = [r for r in window["readings"] if not r["n_readings"]]
            found += [f"{r['sensor_id']} has no stored readings at {window['window_start']}" for r in lost]
    known = {detector["version"] for detector in trace["detectors"]}
    asked = {incident["model_version"] for incident in trace["incidents"]}
    found += [f"the ledger does not know detector version {version}" for version in sorted(asked - known)]
    for drop in trace["drops"]:
        found += [f"drop {drop['drop_id']}: {drop['note']}"] if drop["note"] else []
    found += [f"no run is on record for {name}" for name, run in trace["runs"].items() if run is None]
    return found


_READ = ["sensor_id", "timestamp", "value", "drop_seq"]
_NO_READINGS = pd.DataFrame({"sensor_id": [], "timestamp": pd.Series(dtype="datetime64[us, UTC]"), "value": [], "drop_seq": []})


@dataclass(frozen=True)
class _Behind:
    """An incident as told, the readings of the windows shown, and how many readings of each drop it rests on in all."""

    told: Row
    readings: pd.DataFrame
    used: "pd.Series[int]"


def _incident(row: Row, sources: Sources, *, site: Site) -> _Behind:
    """With three of its windows (the first, the highest, the last) shown down to their readings."""
    step = timedelta(minutes=site.window_minutes)
    first, last = row["onset_at"].astimezone(UTC), row["last_window_at"].astimezone(UTC)
    scores = sources.lake.read_days("anomaly_scores", site=site.site, start=first.date(), end=last.date())
    of_machine = (scores["machine_id"] == row["machine_id"]) & (scores["state"] == "scored")
    scored = scores[of_machine & scores["window_start"].between(pd.Timestamp(first), pd.Timestamp(last))].reset_index(drop=True)
    sensors = sorted(set(row["moved_sensors"]) | {row["top_sensor_id"]})
    all_read = _readings(sources.lake, site=site.site, sensors=sensors, start=first, end=last + step)
    shown = scored.loc[sorted({0, int(scored["score"].idxmax()), len(scored) - 1})] if len(scored) else scored
    windows, parts = [], [_NO_READINGS]
    for window in shown.to_dict("records"):
        start = window["window_start"]
        within = all_read[(all_read["timestamp"] >= start) & (all_read["timestamp"] < start + step)]
        parts.append(within)
        of_sensor = {str(sensor): rows for sensor, rows in within.groupby("sensor_id")}
        windows.append(
            {
                **{str(name): value for name, value in window.items() if name != "moved_sensors"},
                "moved_sensors": json.loads(window["moved_sensors"]),
                "readings": [_read(sensor, of_sensor.get(sensor, _NO_READINGS)) for sensor in sensors],
            }
        )
    on = site.policy.detection.on_threshold
    kept = ("incident_id", "machine_id", "onset_at", "last_window_at", "ended_at", "label", "day", "verdict", "confidence_before",
            "confidence", "reasons", "rules", "failure_mode", "moved_sensors", "top_sensor_id", "peak_score", "model_version")  # fmt: skip
    told = {
        **{name: row[name] for name in kept},
        "n_windows_scored": len(scored),
        "n_windows_above_threshold": int((scored["score"] >= on).sum()),
        "n_readings": len(all_read),
        "windows": windows,
    }
    return _Behind(told, pd.concat(parts), all_read["drop_seq"].value_counts())


def _read(sensor_id: str, rows: pd.DataFrame) -> Row:
    n = len(rows)
    return {
        "sensor_id": sensor_id,
        "n_readings": n,
        "first_at": rows["timestamp"].min() if n else None,
        "last_at": rows["timestamp"].max() if n else None,
        "mean": float(rows["value"].mean()) if n else None,
        "drop_seqs": sorted({int(seq) for seq in rows["drop_seq"]}),
    }


def _readings(lake: LakeResource, *, site: str, sensors: Sequence[str], start: datetime, end: datetime) -> pd.DataFrame:
    days = [start.date() + timedelta(days=n) for n in range((end.date() - start.date()).days + 1)]
    found = [_NO_READINGS]
    for day in days:
        table = lake.read_arrow("sensor_readings", site=site, day=day, columns=_READ)
        if table is not None:
            at = table["timestamp"]
            of_sensors = pc.is_in(table["sensor_id"], value_set=pa.array(sensors, pa.string()))
            wanted = pc.and_(of_sensors, pc.and_(pc.greater_equal(at, start), pc.less(at, end)))
            found.append(table.filter(wanted).to_pandas())
    return pd.concat(found, ignore_index=True).astype({"sensor_id": "str", "value": "float64", "drop_seq": "int64"})


def _drops(readings: pd.DataFrame, used: Sequence["pd.Series[int]"], sources: Sources, *, site: Site) -> list[Row]:
    """Every drop that the incidents rest on, in the order of intake, with the lines of the readings shown."""
    counted = pd.concat(used).groupby(level=0).sum() if used else pd.Series(dtype="int64")
    by_seq = drops_by_seq(sources.connection, [int(seq) for seq in counted.index])
    shown = readings.drop_duplicates(["sensor_id", "timestamp"])
    told = []
    for seq, n_readings in sorted(counted.items()):
        drop = by_seq[int(str(seq))]
        of_drop = shown[shown["drop_seq"] == seq].sort_values(["sensor_id", "timestamp"], ignore_index=True)
        original = _original(drop, of_drop, sources, site=site)
        told.append(
            {
                **{name: drop[name] for name in ("drop_seq", "drop_id", "file_name", "sha256", "size_bytes", "received_at", "kept_as")},
                **{name: drop[name] for name in ("rows_in", "rows_accepted", "run_id", "releases")},
                "n_readings": int(n_readings),
                "is_intact": original.is_intact,
                "lines": _lines_by_sensor(of_drop, original),
                "note": original.note,
                "segments": _segments(drop, readings=of_drop, sources=sources, site=site),
            }
        )
    return told


def _original(drop: Row, readings: pd.DataFrame, sources: Sources, *, site: Site) -> Original:
    """Of a release the rows stand in the file that it goes back to."""
    kept_as, sha256, received_at = drop["kept_as"], drop["sha256"], drop["received_at"]
    if drop["releases"] is not None:
        origin = drop_named(sources.connection, origin_of(sources.connection, drop["releases"], site=site.site).drop_id)
        kept_as, sha256, received_at = origin["kept_as"], origin["sha256"], origin["received_at"]
    return look_up(sources.landing.kept_path(kept_as), readings, sha256=sha256, received_at=received_at, site=site)


def _lines_by_sensor(readings: pd.DataFrame, original: Original) -> list[Row]:
    lines = readings.assign(line=list(original.lines))
    lines = lines[lines["line"] > 0]
    return [
        {
            "sensor_id": str(sensor),
            "first_line": int(rows["line"].min()),
            "last_line": int(rows["line"].max()),
            "n": len(rows),
            "readings": [
                {"timestamp": r["timestamp"], "value": float(r["value"]), "line": int(r["line"])} for r in rows.to_dict("records")
            ],
        }
        for sensor, rows in lines.groupby("sensor_id", sort=True)
    ]


def _segments(drop: Row, *, readings: pd.DataFrame, sources: Sources, site: Site) -> list[Row]:
    days: list[date] = sorted({at.date() for at in readings["timestamp"]})
    return [
        {**row, "path": str(sources.lake.segment_path(site=site.site, day=row["day"], drop_id=drop["drop_id"]))}
        for row in segments_of(sources.connection, site=site.site, days=days, drop_ids=[drop["drop_id"]])
    ]


def _runs(instance: dg.DagsterInstance, site_day: SiteDay) -> dict[str, Row | None]:
    """The latest run that made each step's site-day, and the version of the step's code then."""
    found: dict[str, Row | None] = {}
    for name in STEPS:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[site_day.key])
        records = instance.fetch_materializations(wanted, limit=1).records
        made = records[0].asset_materialization if records else None
        found[name] = None if made is None else {
            "run_id": records[0].run_id,
            "at": datetime.fromtimestamp(records[0].timestamp, UTC),
            "code_version": (made.tags or {}).get("dagster/code_version"),
            "day": site_day.day,
        }  # fmt: skip
    return found
