"""The landing sensor: lists delivered files and asks for their intake once they have stopped changing."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping

import dagster as dg

from jobs.requests import is_at_work
from resources.landing import LandedFile, LandingResource, NotAFile
from resources.plant import PlantResource

FILES_PER_RUN = 500
SETTLE_S = 1.5  # between the two looks of one tick; a file still being written is seen to change, and waits for the next
NO_FILE = "no file"  # in the cursor: reported as what cannot be taken in
EMPTY = "The landing zone is empty."
RETRY_S = 300  # an intake that failed is asked for again after this long, not at every tick


def settled(files: Iterable[LandedFile], seen: Mapping[str, str]) -> list[str]:
    """Names of the files that are as they were at the look before, or whose sender said that they are done."""
    return [f.name for f in files if f.is_marked_done or seen.get(f.name) == f.mark]


def look(landing: LandingResource, sites: Iterable[str]) -> tuple[list[LandedFile], list[str]]:
    """The files, in the order in which they are taken in, and the names of what is no file."""
    entries = [entry for site in sites for entry in landing.entries(site=site)]
    files = sorted((e for e in entries if isinstance(e, LandedFile)), key=lambda f: (f.site, f.modified_ns, f.name))
    return files, sorted(e.name for e in entries if isinstance(e, NotAFile))


@dg.sensor(
    job_name="intake",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees files arrive in landing/<site>/ and asks for one intake run for all that have stopped changing. "
    "What is no file (a link, a pipe) is asked for once, for the run to report it.",
)
def landing_sensor(context: dg.SensorEvaluationContext, landing: LandingResource, plant: PlantResource) -> dg.SensorResult | dg.SkipReason:
    sites = [site.site for site in plant.sites()]
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    reported = {name for name, mark in seen.items() if mark == NO_FILE}
    files, no_files = look(landing, sites)
    if any(seen.get(f.name) != f.mark for f in files):
        seen = {f.name: f.mark for f in files}
        time.sleep(SETTLE_S)
        files, no_files = look(landing, sites)
    # What an intake that died had claimed comes first: the next intake takes it in before all else.
    ready = [*landing.claimed(), *settled(files, seen)][:FILES_PER_RUN]
    due = [*ready, *(name for name in no_files if name not in reported)]
    marks = {f.name: f.mark for f in files}
    cursor = json.dumps({**marks, **{name: NO_FILE for name in no_files if name in reported}})
    if not due:
        context.update_cursor(cursor)
        return dg.SkipReason(_nothing_to_do(len(files), len(no_files)))
    if is_at_work(context.instance, "intake"):
        context.update_cursor(cursor)
        return dg.SkipReason(f"{len(due)} files wait for the intake that is under way.")
    content = json.dumps([[name, marks.get(name)] for name in due]) + str(int(time.time() // RETRY_S))
    request = dg.RunRequest(
        run_key=hashlib.sha256(content.encode()).hexdigest()[:24],
        run_config=dg.RunConfig(ops={"drops": {"config": {"files": due, "max_files": len(due)}}}),
    )
    return dg.SensorResult(run_requests=[request], cursor=json.dumps({**marks, **dict.fromkeys(no_files, NO_FILE)}))


def _nothing_to_do(n_files: int, n_no_files: int) -> str:
    if n_files:
        return f"{n_files} files are still being written."
    return f"The landing zone holds no files; {n_no_files} things in it are none, and are reported." if n_no_files else EMPTY
