"""docker-compose.yml without Docker: its services as plain processes on this machine, in the order that it demands."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from cli.server import PORTS
from tests.conftest import CHECKOUT

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")
HOME_VARIABLE = "SMART_MAINTENANCE_HOME"
START_S = 180


def read_compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return content


def variables_used() -> set[str]:
    return {found["name"] for found in VARIABLE.finditer((CHECKOUT / "docker-compose.yml").read_text())}


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """The text with its ${...} replaced as Compose does it; a demanded variable that is empty is an error."""

    def value(found: re.Match[str]) -> str:
        given = values.get(found["name"], "")
        if not given and found["kind"] == "?":
            raise ValueError(f"{found['name']}: {found['text']}")
        return given or (found["text"] or "" if found["kind"] == "-" else "")

    return VARIABLE.sub(value, text)


def seconds(duration: str) -> float:
    """Compose's notation, as far as the file uses it."""
    assert duration.endswith("s")
    return float(duration[:-1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Composed:
    """The Python services, started against a PostgreSQL that is there already.

    What a container changes is mapped back: the database's host, the hosts of other services, the ports, the paths.
    """

    server_url: str
    home: Path
    plant: Path
    logs: Path
    values: Mapping[str, str]
    services: dict[str, Any] = field(default_factory=lambda: read_compose()["services"])
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in PORTS})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    sessions: set[int] = field(default_factory=set)

    def up(self) -> None:
        """Start every service after those that it depends on have reached the condition that it names."""
        waiting = {name: service for name, service in self.services.items() if name != "postgres"}
        done: set[tuple[str, str]] = {("postgres", "service_healthy")}
        while waiting:
            ready = [name for name, s in waiting.items() if {(k, v["condition"]) for k, v in s["depends_on"].items()} <= done]
            assert ready, f"{sorted(waiting)} wait for what never comes"
            for name in ready:
                self._start(name)
            for name in ready:
                if "healthcheck" in waiting.pop(name):
                    self.wait_until_healthy(name)
                    done.add((name, "service_healthy"))
                else:
                    assert self.running.pop(name).wait(timeout=START_S) == 0, self.log(name)
                    done.add((name, "service_completed_successfully"))

    def wait_until_healthy(self, name: str) -> None:
        kind, *check = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.running[name].poll() is None, f"{name} ended:\n{self.log(name)}"
            said = subprocess.run(self._mapped(name, check), env=self._environment(name), capture_output=True, text=True, check=False)
            if said.returncode == 0:
                return
            time.sleep(1)
        raise AssertionError(f"{name} is not healthy after {START_S} s: {said.stderr}\n{self.log(name)}")

    def down(self) -> None:
        """Stop as Compose does: the services' own processes are asked, each has its grace period."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for name, process in self.running.items():
            process.wait(timeout=seconds(self.services[name]["stop_grace_period"]))

    def kill(self) -> None:
        """Whatever is left."""
        for process in self.left():
            process.kill()
        for child in self.running.values():
            child.wait()

    def left(self) -> list[psutil.Process]:
        """Processes of these services that still run: those in their sessions, and those that left them but kept the data folder's name.

        A zombie has ended; whoever adopted it has only not looked yet.
        """
        found = []
        for process in psutil.process_iter():
            try:
                is_ours = os.getsid(process.pid) in self.sessions or process.environ().get(HOME_VARIABLE) == str(self.home)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")[-4000:]

    def _start(self, name: str) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self._mapped(name, self.services[name]["command"]),
                env=self._environment(name),
                cwd=self.logs,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.add(self.running[name].pid)

    def _mapped(self, name: str, command: list[str]) -> list[str]:
        hosts = dict.fromkeys({"0.0.0.0", *self.services} - {name}, "127.0.0.1")
        program, *arguments = (hosts.get(word, word) for word in command)
        port = ["--port", str(self.ports[name])] if name in self.ports else []
        return [str(Path(sys.executable).with_name(program)), *arguments, *port, "--code-port", str(self.ports["code-location"])]

    def _environment(self, name: str) -> dict[str, str]:
        """The service's own, and of ours only what every process needs."""
        given = {key: filled_in(value, self.values) for key, value in self.services[name]["environment"].items()}
        assert given["DATABASE_URL"].partition("@")[2] == "postgres:5432/postgres"
        mounts = {mount["target"]: mount["source"] for mount in self.services[name]["volumes"]}
        assert set(mounts) == {given[HOME_VARIABLE], given["SMART_MAINTENANCE_PLANT"]}
        given |= {"DATABASE_URL": self.server_url, HOME_VARIABLE: str(self.home), "SMART_MAINTENANCE_PLANT": str(self.plant)}
        return {**{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}, **given}
