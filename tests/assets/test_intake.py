"""Taking files in: every row counted, every file once, whatever dies in between."""

import gzip
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from assets import intake as intake_module
from assets.acquisition import merge_site_day
from assets.intake import Intake, TakenIn
from assets.judging import Judged, judge
from assets.partitions import SiteDay
from ml.plant import Site
from resources.home import Home
from resources.lake import LakeResource
from resources.landing import Delivery, LandingResource, drop_file
from resources.ledger.intake import pending_site_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import deliveries, drops, quarantine_counts, segments

SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-09-01",
        "machines": [
            {
                "machine_id": "P1",
                "machine_class": "pump",
                "sensors": [{"sensor_id": "P1-T", "type": "temperature", "unit": "°C", "physical": {"low": -50, "high": 150}}],
            }
        ],
    }
)
ROWS = b"""timestamp,sensor_id,value
2026-10-05T23:58:00Z,P1-T,20.5
2026-10-05T23:59:00Z,P1-T,-3.25
2026-10-06T00:00:00Z,P1-T,21.5
2026-10-06T00:00:00Z,P1-T,21.5
2026-10-06T00:01:00Z,P1-T,999
2026-10-06T00:02:00Z,P9-T,20
yesterday,P1-T,20
"""


class Zone:
    """A data folder with what intake writes to."""

    def __init__(self, root: Path, ledger: LedgerResource) -> None:
        home = Home(root)
        home.prepare()
        self.root = root
        self.landing = LandingResource(
            landing=str(home.folder("landing")), archive=str(home.folder("archive")), quarantine=str(home.folder("quarantine"))
        )
        self.lake = LakeResource(root=str(home.folder("lake")))
        self.ledger = ledger

    def drop(self, name: str, content: bytes = ROWS) -> str:
        return str(drop_file(content, self.root / "landing" / "s", name).relative_to(self.root / "landing"))

    def intake(self, ledger: LedgerResource | None = None) -> Intake:
        return Intake(landing=self.landing, lake=self.lake, ledger=ledger or self.ledger, run_id="run")

    def take_in_all(self, *names: str) -> list[TakenIn]:
        """As a run does: the named files, or all that lie there."""
        found = names or [f.name for f in self.landing.files(site="s")]
        return list(self.intake().take_in_all(found, {"s": SITE}))

    def count(self, table: object) -> int:
        with self.ledger.begin() as connection:
            return int(connection.scalars(select(func.count()).select_from(table)).one())  # type: ignore[arg-type]


@pytest.fixture
def zone(tmp_path: Path, ledger: LedgerResource) -> Zone:
    return Zone(tmp_path, ledger)


def test_every_row_gets_a_verdict_and_every_accepted_row_a_site_day(zone: Zone) -> None:
    taken = zone.intake().take_in(zone.drop("a.csv"), SITE)
    assert (taken.state, taken.rows_in, taken.rows_accepted, taken.rows_duplicate, taken.rows_quarantined) == ("accepted", 7, 3, 1, 3)
    with zone.ledger.begin() as connection:
        pending = pending_site_days(connection)
        reasons = dict(connection.execute(select(quarantine_counts.c.reason, quarantine_counts.c.rows)).all())  # type: ignore[arg-type]
        kept = connection.scalars(select(drops.c.kept_as)).one()
    assert [(p.site, p.day) for p in pending] == [("s", date(2026, 10, 5)), ("s", date(2026, 10, 6))]
    assert reasons == {"out_of_physical_range": 1, "unknown_sensor": 1, "bad_timestamp": 1}
    segment = pq.ParquetFile(zone.lake.segment_path(site="s", day=date(2026, 10, 5), drop_id=pending[0].drop_ids[0])).read()
    assert segment.to_pydict() == {
        "sensor_id": ["P1-T", "P1-T"],
        "timestamp": [datetime(2026, 10, 5, 23, 58, tzinfo=UTC), datetime(2026, 10, 5, 23, 59, tzinfo=UTC)],
        "value": [20.5, -3.25],
    }
    assert (zone.root / kept).read_bytes() == ROWS, "the original lies untouched in the archive"
    assert not (zone.root / "landing" / "s" / "a.csv").exists()
    raw = pq.ParquetFile(next((zone.root / "quarantine" / "rows" / "s").glob("*.parquet"))).read().to_pydict()
    assert raw["line"] == [6, 7, 8]
    assert raw["raw"][2] == "yesterday,P1-T,20"


