"""`maintenance` as the tests of its commands type it, in this process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cli.main import main
from resources.postgres import database_url

Said = tuple[int, str, str]
Say = Callable[..., Said]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Exit code, stdout and stderr of the command with these words; anything but an exit is an error of the test."""

    def in_process(*words: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["maintenance", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return in_process


def emptied(postgres: str, *tables: str) -> None:
    """The session's ledger without what these tables hold, and what hangs on it."""
    engine = create_engine(database_url(postgres, "smart_maintenance"))
    with engine.begin() as connection:
        connection.execute(text(f"truncate {', '.join(tables)} cascade"))
    engine.dispose()
