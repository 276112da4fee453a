"""Releases: the small file is read strictly, finds its rows again whatever they are, and marks them once, in the ledger."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from ml.readings import QUARANTINED_SCHEMA, REASONS
from ml.reasons import EXPLANATIONS
from resources.ledger.ledger import LedgerResource
from resources.ledger.quarantine import NotReleasable, Selection, UnknownDrop, drop_named, mark_released, origin_of, quarantined_groups
from resources.ledger.tables import drops, quarantine_counts
from resources.quarantine import Group, Release, UnreadableRelease, read_release, select_rows

AT = datetime(2026, 11, 20, 8, tzinfo=UTC)
GROUP = Group(day=date(2026, 9, 1), sensor_id="P1-VIB", reason="out_of_physical_range")
UNKNOWN = Group(day=None, sensor_id=None, reason="malformed_row")
RELEASE = Release(drop_id="0123456789abcdef", groups=(GROUP, UNKNOWN), who="ada", why="wider band", at=AT)


def test_every_reason_is_explained_and_nothing_else() -> None:
    assert list(EXPLANATIONS) == list(REASONS)
    assert all(e.meaning.endswith(".") and e.remedy.endswith(".") for e in EXPLANATIONS.values())


def test_a_release_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.release"
    path.write_bytes(RELEASE.content())
    assert read_release(path) == read_release(RELEASE.content()) == RELEASE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drop_id": "../../etc/passwd"}, "drop_id: String should match pattern"),
        ({"drop_id": "0123456789abcdef\n"}, "drop_id: String should match pattern"),
        ({"groups": []}, "groups: Tuple should have at least 1 item"),
        ({"groups": [{"day": "2026-09-01", "sensor_id": None}]}, "groups.0.reason: Field required"),
        ({"groups": [{"day": "soon", "sensor_id": None, "reason": "x"}]}, "groups.0.day: Input should be a valid date"),
        ({"who": ""}, "who: String should have at least 1 character"),
        ({"at": "2026-11-20T08:00:00"}, "at: Input should have timezone info"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_a_release_that_is_none_is_refused_with_its_field(change: dict[str, object], said: str) -> None:
    content = json.loads(RELEASE.content()) | change
    with pytest.raises(UnreadableRelease, match=said):
        read_release(json.dumps(content).encode())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"timestamp,sensor_id,value\n"])
def test_bytes_that_are_no_release_are_refused(content: bytes) -> None:
    with pytest.raises(UnreadableRelease, match=r"the release cannot be read: .*write it with"):
        read_release(content)


def test_a_file_too_large_for_a_release_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.release"
    with path.open("wb") as file:
        file.truncate(64_000_001)
    with pytest.raises(UnreadableRelease, match="at most 64,000,000 bytes"):
        read_release(path)


days = st.none() | st.sampled_from([date(1969, 12, 31), date(1970, 1, 1), date(2026, 9, 1), date(2026, 9, 2)])
groups = st.builds(Group, day=days, sensor_id=st.none() | st.sampled_from(["a", "b", ""]), reason=st.sampled_from(REASONS[:3]))
seconds = st.sampled_from([0, 1, 86_399])
quarantined = st.lists(st.tuples(groups, seconds, st.none() | st.sampled_from(["x", "y"])), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quarantined, st.lists(groups, max_size=5))
def test_the_rows_of_the_groups_are_found_and_no_others(
    tmp_path: Path, rows: list[tuple[Group, int, str | None]], wanted: list[Group]
) -> None:
    table = [
        {
            "line": line,
            "column": column,
            "sensor_id": group.sensor_id,
            "timestamp": None if group.day is None else datetime(*group.day.timetuple()[:3], 0, second // 60 % 60, second % 60, tzinfo=UTC),
            "reason": group.reason,
            "raw": "",
        }
        for line, (group, second, column) in enumerate(rows)
    ]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(table, schema=QUARANTINED_SCHEMA), path)
    expected = [{"line": i, "column": column} for i, (group, _, column) in enumerate(rows) if group in wanted]
    assert select_rows(path, wanted).to_pylist() == expected


def taken(ledger: LedgerResource, drop_id: str, seq: int, *, releases: str | None = None, counts: dict[Group, int] | None = None) -> None:
    """A drop of the site s in the ledger, with rows in quarantine."""
    counts = counts or {}
    n = sum(counts.values())
    with ledger.begin() as connection:
        connection.execute(
            insert(drops).values(
                drop_id=drop_id,
                drop_seq=seq,
                sha256=drop_id,
                site="s",
                file_name=f"s/{drop_id}.csv",
                size_bytes=1,
                received_at=AT,
                taken_in_at=AT,
                state="accepted",
                rows_in=n,
                rows_accepted=0,
                rows_duplicate=0,
                rows_quarantined=n,
                rows_repaired=0,
                releases=releases,
                kept_as=f"archive/{drop_id}.csv",
                run_id="r",
            )
        )
        for group, rows in counts.items():
            connection.execute(insert(quarantine_counts).values(drop_id=drop_id, site="s", rows=rows, **group.model_dump()))


@pytest.fixture
def chain(ledger: LedgerResource) -> LedgerResource:
    """aa was delivered; ab released its rows and refused some again, ac released those; b is another drop."""
    taken(ledger, "aa", 1, counts={GROUP: 3, UNKNOWN: 2})
    taken(ledger, "ab", 2, releases="aa", counts={GROUP: 2})
    taken(ledger, "ac", 3, releases="ab", counts={GROUP: 1})
    taken(ledger, "b", 4, counts={GROUP: 5})
    return ledger


def released(ledger: LedgerResource, drop_id: str) -> dict[Group, str | None]:
    with ledger.begin() as connection:
        rows = connection.execute(select(quarantine_counts).where(quarantine_counts.c.drop_id == drop_id))
        return {Group(day=r.day, sensor_id=r.sensor_id, reason=r.reason): r.released_by for r in rows}


def test_rows_are_released_once_and_only_those_named(chain: LedgerResource) -> None:
    with chain.begin() as connection:
        assert mark_released(connection, "aa", [GROUP, GROUP], released_by="ab") == 3
    assert released(chain, "aa") == {GROUP: "ab", UNKNOWN: None}
    assert released(chain, "b") == {GROUP: None}
    with (
        pytest.raises(NotReleasable, match="out_of_physical_range, sensor P1-VIB, day 2026-09-01 were released before, by drop ab"),
        chain.begin() as c,
    ):
        mark_released(c, "aa", [UNKNOWN, GROUP], released_by="ac")
    assert released(chain, "aa") == {GROUP: "ab", UNKNOWN: None}
    with (
        pytest.raises(NotReleasable, match="no rows of drop b lie in quarantine as malformed_row, sensor unknown, day unknown"),
        chain.begin() as c,
    ):
        mark_released(c, "b", [UNKNOWN], released_by="ac")


def test_the_origin_of_a_release_of_a_release_is_the_delivered_file_of_its_own_site(chain: LedgerResource) -> None:
    with chain.begin() as connection:
        assert [origin_of(connection, i, site="s").drop_id for i in ("aa", "ab", "ac", "b")] == ["aa", "aa", "aa", "b"]
        assert origin_of(connection, "ac", site="s").kept_as == "archive/aa.csv"
        for drop_id, site in (("ac", "t"), ("zz", "s")):
            with pytest.raises(NotReleasable, match=f"the site {site} has no drop {drop_id}"):
                origin_of(connection, drop_id, site=site)


def test_a_drop_stands_for_what_was_released_from_it(chain: LedgerResource) -> None:
    with chain.begin() as connection:
        mark_released(connection, "aa", [GROUP], released_by="ab")
        found = quarantined_groups(connection, Selection(drop_id="aa"))
        assert list(zip(found["drop_id"], found["file_name"], found["rows"], strict=True)) == [
            ("ac", "s/aa.csv", 1),
            ("ab", "s/aa.csv", 2),
            ("aa", "s/aa.csv", 2),
        ]
        assert list(quarantined_groups(connection, Selection(drop_id="ab"))["drop_id"]) == ["ac", "ab"]
        assert quarantined_groups(connection, Selection(), with_released=True)["rows"].sum() == 3 + 2 + 2 + 1 + 5


def test_a_drop_is_found_by_the_beginning_of_its_id(chain: LedgerResource) -> None:
    with chain.begin() as connection:
        assert drop_named(connection, "b")["drop_seq"] == 4
        assert drop_named(connection, "ab")["drop_seq"] == 2
        with pytest.raises(UnknownDrop, match=r"More than one drop begins with 'a' \(aa, ab, ac\)"):
            drop_named(connection, "a")
        for prefix in ("", "_", "c"):
            with pytest.raises(UnknownDrop, match=f"There is no drop '{prefix}'"):
                drop_named(connection, prefix)