def test_the_same_bytes_under_another_name_are_taken_in_once(zone: Zone) -> None:
    zone.intake().take_in(zone.drop("a.csv"), SITE)
    assert zone.intake().take_in(zone.drop("b.csv"), SITE).state == "duplicate_delivery"
    assert (zone.count(drops), zone.count(deliveries), zone.count(segments)) == (1, 2, 2)


@pytest.mark.parametrize(("modified_at", "wins"), [((2_000, 1_000), 1.5), ((1_000, 2_000), 2.5), ((1_000, 1_000), 2.5)])
def test_of_two_drops_of_one_batch_with_the_same_reading_the_one_modified_later_wins_then_the_later_name(
    zone: Zone, modified_at: tuple[int, int], wins: float
) -> None:
    for name, value, at in zip("ab", (1.5, 2.5), modified_at, strict=True):
        zone.drop(f"{name}.csv", b"timestamp,sensor_id,value\n2026-10-05T00:00:00Z,P1-T,%.1f\n" % value)
        os.utime(zone.root / "landing" / "s" / f"{name}.csv", (at, at))
    assert [(t.rows_accepted, t.rows_duplicate) for t in zone.take_in_all("s/b.csv", "s/a.csv")] == [(1, 0), (1, 0)]
    merged, n_segments = merge_site_day(SiteDay(date(2026, 10, 5), "s"), lake=zone.lake, ledger=zone.ledger)
    assert n_segments == 2
    assert (merged.table["value"].to_pylist(), merged.n_new) == ([wins], 1)


def test_a_death_before_the_transaction_leaves_the_file_to_be_taken_in_again(zone: Zone) -> None:
    name = zone.drop("a.csv")
    content = (zone.root / "landing" / name).read_bytes()
    nowhere = LedgerResource(url="postgresql+psycopg://nobody@/nothing?host=/nonexistent")
    with pytest.raises(OperationalError):
        zone.intake(nowhere).take_in(name, SITE)
    assert [claim.path.read_bytes() for claim in zone.landing.leftovers()] == [content]
    assert [(t.name, t.rows_accepted) for t in zone.take_in_all()] == [(name, 3)]


def test_a_death_after_the_transaction_leaves_only_the_move_to_be_done(zone: Zone) -> None:
    name = zone.drop("a.csv")
    landed = zone.root / "landing" / name
    zone.intake().take_in(name, SITE)
    original = next((zone.root / "archive" / "drops" / "s").iterdir())
    original.rename(landed)  # as if the process had died before it moved the file
    assert zone.intake().take_in(name, SITE).state == "duplicate_delivery"
    assert not landed.exists()
    assert original.read_bytes() == ROWS
    assert (zone.count(drops), zone.count(deliveries)) == (1, 1), "it is the delivery that it was"


def test_the_same_bytes_at_another_site_are_another_drop(zone: Zone) -> None:
    other = SITE.model_copy(update={"site": "t"})
    folder = zone.root / "landing" / "t"
    name = str(drop_file(ROWS, folder, "a.csv").relative_to(zone.root / "landing"))
    assert zone.intake().take_in(name, other).state == "accepted"
    assert zone.intake().take_in(zone.drop("a.csv"), SITE).state == "accepted"


def test_a_drop_refused_for_the_plant_file_is_taken_in_once_that_is_mended(zone: Zone) -> None:
    content = ROWS.replace(b",", b";")
    assert zone.intake().take_in(zone.drop("a.csv", content), SITE).state == "refused"
    mended = SITE.model_copy(update={"drops": SITE.drops.model_copy(update={"delimiter": ";"})})
    assert zone.intake().take_in(zone.drop("a.csv", content), mended).rows_accepted == 3
    with zone.ledger.begin() as connection:
        assert connection.scalars(select(drops.c.state)).all() == ["accepted"]


def test_what_is_archived_is_what_was_read_though_a_new_file_took_its_name(zone: Zone) -> None:
    name = zone.drop("latest.csv")
    delivery = zone.landing.examine(zone.landing.claim(name))
    zone.drop("latest.csv", b"timestamp,sensor_id,value\n")
    zone.landing.keep(delivery, is_refused=False)
    assert next((zone.root / "archive" / "drops" / "s").iterdir()).read_bytes() == ROWS
    assert (zone.root / "landing" / name).read_bytes() == b"timestamp,sensor_id,value\n"


