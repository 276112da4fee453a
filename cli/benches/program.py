"""What a person waits for: the code location to load, the demonstration to end."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cli.benches.figures import RUNS, Measured, cpu_of, figure
from cli.errors import CommandError
from resources.postgres import URL_VARIABLE


def definitions() -> Iterator[Measured]:
    """CPU time to load the code location, over that of the two libraries it cannot do without."""
    ratios = [cpu_of("import definitions") / cpu_of("import dagster, pandas") for _ in range(RUNS + 1)][1:]
    yield figure("definitions.load_cpu_ratio", ratios, "x dagster and pandas", at_most=1.6)


def demo() -> Iterator[Measured]:
    """The demonstration in a data folder of its own: its time, and the memory of the process that does the work."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}
        began = time.monotonic()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("maintenance")), "demo", "--home", folder], env=environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    if status:
        raise CommandError(f"The demonstration ended with status {status}.")
    yield figure("demo.peak_memory", [usage.ru_maxrss / 1024], "MB", at_most=1500)
    yield figure("demo.duration", [seconds], "s", at_most=240)
