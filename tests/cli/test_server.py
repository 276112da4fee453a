"""What `maintenance server init` starts shows no password to others on the computer, nor in its errors."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import server
from cli.errors import CommandError
from cli.server import initialise, program, without_password
from resources.postgres import database_url

SECRET = "s3cret/p@ss word"
QUOTED = "s3cret%2Fp%40ss%20word"
SERVER_URL = f"postgresql://ada:{QUOTED}@db/postgres"


@pytest.mark.parametrize(
    ("url", "bare", "password"),
    [
        (f"postgresql+psycopg2://ada:{QUOTED}@db:5432/mlflow", "postgresql+psycopg2://ada@db:5432/mlflow", SECRET),
        (f"postgresql://ada@db/mlflow?password={QUOTED}&sslmode=require", "postgresql://ada@db/mlflow?sslmode=require", SECRET),
        ("postgresql://ada:@db/mlflow", "postgresql://ada@db/mlflow", ""),
        ("postgresql://postgres:@/mlflow?host=/tmp/pg", "postgresql://postgres@/mlflow?host=%2Ftmp%2Fpg", ""),
        ("postgresql://ada@db/mlflow", "postgresql://ada@db/mlflow", None),
    ],
)
def test_a_password_is_taken_out_of_the_url(url: str, bare: str, password: str | None) -> None:
    assert without_password(url) == (bare, password)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """The programs that were started; the second one fails and prints how it was to log in."""

    @contextmanager
    def here(**_: Any) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(server_url=SERVER_URL)

    seen: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def run(command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append((command, env))
        said = f"cannot log in with {SECRET} at postgresql://ada:{QUOTED}@db/mlflow, {database_url(SERVER_URL, 'mlflow')}"
        return subprocess.CompletedProcess(command, returncode=len(seen) - 1, stdout=said)

    monkeypatch.setattr(server, "prepared", here)
    monkeypatch.setattr(subprocess, "run", run)
    return seen


def test_no_password_stands_among_the_arguments_or_in_the_error(started: list[tuple[Sequence[str], Mapping[str, str]]]) -> None:
    with pytest.raises(CommandError, match=r"`mlflow db upgrade` failed") as refused:
        initialise(home=Path("home"), plant=Path("plant"))
    assert [Path(command[0]).name for command, _ in started] == ["dagster", "mlflow"]
    for command, _ in started:
        assert not any("s3cret" in word for word in command)
    assert started[1][1]["PGPASSWORD"] == SECRET
    assert "s3cret" not in str(refused.value)
    assert "cannot log in with ***" in str(refused.value)


def test_a_program_is_taken_from_beside_this_python_unless_a_path_names_it() -> None:
    assert program(["dagster", "run", "list"]) == [str(Path(sys.executable).with_name("dagster")), "run", "list"]
    assert program(["/usr/bin/env", "x"]) == ["/usr/bin/env", "x"]
    assert not Path(program([".venv/bin/python"])[0]).exists(), "then it is run as it was typed"
