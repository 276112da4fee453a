"""The landing sensor: lists delivered files and asks for their intake once they have stopped changing."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping

import dagster as dg

from jobs.requests import is_at_work
from resources.landing import LandedFile, LandingResource
from resources.plant import PlantResource

FILES_PER_RUN = 500
SETTLE_S = 1.5  # between the two looks of one tick; a file still being written is seen to change, and waits for the next
RETRY_S = 300  # an intake that failed is asked for again after this long, not at every tick


def settled(files: Iterable[LandedFile], seen: Mapping[str, str]) -> list[str]:
    """Names of the files that are as they were at the look before, or whose sender said that they are done."""
    return [f.name for f in files if f.is_marked_done or seen.get(f.name) == f.mark]


def look(landing: LandingResource, sites: Iterable[str]) -> list[LandedFile]:
    return [file for site in sites for file in landing.files(site=site)]


@dg.sensor(
    job_name="intake",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees files arrive in landing/<site>/ and asks for one intake run for all that have stopped changing.",
)
def landing_sensor(context: dg.SensorEvaluationContext, landing: LandingResource, plant: PlantResource) -> dg.SensorResult | dg.SkipReason:
    sites = [site.site for site in plant.sites()]
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    files = look(landing, sites)
    if any(seen.get(f.name) != f.mark for f in files):
        seen = {f.name: f.mark for f in files}
        time.sleep(SETTLE_S)
        files = look(landing, sites)
    # What an intake that died had claimed comes first: the next intake puts it back under its name.
    ready = [*landing.claimed(), *settled(files, seen)][:FILES_PER_RUN]
    cursor = json.dumps({f.name: f.mark for f in files})
    if not ready:
        context.update_cursor(cursor)
        return dg.SkipReason(f"{len(files)} files are still being written." if files else "The landing zone is empty.")
    if is_at_work(context.instance, "intake"):
        context.update_cursor(cursor)
        return dg.SkipReason(f"{len(ready)} files wait for the intake that is under way.")
    marks = {f.name: f.mark for f in files}
    content = json.dumps([[name, marks.get(name)] for name in ready]) + str(int(time.time() // RETRY_S))
    request = dg.RunRequest(
        run_key=hashlib.sha256(content.encode()).hexdigest()[:24],
        run_config=dg.RunConfig(ops={"drops": {"config": {"files": ready}}}),
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)
