"""The performance summary: what was delivered, how the machines are, how long they ran, what is predicted."""

from datetime import timedelta

import numpy as np
import pandas as pd

from assets.reporting import charts as draw
from assets.reporting import foresight, queries
from assets.reporting.report import NOTHING, Chart, Figure, Section, charts, counted, table, tables
from assets.reporting.scope import GRADE_ORDER, Scope
from ml.plant import FAILURE_MODE_NAMES

LOW_HEALTH = 60
_WORST_SENSORS = 20


def sections(scope: Scope) -> tuple[Section, ...]:
    columns = ("sensor_id", "machine_id", "n_readings", "n_expected", "coverage", "longest_gap_s", "score", "grade", "findings")
    quality = scope.read("sensor_quality", columns)
    return (
        _delivered(scope, quality),
        _health(scope),
        _availability(scope),
        _worst_sensors(scope, quality),
        _outlook(scope),
        foresight.section(scope),
    )


def _delivered(scope: Scope, quality: pd.DataFrame) -> Section:
    rows = queries.rows_per_day(scope.connection, **scope.range)
    if quality.empty and rows.empty:
        return Section("Readings", NOTHING)
    figures = [
        Figure("Rows accepted", int(rows["accepted"].sum()), note="rows delivered twice count twice"),
        Figure("Rows refused", int(rows["quarantined"].sum()), note="those with a known day"),
    ]
    if quality.empty:
        return Section("Readings", figures=tuple(figures), charts=charts(draw.readings_per_day(rows, days=scope.days)))
    figures += [
        Figure("Readings stored", int(quality["n_readings"].sum())),
        Figure("Coverage", _share_of_due(quality), "%", "readings stored of readings due"),
        Figure("Sensors", int(quality.groupby("site")["sensor_id"].nunique().sum())),
    ]
    types = [
        scope.sensors[key].type if key in scope.sensors else "not in the plant file"
        for key in zip(quality["site"], quality["sensor_id"], strict=True)
    ]
    by_type = quality.assign(type=types).groupby("type")
    coverage = pd.DataFrame(
        {
            "type": list(by_type.groups),
            "sensors": by_type["sensor_id"].nunique().to_numpy(),
            "mean": (100 * by_type["coverage"].mean()).round(1).to_numpy(),
            "lowest": (100 * by_type["coverage"].min()).round(1).to_numpy(),
            "gap": (by_type["longest_gap_s"].max() / 3600).round(2).to_numpy(),
        }
    )
    headings = {
        "type": "sensor type",
        "sensors": "sensors",
        "mean": "mean coverage (%)",
        "lowest": "lowest on a day (%)",
        "gap": "longest gap (h)",
    }
    return Section(
        "Readings",
        figures=tuple(figures),
        tables=(table("Coverage by sensor type", coverage, headings),),
        charts=charts(draw.readings_per_day(rows, days=scope.days)),
    )


def _share_of_due(quality: pd.DataFrame) -> float | None:
    due = quality["n_expected"].sum()
    return round(100 * min(1.0, float(np.minimum(quality["n_readings"], quality["n_expected"]).sum() / due)), 1) if due else None


def _health(scope: Scope) -> Section:
    health = queries.health(scope.connection, **scope.range)
    if health.empty:
        return Section("Machine health", NOTHING)
    by_machine = health.groupby(["site", "machine_id"], sort=False)
    now = by_machine.last().reset_index()
    now["change"] = (now["health"] - by_machine["health"].first().to_numpy()).round(1)
    now["lowest"] = by_machine["health"].min().to_numpy()
    machines = [scope.machines.get(key) for key in zip(now["site"], now["machine_id"], strict=True)]
    now["name"] = [m.name if m else None for m in machines]
    now["criticality"] = [m.criticality if m else None for m in machines]
    now = now.sort_values(["health", "machine_id"], kind="stable", ignore_index=True)
    worst = now.iloc[0]
    figures = (
        Figure("Mean health", round(float(now["health"].mean()), 1), "of 100", f"{counted(len(now), 'machine')}, each on its last day"),
        Figure("Lowest health", round(float(worst["health"]), 1), "of 100", str(worst["machine_id"])),
        Figure(f"Machines below {LOW_HEALTH}", int((now["health"] < LOW_HEALTH).sum()), f"of {len(now)}"),
    )
    headings = {
        "machine_id": "machine",
        "name": "name",
        "criticality": "criticality",
        "health": "health",
        "change": "change",
        "lowest": "lowest",
    }
    if scope.is_one_day:  # nothing can have changed within one day, of which there is one row
        del headings["change"], headings["lowest"]
    chart = draw.health_over_time(health.assign(machine=scope.named(health["machine_id"], health["site"])))
    shown = table(
        "Health by machine, lowest first", now.round({"health": 1, "lowest": 1}), scope.columns(headings | {"explanation": "explanation"})
    )
    return Section("Machine health", figures=figures, tables=(shown,), charts=charts(chart))


