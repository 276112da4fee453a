"""State detection: anomaly scores by the site's champion, incidents with a verdict."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
from sqlalchemy import Connection

from assets.annunciation import Annunciation
from assets.champions import Champion, champion_of, load_champion
from assets.partitions import LOOK_BACK_DAYS, SiteDay, across_site, looking_back, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from expectations.contracts import ANOMALY_SCORES
from expectations.ledger_contracts import ALARM_KPIS, INCIDENT_ALARMS, INCIDENT_ASSESSMENTS
from ml.detectors.look_back import MOST_REMEMBERED_DAYS, remembered_days
from ml.detectors.windows import NEEDED
from ml.evidence import COLUMNS as EVIDENCE_COLUMNS
from ml.evidence import build_evidence
from ml.feedback import fit_calibration
from ml.frames import typed_frame
from ml.incidents import find_incidents
from ml.plant import Site
from ml.succession import successors
from resources.lake import LakeResource
from resources.ledger.findings import false_alarms, known_incidents, labelled_incidents, maintenance_between, replace_incidents
from resources.ledger.ledger import LedgerResource
from resources.ledger.verdicts import lock_verdicts
from resources.models import ModelsResource
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

if TYPE_CHECKING:
    from ml.detectors.fleet import SiteDetector

GROUP = "state_detection"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"numpy", "mlflow", "parquet", "greatexpectations"},
    code_version="3",
    partitions_def=site_days,
    deps=[looking_back("machine_features", days=1 + MOST_REMEMBERED_DAYS), across_site("detector_model")],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(ANOMALY_SCORES)},
    check_specs=[
        dg.AssetCheckSpec(
            "scores_hold_their_contract",
            asset="anomaly_scores",
            blocking=True,
            description="One row per machine and window of the day, a score in [0, 1] where its state says so, given by the champion. "
            "A failure is an error: the day's scores stay as they were, and the chain stops. A running machine without any is a warning.",
        )
    ],
)
def anomaly_scores(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    models: ModelsResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """How unusual each machine was in each window: one row per machine and window, score in [0, 1], higher is more anomalous.

    0.6 is what the alarms of a healthy machine reach once a month. Each row has the members' scores, the sensor that contributes most, of
    unusual windows all that moved, and the detector's version. Source: `machine_features` and the site's champion in MLflow; a site
    without a champion has no scores yet. Consumers: `incidents`, `machine_health`, reports.
    """
    from expectations.profiles import scores_profile
    from expectations.suites import scores_profile_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    detectors: dict[str, tuple[SiteDetector, Champion]] = {}
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        start = site_day.looking_back(1 + remembered_days(site))
        features = lake.read_days(
            "machine_features", site=site.site, start=start, end=site_day.day, columns=NEEDED, categories=("machine_id", "sensor_id")
        )
        features = features[features["window_start"] < pd.Timestamp(site_day.end)]
        if site.site not in detectors:
            champion = champion_of(site.site, ledger=ledger, models=models, noticed_by=f"run {context.run.run_id}, which scored with it")
            if champion is None:
                report(context, site_day, rows=0, state="no champion yet: train_detectors makes one")
                continue
            detectors[site.site] = (load_champion(champion, ledger=ledger, models=models, site=site), champion)
        detector, champion = detectors[site.site]
        version = champion.version
        scores = detector.score(features, site=site, model_version=version, since=pd.Timestamp(site_day.start))
        features = features[features["window_start"] >= pd.Timestamp(site_day.start)]
        profile = scores_profile(scores, features=features, day=site_day.day, version=version)
        outcome = validate_table(profile, suite=scores_profile_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
        path = lake.write("anomaly_scores", scores, **site_day.where) if outcome.success else None
        scored = scores.loc[scores["state"] == "scored", "score"]
        report(
            context,
            site_day,
            rows=len(scores),
            path=path,
            windows_scored=len(scored),
            windows_above_threshold=int((scored >= site.policy.detection.on_threshold).sum()),
            highest_score=float(scored.max()) if len(scored) else 0.0,
            model_version=version,
            figures=champion.metadata,
        )
    return dg.MaterializeResult(check_results=[validations.check("scores_hold_their_contract")])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"greatexpectations", "postgres"},
    code_version="3",
    partitions_def=site_days,
    deps=[
        looking_back("anomaly_scores", days=LOOK_BACK_DAYS),
        looking_back("machine_features", days=LOOK_BACK_DAYS),
        looking_back("sensor_quality", days=LOOK_BACK_DAYS),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={
        "dagster/column_schema": column_schema(INCIDENT_ASSESSMENTS),
        "incident_alarms": dg.MetadataValue.table_schema(column_schema(INCIDENT_ALARMS)),
        "alarm_kpis": dg.MetadataValue.table_schema(column_schema(ALARM_KPIS)),
    },
    check_specs=[
        dg.AssetCheckSpec(
            "incidents_are_judged",
            asset="incidents",
            description="Every incident has complete evidence and a verdict; rules it failed are its reasons, not a fault of the data. "
            "A failure is a warning: what is not known has lowered the confidence already.",
        )
    ],
)
def incidents(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """Runs of anomalous windows on one machine that were active on the day, each with a verdict and its reasons.

    One row per incident and day in the ledger's `incident_assessments`: what was known at the day's end. An incident is
    named by machine and onset, so a re-run finds the same one. The verdict (credible, investigate, false positive suspected)
    comes from Great Expectations over the evidence: detectors that agree, duration, sensor grades and faults, gaps, starts and
    stops, maintenance, the whole site moving at once; calibrated by people's labels where there are 20. Each
    raises one alarm in its life (`incident_alarms`), with most of the site as one
    event of the site, unless it is shelved. Source: `anomaly_scores` of a week. Consumers: prognosis, work orders, reports.
    """
    from expectations.verdicts import calibrated, judge_incidents

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        start = site_day.looking_back(LOOK_BACK_DAYS)
        scores = lake.read_days("anomaly_scores", site=site_day.site, start=start, end=site_day.day)
        with ledger.begin() as connection:
            # in turn with a revalidation of the site: whoever comes later judges by the policy that is then in force
            lock_verdicts(connection, site_day.site)
            site = plant.site(site_day.site)
            known = known_incidents(connection, site=site.site, before=site_day.day)
            found = find_incidents(scores, site=site, day=site_day.day, known=known)
            evidence = _evidence(connection, found, scores, lake=lake, site=site, site_day=site_day)
            judgement = judge_incidents(evidence, policy=site.policy.verdict)
            calibration = fit_calibration(labelled_incidents(connection, site=site.site, before=site_day.day))
            verdicts = calibrated(judgement.verdicts, calibrate=calibration.apply, policy=site.policy.verdict)
            judged = _judged(found, evidence, scores, verdicts=verdicts)
            renamed = replace_incidents(connection, judged, site=site.site, day=site_day.day)
            alarms = Annunciation.of(connection, judged, scores=scores, site=site, site_day=site_day)
            alarms.keep(connection, site_day)
            validations.keep(connection, judgement.outcome, site_day)
        for before, after in renamed.items():
            context.log.info("%s is now found as %s, which takes over its labels, its order and its shelvings.", before, after)
        warning = _known_otherwise(known, found)
        if warning:
            context.log.warning(warning)
        counts = judged["verdict"].value_counts()
        counted = {verdict: int(counts.get(verdict, 0)) for verdict in ("credible", "investigate", "false_positive_suspected")}
        figures = counted | alarms.figures | ({"warning": warning} if warning else {})
        report(context, site_day, rows=len(judged), figures=figures, confidence=calibration.words)
    return dg.MaterializeResult(check_results=[validations.check("incidents_are_judged", severity=dg.AssetCheckSeverity.WARN)])


def _evidence(
    connection: Connection, found: pd.DataFrame, scores: pd.DataFrame, *, lake: LakeResource, site: Site, site_day: SiteDay
) -> pd.DataFrame:
    if found.empty:
        return typed_frame([], EVIDENCE_COLUMNS)
    start = site_day.looking_back(LOOK_BACK_DAYS)
    columns = ["machine_id", "window_start", "sensor_id", "coverage", "running_share"]
    return build_evidence(
        found,
        scores=scores,
        features=lake.read_days("machine_features", site=site.site, start=start, end=site_day.day, columns=columns),
        quality=_quality(lake, site_day),
        site=site,
        maintenance=maintenance_between(connection, site=site.site, start=found["onset_at"].min(), end=site_day.end),
        false_alarms_30d=false_alarms(connection, site=site.site, until=site_day.day, days=30),
    )


def _known_otherwise(known: pd.DataFrame, found: pd.DataFrame) -> str:
    """Which events earlier days know under another name, and what to do; empty where there are none."""
    others = known[~known["incident_id"].isin(found["incident_id"])].assign(label=None)
    said = [f"{name} is {before} on earlier days" for before, name in successors(others, found).items()]
    mend = "policy.detection has changed since, or what they were found in; `maintenance revalidate` finds these days' incidents anew."
    return f"{'; '.join(said)}: {mend}" if said else ""


def _quality(lake: LakeResource, site_day: SiteDay) -> pd.DataFrame:
    """[sensor_id, day, grade, faults] of the days looked back on; no faults, not even none, on days graded before they were looked for."""
    graded = []
    for n in range(LOOK_BACK_DAYS):
        day = site_day.day - timedelta(days=n)
        stored = lake.read("sensor_quality", site=site_day.site, day=day, columns=["sensor_id", "grade", "faults"])
        if stored is not None:
            graded.append(stored.reindex(columns=["sensor_id", "grade", "faults"]).assign(day=day).astype(object))
    return pd.concat(graded) if graded else pd.DataFrame(columns=["sensor_id", "grade", "faults", "day"])


def _judged(found: pd.DataFrame, evidence: pd.DataFrame, scores: pd.DataFrame, *, verdicts: pd.DataFrame) -> pd.DataFrame:
    """The incidents as the ledger keeps them: findings, evidence, verdict, and the detector that scored the last window."""
    versions = scores[["machine_id", "window_start", "model_version"]].rename(columns={"window_start": "last_window_at"})
    judged = found.merge(verdicts, on="incident_id", validate="1:1").merge(
        versions, on=["machine_id", "last_window_at"], how="left", validate="1:1"
    )
    judged["moved_sensors"] = judged["moved_sensors"].map(json.loads)
    judged["evidence"] = pd.Series(evidence.set_index("incident_id").loc[judged["incident_id"]].to_dict("records"), dtype=object)
    return judged
