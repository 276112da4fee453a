"""Whenever intake or merge dies, the next run ends where an undisturbed one does: same bytes in the lake, same rows in the ledger."""

import gzip
import io
import random
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from resources.failpoints import FAIL_POINTS

HEADER = b"timestamp,sensor_id,value\n"
MIXED = (
    HEADER
    + b"""2026-10-05T23:58:00Z,P1-T,20.5
2026-10-05T23:59:00Z,P1-T,-3.25
2026-10-06T00:00:00Z,P1-T,21.5
2026-10-06T00:00:00Z,P1-T,21.75
2026-10-06T00:01:00Z,P1-T,999
2026-10-06T00:02:00Z,P9-T,20
yesterday,P1-T,20
"""
)
OVERLAP = HEADER + b"2026-10-06T00:00:00Z,P1-T,30.5\n2026-10-06T00:03:00Z,P1-V,1.25\n"


def long_drop(rows: int, *, seed: int) -> bytes:
    """Readings of two days in no order, some twice with different values, so many that they do not fit into the spool's memory."""
    dice = random.Random(seed)
    lines = (
        f"2026-10-{dice.choice(('05', '06'))}T0{dice.randrange(10)}:{dice.randrange(60):02}:00Z,P1-{dice.choice('TVX')},{n / 4}\n"
        for n in range(rows)
    )
    return HEADER + "".join(lines).encode()


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
    return packed.getvalue()


LANDED = {
    "mixed.csv": MIXED,
    "the same bytes.csv": MIXED,
    "overlap.csv": OVERLAP,
    "empty.csv": b"",
    "line-3/packed.csv.gz": gzip.compress(HEADER + b"2026-10-06T00:03:00Z,P1-V,2.5\n", mtime=0),
    "long.csv": long_drop(500, seed=1),
    "torn.csv.gz": gzip.compress(MIXED, mtime=0)[:60],
    "zipped.csv.zip": zipped(long_drop(30, seed=2)),
    "growing.csv": HEADER + b"2026-10-06T11:58:00Z,P1-T,21\n",
}
MARKED = "line-3/packed.csv.gz"


@pytest.fixture
def order() -> dict[str, object]:
    return {"growing": {"name": "s/growing.csv", "size": len(LANDED["growing.csv"])}}


def set_up(graveyard) -> Path:
    home = graveyard.set_up(LANDED)
    (home / "landing" / "s" / f"{MARKED}.done").write_bytes(b"")
    return home


def test_a_death_at_any_step_is_made_good_by_the_next_run(graveyard, order) -> None:
    graveyard.nursery.warm_up(set_up(graveyard), url=graveyard.ledger.url)
    home = set_up(graveyard)
    assert graveyard.live(home, **order)[0] == [0]
    undisturbed = graveyard.remains(home)
    hit = Counter()
    for name in FAIL_POINTS:
        while True:
            home = set_up(graveyard)
            exits, _ = graveyard.live(home, **order, fail_at=f"{name}:{hit[name] + 1}")
            if exits == [0]:
                break
            assert exits == [-9]
            hit[name] += 1
            assert graveyard.live(home, **order)[0] == [0]
            assert graveyard.remains(home).differences(undisturbed) == [], f"after a death at {name}, the {hit[name]}th time it is passed"
    assert set(hit) == set(FAIL_POINTS), "each was passed, and killed its process"


def test_a_hundred_deaths_at_random_moments_leave_no_trace(graveyard, order) -> None:
    """Several in a row on the same data folder, then one life to its end; the delays are spread over a whole undisturbed life."""
    graveyard.nursery.warm_up(set_up(graveyard), url=graveyard.ledger.url)
    home = set_up(graveyard)
    exits, whole_life_s = graveyard.live(home, **order)
    assert exits == [0]
    undisturbed = graveyard.remains(home)
    chance, delays, killed = random.Random(7), [], 0
    while killed < 100:
        home = set_up(graveyard)
        for _ in range(chance.randint(1, 5)):
            delay = chance.uniform(0, whole_life_s)
            exits, _ = graveyard.live(home, **order, kill_after_s=delay)
            if exits == [-9]:
                killed += 1
                delays.append(delay / whole_life_s)
        assert graveyard.live(home, **order)[0] == [0]
        assert graveyard.remains(home).differences(undisturbed) == [], f"after the {killed}th death, delays {delays[-5:]}"
    assert min(delays) < 0.2
    assert max(delays) > 0.5
