"""The servers of `maintenance up`: code location, Dagster webserver and daemon, MLflow; started and stopped together."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli.environment import Environment
from cli.errors import CommandError
from cli.server import LOOPBACK, Address, answers, code_location, daemon, mlflow, program, webserver, write_workspace
from resources.home import CHECKOUT

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20


@dataclass
class Servers:
    """Child processes, each leader of its own group so that whatever it starts is stopped with it."""

    console: Console
    logs: Path
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str]) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                program(command), cwd=CHECKOUT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait_for(self, name: str, url: str) -> None:
        """Until the page answers. Raises CommandError where the server ends or takes too long."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            self.demand_alive()
            if answers(url):
                return
            time.sleep(0.3)
        raise CommandError(f"{name} did not answer at {url} within {START_TIMEOUT_S} s; its log is {self.logs / name}.log.")

    def wait_for_port(self, name: str, port: int) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            self.demand_alive()
            if not is_free(port):
                return
            time.sleep(0.2)
        raise CommandError(f"{name} did not start within {START_TIMEOUT_S} s; its log is {self.logs / name}.log.")

    def demand_alive(self) -> None:
        """Raises CommandError where a server has ended."""
        for name, child in self.children.items():
            if child.poll() is not None:
                raise CommandError(f"{name} ended with exit code {child.returncode}; its log is {self.logs / name}.log.")

    def stop(self) -> None:
        """End every group: asked first, killed after a while."""
        for child in reversed(self.children.values()):
            _signal(child, signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT_S
        for child in self.children.values():
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.1, until - time.monotonic()))
            _signal(child, signal.SIGKILL)  # also what it left behind in its group
            child.wait()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def serve(environment: Environment, *, dagster_port: int, mlflow_port: int, console: Console) -> None:
    """Serve until interrupted. Raises CommandError for a port in use or a server that does not start."""
    for name, port, option in (("Dagster", dagster_port, "--port"), ("MLflow", mlflow_port, "--mlflow-port")):
        if not is_free(port):
            raise CommandError(f"Port {port}, meant for {name}, is in use; stop what listens there or choose another with {option}.")
    logs = environment.home.root / "logs"
    logs.mkdir(exist_ok=True)
    servers = Servers(console, logs)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _start(servers, environment, dagster_port=dagster_port, mlflow_port=mlflow_port)
        console.print(f"Dagster  http://{LOOPBACK}:{dagster_port}   MLflow  http://{LOOPBACK}:{mlflow_port}")
        console.print(f"Drop files into {environment.home.folder('landing')}/<site>/; Ctrl-C stops everything.")
        while True:
            servers.demand_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("Stopping.")
    finally:
        servers.stop()
        signal.signal(signal.SIGTERM, previous)


def _start(servers: Servers, environment: Environment, *, dagster_port: int, mlflow_port: int) -> None:
    home, code = environment.home, Address(LOOPBACK, free_port())
    at, mlflow_at = Address(LOOPBACK, dagster_port), Address(LOOPBACK, mlflow_port)
    workspace = write_workspace(home, code=code)
    servers.console.print("Starting the code location, Dagster's webserver and daemon, and MLflow ...")
    servers.start("code-location", code_location(code))
    servers.start("mlflow", mlflow(mlflow_at, home=home))
    servers.wait_for_port("code-location", code.port)
    servers.start("webserver", webserver(at, workspace=workspace))
    servers.start("daemon", daemon(workspace=workspace))
    servers.wait_for("webserver", at.page("webserver"))
    servers.wait_for("mlflow", mlflow_at.page("mlflow"))


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
