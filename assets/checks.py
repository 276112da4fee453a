"""The nightly check: does the whole history still add up, from the delivered bytes to the stored readings?

What a run checks as it stores is checked there; here stand the checks over everything that was ever stored. They compare the ledger
with the files, correct nothing, and name the drop and the figure that does not add up.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from assets.partitions import SiteDay
from ml.promotion_chain import broken_links
from ml.stored import COLUMNS, StoredReadings, count_stored
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.ledger.history import KeptDrop, KnownSegment, count_drops, drops_that_do_not_add_up, kept_drops, known_segments
from resources.ledger.intake import lock_intake, lock_site_day
from resources.ledger.learning import latest_champion, promotions_of, sites_with_promotions
from resources.ledger.ledger import LedgerResource
from resources.models import CHAMPION, ModelsResource, ModelsUnreachable

MAX_NAMED = 50
REHASHED_WITHIN_DAYS = 30  # each night one original in so many is read whole and hashed; after so many nights, all have been
_ROWS_AT_ONCE = 1_000_000


class HistoryConfig(dg.Config):
    day: str | None = Field(
        default=None, description=f"Day (YYYY-MM-DD) that says which originals, one in {REHASHED_WITHIN_DAYS}, are hashed; left out: today."
    )


@dataclass
class Audit:
    """Sentences about what does not add up, what is left over without harm, and how much was looked at."""

    wrong: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    looked_at: Counter[str] = field(default_factory=Counter)

    def result(self) -> dg.AssetCheckResult:
        """Nothing waits for this verdict, so it blocks nothing; that the data are wrong is an error all the same."""
        for words in self.wrong[:MAX_NAMED]:
            dg.get_dagster_logger().error(words)
        return dg.AssetCheckResult(
            passed=not self.wrong,
            severity=dg.AssetCheckSeverity.ERROR,
            description=self.wrong[0] if self.wrong else None,
            metadata={
                "wrong": dg.MetadataValue.json(self.wrong[:MAX_NAMED]),
                "n_wrong": len(self.wrong),
                "left_over": dg.MetadataValue.json(self.left_over[:MAX_NAMED]),
                "n_left_over": len(self.left_over),
                **self.looked_at,
            },
        )


@dg.asset_check(
    asset="drops",
    description="Over the whole ledger: rows in = accepted + duplicate + quarantined, the counts by reason add up to the quarantined "
    "rows, and the segments to the accepted ones.",
)
def every_drop_adds_up(ledger: LedgerResource) -> dg.AssetCheckResult:
    audit = Audit()
    with ledger.begin() as connection:
        for d in drops_that_do_not_add_up(connection):
            drop = f"Drop {d.drop_id} ({d.file_name})"
            if (verdicts := d.rows_accepted + d.rows_duplicate + d.rows_quarantined) != d.rows_in:
                audit.wrong.append(f"{drop} had {d.rows_in} rows; {verdicts} have a verdict.")
            if d.rows_counted != d.rows_quarantined:
                audit.wrong.append(f"{drop} had {d.rows_quarantined} rows quarantined; the counts by reason add up to {d.rows_counted}.")
            if d.rows_in_segments != d.rows_accepted:
                audit.wrong.append(f"{drop} had {d.rows_accepted} rows accepted; its segments add up to {d.rows_in_segments}.")
        audit.looked_at["drops"] = count_drops(connection)
    return audit.result()


@dg.asset_check(
    asset="drops",
    description="Every segment, every file of quarantined rows and every untouched original is there and holds what the ledger says; "
    f"each original is hashed anew within {REHASHED_WITHIN_DAYS} nights. Segments that no drop knows, left by a death, are only named.",
)
def files_of_drops_are_whole(
    config: HistoryConfig, lake: LakeResource, landing: LandingResource, ledger: LedgerResource
) -> dg.AssetCheckResult:
    audit = Audit()
    day = date.fromisoformat(config.day) if config.day else datetime.now(UTC).date()
    listed = sorted(lake.segments())  # before the ledger is asked: a segment of a drop that is just taken in is not left over
    with ledger.begin() as connection:
        kept = list(kept_drops(connection))
        known = set()
        for segment in known_segments(connection):
            known.add(path := lake.segment_path(site=segment.site, day=segment.day, drop_id=segment.drop_id))
            _compare_rows(audit, path, segment.rows, whose=f"The segment of drop {segment.drop_id} for {segment.day}")
    audit.looked_at["segments"] = len(known)
    audit.left_over = [f"{path}: a segment that no drop of the ledger knows" for path in listed if path not in known]
    missing = {}
    for drop in kept:
        if drop.rows_quarantined:
            path = landing.quarantined_rows_path(site=drop.site, drop_id=drop.drop_id)
            _compare_rows(audit, path, drop.rows_quarantined, whose=f"The file of quarantined rows of drop {drop.drop_id}")
        original = landing.kept_path(drop.kept_as)
        if original.exists():
            _compare_original(audit, drop, original, is_hashed=_is_due(drop, day))
        else:
            missing[original] = drop
    if missing:
        with ledger.begin() as connection:
            lock_intake(connection)  # none is under way: it moves the original last
            _say_missing(audit, missing, landing=landing)
    audit.looked_at["originals"] = len(kept)
    return audit.result()


@dg.asset_check(
    asset="sensor_readings",
    description="Each stored site-day holds every (sensor, time) once, no more readings of a drop than that drop delivered, and all of "
    "the latest one's.",
)
def readings_come_from_drops(lake: LakeResource, ledger: LedgerResource) -> dg.AssetCheckResult:
    audit = Audit()
    with ledger.begin() as connection:
        delivered = {SiteDay(day, site) for (day, site), _ in groupby(known_segments(connection), key=lambda s: (s.day, s.site))}
    for site_day in sorted(delivered.union(SiteDay(day, site) for site, day in lake.site_days("sensor_readings"))):
        with ledger.begin() as connection:
            lock_site_day(connection, **site_day.where)  # a merge changes file and ledger one after the other
            segments = list(known_segments(connection, **site_day.where))
            path = lake.path("sensor_readings", **site_day.where)
            stored = _stored(path, audit, site_day) if path.exists() else None
        if stored is not None:
            audit.looked_at["site_days"] += 1
            audit.looked_at["readings"] += stored.rows
            audit.wrong.extend(_contradictions(stored, segments, site_day))
        elif not path.exists() and any(s.is_merged for s in segments):
            audit.wrong.append(f"{_named(site_day)} has no stored readings, though {len(segments)} segments were merged.")
    return audit.result()


@dg.asset_check(
    asset="detector_model",
    description="The rows of promotions form one unbroken chain per site: none was changed, left out or put in afterwards. A champion "
    "that was moved in MLflow and that no run has used yet is only named.",
)
def promotions_form_a_chain(ledger: LedgerResource, models: ModelsResource) -> dg.AssetCheckResult:
    audit = Audit()
    with ledger.begin() as connection:
        histories = {site: promotions_of(connection, site=site) for site in sites_with_promotions(connection)}
        noted = {site: latest_champion(connection, site=site) for site in histories}
    for site, rows in histories.items():
        audit.wrong.extend(broken_links(rows))
        audit.looked_at["promotions"] += len(rows)
        try:
            standing = models.version_of(site, CHAMPION)
        except ModelsUnreachable as error:
            audit.left_over.append(f"{site}: {error}")
            continue
        if standing != noted[site]:
            audit.left_over.append(f"{site}: MLflow's champion is {standing}, the ledger's {noted[site]}; the next run notes it")
    return audit.result()


def _compare_rows(audit: Audit, path: Path, rows: int, *, whose: str) -> None:
    """By the file's footer alone: 35 µs a file."""
    try:
        found = pq.ParquetFile(path).metadata.num_rows
    except FileNotFoundError:
        audit.wrong.append(f"{whose} is missing: {path}.")
    except (OSError, pa.ArrowException) as error:
        audit.wrong.append(f"{whose} cannot be read: {path}: {error}")
    else:
        if found != rows:
            audit.wrong.append(f"{whose} holds {found} rows; the ledger says {rows}: {path}.")


