"""The system's own health: deliveries, refused rows, sensor grades, the detector, its alarms, failed validations, drift."""

import pandas as pd

from assets.reporting import alarms, queries
from assets.reporting import charts as draw
from assets.reporting.report import NOTHING, Figure, Section, charts, table, tables
from assets.reporting.scope import GRADE_ORDER, Scope
from ml.plant import Site
from resources.ledger.drift import SustainedDrift, sustained_drift

NOT_SUSTAINED = "No sensor's drift is sustained: nothing asks for retraining."


def sections(scope: Scope) -> tuple[Section, ...]:
    known = (_drops(scope), _grades(scope), _detector(scope), alarms.performance(scope))
    return (*known, _validations(scope), _drift(scope), _notifications(scope))


def _drops(scope: Scope) -> Section:
    drops = queries.drops_of(scope.connection, **scope.range)
    if drops.empty:
        return Section("Deliveries", NOTHING)
    states = drops["state"].value_counts()
    counts = {name: int(drops[f"rows_{name}"].sum()) for name in ("in", "accepted", "duplicate", "quarantined")}
    figures = [
        Figure("Drops accepted", int(states.get("accepted", 0))),
        Figure("Drops refused", int(states.get("refused", 0)), note="as a whole"),
        Figure("Rows delivered", counts["in"], note="in these drops"),
        Figure("Rows accepted", counts["accepted"]),
        Figure("Rows duplicate", counts["duplicate"]),
        Figure("Rows quarantined", counts["quarantined"]),
    ]
    delays = drops["delay_s"].dropna() / 60
    if len(delays):
        note = f"from a drop's last reading to its receipt, n = {len(delays)} drops"
        figures += [
            Figure("Median delay", round(float(delays.median()), 1), "min", note),
            Figure("Longest delay", round(float(delays.max()), 1), "min"),
        ]
    reasons = queries.quarantined_by_reason(scope.connection, site=scope.site, drop_ids=drops["drop_id"].tolist())
    reasons["reason"] = reasons["reason"].str.replace("_", " ")
    refused = drops[drops["state"] == "refused"]
    text = "Drops that delivered readings for these days, and drops received in these days that delivered none."
    return Section(
        "Deliveries",
        text,
        tuple(figures),
        tables(
            table("Quarantined rows by reason", reasons, {"reason": "reason", "rows": "rows", "sensors": "sensors", "drops": "drops"}),
            table("Refused drops", refused, scope.columns({"file_name": "file", "received_at": "received", "refused_because": "because"})),
        ),
        charts(draw.readings_per_day(queries.rows_per_day(scope.connection, **scope.range), days=scope.days)),
    )


def _grades(scope: Scope) -> Section:
    grades = scope.read("sensor_quality", ("sensor_id", "grade"))
    if grades.empty:
        return Section("Sensor grades", NOTHING)
    counts = grades["grade"].value_counts()
    rows = pd.DataFrame({"grade": GRADE_ORDER[::-1]})
    rows["n"] = [int(counts.get(g, 0)) for g in rows["grade"]]
    rows["share"] = (100 * rows["n"] / len(grades)).round(1)
    shown = table("Sensor-days by grade", rows, {"grade": "grade", "n": "sensor-days", "share": "share (%)"})
    return Section("Sensor grades", "A good, B fair, C poor, F unusable; one grade per sensor and day.", tables=(shown,))


def _detector(scope: Scope) -> Section:
    versions = queries.versions(scope.connection, site=scope.site)
    promotions = queries.promotions_of(scope.connection, site=scope.site)
    scores = scope.read("anomaly_scores", ("model_version",))
    used = scores.groupby(["site", "model_version"]).size().rename("windows").reset_index()
    if versions.empty and promotions.empty and used.empty:
        return Section("Detector", "No detector has been trained yet.")
    used = used.merge(versions, left_on=["site", "model_version"], right_on=["site", "version"], how="left")
    used["trained_on"] = [f"{a} to {b}" if pd.notna(a) else None for a, b in zip(used["data_start"], used["data_end"], strict=True)]
    promotions["result"] = promotions["is_promoted"].map({True: "promoted", False: "not promoted"})
    figures = (
        Figure("Versions in use", len(used), note="that scored windows of the range"),
        Figure("Versions trained", len(versions), note="up to now"),
        Figure("Promotions", int(promotions["is_promoted"].sum()), f"of {len(promotions)}", "challengers up to now"),
    )
    headings = {"at": "when", "from_version": "from", "to_version": "to", "result": "result", "who": "who", "why": "why"}
    return Section(
        "Detector",
        figures=figures,
        tables=tables(
            table(
                "In use",
                used,
                scope.columns({"model_version": "version", "windows": "windows", "trained_on": "trained on"}),
            ),
            table("Promotions", promotions, scope.columns(headings)),
        ),
    )


