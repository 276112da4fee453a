"""A process that fits, one question after the other, until who started it hangs up. `resources.fitting` starts, bounds and kills it.

What a fit says goes back, an error of ours included; only a process that dies or hangs says nothing.
"""

import resource
import sys
from multiprocessing.connection import Connection
from pathlib import Path

from ml.sensor_forecast import fitted
from ml.trends import NotFitted, load_prophet

READY = "ready"
MEMORY_GIB = 2  # five ordinary fits added 0.1 MiB to the peak


def serve(connection: Connection) -> None:
    """Send READY once Prophet is there; then for each (question, seconds) the forecast, or the exception that came in its place.

    A fit may take MEMORY_GIB beyond what the process holds by then, an optimiser that it starts as much in all: see `bound_memory`.
    """
    load_prophet()  # no fit's time is to pay for it
    bound_memory()
    connection.send(READY)
    while True:
        try:
            question, within_s = connection.recv()
        except EOFError:
            return
        try:
            connection.send(fitted(question, within_s=within_s))
        except MemoryError:
            connection.send(NotFitted(f"it asked for more than {MEMORY_GIB} GiB of memory"))
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            connection.send(error)


def bound_memory() -> None:
    """No more data than now and MEMORY_GIB for this process and those that it starts, by Linux's own limit; elsewhere there is none.

    Counted is what is reserved, much of which is never touched: 1.2 GiB by the libraries on 2 cores, more on more cores.
    """
    counted = Path("/proc/self/statm")
    if counted.exists():
        n_pages = int(counted.read_text(encoding="ascii").split()[5])
        most = n_pages * resource.getpagesize() + (MEMORY_GIB << 30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
