"""How one delivered file becomes segments, counted and archived, so that a death at any point loses nothing.

The order is what makes it so: segments and quarantined rows are written under names that derive from the file's
bytes (a repeat overwrites itself), then one transaction makes the drop known, then the original leaves the landing zone. Before all
that a rename claims the file, so that what is read is what is archived; the next intake puts back what a dead one had claimed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.partitions import SiteDay
from ml.plant import Site
from ml.readings import ParsedDrop, UnreadableDrop, parse_drop, split_by_day
from resources.lake import LakeResource, write_parquet
from resources.landing import Delivery, LandingResource, UnreadableDelivery
from resources.ledger.intake import Segment, is_accepted, record_delivery, record_drop
from resources.ledger.ledger import LedgerResource


@dataclass(frozen=True)
class TakenIn:
    """What became of one delivered file: accepted, refused (as a whole), duplicate_delivery, still_written or failed."""

    name: str
    state: str
    rows_in: int = 0
    rows_accepted: int = 0
    rows_duplicate: int = 0
    rows_quarantined: int = 0
    rows_repaired: int = 0
    site_days: tuple[SiteDay, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Intake:
    """Takes in one file after the other for one run."""

    landing: LandingResource
    lake: LakeResource
    ledger: LedgerResource
    run_id: str

    def take_in(self, name: str, site: Site) -> TakenIn:
        """Take in landing/<name>. Raises FileNotFoundError where it is gone, ValueError for a name outside landing/<site>/."""
        try:
            delivery = self.landing.read(name)
        except UnreadableDelivery as error:
            return self._refuse(error.delivery, str(error))
        with self.ledger.begin() as connection:
            known = is_accepted(connection, delivery.drop_id)
            if known:
                self._record_delivery(connection, delivery, is_duplicate=True)
        if known:
            self.landing.keep(delivery, is_refused=False)
            return TakenIn(name, "duplicate_delivery")
        try:
            parsed = parse_drop(delivery.content, site=site, received_at=delivery.received_at)
        except UnreadableDrop as error:
            return self._refuse(delivery, str(error))
        return self._accept(delivery, parsed)

    def _accept(self, delivery: Delivery, parsed: ParsedDrop) -> TakenIn:
        if self.landing.is_still_written(delivery):
            return self._put_back(delivery)
        segments = []
        for day, rows in split_by_day(parsed.accepted):
            write_parquet(rows, self.lake.segment_path(site=delivery.site, day=day, drop_id=delivery.drop_id))
            times = pc.min_max(rows["timestamp"]).as_py()
            segments.append(Segment(day, rows.num_rows, times["min"], times["max"]))
        if parsed.quarantined.num_rows:
            write_parquet(parsed.quarantined, self.landing.quarantined_rows_path(delivery))
        taken = TakenIn(
            delivery.name,
            "accepted",
            rows_in=parsed.rows_in,
            rows_accepted=parsed.accepted.num_rows,
            rows_duplicate=parsed.n_duplicate,
            rows_quarantined=parsed.quarantined.num_rows,
            site_days=tuple(SiteDay(s.day, delivery.site) for s in segments),
        )
        self._record(delivery, taken, segments, quarantine_counts(parsed.quarantined))
        self.landing.keep(delivery, is_refused=False)
        return taken

    def _refuse(self, delivery: Delivery, reason: str) -> TakenIn:
        if self.landing.is_still_written(delivery):
            return self._put_back(delivery)
        taken = TakenIn(delivery.name, "refused", reason=reason)
        self._record(delivery, taken, [], [])
        self.landing.keep(delivery, is_refused=True)
        return taken

    def _put_back(self, delivery: Delivery) -> TakenIn:
        self.landing.unclaim(delivery.claimed)
        return TakenIn(delivery.name, "still_written", reason="Its sender goes on writing; it is taken in once that has ended.")

    def _record(self, delivery: Delivery, taken: TakenIn, segments: list[Segment], refused: Sequence[dict[str, Any]]) -> None:
        drop = {
            "drop_id": delivery.drop_id,
            "sha256": delivery.sha256,
            "site": delivery.site,
            "file_name": delivery.name,
            "size_bytes": delivery.size,
            "received_at": delivery.received_at,
            "state": taken.state,
            "refused_because": taken.reason or None,
            "rows_in": taken.rows_in,
            "rows_accepted": taken.rows_accepted,
            "rows_duplicate": taken.rows_duplicate,
            "rows_quarantined": taken.rows_quarantined,
            "rows_repaired": taken.rows_repaired,
            "kept_as": self.landing.kept_name(delivery, is_refused=taken.state == "refused"),
            "run_id": self.run_id,
        }
        with self.ledger.begin() as connection:
            is_first = record_drop(connection, drop, taken=segments, refused=refused)
            self._record_delivery(connection, delivery, is_duplicate=not is_first)

    @staticmethod
    def _record_delivery(connection: Any, delivery: Delivery, *, is_duplicate: bool) -> None:
        record_delivery(
            connection,
            drop_id=delivery.drop_id,
            site=delivery.site,
            file_name=delivery.name,
            delivered_at=delivery.modified_at,
            is_duplicate=is_duplicate,
        )


def quarantine_counts(quarantined: pa.Table) -> list[dict[str, Any]]:
    """Rows per day, sensor and reason."""
    if not quarantined.num_rows:
        return []
    keyed = quarantined.select(["sensor_id", "reason"]).append_column(
        "day", quarantined["timestamp"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    )
    counted = (
        keyed.append_column("rows", pa.array([1] * keyed.num_rows)).group_by(["day", "sensor_id", "reason"]).aggregate([("rows", "sum")])
    )
    ordered = counted.rename_columns({"rows_sum": "rows"}).sort_by(
        [("day", "ascending"), ("sensor_id", "ascending"), ("reason", "ascending")]
    )
    rows: list[dict[str, Any]] = ordered.to_pylist()
    return rows
