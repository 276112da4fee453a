"""Pure functions computed in a process of its own, beside the one that asks: for work that is to use a second core.

A fresh interpreter that imports only what the functions need, so neither threads nor the main module of the one that asks matter.
"""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]


class Beside:
    """Functions of modules, their arguments and results go as pickles, one at a time; leaving the context ends the process."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", f"from {__name__} import answer; answer()"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def ask(self, function: Callable[..., Any], /, **arguments: Any) -> None:
        assert self.process.stdin is not None
        pickle.dump((function, arguments), self.process.stdin)
        self.process.stdin.flush()

    def result(self) -> Any:
        """Of what was asked last; waits for it. Raises ChildProcessError where the process failed: its standard error is this one's."""
        assert self.process.stdout is not None
        try:
            return pickle.load(self.process.stdout)  # noqa: S301 - what the process started here has written
        except EOFError:
            raise ChildProcessError(f"a computation in a process of its own ended with code {self.process.wait()}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        with self.process:  # waits, and closes the pipes
            pass


def answer() -> None:
    """In the process of its own: the functions' results on standard output, until nobody can ask any more."""
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - what the process that started this one has written
        except EOFError:
            return
        pickle.dump(function(**arguments), sys.stdout.buffer)
        sys.stdout.buffer.flush()
