"""The nightly check: a whole history adds up, and whatever is broken in it is named with its drop and figure."""

import gzip
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from assets.acquisition import merge_site_day
from assets.checks import REHASHED_WITHIN_DAYS, HistoryConfig, every_drop_adds_up, files_of_drops_are_whole, readings_come_from_drops
from assets.intake import Intake
from assets.partitions import SiteDay
from definitions import build_definitions
from jobs.schedules import nightly_history_check
from ml.plant import Site
from ml.stored import count_stored
from resources.home import Home
from resources.lake import LakeResource, write_parquet
from resources.landing import LandingResource, drop_file
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource
from tests.conftest import CHECKOUT

FIRST, SECOND = date(2026, 10, 5), date(2026, 10, 6)
SENSORS = ("P1-P", "P1-T")
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-09-01",
        "machines": [
            {
                "machine_id": "P1",
                "machine_class": "pump",
                "sensors": [{"sensor_id": s, "type": "temperature", "unit": "°C", "physical": {"low": -50, "high": 150}} for s in SENSORS],
            }
        ],
    }
)


def lines(day: date, minutes: range, *, value: float) -> str:
    return "".join(f"{day}T00:{m:02d}:00Z,{s},{value + m}\n" for m in minutes for s in SENSORS)


@dataclass(frozen=True)
class History:
    """Three drops: one of two days, one that replaces readings of the second and has two rows refused, one refused as a whole."""

    home: Home
    lake: LakeResource
    landing: LandingResource
    ledger: LedgerResource
    ids: tuple[str, str, str]

    def look(self, check: dg.AssetChecksDefinition, **config: str) -> tuple[bool, list[str], dict[str, int]]:
        """Whether the check holds, its sentences without the data folder's path, and what it looked at."""
        wanted: dict[str, object] = {"lake": self.lake, "landing": self.landing, "ledger": self.ledger}
        arguments = {name: wanted[name] for name in check.node_def.required_resource_keys if name in wanted}  # type: ignore[attr-defined]
        if check is files_of_drops_are_whole:
            arguments["config"] = HistoryConfig(**config)
        result = check(**arguments)
        assert result.severity is dg.AssetCheckSeverity.ERROR
        said = {name: value.value for name, value in result.metadata.items()}
        assert len(said["wrong"]) == min(said["n_wrong"], 50)
        return result.passed, [words.replace(str(self.home.root), "") for words in said["wrong"]], said

    def sql(self, statement: str) -> None:
        with self.ledger.begin() as connection:
            connection.execute(text(statement))

    def segment(self, n: int, day: date) -> Path:
        return self.lake.segment_path(site="s", day=day, drop_id=self.ids[n])

    def original(self, n: int) -> Path:
        return next(self.home.root.glob(f"*/drops/s/{self.ids[n]}_*"))

    @property
    def readings(self) -> Path:
        return self.lake.path("sensor_readings", site="s", day=SECOND)

    def rewrite(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        write_parquet(change(pq.ParquetFile(path).read()), path)


@pytest.fixture
def history(tmp_path: Path, ledger: LedgerResource) -> History:
    home = Home(tmp_path)
    home.prepare()
    lake = LakeResource(root=str(home.folder("lake")))
    folders = {name: str(home.folder(name)) for name in ("landing", "archive", "quarantine")}
    landing = LandingResource(**folders)
    intake = Intake(landing=landing, lake=lake, ledger=ledger, run_id="run")
    header = "timestamp,sensor_id,value\n"
    both = header + lines(FIRST, range(10), value=20) + lines(SECOND, range(10), value=30)
    later = header + lines(SECOND, range(5, 10), value=60) + f"{SECOND}T00:00:00Z,P9-T,20\n{SECOND}T00:01:00Z,P1-T,999\n"
    contents = {"a.csv.gz": gzip.compress(both.encode(), mtime=0), "b.csv": later.encode(), "c.csv.gz": b"no gzip"}
    for name, content in contents.items():
        drop_file(content, home.folder("landing") / "s", name)
        intake.take_in(f"s/{name}", SITE)
    for day in (FIRST, SECOND):
        merge_site_day(SiteDay(day, "s"), lake=lake, ledger=ledger)
    with ledger.begin() as connection:
        ids = tuple(connection.scalars(text("select drop_id from drops order by drop_seq")))
    assert len(ids) == 3
    return History(home, lake, landing, ledger, ids)


def test_a_history_that_adds_up_holds_and_says_how_much_was_looked_at(history: History) -> None:
    for check, looked_at in (
        (every_drop_adds_up, {"drops": 3}),
        (files_of_drops_are_whole, {"segments": 3, "originals": 3}),
        (readings_come_from_drops, {"site_days": 2, "readings": 40}),
    ):
        holds, wrong, said = history.look(check)
        assert (holds, wrong, said["n_left_over"]) == (True, [], 0)
        assert {name: said[name] for name in looked_at} == looked_at


def test_rows_that_were_released_from_quarantine_still_add_up_where_they_were_refused(history: History) -> None:
    history.sql(f"update quarantine_counts set released_by = '{history.ids[2]}' where reason = 'unknown_sensor'")
    assert history.look(every_drop_adds_up)[:2] == (True, [])


@pytest.fixture
def nights(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """So many nights, fewer than in operation, as it takes to hash every original."""
    assert REHASHED_WITHIN_DAYS == 30
    monkeypatch.setattr("assets.checks.REHASHED_WITHIN_DAYS", 5)
    return [str(FIRST + timedelta(days=n)) for n in range(5)]


def test_within_so_many_nights_every_original_is_hashed_once(history: History, nights: list[str]) -> None:
    looks = [history.look(files_of_drops_are_whole, day=night)[2] for night in nights]
    assert sum(said.get("originals_hashed", 0) for said in looks) == 3


BREAKS: dict[str, tuple[dg.AssetChecksDefinition, Callable[[History], object], str]] = {
    "a row without a verdict": (
        every_drop_adds_up,
        lambda h: [
            h.sql("alter table drops drop constraint ck_drops_rows_add_up"),
            h.sql(f"update drops set rows_in = 13 where drop_id = '{h.ids[1]}'"),
        ],
        "Drop {b} (s/b.csv) had 13 rows; 12 have a verdict.",
    ),
    "a count by reason that was altered": (
        every_drop_adds_up,
        lambda h: h.sql("update quarantine_counts set rows = 5 where reason = 'unknown_sensor'"),
        "Drop {b} (s/b.csv) had 2 rows quarantined; the counts by reason add up to 6.",
    ),
    "counts by reason that are gone": (
        every_drop_adds_up,
        lambda h: h.sql("delete from quarantine_counts"),
        "Drop {b} (s/b.csv) had 2 rows quarantined; the counts by reason add up to 0.",
    ),
    "accepted rows that no segment has": (
        every_drop_adds_up,
        lambda h: h.sql(f"update drops set rows_in = 50, rows_accepted = 50 where drop_id = '{h.ids[0]}'"),
        "Drop {a} (s/a.csv.gz) had 50 rows accepted; its segments add up to 40.",
    ),
    "a segment that is gone": (
        files_of_drops_are_whole,
        lambda h: h.segment(0, FIRST).unlink(),
        "The segment of drop {a} for 2026-10-05 is missing: /lake/segments/day=2026-10-05/site=s/{a}.parquet.",
    ),
    "a segment that lost rows": (
        files_of_drops_are_whole,
        lambda h: h.rewrite(h.segment(1, SECOND), lambda t: t.slice(3)),
        "The segment of drop {b} for 2026-10-06 holds 7 rows; the ledger says 10:",
    ),
    "a segment that was cut short": (
        files_of_drops_are_whole,
        lambda h: os.truncate(h.segment(1, SECOND), 300),
        "The segment of drop {b} for 2026-10-06 cannot be read:",
    ),
    "an original that was cut short": (
        files_of_drops_are_whole,
        lambda h: os.truncate(h.original(1), 100),
        "The original of drop {b} has 100 bytes; ",
    ),
    "an original that is gone": (
        files_of_drops_are_whole,
        lambda h: h.original(0).unlink(),
        "The original of drop {a} (s/a.csv.gz) is missing: /archive/drops/s/{a}_a.csv.gz.",
    ),
    "a refused original that is gone": (
        files_of_drops_are_whole,
        lambda h: h.original(2).unlink(),
        "The original of drop {c} (s/c.csv.gz) is missing: /quarantine/drops/s/{c}_c.csv.gz.",
    ),
    "quarantined rows that are gone": (
        files_of_drops_are_whole,
        lambda h: (h.home.root / "quarantine" / "rows" / "s" / f"{h.ids[1]}.parquet").unlink(),
        "The file of quarantined rows of drop {b} is missing: /quarantine/rows/s/{b}.parquet.",
    ),
    "quarantined rows that are fewer": (
        files_of_drops_are_whole,
        lambda h: h.rewrite(h.home.root / "quarantine" / "rows" / "s" / f"{h.ids[1]}.parquet", lambda t: t.slice(1)),
        "The file of quarantined rows of drop {b} holds 1 rows; the ledger says 2:",
    ),
    "readings that are gone": (
        readings_come_from_drops,
        lambda h: h.readings.unlink(),
        "s on 2026-10-06 has no stored readings, though 2 segments were merged.",
    ),
    "readings that cannot be read": (
        readings_come_from_drops,
        lambda h: os.truncate(h.readings, 300),
        "The readings of s on 2026-10-06 cannot be read:",
    ),
    "readings of a drop that delivered none": (
        readings_come_from_drops,
        lambda h: h.rewrite(h.readings, lambda t: t.set_column(3, "drop_seq", pa.array([9] * 20, pa.int32()))),
        "s on 2026-10-06 holds 20 readings of drop_seq 9, which delivered none for it.",
    ),
    "more readings than the drop delivered": (
        readings_come_from_drops,
        lambda h: h.rewrite(h.readings, lambda t: t.set_column(3, "drop_seq", pa.array([2] * 20, pa.int32()))),
        "s on 2026-10-06 holds 20 readings of drop {b}, which delivered 10 for it.",
    ),
    "the latest drop's readings lost": (
        readings_come_from_drops,
        lambda h: h.rewrite(h.readings, lambda t: t.slice(0, 18)),
        "s on 2026-10-06 holds 8 readings of drop {b}, its latest, which delivered 10 for it.",
    ),
    "a reading that stands twice": (
        readings_come_from_drops,
        lambda h: h.rewrite(h.readings, lambda t: pa.concat_tables([t.slice(0, 1), t.slice(0, 19)])),
        "s on 2026-10-06 holds P1-P at 2026-10-06T00:00:00+00:00 twice, or out of order.",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_whatever_is_broken_is_named_with_its_drop_and_figure(history: History, what: str) -> None:
    check, break_it, sentence = BREAKS[what]
    break_it(history)
    holds, wrong, _ = history.look(check)
    assert not holds
    assert wrong[0].startswith(sentence.format(**dict(zip("abc", history.ids, strict=True))))
    others = {every_drop_adds_up, files_of_drops_are_whole, readings_come_from_drops} - {check}
    assert all(history.look(other)[0] for other in others), "only the one that is about it"


def test_bytes_altered_in_place_are_seen_once_the_original_is_hashed(history: History, nights: list[str]) -> None:
    original = history.original(1)
    content = original.read_bytes()
    original.write_bytes(content.replace(b"P1-T", b"P1-X", 1))
    seen = [wrong for night in nights for wrong in history.look(files_of_drops_are_whole, day=night)[1]]
    assert len(seen) == 1
    assert seen[0].startswith(f"The original of drop {history.ids[1]} no longer has the sha256 of the delivered bytes, ")


def test_what_a_death_left_behind_is_told_and_harmless(history: History) -> None:
    foreign = history.lake.segment_path(site="s", day=FIRST, drop_id="f" * 16)
    foreign.write_bytes(history.segment(0, FIRST).read_bytes())
    landed = drop_file(history.original(1), history.home.folder("landing") / "s", "b.csv")
    history.original(1).unlink()
    assert history.landing.claim("s/b.csv").path != landed
    holds, wrong, said = history.look(files_of_drops_are_whole)
    assert (holds, wrong) == (True, [])
    assert said["left_over"] == [  # type: ignore[comparison-overlap]
        f"{foreign}: a segment that no drop of the ledger knows",
        f"s/b.csv: drop {history.ids[1]} is taken in; the next intake archives it",
    ]


def test_a_thousand_faults_are_counted_and_fifty_named(history: History) -> None:
    history.sql("delete from quarantine_counts")
    same = "site, file_name, received_at, taken_in_at, state, kept_as, run_id"
    history.sql(
        f"insert into drops ({same}, drop_id, drop_seq, sha256, size_bytes, rows_in, rows_accepted, rows_duplicate, rows_quarantined,"
        f" rows_repaired) select {same}, lpad(n::text, 16, '0'), 10 + n, lpad(n::text, 64, '0'), 0, 7, 7, 0, 0, 0"
        " from drops, generate_series(1, 999) n where drop_seq = 2"
    )
    holds, wrong, said = history.look(every_drop_adds_up)
    assert (holds, len(wrong), said["n_wrong"], said["drops"]) == (False, 50, 1000, 1002)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_the_nightly_job_runs_all_four_checks_and_a_failed_one_is_an_error_that_stops_nothing(
    history: History, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.sql("delete from quarantine_counts")
    monkeypatch.setenv(LEDGER_VARIABLE, history.ledger.url)
    with dg.build_schedule_context(scheduled_execution_time=datetime(2026, 10, 20, 2, tzinfo=UTC)) as context:
        request = nightly_history_check(context)
    assert isinstance(request, dg.RunRequest)
    job = build_definitions(history.home, plant=CHECKOUT / "plant").resolve_job_def("check_history")
    config = {**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(instance=instance, run_config=config)
    assert result.success
    evaluated = {e.check_name: (e.passed, e.severity) for e in result.get_asset_check_evaluations()}
    assert evaluated == {
        "every_drop_adds_up": (False, dg.AssetCheckSeverity.ERROR),
        "files_of_drops_are_whole": (True, dg.AssetCheckSeverity.ERROR),
        "readings_come_from_drops": (True, dg.AssetCheckSeverity.ERROR),
        "promotions_form_a_chain": (True, dg.AssetCheckSeverity.ERROR),
    }


def table(keys: list[tuple[str, int]]) -> pa.Table:
    sensors, minutes = zip(*keys, strict=True)
    return pa.table(
        {
            "sensor_id": pa.array(sensors).dictionary_encode(),
            "timestamp": pa.array([m * 60_000_000 for m in minutes], pa.timestamp("us", tz="UTC")),
            "drop_seq": pa.array([1] * len(keys), pa.int32()),
        }
    )


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ([("a", 1), ("a", 2), ("b", 1), ("c", 0)], None),
        ([("a", 1), ("a", 1)], 1),
        ([("a", 1), ("b", 3), ("b", 2)], 2),
        ([("a", 1), ("c", 3), ("b", 4)], 2),
        ([("a", 1), ("b", 1), ("a", 1)], 2),
        ([("a", 2), ("b", 1), ("b", 2), ("b", 2)], 3),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, 3, 4])
def test_a_key_that_stands_twice_is_found_wherever_the_batches_end(keys: list[tuple[str, int]], place: int | None, batch: int) -> None:
    stored = count_stored(table(keys).to_batches(max_chunksize=batch))
    assert (stored.rows, stored.by_drop) == (len(keys), {1: len(keys)})
    if place is None:
        assert stored.misplaced is None
    else:
        assert stored.misplaced is not None
        assert (stored.misplaced[0], stored.misplaced[1].minute) == keys[place]
