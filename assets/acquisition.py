"""Data acquisition: drops are taken in, readings merged."""

from collections import Counter
from collections.abc import Iterator, Mapping

import dagster as dg
from pydantic import Field

from assets.intake import Intake, TakenIn
from assets.partitions import HEALTH_FALLS_WITHIN_DAYS, REACH_DAYS, SiteDay, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, ledger_schema, report
from expectations.contracts import SENSOR_READINGS
from ml.merging import MergedReadings, merge_readings
from resources.failpoints import fail_point
from resources.lake import LakeResource
from resources.landing import LandingResource, NotAFile
from resources.ledger.history import drops_that_do_not_add_up
from resources.ledger.intake import lock_site_day, mark_merged, segments_of
from resources.ledger.ledger import LedgerResource
from resources.ledger.reopening import reopen_following
from resources.ledger.tables import drops as drops_table
from resources.parquet import read_encoded
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

GROUP = "data_acquisition"
TROUBLE = ("refused", "failed")


class IntakeConfig(dg.Config):
    files: list[str] = Field(
        default=[],
        description="Files to take in, relative to the landing folder, such as hamburg/2026-10-19.csv. Empty: all that lie there.",
    )
    max_files: int = Field(default=500, description="At most this many files in one run; the landing sensor asks again for the rest.")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"file", "postgres"},
    code_version="1",
    metadata={"dagster/column_schema": ledger_schema(drops_table)},
    check_specs=[
        dg.AssetCheckSpec(
            "rows_add_up",
            asset="drops",
            blocking=True,
            description="For every drop, rows in = accepted + duplicate + quarantined, in the ledger's rows of this run: the accepted ones "
            "are in its segments, the quarantined ones in its counts by reason. No row is lost without a verdict.",
        ),
        dg.AssetCheckSpec(
            "all_drops_are_readable",
            asset="drops",
            description="No delivered file had to be refused as a whole, or left lying because it cannot be moved or read, and nothing "
            "lies in the landing zone that is no file.",
        ),
    ],
)
def drops(
    context: dg.AssetExecutionContext,
    config: IntakeConfig,
    landing: LandingResource,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
) -> dg.MaterializeResult:
    """Delivered files, each taken in exactly once: one row per file in the ledger's `drops`.

    Source: the landing zone. Every row of a file gets a verdict (accepted, duplicate, quarantined with a reason);
    accepted rows become one segment per site-day, refused ones lie in the quarantine folder with line number and raw text,
    the untouched original in the archive. Consumer: `sensor_readings`.
    """
    sites = {site.site: site for site in plant.sites()}
    context.instance.add_dynamic_partitions("site", sorted(sites))
    names = config.files or (file.name for site in sites for file in landing.files(site=site))
    intake = Intake(landing=landing, lake=lake, ledger=ledger, run_id=context.run.run_id)
    taken = []
    for one in intake.take_in_all(names, sites, limit=config.max_files):
        if one.state == "gone":
            context.log.info("%s is gone: another run took it in, or its sender withdrew it.", one.name)
            continue
        if one.state in TROUBLE:
            context.log.warning("%s: %s. %s", one.name, one.state, one.reason)
        taken.append(one)
    with ledger.begin() as connection:
        unbalanced = [drop.file_name for drop in drops_that_do_not_add_up(connection, run_id=context.run.run_id)]
    no_files = {entry.name: entry.reason for site in sites for entry in landing.entries(site=site) if isinstance(entry, NotAFile)}
    return dg.MaterializeResult(metadata=_figures(taken), check_results=list(_checks(taken, unbalanced, no_files)))


