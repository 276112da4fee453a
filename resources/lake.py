"""The lake: one Parquet file per table and site-day, written whole under a temporary name, then renamed."""

import os
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from expectations.contracts import CONTRACTS


class LakeResource(dg.ConfigurableResource):
    """Tables under `root`: <table>/day=<YYYY-MM-DD>/site=<site>/data.parquet."""

    root: str

    def path(self, table: str, *, site: str, day: date) -> Path:
        return Path(self.root, table, f"day={day.isoformat()}", f"site={site}", "data.parquet")

    def segment_path(self, *, site: str, day: date, drop_id: str) -> Path:
        return Path(self.root, "segments", f"day={day.isoformat()}", f"site={site}", f"{drop_id}.parquet")

    def write(self, table: str, content: pa.Table | pd.DataFrame, *, site: str, day: date) -> Path:
        """Replace the site-day's file. Raises pyarrow.ArrowInvalid where the content breaks the table's contract."""
        schema = CONTRACTS[table].schema
        if isinstance(content, pd.DataFrame):
            content = pa.Table.from_pandas(content[schema.names], schema=schema, preserve_index=False, safe=True)
        path = self.path(table, site=site, day=day)
        write_parquet(content.select(schema.names).cast(schema), path)
        return path

    def read_arrow(self, table: str, *, site: str, day: date, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The site-day's table, or None where nothing is stored."""
        path = self.path(table, site=site, day=day)
        if not path.exists():
            return None
        # ParquetFile, not read_table: the folders' names (day=, site=) must not become columns.
        return pq.ParquetFile(path).read(columns=list(columns) if columns else None)

    def read(self, table: str, *, site: str, day: date, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        stored = self.read_arrow(table, site=site, day=day, columns=columns)
        return None if stored is None else stored.to_pandas()

    def read_days(self, table: str, *, site: str, start: date, end: date, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The stored days from `start` to `end`, inclusive, one below the other; empty with its columns where there are none."""
        days = (start + timedelta(days=n) for n in range((end - start).days + 1))
        tables = [t for day in days if (t := self.read_arrow(table, site=site, day=day, columns=columns)) is not None]
        if not tables:
            schema = CONTRACTS[table].schema
            tables = [(pa.schema([schema.field(c) for c in columns]) if columns else schema).empty_table()]
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame

    def reference_path(self, *, site: str, version: int) -> Path:
        """Quantiles of what a detector was trained on, for drift."""
        return Path(self.root, "drift_reference", f"site={site}", f"v{version}.parquet")

    def write_reference(self, reference: pd.DataFrame, *, site: str, version: int) -> Path:
        path = self.reference_path(site=site, version=version)
        write_parquet(pa.Table.from_pandas(reference, preserve_index=False), path)
        return path

    def read_reference(self, *, site: str, version: int) -> pd.DataFrame | None:
        path = self.reference_path(site=site, version=version)
        return pq.ParquetFile(path).read().to_pandas() if path.exists() else None


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write under a temporary name, fsync, rename, fsync the folder: a reader sees the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)
