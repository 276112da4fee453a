"""Packed drops: unpacked as a stream, byte for byte, or refused with a reason before they can do harm."""

import gzip
import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.readings import parse_blocks
from resources.unpacking import Limits, UnreadableDelivery, unpacked
from tests.ml.test_formats import RECEIVED, Cells, Writing, a_site, tables, writings

LIMITS = Limits(max_bytes=50_000_000, max_ratio=200)
CONTENT = b"timestamp,sensor_id,value\n" + b"".join(b"2026-10-05T23:%02d:00Z,P1-T,%d\n" % (n % 60, n) for n in range(3_000))


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def read(path: Path, *, limits: Limits = LIMITS, at_once: int = 10_000) -> bytes:
    with unpacked(path, limits) as source:
        return b"".join(iter(lambda: source.read(at_once), b""))


@pytest.fixture
def landed(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CONTENT),
        ("a.csv.gz", gzip.compress(CONTENT)),
        ("A.CSV.GZ", gzip.compress(CONTENT[:70]) + gzip.compress(CONTENT[70:])),
        ("a.zip", zipped(("a.csv", CONTENT))),
        ("A.ZIP", zipped(("export/", b""), ("export/a.csv", CONTENT), method=zipfile.ZIP_STORED)),
    ],
    ids=["plain", "gzip", "gzip of two parts, in capitals", "zip", "stored zip with a folder, in capitals"],
)
@pytest.mark.parametrize("at_once", [1, 10_000, -1])
def test_the_content_comes_out_as_it_went_in(landed, name: str, content: bytes, at_once: int) -> None:
    path = landed(name, content)
    with unpacked(path, LIMITS) as source:
        if at_once == 1:
            assert source.read(1) + source.read(2) == CONTENT[:3]
        else:
            assert read(path, at_once=at_once) == CONTENT


@settings(max_examples=60, deadline=None)
@given(writings(), tables, st.sampled_from([".gz", ".zip"]), st.integers(4, 400))
def test_any_table_in_any_format_comes_back_equal_from_its_packed_file(
    tmp_path_factory: pytest.TempPathFactory, writing: Writing, cells: Cells, suffix: str, block_bytes: int
) -> None:
    content, site = writing.bytes(cells), a_site(writing.drops)
    path = tmp_path_factory.mktemp("packed") / f"drop{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".gz" else zipped(("drop", content)))
    with unpacked(path, LIMITS, is_seekable=writing.drops.kind == "parquet") as source:
        blocks = list(parse_blocks(source, site=site, received_at=RECEIVED, block_bytes=block_bytes))
    names = sorted((s.sensor_id, s.name_in_drops) for s in site.sensors)
    found = {
        (names[code][1], datetime.fromtimestamp(at / 1e6, UTC)): value
        for block in blocks
        for code, at, value in zip(block.readings.code, block.readings.at_us, block.readings.value, strict=True)
    }
    assert found == cells
    assert sum(block.rows_in for block in blocks) == len(cells)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", zipped(("a.csv", CONTENT), ("b.csv", CONTENT)), "holds 2 files"),
        ("a.zip", zipped(("export/", b"")), "holds 0 files"),
        ("a.zip", zipped(("a.csv.gz", gzip.compress(CONTENT))), "packed again"),
        ("a.zip", zipped(("a.csv", zipped(("b.csv", CONTENT)))), "packed again .zip."),
        ("a.gz", gzip.compress(gzip.compress(CONTENT)), "packed again .gzip."),
        ("a.zip", zipped(("a.csv", CONTENT), method=zipfile.ZIP_LZMA), "packed by method 14"),
        ("a.zip", CONTENT, "not a zip file"),
        ("a.gz", CONTENT, "Not a gzipped file"),
        ("a.gz", gzip.compress(CONTENT)[:-9], "ended before the end-of-stream"),
        ("a.gz", gzip.compress(CONTENT)[:-8] + bytes(8), "CRC"),
        ("a.zip", zipped(*((f"{n}.csv", b"") for n in range(20_000))), "thousands of files"),
    ],
)
def test_what_is_not_one_packed_file_is_refused_with_its_reason(landed, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableDelivery, match=reason):
        read(landed(name, content))


def test_an_encrypted_zip_is_refused(landed) -> None:
    content = bytearray(zipped(("a.csv", CONTENT)))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.find(signature) + at] |= 1
    with pytest.raises(UnreadableDelivery, match="encrypted"):
        read(landed("a.zip", bytes(content)))


@pytest.mark.parametrize("name", ["bomb.gz", "bomb.zip"])
def test_a_ratio_of_a_thousand_is_refused_before_it_is_expanded(landed, name: str) -> None:
    zeros = bytes(40_000_000)
    content = gzip.compress(zeros) if name.endswith(".gz") else zipped(("a.csv", zeros))
    assert len(content) < len(zeros) / 900
    path = landed(name, content)
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableDelivery, match=r"more than 200 times its size.*max_unpack_ratio"):
            read(path, at_once=16_000_000)
        assert tracemalloc.get_traced_memory()[1] < 12_000_000, "a few steps of 1 MB, not the 40 MB"
    finally:
        tracemalloc.stop()
    assert read(path, limits=Limits(50_000_000, 2_000)) == zeros, "the plant file may allow it"


@pytest.mark.parametrize("name", ["large.gz", "large.zip"])
def test_what_would_become_too_large_is_refused(landed, name: str) -> None:
    noise = random.Random(1).randbytes(3_000_000)
    path = landed(name, gzip.compress(noise) if name.endswith(".gz") else zipped(("a.csv", noise)))
    with pytest.raises(UnreadableDelivery, match=r"would exceed 2 MB.*max_unpacked_mb"):
        read(path, limits=Limits(2_000_000, 200))


def test_a_zip_that_lies_about_its_size_is_refused_at_the_size_that_it_declares(landed) -> None:
    content = bytearray(zipped(("a.csv", bytes(40_000_000))))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", content, content.find(signature) + at, 1_000)
    path = landed("liar.zip", bytes(content))
    with pytest.raises(UnreadableDelivery, match="CRC"):
        read(path)


def test_small_files_may_have_any_ratio(landed) -> None:
    assert read(landed("quiet.csv.gz", gzip.compress(b"0" * 900_000))) == b"0" * 900_000


def test_a_format_that_must_seek_is_unpacked_into_memory_within_the_limits(landed) -> None:
    with unpacked(landed("a.gz", gzip.compress(CONTENT)), LIMITS, is_seekable=True) as source:
        source.seek(-3, 2)
        assert source.read() == CONTENT[-3:]


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_whatever_bytes_are_damaged_the_content_is_whole_or_refused(landed, kind: str) -> None:
    content, dice = CONTENT[:2_000], random.Random(1)
    packed = gzip.compress(content) if kind == "gz" else zipped(("a.csv", content))
    whole = 0
    for _ in range(400):
        damaged = bytearray(packed)
        for _ in range(dice.choice((1, 1, 2, 4))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path = landed(f"a.{kind}", bytes(damaged))
        with suppress(UnreadableDelivery):
            assert read(path) == content
            whole += 1
    assert 0 < whole < 200