@pytest.mark.parametrize("content", [ROWS, ROWS.replace(b",", b";")], ids=["good so far", "refused so far"])
def test_a_file_whose_sender_goes_on_writing_is_put_back(zone: Zone, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    name = zone.drop("slow.csv", content)

    def while_it_grows(delivery: Delivery, *args: Any, **kwargs: Any) -> Judged:
        with delivery.claimed.open("ab") as file:
            file.write(b"2026-10-06T00:03:00Z,P1-T,22\n")
        return judge(delivery, *args, **kwargs)

    monkeypatch.setattr(intake_module, "judge", while_it_grows)
    assert zone.intake().take_in(name, SITE).state == "still_written"
    assert (zone.root / "landing" / name).read_bytes().startswith(content)
    assert (zone.count(drops), zone.count(deliveries)) == (0, 0)
    assert [p for folder in ("lake", "archive", "quarantine") for p in (zone.root / folder).rglob("*") if p.is_file()] == []
    monkeypatch.undo()
    if content == ROWS:
        assert zone.intake().take_in(name, SITE).rows_in == 8


def test_what_a_dead_intake_had_claimed_is_taken_in_first_under_its_name_as_of_its_arrival(zone: Zone) -> None:
    name = zone.drop("a.csv")
    arrived_at = zone.landing.claim(name).arrived_at
    assert list(zone.landing.files(site="s")) == []
    zone.drop("a.csv", ROWS.replace(b"21.5", b"23.5"))
    assert [t.name for t in zone.take_in_all()] == ["s/a.csv", "s/a.csv"]
    with zone.ledger.begin() as connection:
        taken = connection.execute(select(drops.c.size_bytes, drops.c.received_at).order_by(drops.c.drop_seq)).all()
    assert taken[0] == (len(ROWS), arrived_at)
    assert taken[1].received_at > arrived_at
    assert [p.name for p in (zone.root / "landing" / ".claimed").iterdir()] == []


@pytest.mark.parametrize("name", ["s/../../outside.csv", "../outside.csv", "outside.csv", "s/link.csv"])
def test_no_file_outside_the_landing_zone_is_touched(zone: Zone, name: str) -> None:
    outside = zone.root / "outside.csv"
    outside.write_bytes(ROWS)
    (zone.root / "landing" / "s").mkdir()
    (zone.root / "landing" / "s" / "link.csv").symlink_to(outside)
    with pytest.raises((ValueError, FileNotFoundError)):
        zone.intake().take_in(name, SITE)
    assert outside.read_bytes() == ROWS


def test_a_name_of_255_bytes_is_kept_under_a_shorter_one(zone: Zone) -> None:
    folder = zone.root / "landing" / "s"
    folder.mkdir()
    name = "ü" * 125 + ".csv"
    (folder / name).write_bytes(ROWS)
    assert [f.name for f in zone.landing.files(site="s")] == [f"s/{name}"]
    assert zone.intake().take_in(f"s/{name}", SITE).rows_accepted == 3
    assert next((zone.root / "archive" / "drops" / "s").iterdir()).read_bytes() == ROWS


def test_a_file_that_cannot_be_read_is_refused_whole_with_its_reason(zone: Zone) -> None:
    for name, content in (("torn.csv.gz", gzip.compress(ROWS)[:60]), ("empty.csv", b""), ("other.csv", b"a,b\n1,2\n")):
        taken = zone.intake().take_in(zone.drop(name, content), SITE)
        assert taken.state == "refused"
        assert taken.reason
        assert any(p.name.endswith(name) for p in (zone.root / "quarantine" / "drops" / "s").iterdir())
    assert zone.intake().take_in(zone.drop("good.csv.gz", gzip.compress(ROWS)), SITE).rows_accepted == 3
    with zone.ledger.begin() as connection:
        assert connection.scalars(select(drops.c.drop_seq).order_by(drops.c.drop_seq)).all() == [1, 2, 3, 4]


def test_unfinished_and_hidden_names_are_not_listed(zone: Zone) -> None:
    folder = zone.root / "landing" / "s"
    folder.mkdir(parents=True)
    for name in (".hidden.csv", "a.csv.tmp", "b.part", "c.partial", "d.filepart", "e.csv.done", "e.csv"):
        (folder / name).write_bytes(b"x")
    (folder / "link.csv").symlink_to(folder / "e.csv")
    found = list(zone.landing.files(site="s"))
    assert [(f.name, f.is_marked_done) for f in found] == [("s/e.csv", True)]
