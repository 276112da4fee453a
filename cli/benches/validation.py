"""All suites of one site-day with 1,000 sensors, in fresh processes: with the import of Great Expectations, and without."""

import json
from collections.abc import Iterator

from cli.benches.figures import Measured, figure, said_by

PROCESSES = 5


def validation() -> Iterator[Measured]:
    """As a run does that validates for the first time; without the import, what each further site-day of the run takes at most."""
    script = "import json, sys; from cli.bench_suites import measure; json.dump(measure(), sys.stdout)"
    measured = [json.loads(said_by(script)) for _ in range(PROCESSES + 1)][1:]
    yield figure("validation.with_import", [m["total_s"] for m in measured], "s", at_most=3)
    yield figure("validation.without_import", [m["validation_s"] for m in measured], "s")
