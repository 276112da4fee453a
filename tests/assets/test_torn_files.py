"""A drop that was cut off at any byte: what is whole in it is kept, what is torn gets a verdict, and a torn archive is refused whole."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.readings import UnreadableDrop, parse_blocks
from resources.unpacking import Limits, UnreadableDelivery, unpacked
from tests.assets.test_intake import SITE, Zone

HEADER = b"timestamp,sensor_id,value\n"
LINES = [b"2026-10-05T%02d:%02d:00Z,P1-T,%d.%d\n" % (n // 60, n % 60, 10 + n % 90, n % 10) for n in range(64)]
DROP = HEADER + b"".join(LINES)
PACKED_LINES = [b"2026-10-05T%02d:%02d:00Z,P1-T,%.15f\n" % (n // 60, n % 60, 10 + (n * 7919 % 1009) / 997) for n in range(225)]
PACKED = gzip.compress(HEADER + b"".join(PACKED_LINES), mtime=0)
LIMITS = Limits(10_000_000, 200)
RECEIVED = datetime(2026, 11, 1, tzinfo=UTC)


def test_they_have_two_kilobytes() -> None:
    assert 2_000 <= len(DROP) <= 2_100
    assert 2_000 <= len(PACKED) <= 2_600


def taken(path: Path) -> tuple[list[float], list[tuple[int, str]]]:
    """Accepted values, and (line, reason) of what was refused."""
    with unpacked(path, LIMITS) as source:
        blocks = list(parse_blocks(source, site=SITE, received_at=RECEIVED))
    assert all(block.rows_in == len(block.readings) + block.quarantined.num_rows for block in blocks)
    values = [value for block in blocks for value in block.readings.value.tolist()]
    return values, [(row["line"], row["reason"]) for block in blocks for row in block.quarantined.to_pylist()]


def expected(n_bytes: int) -> tuple[list[float], list[tuple[int, str]]]:
    """Whole lines as they are; of the last line, what float() and the count of its fields say of what is left."""
    whole, rest = (
        DROP[len(HEADER) : n_bytes].rsplit(b"\n", 1) if b"\n" in DROP[len(HEADER) : n_bytes] else (b"", DROP[len(HEADER) : n_bytes])
    )
    values = [float(line.split(b",")[2]) for line in whole.split(b"\n") if line]
    line = len(values) + 2
    if not rest:
        return values, []
    fields = rest.split(b",")
    if len(fields) < 3:
        return values, [(line, "malformed_row")]
    if not fields[2]:
        return values, [(line, "not_a_number")]
    return [*values, float(fields[2])], []


def cuts(path: Path, content: bytes) -> Iterator[int]:
    for n_bytes in range(len(content)):
        path.write_bytes(content[:n_bytes])
        yield n_bytes


def test_a_text_cut_at_any_byte_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "torn.csv"
    for n_bytes in cuts(path, DROP):
        if n_bytes < len(HEADER) - 1:
            with pytest.raises(UnreadableDrop):
                taken(path)
        else:
            assert taken(path) == expected(n_bytes), f"cut after {n_bytes} bytes"


def test_a_gzip_cut_at_any_byte_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "torn.csv.gz"
    for n_bytes in cuts(path, PACKED):
        with pytest.raises((UnreadableDelivery, UnreadableDrop)) as refused:
            taken(path)
        assert "deliver it again" in str(refused.value), f"cut after {n_bytes} bytes"
    path.write_bytes(PACKED)
    assert taken(path) == ([float(line.split(b",")[2]) for line in PACKED_LINES], [])


def test_torn_files_among_others_leave_segments_of_what_is_whole_and_nothing_of_what_was_refused(tmp_path: Path, ledger) -> None:
    zone = Zone(tmp_path, ledger)
    for n_bytes in range(0, len(PACKED), 97):
        zone.drop(f"{n_bytes:04}.csv.gz", PACKED[:n_bytes])
    for n_bytes in range(len(HEADER), len(DROP), 97):
        zone.drop(f"{n_bytes:04}.csv", DROP[:n_bytes])
    zone.drop("whole.csv.gz", PACKED)
    done = {t.name: t for t in zone.take_in_all()}
    assert {t.state for name, t in done.items() if name.endswith(".gz") and "whole" not in name} == {"refused"}
    assert (done["s/whole.csv.gz"].state, done["s/whole.csv.gz"].rows_accepted) == ("accepted", len(PACKED_LINES))
    for n_bytes in range(len(HEADER), len(DROP), 97):
        values, refused = expected(n_bytes)
        of_file = done[f"s/{n_bytes:04}.csv"]
        assert (of_file.rows_accepted, of_file.rows_quarantined) == (len(values), len(refused))
    segments = list((tmp_path / "lake").rglob("segments/**/*.parquet"))
    assert len(segments) == sum(t.state == "accepted" and t.rows_accepted > 0 for t in done.values())
    assert not any((tmp_path / "landing" / "s").iterdir())
