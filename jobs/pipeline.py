"""Asset jobs: take drops in, process a site-day, plan a site-day, train detectors and failure models, add the whole history up."""

import dagster as dg

SITE_DAY_ASSETS = (
    "sensor_readings",
    "sensor_quality",
    "machine_features",
    "anomaly_scores",
    "incidents",
    "machine_health",
    "failure_predictions",
    "learned_predictions",
    "work_orders",
    "maintenance_schedule",
    "drift_report",
    "maintenance_reports",
)
# Checks over everything ever stored. A job that selects an asset has its checks run too, so the other jobs leave these out.
HISTORY_CHECKS = dg.AssetSelection.checks(
    dg.AssetCheckKey(dg.AssetKey("drops"), "every_drop_adds_up"),
    dg.AssetCheckKey(dg.AssetKey("drops"), "files_of_drops_are_whole"),
    dg.AssetCheckKey(dg.AssetKey("sensor_readings"), "readings_come_from_drops"),
    dg.AssetCheckKey(dg.AssetKey("detector_model"), "promotions_form_a_chain"),
)
EXCLUSIVE = "smart_maintenance/exclusive"  # the run queue runs one at a time of each value

intake = dg.define_asset_job(
    "intake",
    selection=dg.AssetSelection.assets("drops") - HISTORY_CHECKS,
    description="Take delivered files in: verdicts per row, segments per site-day, originals to the archive.",
    tags={EXCLUSIVE: "intake"},
)
process_site_day = dg.define_asset_job(
    "process_site_day",
    selection=dg.AssetSelection.assets(*SITE_DAY_ASSETS) - HISTORY_CHECKS,
    description="All that follows from a site-day's readings: quality, features, scores, incidents, predictions, orders, plan, reports.",
)
plan_site_day = dg.define_asset_job(
    "plan_site_day",
    selection=dg.AssetSelection.assets("maintenance_schedule", "maintenance_reports"),
    description="Plan a site's approved work anew and report; asked for after decisions.",
)
train_detectors = dg.define_asset_job(
    "train_detectors",
    selection=dg.AssetSelection.assets("detector_model") - HISTORY_CHECKS,
    description="Train a site's detector on its healthy days, compare it with the champion, promote it if the gate passes.",
)
train_failure_model = dg.define_asset_job(
    "train_failure_model",
    selection=dg.AssetSelection.assets("failure_model"),
    description="Learn a site's failure model from its labelled failures, judge it on what it has not seen, put it to work if it is good.",
)
check_history = dg.define_asset_job(
    "check_history",
    selection=HISTORY_CHECKS,
    description="Add the whole history up: verdicts, segments, quarantined rows, originals, readings and promotions.",
    tags={EXCLUSIVE: "check_history"},
)
ASSET_JOBS = (intake, process_site_day, plan_site_day, train_detectors, train_failure_model, check_history)
