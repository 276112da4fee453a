"""Where a stored reading stands in the file that was delivered: the archived original is read again, and its bytes are hashed.

The lake does not keep line numbers; the original does, and the parser that took it in says them again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ml.layouts import SensorCodes
from ml.plant import Site
from ml.readings import UnreadableDrop, parse_blocks
from resources.unpacking import Limits, UnreadableDelivery, unpacked

MAX_BYTES = 64_000_000  # of an original that is read again; a larger one would hold up the answer


@dataclass(frozen=True)
class Original:
    """An archived file: are its bytes those that were taken in, and on which lines stand the readings asked for.

    `lines`: as many as readings were asked for, 0 where one was not found; `note` says why there are none, or what is wrong.
    """

    is_intact: bool
    lines: tuple[int, ...]
    note: str = ""


def look_up(path: Path, readings: pd.DataFrame, *, sha256: str, received_at: datetime, site: Site) -> Original:
    """Find readings [sensor_id, timestamp, value] in the original at `path`; of several equal ones the last counts, as at intake."""
    nowhere = (0,) * len(readings)
    if not path.exists():
        return Original(is_intact=False, lines=nowhere, note=f"{path} is missing")
    with path.open("rb") as file:
        is_intact = hashlib.file_digest(file, "sha256").hexdigest() == sha256
    if not is_intact:
        return Original(is_intact, nowhere, f"{path} has other bytes than were taken in")
    if path.stat().st_size > MAX_BYTES:
        return Original(is_intact, nowhere, f"larger than {MAX_BYTES / 1e6:.0f} MB: not read again for its lines")
    try:
        found = _lines(path, readings, received_at=received_at, site=site)
    except (UnreadableDrop, UnreadableDelivery) as error:
        return Original(is_intact, nowhere, f"by the plant file as it is now it cannot be read: {error}")
    lines = tuple(found.get(key, 0) for key in _keys(readings))
    missed = lines.count(0)
    return Original(is_intact, lines, f"{missed} readings are not found by the plant file as it is now" if missed else "")


_Key = tuple[str, int, float]


def _keys(readings: pd.DataFrame) -> list[_Key]:
    at = readings["timestamp"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    return list(zip(readings["sensor_id"].astype(str), at.tolist(), readings["value"].astype(float), strict=True))


def _lines(path: Path, readings: pd.DataFrame, *, received_at: datetime, site: Site) -> Mapping[_Key, int]:
    wanted = _keys(readings)
    times, known = np.unique([at for _, at, _ in wanted]), set(wanted)
    ids = SensorCodes(site).ids.to_pylist()
    limits = Limits(int(site.drops.max_unpacked_mb * 1e6), site.drops.max_unpack_ratio)
    found: dict[_Key, int] = {}
    with unpacked(path, limits, is_seekable=site.drops.kind == "parquet") as source:
        for block in parse_blocks(source, site=site, received_at=received_at):
            near = block.readings.take(np.isin(block.readings.at_us, times))
            for code, at, value, row in zip(near.code.tolist(), near.at_us.tolist(), near.value.tolist(), near.row.tolist(), strict=True):
                if (key := (ids[code], at, value)) in known:
                    found[key] = max(row, found.get(key, 0))
    return found
