"""The reports' folder, each file written whole: <kind>/<scope>/<first>_<last>.<html|json|txt>, calendars/<site>/<technician>.ics."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import dagster as dg

from resources.whole_files import write_whole


class ReportsResource(dg.ConfigurableResource):
    """Rendered reports under `root`; a report made again replaces itself."""

    root: str

    def write(self, kind: str, *, scope: str, start: date, end: date, texts: Mapping[str, str]) -> dict[str, Path]:
        """Write each text under its suffix; returns where each lies."""
        stem = start.isoformat() if start == end else f"{start}_{end}"
        paths = {suffix: Path(self.root, kind, scope, f"{stem}.{suffix}") for suffix in texts}
        for suffix, text in texts.items():
            write_whole(paths[suffix], text)
        return paths

    def write_calendars(self, site: str, *, texts: Mapping[str, str]) -> Path:
        """Write each technician's calendar; those of people who are not among them are removed. Returns their folder."""
        folder = Path(self.root, "calendars", site)
        for technician_id, text in texts.items():
            write_whole(folder / f"{technician_id}.ics", text)
        for path in folder.glob("*.ics"):
            if path.stem not in texts:
                path.unlink(missing_ok=True)
        return folder
