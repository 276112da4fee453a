"""The rows of one claimed file get their verdicts: accepted ones are written as segments, refused ones into the quarantine.

What is written here counts only once the ledger knows the drop; until then it may be written again, to the same bytes.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from ml.layouts import SensorCodes
from ml.plant import Site
from ml.readings import QUARANTINED_SCHEMA, Rows, parse_blocks
from ml.runs import SEGMENT_SCHEMA
from resources.failpoints import fail_point
from resources.lake import LakeResource
from resources.landing import Delivery, LandingResource
from resources.ledger.intake import Segment
from resources.ledger.ledger import LedgerResource
from resources.ledger.quarantine import NotReleasable, origin_of
from resources.parquet import GroupWriter, replacing
from resources.quarantine import Release, is_release, read_release, select_rows
from resources.spool import Spool
from resources.unpacking import Limits, unpacked

QUARANTINED_ROWS_PER_GROUP = 1 << 16  # of up to 1,000 characters each


@dataclass(frozen=True)
class Judged:
    """rows_in = rows of the segments + rows_duplicate + rows of the counts; `written` are the files that hold them, not synced yet."""

    rows_in: int
    rows_duplicate: int
    rows_repaired: int
    segments: Sequence[Segment]
    counts: Sequence[dict[str, Any]]
    written: Sequence[Path]
    release: Release | None = None


@dataclass(frozen=True)
class _Source:
    """The file that holds the rows: the delivery itself or, for a release, the original that it goes back to, and which rows of it."""

    path: Path
    received_at: datetime
    only: Rows | None = None


class StillWritten(Exception):
    """The file has changed since it was hashed."""


def judge(delivery: Delivery, site: Site, *, landing: LandingResource, lake: LakeResource, ledger: LedgerResource) -> Judged:
    """Raises StillWritten, UnreadableDelivery, UnreadableDrop and, for a release, UnreadableRelease and NotReleasable.

    All of them possibly after some rows; then nothing is written.
    """
    if not is_release(delivery.name):
        return _judged(delivery, site, _Source(delivery.claimed, delivery.received_at), landing=landing, lake=lake)
    release = read_release(delivery.claimed)
    with ledger.begin() as connection:
        origin = origin_of(connection, release.drop_id, site=site.site)
    refused_rows = landing.quarantined_rows_path(site=site.site, drop_id=release.drop_id)
    original = landing.kept_path(origin.kept_as)
    for path in (refused_rows, original):
        if not path.exists():
            raise NotReleasable(f"{path} is missing, from which the rows of drop {release.drop_id} would be judged anew")
    places = select_rows(refused_rows, release.groups)
    source = _Source(original, origin.received_at, Rows.of(places))
    judged = _judged(delivery, site, source, landing=landing, lake=lake, n_expected=places.num_rows)
    return replace(judged, release=release)


def _judged(
    delivery: Delivery, site: Site, source: _Source, *, landing: LandingResource, lake: LakeResource, n_expected: int | None = None
) -> Judged:
    limits = Limits(int(site.drops.max_unpacked_mb * 1e6), site.drops.max_unpack_ratio)
    rows_path = landing.quarantined_rows_path(site=site.site, drop_id=delivery.drop_id)
    spool = Spool(lake.spool_folder / delivery.drop_id)
    rows_in = rows_repaired = 0
    try:
        with ExitStack() as stack:
            refused = RefusedRows(rows_path, stack)
            unpacking = stack.enter_context(unpacked(source.path, limits, is_seekable=site.drops.kind == "parquet"))
            for block in parse_blocks(unpacking, site=site, received_at=source.received_at, only=source.only):
                rows_in += block.rows_in
                rows_repaired += block.n_repaired
                spool.add(block.readings)
                refused.add(block.quarantined)
            fail_point("intake.parsed")
            if landing.is_still_written(delivery):
                raise StillWritten
            if n_expected not in (None, rows_in):
                raise NotReleasable(
                    f"its original now gives {rows_in} of the {n_expected} rows; does the plant file describe it as it was?"
                )
        if refused.has_rows:
            fail_point("intake.quarantine_written")
        written = _write_segments(spool, site, drop_id=delivery.drop_id, lake=lake)
    finally:
        spool.close()
    counts = refused.by_group()
    return Judged(
        rows_in,
        spool.n_duplicate,
        rows_repaired,
        segments=list(written.values()),
        counts=counts,
        written=[*written, *([rows_path] if refused.has_rows else [])],
    )


def _write_segments(spool: Spool, site: Site, *, drop_id: str, lake: LakeResource) -> dict[Path, Segment]:
    ids, written = SensorCodes(site).ids, {}
    for day, runs in spool.days():
        path = lake.segment_path(site=site.site, day=day, drop_id=drop_id)
        rows, first_us, last_us = 0, [], []
        with replacing(path, is_synced=False) as file, GroupWriter(file, SEGMENT_SCHEMA) as writer:
            for run in runs:
                earliest, latest = run.times_us
                first_us.append(earliest)
                last_us.append(latest)
                rows += len(run)
                writer.add(run.table(day, ids))
        midnight = datetime.combine(day, time(), UTC)
        written[path] = Segment(day, rows, *(midnight + timedelta(microseconds=us) for us in (min(first_us), max(last_us))))
        fail_point("intake.segment_written")
    return written


@dataclass
class RefusedRows:
    """Writes quarantined rows as they come, and counts them; the file appears when `stack` is left without an error."""

    path: Path
    stack: ExitStack
    _counts: Counter[tuple[date | None, str | None, str]] = field(default_factory=Counter)
    _writer: GroupWriter | None = None

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._writer is None:
            file = self.stack.enter_context(replacing(self.path, is_synced=False))
            writer = GroupWriter(file, QUARANTINED_SCHEMA, rows_per_group=QUARANTINED_ROWS_PER_GROUP)
            self._writer = self.stack.enter_context(writer)
        self._writer.add(rows)
        day = rows["timestamp"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
        keyed = pa.table([day, rows["sensor_id"], rows["reason"]], names=["day", "sensor_id", "reason"])
        for group in keyed.group_by(keyed.column_names).aggregate([([], "count_all")]).to_pylist():
            self._counts[group["day"], group["sensor_id"], group["reason"]] += group["count_all"]

    @property
    def has_rows(self) -> bool:
        return self._writer is not None

    def by_group(self) -> list[dict[str, Any]]:
        """Rows per day, sensor and reason; what is not known comes last."""
        ordered = sorted(
            self._counts.items(), key=lambda c: (c[0][0] is None, c[0][0] or date.min, c[0][1] is None, c[0][1] or "", c[0][2])
        )
        return [{"day": day, "sensor_id": sensor, "reason": reason, "rows": rows} for (day, sensor, reason), rows in ordered]
