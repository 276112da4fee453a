"""Fits in processes of our own: one that hangs or dies costs its answer, never the run.

Bounded are the optimiser and all Python around it, in time (a fit that lasts too long is killed with all it started), in memory (on
Linux, `resources.fit_worker`) and in what a crash takes down. A process costs 1 s of CPU, most of it Prophet's import, half of which the
run would pay itself to fit in its own; it stays for the fits to come. It is started when the first fit is asked for, a second one only
after WORTH_A_WORKER fits, since two share but 0.1 s a fit.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from threading import Condition

from ml.sensor_forecast import FIT_TIMEOUT_S, USED_UP, Question, SensorForecast
from ml.trends import NotFitted
from resources.fit_worker import READY

WORKERS = 2
WORTH_A_WORKER = 16
GRACE_S = 1.0  # for the worker to end the optimiser itself, and live on
PROGRAM = (sys.executable, "-P", "-m", "resources.fit_worker")


@dataclass(frozen=True)
class Worker:
    """A process and the way to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def says(self, *, within_s: float) -> object:
        """What it sends next. Raises TimeoutError, EOFError where it is dead."""
        if not self.connection.poll(max(0.0, within_s)):
            raise TimeoutError
        try:
            return self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error

    def kill(self) -> None:
        """It and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.connection.close()


class FitWorkers:
    """A `ml.sensor_forecast.Fit` in other processes; for several threads."""

    def __init__(self, folder: str, *, program: Sequence[str] = PROGRAM) -> None:
        self._folder, self._program = folder, program
        self._changed = Condition()
        self._idle: list[Worker] = []
        self._n_alive = self._n_asked = 0

    def __call__(self, question: Question, *, within_s: float) -> SensorForecast:
        """Raises NotFitted also where no worker is free in time, and where it had to be killed; what else the fit raised, as it did."""
        if within_s <= 0:
            raise NotFitted(USED_UP)
        deadline = time.monotonic() + within_s
        worker = self._take(deadline)
        is_well = False
        try:
            left = min(FIT_TIMEOUT_S, deadline - time.monotonic())
            if left <= 0:
                is_well = True
                raise NotFitted(USED_UP)
            worker.connection.send((question, left))
            found = worker.says(within_s=left + GRACE_S)
            is_well = True
        except TimeoutError as error:
            raise NotFitted(f"it hung and was killed after {left + GRACE_S:.1f} s") from error
        except (EOFError, BrokenPipeError) as error:
            raise NotFitted("its process died") from error
        finally:
            self._give_back(worker, is_well=is_well)
        if isinstance(found, SensorForecast):
            return found
        assert isinstance(found, Exception)
        raise found

    def close(self) -> None:
        """To be called when nothing is being fitted any more."""
        while self._idle:
            self._idle.pop().kill()

    def _take(self, deadline: float) -> Worker:
        """One that is free; a new one where there is none, or where there is that much to do. Raises NotFitted."""
        with self._changed:
            self._n_asked += 1
            while not self._idle:
                if self._n_alive < (WORKERS if self._n_asked > WORTH_A_WORKER else 1):
                    self._n_alive += 1
                    break
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise NotFitted(USED_UP)
            else:
                return self._idle.pop()
        return self._start(deadline)

    def _start(self, deadline: float) -> Worker:
        ours, its = Pipe()
        # A session of its own, so that it is killed with all it started. Its temporary files lie in a folder that goes with us.
        process = subprocess.Popen(
            [*self._program, str(its.fileno())],
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": self._folder},
            start_new_session=True,
        )
        its.close()
        worker, said = Worker(process, ours), None
        try:
            said = worker.says(within_s=deadline - time.monotonic())
        except TimeoutError:
            raise NotFitted("no process for it was there in time") from None
        except EOFError:
            raise NotFitted("its process died") from None
        finally:
            if said != READY:
                self._give_back(worker, is_well=False)
        return worker

    def _give_back(self, worker: Worker, *, is_well: bool) -> None:
        if not is_well:
            worker.kill()
        with self._changed:
            if is_well:
                self._idle.append(worker)
            else:
                self._n_alive -= 1
            self._changed.notify()


@contextmanager
def fit_workers(*, program: Sequence[str] = PROGRAM) -> Iterator[FitWorkers]:
    """Workers that are gone afterwards, and all that they left behind."""
    with TemporaryDirectory(prefix="fits-", ignore_cleanup_errors=True) as folder:
        workers = FitWorkers(folder, program=program)
        try:
            yield workers
        finally:
            workers.close()
