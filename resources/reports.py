"""The reports' folder: <kind>/<scope>/<first>_<last>.<html|json|txt>, each written whole."""

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import dagster as dg


class ReportsResource(dg.ConfigurableResource):
    """Rendered reports under `root`; a report made again replaces itself."""

    root: str

    def write(self, kind: str, *, scope: str, start: date, end: date, texts: Mapping[str, str]) -> dict[str, Path]:
        """Write each text under its suffix; returns where each lies."""
        folder = Path(self.root, kind, scope)
        folder.mkdir(parents=True, exist_ok=True)
        stem = start.isoformat() if start == end else f"{start}_{end}"
        paths = {}
        for suffix, text in texts.items():
            paths[suffix] = folder / f"{stem}.{suffix}"
            temporary = folder / f".{stem}.{suffix}.{os.getpid()}.tmp"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(paths[suffix])
        return paths