def _is_due(drop: KeptDrop, day: date) -> bool:
    return int(drop.drop_id[:8], 16) % REHASHED_WITHIN_DAYS == day.toordinal() % REHASHED_WITHIN_DAYS


def _compare_original(audit: Audit, drop: KeptDrop, path: Path, *, is_hashed: bool) -> None:
    size = path.stat().st_size
    if size != drop.size_bytes:
        audit.wrong.append(f"The original of drop {drop.drop_id} has {size} bytes; {drop.size_bytes} were delivered: {path}.")
    elif is_hashed:
        audit.looked_at["originals_hashed"] += 1
        audit.looked_at["bytes_hashed"] += size
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != drop.sha256:
            audit.wrong.append(
                f"The original of drop {drop.drop_id} no longer has the sha256 of the delivered bytes, {drop.sha256}: {path}."
            )


def _say_missing(audit: Audit, missing: Mapping[Path, KeptDrop], *, landing: LandingResource) -> None:
    """What an intake that died has left in the landing zone, the next one archives."""
    for path, drop in missing.items():
        if landing.holds(drop.file_name):
            audit.left_over.append(f"{drop.file_name}: drop {drop.drop_id} is taken in; the next intake archives it")
        elif not path.exists():
            audit.wrong.append(f"The original of drop {drop.drop_id} ({drop.file_name}) is missing: {path}.")


def _stored(path: Path, audit: Audit, site_day: SiteDay) -> StoredReadings | None:
    try:
        with pq.ParquetFile(path, read_dictionary=["sensor_id"]) as file:
            return count_stored(file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(COLUMNS)))
    except (OSError, pa.ArrowException) as error:
        audit.wrong.append(f"The readings of {_named(site_day)} cannot be read: {path}: {error}")
        return None


def _contradictions(stored: StoredReadings, segments: Iterable[KnownSegment], site_day: SiteDay) -> Iterator[str]:
    by_seq = {s.drop_seq: s for s in segments}
    for seq, rows in sorted(stored.by_drop.items()):
        if seq not in by_seq:
            yield f"{_named(site_day)} holds {rows} readings of drop_seq {seq}, which delivered none for it."
        elif rows > by_seq[seq].rows:
            yield f"{_named(site_day)} holds {rows} readings of drop {by_seq[seq].drop_id}, which delivered {by_seq[seq].rows} for it."
    if stored.misplaced:
        sensor_id, at = stored.misplaced
        yield f"{_named(site_day)} holds {sensor_id} at {at.isoformat()} twice, or out of order."
    # Later drops win, so of the latest one nothing can have been replaced.
    latest = max((s.drop_seq for s in by_seq.values() if s.is_merged or s.drop_seq in stored.by_drop), default=None)
    if latest is not None and stored.by_drop.get(latest, 0) < by_seq[latest].rows:
        held, drop = stored.by_drop.get(latest, 0), by_seq[latest]
        yield f"{_named(site_day)} holds {held} readings of drop {drop.drop_id}, its latest, which delivered {drop.rows} for it."


def _named(site_day: SiteDay) -> str:
    return f"{site_day.site} on {site_day.day}"
