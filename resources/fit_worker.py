"""A process that fits, one question after the other, until who started it hangs up. `resources.fitting` starts, bounds and kills it.

What a fit says goes back, an error of ours included; only a process that dies or hangs says nothing.
"""

import sys
from multiprocessing.connection import Connection

from ml.sensor_forecast import fitted
from ml.trends import load_prophet

READY = "ready"


def serve(connection: Connection) -> None:
    """Send READY once Prophet is there; then for each (question, seconds) the forecast, or the exception that came in its place."""
    load_prophet()  # no fit's time is to pay for it
    connection.send(READY)
    while True:
        try:
            question, within_s = connection.recv()
        except EOFError:
            return
        try:
            connection.send(fitted(question, within_s=within_s))
        except Exception as error:  # noqa: BLE001 - it is raised where the question was asked
            connection.send(error)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