def _figures(taken: list[TakenIn]) -> dict[str, dg.MetadataValue | int]:
    touched: Counter[SiteDay] = Counter(s for t in taken for s in t.site_days)
    days = [s.day for s in touched]
    return {
        "dagster/row_count": sum(t.rows_in for t in taken),
        "files": len(taken),
        "files_refused": sum(t.state == "refused" for t in taken),
        "files_failed": sum(t.state == "failed" for t in taken),
        "files_delivered_again": sum(t.state == "duplicate_delivery" for t in taken),
        "rows_accepted": sum(t.rows_accepted for t in taken),
        "rows_duplicate": sum(t.rows_duplicate for t in taken),
        "rows_quarantined": sum(t.rows_quarantined for t in taken),
        "rows_repaired": sum(t.rows_repaired for t in taken),
        "site_days": len(touched),
        "days": dg.MetadataValue.text(f"{min(days)} to {max(days)}" if days else "none"),
    }


def _checks(taken: list[TakenIn], unbalanced: list[str], no_files: Mapping[str, str]) -> Iterator[dg.AssetCheckResult]:
    wrong = {t.name for t in taken if t.rows_in != t.rows_accepted + t.rows_duplicate + t.rows_quarantined}.union(unbalanced)
    yield dg.AssetCheckResult(check_name="rows_add_up", passed=not wrong, metadata={"files": dg.MetadataValue.json(sorted(wrong))})
    refused = {**no_files, **{t.name: t.reason for t in taken if t.state in TROUBLE}}
    yield dg.AssetCheckResult(
        check_name="all_drops_are_readable",
        passed=not refused,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"refused": dg.MetadataValue.json(refused)},
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"parquet"},
    code_version="1",
    partitions_def=site_days,
    deps=[drops],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(SENSOR_READINGS)},
    check_specs=[
        dg.AssetCheckSpec(
            "readings_hold_their_contract",
            asset="sensor_readings",
            blocking=True,
            description="One row per sensor and time, no nulls, within the day and each sensor's physical range. A failure is an error "
            "and stops the chain; a silent sensor, or one that has left the plant file, is a warning.",
        )
    ],
)
def sensor_readings(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """Readings of one site-day: one row per sensor and time, in the sensor's unit, sorted by sensor and time.

    Source: the accepted segments of `drops`; where two drops hold the same reading, the later drop wins, and `drop_seq`
    names it. Late segments re-open their day. Consumers: `sensor_quality`, `machine_features`, whoever reads Parquet.
    """
    from expectations.profiles import readings_profile
    from expectations.suites import readings_profile_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        merged, n_segments = merge_site_day(site_day, lake=lake, ledger=ledger)
        profile = readings_profile(merged.table.to_pandas(), site=plant.site(site_day.site), day=site_day.day)
        outcome = validate_table(profile, suite=readings_profile_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
        report(
            context,
            site_day,
            rows=merged.table.num_rows,
            path=lake.path("sensor_readings", **site_day.where),
            segments_merged=n_segments,
            readings_new=merged.n_new,
            readings_replaced=merged.n_replaced,
        )
    return dg.MaterializeResult(check_results=[validations.check("readings_hold_their_contract")])


def merge_site_day(site_day: SiteDay, *, lake: LakeResource, ledger: LedgerResource) -> tuple[MergedReadings, int]:
    """Make the waiting segments part of the site-day's readings; the readings, and how many segments were merged.

    Without a stored file all segments are merged: the readings can be made anew from them. The transaction ends after the
    file is renamed: a death in between merges the same segments again, to the same bytes.
    """
    where = site_day.where
    with ledger.begin() as connection:
        lock_site_day(connection, **where)
        stored = lake.path("sensor_readings", **where)
        existing = read_encoded(stored) if stored.exists() else None
        due = segments_of(connection, **where, only_unmerged=existing is not None)
        segments = [(seq, read_encoded(lake.segment_path(**where, drop_id=drop_id))) for seq, drop_id in due]
        fail_point("merge.read")
        merged = merge_readings(existing, segments)
        lake.write("sensor_readings", merged.table, **where)
        fail_point("merge.written")
        if mark_merged(connection, **where, drop_ids=[drop_id for _, drop_id in due]):
            reopen_following(connection, **where, reach_days=REACH_DAYS, health_days=HEALTH_FALLS_WITHIN_DAYS)
        fail_point("merge.before_commit")
    fail_point("merge.committed")
    return merged, len(due)
