"""The simulated plant's files: drops as its gateways deliver them, and the truth beside them, which no asset reads."""

import gzip
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from cli.errors import CommandError
from ml.plant import Site
from ml.simulation.faults import default_faults, truth_table
from ml.simulator import simulate
from resources.landing import drop_file


def write_simulated(
    sites: Sequence[Site], *, folder: Path, start: date, days: int, seed: int, advance: Callable[[int], None], is_packed: bool = False
) -> list[str]:
    """Write the drops into <folder>/<site>/, oldest first; returns their names relative to the folder. Raises CommandError."""
    names = []
    try:
        for simulated in simulate(sites, start=start, days=days, seed=seed):
            for drop in simulated.drops:
                name, content = (f"{drop.name}.gz", gzip.compress(drop.content, 1, mtime=0)) if is_packed else (drop.name, drop.content)
                path = drop_file(content, folder / simulated.site_id, name)
                names.append(str(path.relative_to(folder)))
            advance(1)
    except ValueError as error:
        raise CommandError(f"The plant cannot be simulated: {error}.") from error
    return names


def truth_of(sites: Sequence[Site], *, start: date, days: int, seed: int) -> pd.DataFrame:
    """The faults that `write_simulated` puts in: [site, machine_id, sensor_id, kind, onset_at, failure_at, repaired_at, ...]."""
    return truth_table(default_faults(sites, start=start, days=days, seed=seed), sites)