def _availability(scope: Scope) -> Section:
    windows = scope.read("machine_features", ("machine_id", "window_start", "running_share"))
    windows = windows.drop_duplicates(["site", "machine_id", "window_start"])
    known = {key for key, machine in scope.machines.items() if machine.running_when}
    assumed = len(scope.machines) - len(known)
    windows = windows[[key in known for key in zip(windows["site"], windows["machine_id"], strict=True)]]
    if windows.empty:
        return Section("Availability", NOTHING if known else "No machine has a sensor that tells whether it runs.")
    hours = windows["site"].map({s.site: s.window_minutes / 60 for s in scope.sites})
    windows = windows.assign(hours=hours, running=windows["running_share"] * hours)
    total = windows.groupby(["site", "machine_id"], as_index=False)[["hours", "running"]].sum()
    total["share"] = (100 * total["running"] / total["hours"]).round(1)
    total = total.sort_values(["share", "machine_id"], kind="stable", ignore_index=True).round({"hours": 1, "running": 1})
    figure = Figure(
        "Running share",
        round(100 * float(total["running"].sum() / total["hours"].sum()), 1),
        "%",
        f"{counted(len(total), 'machine')}, of the hours observed",
    )
    headings = {"machine_id": "machine", "share": "running (%)", "running": "hours run", "hours": "hours observed"}
    text = f"Left out: {counted(assumed, 'machine')} without a sensor that tells whether it runs." if assumed else ""
    return Section("Availability", text, (figure,), (table("Running time by machine", total, scope.columns(headings)),))


def _worst_sensors(scope: Scope, quality: pd.DataFrame) -> Section:
    title = "Sensors that need attention"
    if quality.empty:
        return Section(title, NOTHING)
    order = quality["grade"].map({g: n for n, g in enumerate(GRADE_ORDER)})
    worst = quality.assign(order=order).sort_values(["order", "score", "site", "sensor_id"], kind="stable")
    worst = worst.drop_duplicates(["site", "sensor_id"])
    flawed = worst[worst["grade"] != "A"].head(_WORST_SENSORS)
    if flawed.empty:
        return Section(title, f"None: all {len(worst)} sensors have grade A on every day.")
    flawed = flawed.assign(coverage=(100 * flawed["coverage"]).round(1))
    headings = {
        "sensor_id": "sensor",
        "machine_id": "machine",
        "grade": "grade",
        "score": "score",
        "coverage": "coverage (%)",
        "findings": "findings",
    }
    return Section(
        title, tables=(table("Each sensor's worst day, lowest grade first", flawed.round({"score": 2}), scope.columns(headings)),)
    )


def _outlook(scope: Scope) -> Section:
    found = queries.latest_predictions(scope.connection, **scope.range)
    if found.empty:
        return Section("Failure predictions", NOTHING)
    found = found.assign(
        mode=found["failure_mode"].map(FAILURE_MODE_NAMES).fillna(found["failure_mode"]),
        p7=(100 * found["probability_7d"]).round(1),
        p30=(100 * found["probability_30d"]).round(1),
        **{p: found[f"ttf_{p}_days"].astype("float64").round(1) for p in ("p10", "p50", "p90")},
    )
    headings = {
        "machine_id": "machine", "mode": "failure mode", "p7": "within 7 days (%)", "p30": "within 30 days (%)", "p10": "p10 (days)",
        "p50": "p50 (days)", "p90": "p90 (days)", "leading_sensor_id": "leading sensor", "method": "method", "as_of": "as of",
    }  # fmt: skip
    figures = (
        Figure("Machines with a prediction", len(found.drop_duplicates(["site", "machine_id"]))),
        Figure("Highest probability", float(found["p30"].iloc[0]), "%", f"{found['machine_id'].iloc[0]}, within 30 days"),
    )
    text = "A dash for p10, p50 or p90 means: not within the horizon."
    shown = table("Latest prediction for each machine and failure mode", found, scope.columns(headings))
    return Section("Failure predictions", text, figures, tables(shown), charts(_fan(scope, found)))


def _fan(scope: Scope, found: pd.DataFrame) -> Chart | None:
    """The most probable failure that has a leading sensor and a date, over the sensor's last days up to the prediction."""
    datable = found[found["ttf_p10_days"].notna() & found["leading_sensor_id"].notna() & found["limit_value"].notna()]
    if datable.empty:
        return None
    first = datable.iloc[0]
    columns = ("sensor_id", "window_start", "mean")
    day = first["day"]
    history = scope.lake.read_days("machine_features", site=first["site"], start=day - timedelta(days=13), end=day, columns=columns)
    history = history[history["sensor_id"] == first["leading_sensor_id"]].sort_values("window_start")
    sensor = scope.sensors.get((first["site"], first["leading_sensor_id"]))
    ttf = [None if pd.isna(first[f"ttf_{p}_days"]) else float(first[f"ttf_{p}_days"]) for p in ("p10", "p50", "p90")]
    return draw.prediction_fan(
        history.rename(columns={"window_start": "at", "mean": "value"}),
        name=str(first["leading_sensor_id"]),
        unit=sensor.unit if sensor else "",
        as_of=pd.Timestamp(first["as_of"]),
        limit=float(first["limit_value"]),
        ttf_days=ttf,
        horizon_days=next(s.policy.prognosis.horizon_days for s in scope.sites if s.site == first["site"]),
        put_right=not pd.isna(first["calibrated_on"]),
    )
