"""A data folder to try things out in: the lake's inputs and the fits by hard link, which costs no room; what is written there stays.

These files are never changed in place, only replaced by name: a link keeps what it linked to.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from resources.home import Home, table_file
from resources.lake import LakeResource

LINKED = ("sensor_quality", "machine_features", "anomaly_scores")


@contextmanager
def scratch_home(home: Home, *, start: date, end: date) -> Iterator[Home]:
    """A folder beside the data, gone afterwards, with what site-days from `start` to `end` are computed from."""
    with TemporaryDirectory(prefix=".what-if-", dir=home.root) as folder:
        scratch = Home(Path(folder))
        source = LakeResource(root=str(home.folder("lake")))
        for table in LINKED:
            for site, day in source.site_days(table):
                if start <= day <= end:
                    _link(source.path(table, site=site, day=day), table_file(scratch.folder("lake"), table, site=site, day=day))
        for fit in home.folder("fits").glob("[!.]*"):
            with suppress(FileNotFoundError):  # it was the oldest
                _link(fit, scratch.folder("fits") / fit.name)
        yield scratch


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
