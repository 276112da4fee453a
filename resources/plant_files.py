"""The plant files: what exists, as YAML that a person edits; an error names the file and the field."""

from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from ml.plant import Site

# The C loader parses ten times faster; a PyYAML built without libyaml lacks it.
LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlantError(Exception):
    """A plant file is wrong; the message names file, field and what to do."""


def read_site(path: Path) -> Site:
    """The site in one plant file, read again when it has changed. Raises PlantError."""
    try:
        status = path.stat()
    except OSError as error:
        raise PlantError(f"{path}: cannot be read ({error.strerror}).") from error
    return _read_site(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)  # a file of 7 machines takes 60 ms to read, and every site-day of a run asks
def _read_site(path: Path, _modified_ns: int, _size: int) -> Site:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise PlantError(f"{path.name}{where}: not valid YAML ({getattr(error, 'problem', error)}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlantError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise PlantError(f"{path.name}: a plant file is a mapping that starts with `site:`; this one is {type(content).__name__}.")
    try:
        site = Site.model_validate(content)
    except ValidationError as error:
        raise PlantError("\n".join(f"{path.name}: {_field(e['loc'])}{e['msg']}" for e in error.errors())) from error
    if site.site != path.stem:
        raise PlantError(f"{path.name}: site is {site.site!r}; a plant file bears the name of its site ({site.site}.yaml).")
    return site


def read_plant(folder: Path) -> tuple[Site, ...]:
    """Every site of a plant folder, by name. Raises PlantError."""
    if not folder.is_dir():
        raise PlantError(f"There is no plant folder {folder}.")
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise PlantError(f"The plant folder {folder} has no <site>.yaml.")
    sites = tuple(read_site(path) for path in paths)
    _demand_unique((s.site, m.machine_id) for s in sites for m in s.machines)
    _demand_unique((s.site, q.sensor_id) for s in sites for q in s.sensors)
    _demand_unique((s.site, r.receiver_id) for s in sites for r in s.receivers)
    known = {s.site for s in sites}
    for owner, receiver in ((s.site, r) for s in sites for r in s.receivers):
        if unknown := sorted(set(receiver.sites) - known):
            raise PlantError(f"{owner}.yaml: receivers: {receiver.receiver_id} names the site {unknown[0]!r}; the plant has none such.")
    return sites


def earliest_day(folder: Path) -> date:
    """First partition: the earliest `first_day` of the plant. Raises PlantError."""
    return min(site.first_day for site in read_plant(folder))


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""


def _demand_unique(owned: Iterable[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for site, name in owned:
        if name in seen and seen[name] != site:
            raise PlantError(
                f"{site}.yaml: {name} is already used in {seen[name]}.yaml; machines, sensors and receivers are unique in a plant."
            )
        seen[name] = site