def _validations(scope: Scope) -> Section:
    found = queries.validations_in(scope.connection, **scope.range)
    if found.empty:
        return Section("Validations", NOTHING)
    broken = [
        {
            "site": row["site"],
            "day": row["day"],
            "suite": row["suite"],
            "result": "failed" if result["severity"] == "critical" else "warning",
            "expectation": result["description"],
            "rows": f"{result['n_unexpected']} of {row['n_rows']}",
        }
        for row in found.to_dict("records")
        for result in row["results"]["results"]
        if not result["success"]
    ]
    failed = int((~found["is_success"].astype(bool)).sum())
    figures = (
        Figure("Validations", len(found), note="one per suite and site-day"),
        Figure("Failed", failed, f"of {len(found)}"),
        Figure("Expectations not met", int(found["n_failed"].sum()), note="of any severity"),
    )
    headings = {"day": "day", "suite": "suite", "result": "result", "expectation": "expectation", "rows": "rows"}
    broken_frame = pd.DataFrame(broken, columns=["site", *headings])
    broken_frame = broken_frame.sort_values("result", kind="stable")  # "failed" sorts before "warning"
    return Section("Validations", figures=figures, tables=tables(table("Expectations not met", broken_frame, scope.columns(headings))))


def _drift(scope: Scope) -> Section:
    found = queries.drift_in(scope.connection, **scope.range)
    if found.empty:
        return Section("Drift", NOTHING)
    lasting = [(site, sustained_drift(scope.connection, site=site, until=scope.end)) for site in scope.sites]
    for_good = {(site.site, sensor_id) for site, drift in lasting if drift is not None for sensor_id in drift.sensors}
    is_lasting = pd.MultiIndex.from_frame(found[["site", "sensor_id"]]).isin(for_good)
    n_drifted = int((found["days_drifted"] > 0).sum())
    figures = (Figure("Sensors drifted", n_drifted, f"of {len(found)}", "on at least one day, against the training data"),)
    drifted = found[(found["days_drifted"] > 0) | is_lasting].round({"worst_psi": 3, "worst_ks": 3})
    text = " ".join(_said_of_drift(site, drift) for site, drift in lasting if drift is not None) or NOT_SUSTAINED
    headings = {
        "sensor_id": "sensor", "machine_id": "machine", "drifted_in": "in", "days_drifted": "days drifted", "days": "days compared",
        "worst_psi": "highest PSI", "worst_ks": "highest KS",
    }  # fmt: skip
    return Section("Drift", text, figures, tables(table("Most days drifted first", drifted, scope.columns(headings))))


def _said_of_drift(site: Site, drift: SustainedDrift) -> str:
    policy = site.policy.drift
    days = f"on {policy.sustained_days} or more of the {policy.within_days} days to {drift.day}"
    return (
        f"{site.name}: sustained drift against version {drift.version}, {days}: {drift.words}. This asks for retraining, at most once in "
        f"{policy.cooldown_days:g} days; days with an incident that nobody called a false alarm do not count and are not learned from."
    )


def _notifications(scope: Scope) -> Section:
    found = queries.notifications_by_state(scope.connection, site=scope.site)
    if found.empty:
        return Section("Notifications", "Nobody was to be told anything.")
    figures = (
        Figure("Waiting to be sent", int(found["pending"].sum()), note="up to now"),
        Figure("Failed for good", int(found["failed"].sum()), note="start them anew: maintenance notifications retry"),
        Figure("Sent", int(found["sent"].sum()), note="up to now"),
    )
    headings = {"receiver_id": "receiver", "pending": "waiting", "failed": "failed", "sent": "sent", "oldest_at": "oldest since"}
    return Section("Notifications", figures=figures, tables=tables(table("Notifications by receiver", found, headings)))
