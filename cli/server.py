"""The four servers, each as one process: its command and its health check.

`maintenance up` starts them as its children; a supervisor such as Docker Compose starts `maintenance server <service>`
for each, in containers of their own: then only DATABASE_URL, the data folder and the plant folder connect them.
"""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote, quote_plus

from cli.environment import prepared, variables_of
from cli.errors import CommandError
from resources.home import CHECKOUT, Home
from resources.postgres import URL_VARIABLE, database_url
from resources.whole_files import write_whole

Service = Literal["init", "code-location", "webserver", "daemon", "mlflow"]
LOOPBACK = "127.0.0.1"
PORTS: dict[Service, int] = {"code-location": 4000, "webserver": 3000, "mlflow": 5000}
PAGES: dict[Service, str] = {"webserver": "/server_info", "mlflow": "/health"}
ANSWER_TIMEOUT_S = 5


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def page(self, service: Service) -> str:
        """What answers once the server is up."""
        return f"http://{self.host}:{self.port}{PAGES[service]}"


def code_location(at: Address) -> list[str]:
    return ["dagster", "code-server", "start", "-h", at.host, "-p", str(at.port), "-m", "definitions", "-d", str(CHECKOUT)]


def webserver(at: Address, *, workspace: Path) -> list[str]:
    return ["dagster-webserver", "-w", str(workspace), "-h", at.host, "-p", str(at.port)]


def daemon(*, workspace: Path) -> list[str]:
    return ["dagster-daemon", "run", "-w", str(workspace)]


def mlflow(at: Address, *, home: Home) -> list[str]:
    """Its database comes by MLFLOW_BACKEND_STORE_URI: a password among the arguments would show in the process list."""
    artifacts = home.folder("mlflow").as_uri()
    return ["mlflow", "server", "--host", at.host, "--port", str(at.port), "--workers", "1", "--default-artifact-root", artifacts]


def write_workspace(home: Home, *, code: Address) -> Path:
    """Where webserver and daemon find the code location; its name stays the same, for the sensors' cursors hang on it."""
    path = home.folder("dagster") / "workspace.yaml"
    write_whole(path, f"load_from:\n  - grpc_server: {{host: {code.host}, port: {code.port}, location_name: smart_maintenance}}\n")
    return path


def program(command: Sequence[str]) -> list[str]:
    """The command with its program taken from beside this Python, whatever PATH says."""
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


def run_service(service: Service, *, home: Home, plant: Path, at: Address, code: Address) -> None:
    """Become the service; `init` prepares what the others need and returns. Raises CommandError."""
    server_url = _server_url()
    if service == "init":
        initialise(home=home.root, plant=plant)
        return
    if not (home.folder("dagster") / "dagster.yaml").exists():
        raise CommandError(f"The data folder {home.root} is not prepared; run `maintenance server init` first.")
    match service:
        case "code-location":
            command = code_location(at)
        case "webserver":
            command = webserver(at, workspace=write_workspace(home, code=code))
        case "daemon":
            command = daemon(workspace=write_workspace(home, code=code))
        case "mlflow":
            command = mlflow(at, home=home)
    os.environ.update(variables_of(home, plant=plant, server_url=server_url))
    os.chdir(CHECKOUT)
    _become(command)


def initialise(*, home: Path, plant: Path) -> None:
    """Databases, folders and settings; the schemas of ledger, Dagster and MLflow at the newest revision.

    Done once before any server starts: otherwise several would create the same tables at once, and MLflow refuses
    a schema of an earlier version. Repeating it changes nothing. Raises CommandError.
    """
    with prepared(home=home, plant=plant) as environment:
        address, password = without_password(database_url(environment.server_url, "mlflow"))
        secret = {"PGPASSWORD": password} if password is not None else {}
        steps: tuple[tuple[list[str], dict[str, str]], ...] = (
            (["dagster", "instance", "migrate"], {}),
            (["mlflow", "db", "upgrade", address], secret),
        )
        for step, more in steps:
            done = subprocess.run(
                program(step),
                cwd=CHECKOUT,
                env={**os.environ, **more},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CommandError(f"`{' '.join(step[:3])}` failed:\n{_hidden(done.stdout, password)}")


def without_password(url: str) -> tuple[str, str | None]:
    """The URL for a list of arguments, which every user of the computer can read, and the password that it had."""
    from sqlalchemy.engine import make_url

    named = make_url(url)
    in_query = named.query.get("password")
    password = named.password if named.password is not None else in_query if isinstance(in_query, str) else None
    bare = named.difference_update_query(["password"])._replace(password=None)
    return bare.render_as_string(hide_password=False), password


def _hidden(output: str, password: str | None) -> str:
    """What a program said, without the password: as it is, as it stands in a URL, and as SQLAlchemy writes it into one."""
    for secret in {password, quote(password, safe=""), quote_plus(password), quote(password, safe=" +")} if password else ():
        output = output.replace(secret, "***")
    return output


def check_service(service: Service, *, home: Home, plant: Path, at: Address) -> None:
    """End with exit code 0 only where the service answers. Raises CommandError."""
    match service:
        case "init":
            raise CommandError("`init` ends by itself; there is nothing to check.")
        case "code-location":
            _become(["dagster", "api", "grpc-health-check", "-h", at.host, "-p", str(at.port)])
        case "daemon":
            os.environ.update(variables_of(home, plant=plant, server_url=_server_url()))
            _become(["dagster-daemon", "liveness-check"])
        case "webserver" | "mlflow":
            if not answers(at.page(service)):
                raise CommandError(f"{service} does not answer at {at.page(service)}.")


def answers(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=ANSWER_TIMEOUT_S):  # noqa: S310 - an http address of our own
            return True
    except (urllib.error.URLError, OSError):
        return False


def _server_url() -> str:
    named = os.environ.get(URL_VARIABLE)
    if not named:
        raise CommandError(f"{URL_VARIABLE} names no PostgreSQL server; servers that run apart from each other share one.")
    return named


def _become(command: Sequence[str]) -> None:
    sys.stdout.flush()
    argv = program(command)
    os.execv(argv[0], argv)  # noqa: S606 - our own command, no shell
