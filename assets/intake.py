"""How delivered files become segments, counted and archived, so that a death at any point loses nothing.

The order is what makes it so: a rename claims each file, so that what is read is what is archived; segments and quarantined rows are
written under names that derive from the file's bytes (a repeat overwrites itself); then one transaction makes the drops known;
then the originals leave the landing zone. What an intake that died had claimed, the next one takes in first, as of its first arrival.

Files are taken in by modification time, then name. In this order they get their drop_seq, so of two files of one batch that hold
the same reading, the one modified later wins, and at equal times the one whose name is the later.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from assets.judging import Judged, StillWritten, judge
from assets.partitions import SiteDay
from ml.plant import Site
from ml.readings import UnreadableDrop
from resources.failpoints import fail_point
from resources.lake import LakeResource
from resources.landing import Claim, Delivery, LandingResource, landed, shown
from resources.ledger.intake import TakenDrop, accepted_among, lock_intake, record_deliveries, record_drops
from resources.ledger.ledger import LedgerResource
from resources.ledger.quarantine import NotReleasable, mark_released
from resources.parquet import sync_files
from resources.quarantine import UnreadableRelease, is_release
from resources.unpacking import UnreadableDelivery

BATCH_FILES, BATCH_BYTES = 100, 8_000_000  # taken in together: 100 small files cost one transaction instead of 100


@dataclass(frozen=True)
class TakenIn:
    """What became of one file: accepted, refused (as a whole), duplicate_delivery, still_written, gone or failed."""

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
class _Examined:
    """A delivery on its way into the ledger; `judged` is None for one that is refused or was known."""

    delivery: Delivery
    taken: TakenIn
    judged: Judged | None = None


@dataclass(frozen=True)
class Intake:
    """Takes files in for one run."""

    landing: LandingResource
    lake: LakeResource
    ledger: LedgerResource
    run_id: str

    def take_in_all(self, names: Iterable[str], sites: Mapping[str, Site], *, limit: int | None = None) -> Iterator[TakenIn]:
        """Take in what a dead intake had claimed, then the first `limit` of the named files; meanwhile no other intake does so.

        `names` is read when none does. A file that cannot be taken in does not hold up the others.
        """
        with self.ledger.begin() as connection:
            lock_intake(connection)
            shutil.rmtree(self.lake.spool_folder, ignore_errors=True)
            self.landing.forget_empty_claims()
            left = self.landing.leftovers()
            due = self.landing.in_order(shown(landed(name)) for name in names)[:limit]
            for batch in _batches(self._claims(left, due, sites)):
                if isinstance(batch, TakenIn):
                    yield batch
                else:
                    yield from self._take_in(batch, sites)
            self.landing.forget_empty_claims()

    def take_in(self, name: str, site: Site) -> TakenIn:
        """Take in one file. Raises FileNotFoundError where it is gone, ValueError for a name that is not of a file in landing/<site>/."""
        return self._take_in([self.landing.claim(name)], {site.site: site})[0]

    def _claims(self, left: Sequence[Claim], names: Iterable[str], sites: Mapping[str, Site]) -> Iterator[Claim | TakenIn]:
        """What a dead intake had claimed, and what is claimed now; or why a file cannot be."""
        for claim in left:
            yield claim if claim.site in sites else TakenIn(claim.name, "failed", reason=_no_site(sites))
        known = {claim.name for claim in left}
        for name in names:
            if name.split("/", 1)[0] not in sites:
                yield TakenIn(name, "failed", reason=_no_site(sites))
                continue
            try:
                yield self.landing.claim(name)
            except FileNotFoundError:
                if name not in known:
                    yield TakenIn(name, "gone", reason="Another run took it in, or its sender withdrew it.")
            except (OSError, ValueError) as error:
                yield _failed(name, error)

    def _take_in(self, claims: Sequence[Claim], sites: Mapping[str, Site]) -> list[TakenIn]:
        """What became of each; of a batch of files either all are known to the ledger or none."""
        deliveries, failed = [], []
        for claim in claims:
            try:
                deliveries.append(self.landing.examine(claim))
            except (OSError, ValueError) as error:
                failed.append(_failed(claim.name, error))
        with self.ledger.begin() as connection:
            known = accepted_among(connection, [d.drop_id for d in deliveries])
        examined = []
        for delivery in deliveries:
            if delivery.drop_id in known:
                examined.append(_Examined(delivery, TakenIn(delivery.name, "duplicate_delivery")))
                continue
            one = self._judge(delivery, sites[delivery.site])
            if isinstance(one, TakenIn):
                failed.append(one)
            else:
                examined.append(one)
                known |= {delivery.drop_id} if one.judged else set()
        sync_files(path for one in examined if one.judged for path in one.judged.written)
        fail_point("intake.synced")
        return failed + self._finish(examined)

    def _judge(self, delivery: Delivery, site: Site) -> _Examined | TakenIn:
        try:
            judged = judge(delivery, site, landing=self.landing, lake=self.lake, ledger=self.ledger)
        except StillWritten:
            return _Examined(delivery, _still_written(delivery))
        except (UnreadableDelivery, UnreadableDrop, UnreadableRelease, NotReleasable) as error:
            return _Examined(delivery, _refused(delivery, error))
        except Exception as error:  # noqa: BLE001 - whatever a file makes a parser raise, it must not hold up the others
            return _failed(delivery.name, error)
        return _Examined(delivery, _accepted(delivery, judged), judged)

    def _finish(self, examined: Sequence[_Examined]) -> list[TakenIn]:
        """Record, then archive. A drop that the database will not have does not hold up the others of its batch."""
        still_written = [one for one in examined if one.taken.state == "still_written" or self.landing.is_still_written(one.delivery)]
        for one in still_written:
            self._put_back(one)
        return [_still_written(one.delivery) for one in still_written] + self._record([one for one in examined if one not in still_written])

    def _record(self, examined: Sequence[_Examined]) -> list[TakenIn]:
        if not examined:
            return []
        try:
            with self.ledger.begin() as connection:
                self._write_ledger(connection, examined)
                fail_point("intake.before_commit")
        except NotReleasable as error:  # a release is a batch of its own
            (one,) = examined
            _remove_written(one)
            return self._record([_Examined(one.delivery, _refused(one.delivery, error))])
        except (DataError, IntegrityError) as error:
            if len(examined) == 1:
                return [_failed(examined[0].taken.name, error)]
            return [taken for one in examined for taken in self._record([one])]
        fail_point("intake.committed")
        return [self._archive(one) for one in examined]

    def _archive(self, one: _Examined) -> TakenIn:
        try:
            self.landing.keep(one.delivery, is_refused=one.taken.state == "refused")
        except OSError as error:
            return replace(one.taken, state="failed", reason=f"It is taken in, but cannot be moved to where it is kept: {error}")
        return one.taken

    def _write_ledger(self, connection: Connection, examined: Sequence[_Examined]) -> None:
        new = [one for one in examined if one.taken.state != "duplicate_delivery"]
        if new:
            record_drops(
                connection,
                [
                    TakenDrop(self._drop(one), one.judged.segments if one.judged else (), one.judged.counts if one.judged else ())
                    for one in new
                ],
            )
        for one in new:
            if one.judged and (release := one.judged.release):
                mark_released(connection, release.drop_id, release.groups, released_by=one.delivery.drop_id)
        record_deliveries(
            connection,
            [
                {
                    "drop_id": one.delivery.drop_id,
                    "site": one.delivery.site,
                    "file_name": one.delivery.name,
                    "delivered_at": one.delivery.modified_at,
                    "is_duplicate": one.taken.state == "duplicate_delivery",
                }
                for one in examined
            ],
        )

    def _drop(self, one: _Examined) -> dict[str, Any]:
        delivery, taken = one.delivery, one.taken
        return {
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
            "releases": one.judged.release.drop_id if one.judged and one.judged.release else None,
            "kept_as": self.landing.kept_name(delivery, is_refused=taken.state == "refused"),
            "run_id": self.run_id,
        }

    def _put_back(self, one: _Examined) -> None:
        _remove_written(one)
        self.landing.put_back(one.delivery)
        fail_point("intake.put_back")


def _batches(claims: Iterable[Claim | TakenIn]) -> Iterator[list[Claim] | TakenIn]:
    """A release is a batch of its own: it may rest on a drop just before it, and it may turn out not to be possible."""
    batch: list[Claim] = []
    for claim in claims:
        if isinstance(claim, TakenIn):
            yield claim
            continue
        if batch and is_release(claim.name):
            yield batch
            batch = []
        batch.append(claim)
        if len(batch) >= BATCH_FILES or sum(c.size for c in batch) >= BATCH_BYTES or is_release(claim.name):
            yield batch
            batch = []
    if batch:
        yield batch


def _accepted(delivery: Delivery, judged: Judged) -> TakenIn:
    return TakenIn(
        delivery.name,
        "accepted",
        rows_in=judged.rows_in,
        rows_accepted=sum(segment.rows for segment in judged.segments),
        rows_duplicate=judged.rows_duplicate,
        rows_quarantined=sum(count["rows"] for count in judged.counts),
        rows_repaired=judged.rows_repaired,
        site_days=tuple(SiteDay(segment.day, delivery.site) for segment in judged.segments),
    )


def _refused(delivery: Delivery, error: Exception) -> TakenIn:
    reason = str(error)
    return TakenIn(delivery.name, "refused", reason=reason[:1].upper() + reason[1:] + ".")


def _remove_written(one: _Examined) -> None:
    for path in one.judged.written if one.judged else ():
        path.unlink(missing_ok=True)


def _still_written(delivery: Delivery) -> TakenIn:
    return TakenIn(delivery.name, "still_written", reason="Its sender goes on writing; it is taken in once that has ended.")


def _failed(name: str, error: Exception) -> TakenIn:
    words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return TakenIn(name, "failed", reason=words)


def _no_site(sites: Mapping[str, Site]) -> str:
    return f"There is no such site; the plant has {', '.join(sites)}."
