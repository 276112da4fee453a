"""The command line: what a person gets wrong is one clear sentence on stderr, never a traceback; what is right is done."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from cli.environment import Environment
from cli.main import _copy_into_landing, app
from resources.home import Home
from resources.landing import LandingResource
from resources.plant_files import read_site
from resources.postgres import URL_VARIABLE
from tests.cli.conftest import Said, Say
from tests.conftest import CHECKOUT

PROGRAM = Path(sys.executable).with_name("maintenance")
COMMANDS = sorted(c.name or c.callback.__name__ for c in app.registered_commands if c.callback)


def run_program(*words: str | Path, **variables: str) -> Said:
    """Exit code, stdout and stderr of the installed program, in an environment without our variables."""
    ours = ("SMART_MAINTENANCE_", "MLFLOW_", "DAGSTER_", URL_VARIABLE)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [PROGRAM, *map(str, words)], env={**clean, "COLUMNS": "200", **variables}, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def say(postgres: str, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Say:
    """The command in this process, over the session's PostgreSQL; anything but an exit is an error of the test."""
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setenv("COLUMNS", "200")
    return typed


def the_sentence(said: Said) -> str:
    """What stderr says, where that is all it says."""
    code, _, err = said
    assert code == 2, said
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.fixture
def wrong_plant(tmp_path: Path) -> Path:
    folder = tmp_path / "wrong-plant"
    folder.mkdir()
    site = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text())
    site["machines"][0]["sensors"][0]["unti"] = site["machines"][0]["sensors"][0].pop("unit")
    (folder / "hamburg.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    return folder


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_help_names_every_command_and_each_says_what_it_does() -> None:
    code, out, _ = run_program("--help")
    assert code == 0
    assert {"demo", "run", "simulate", "up", "orders", "decide", "report"} <= set(COMMANDS)
    for command in COMMANDS:
        assert f" {command} " in out, command


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_describes_it_and_its_options(say: Say, command: str) -> None:
    code, out, _ = say(command, "--help")
    assert code == 0
    description = out.split("Options")[0].split(f"maintenance {command}")[1]
    assert len(description.split()) > 8


def test_a_wrong_plant_file_is_named_with_its_field(tmp_path: Path, wrong_plant: Path) -> None:
    code, _, err = run_program("orders", "--plant", wrong_plant, "--home", tmp_path / "home")
    assert code == 2
    assert "Traceback" not in err
    assert err.splitlines() == [
        "error: hamburg.yaml: machines.0.sensors.0.unit: Field required",
        "hamburg.yaml: machines.0.sensors.0.unti: Extra inputs are not permitted",
    ]
    assert not (tmp_path / "home").exists(), "nothing is made for a plant that cannot be read"


@pytest.mark.parametrize("words", [("orders",), ("run", "--drops", "."), ("simulate", "--out", "out")])
def test_a_missing_plant_folder_is_said(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    missing = tmp_path / "no-plant"
    assert the_sentence(say(*words, "--plant", missing)) == f"There is no plant folder {missing}."
    assert list(tmp_path.iterdir()) == []


def test_an_empty_drops_folder_is_said_with_where_files_belong(say: Say, tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    drops.mkdir()
    (drops / ".hidden").write_text("x")
    said = the_sentence(say("run", "--drops", drops, "--home", tmp_path / "home"))
    assert said == f"There are no drops in {drops}; put each site's files into {drops}/hamburg/ or {drops}/houston/."


def test_drops_of_no_site_of_the_plant_are_said(say: Say, tmp_path: Path) -> None:
    drops = tmp_path / "drops" / "atlantis"
    drops.mkdir(parents=True)
    (drops / "a.csv").write_text("x")
    assert "There are no drops in" in the_sentence(say("run", "--drops", drops.parent, "--home", tmp_path / "home"))


def test_an_unknown_drops_folder_is_said(say: Say, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert the_sentence(say("run", "--drops", missing, "--home", tmp_path / "home")) == f"There is no folder {missing}."


@pytest.mark.parametrize("words", [("orders",), ("demo",), ("report", "--start", "2026-09-01", "--end", "2026-09-02")])
def test_a_data_folder_that_cannot_be_written_is_said(say: Say, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("x")
    home = tmp_path / "file" / "home"
    said = the_sentence(say(*words, "--home", home))
    assert said == f"The data folder {home} cannot be written (Not a directory); choose another with --home."


def test_a_folder_to_simulate_into_that_cannot_be_written_is_said(say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "out"
    assert the_sentence(say("simulate", "--out", out, "--days", "1")).startswith(f"The folder {out} cannot be written")


@pytest.mark.parametrize(("option", "server"), [("--port", "Dagster"), ("--mlflow-port", "MLflow")])
def test_a_busy_port_is_said_before_anything_is_started(say: Say, tmp_path: Path, busy_port: int, option: str, server: str) -> None:
    home = tmp_path / "home"
    with socket.socket() as probe:  # the other server's port, free
        probe.bind(("127.0.0.1", 0))
        other = str(probe.getsockname()[1])
    ports = {"--port": other, "--mlflow-port": other, option: str(busy_port)}
    said = the_sentence(say("up", "--home", home, *(word for pair in ports.items() for word in pair)))
    assert said == f"Port {busy_port}, meant for {server}, is in use; stop what listens there or choose another with {option}."
    assert not (home / "logs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("orders", "--site", "atlantis"), "The plant has no site 'atlantis'; it has hamburg, houston."),
        (("orders", "--state", "approved", "--state", "lost"), "There is no state lost; the states are proposed, awaiting_decision,"),
        (("decide", "WO-0", "approve", "--operator", "ada", "--reason", "x"), "There is no work order 'WO-0'."),
        (("decide", "WO-0", "defer", "--operator", "ada", "--reason", "x"), "defer_until belongs to the decision defer, and to no other."),
        (("decide", "WO-0", "defer", "--operator", "ada", "--reason", "x", "--until", "soon"), "'soon' is not an ISO 8601 time such as"),
        (("decide", "WO-0", "perhaps", "--operator", "ada", "--reason", "x"), "decision is 'perhaps'; it must be one of approve, reject,"),
        (("decide", "WO-0", "approve", "--operator", " ", "--reason", "x"), "operator and reason must be given"),
        (
            ("report", "--start", "2026-09-02", "--end", "2026-09-01"),
            "The range ends (2026-09-01) before it starts (2026-09-02).",
        ),
        (("report", "--start", "2026-09-01", "--end", "2026-09-01", "--site", "atlantis"), "The plant has no site 'atlantis';"),
    ],
)
def test_what_does_not_exist_or_make_sense_is_said(say: Say, tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    assert the_sentence(say(*words, "--home", tmp_path / "home")).startswith(sentence)


def test_a_database_that_does_not_answer_is_said_without_its_password(say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://planner:swordfish@127.0.0.1:1/postgres")
    code, out, err = say("orders", "--home", tmp_path / "home")
    assert code == 2
    assert "PostgreSQL at postgresql://planner:***@127.0.0.1:1/postgres does not answer" in err
    assert "swordfish" not in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("orders", "--home"), "'--home' requires an argument"),
        (("report", "--start", "yesterday", "--end", "2026-09-01"), "'yesterday' does not match"),
        (("simulate",), "Missing option '--out'"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)
def test_words_that_make_no_command_are_said(say: Say, words: tuple[str, ...], said: str) -> None:
    code, _, err = say(*words)
    assert code == 2
    assert said in err


def test_the_orders_of_a_new_data_folder_are_an_empty_table(say: Say, tmp_path: Path) -> None:
    code, out, err = say("orders", "--home", tmp_path / "home")
    assert (code, err) == (0, "")
    assert "due (UTC)" in out


def test_reports_of_days_without_data_exist_and_say_so(say: Say, tmp_path: Path) -> None:
    code, out, _ = say("report", "--start", "2026-09-01", "--end", "2026-09-02", "--home", tmp_path / "home")
    assert code == 0
    pages = [Path(line) for line in out.split()]
    assert len(pages) == 4
    assert all(page.is_relative_to(tmp_path / "home" / "reports") and page.stat().st_size > 1000 for page in pages)


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_simulates_the_same_bytes_with_the_truth_beside(say: Say, tmp_path: Path) -> None:
    words = ("--start", "2026-09-01", "--days", "2", "--seed", "5", "--plant", CHECKOUT / "plant")
    code, out, _ = say("simulate", "--out", tmp_path / "a", *words)
    assert code == 0
    assert "2 sites, 2026-09-01 to 2026-09-02" in out
    assert run_program("simulate", "--out", tmp_path / "b", *words)[0] == 0, "and so does another process"
    say("simulate", "--out", tmp_path / "c", *("6" if word == "5" else word for word in words))
    first, second, other = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert "truth.csv" in first
    assert {Path(name).parts[0] for name in first} == {"hamburg", "houston", "truth.csv"}
    drops = {name for name in first if name != "truth.csv"}
    assert drops == set(other) - {"truth.csv"}
    assert all(first[name] != other[name] for name in drops)
    truth = pd.read_csv(tmp_path / "a" / "truth.csv")
    assert {"site", "machine_id", "sensor_id", "kind", "onset_at", "failure_at", "repaired_at"} <= set(truth.columns)


def test_packed_drops_hold_the_same_rows(say: Say, tmp_path: Path) -> None:
    import gzip

    words = ("--start", "2026-09-01", "--days", "1", "--plant", CHECKOUT / "plant")
    say("simulate", "--out", tmp_path / "plain", *words)
    say("simulate", "--out", tmp_path / "packed", "--gzip", *words)
    plain = [p for p in (tmp_path / "plain").rglob("*") if p.is_file() and p.name != "truth.csv"]
    assert plain
    for path in plain:
        packed = tmp_path / "packed" / path.relative_to(tmp_path / "plain")
        assert gzip.decompress(packed.with_name(packed.name + ".gz").read_bytes()) == path.read_bytes()


def test_no_warning_of_a_library_stands_before_the_bench(tmp_path: Path) -> None:
    sentence = the_sentence(run_program("bench", "--only", "speed", "--home", tmp_path))
    assert sentence.startswith("There is no group speed")


def test_files_of_any_name_are_copied_into_the_landing_zone_under_names_that_lead_to_them(tmp_path: Path) -> None:
    site = read_site(CHECKOUT / "plant" / "hamburg.yaml")
    home = Home(tmp_path / "home")
    home.prepare()
    contents = {}
    for n, name in enumerate(
        ("line\nbreak.csv", "\\x0a.csv", os.fsdecode(b"caf\xe9.csv"), "x" * 251 + ".csv", "[red]a.csv", "deep/er.csv")
    ):
        path = tmp_path / "drops" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(str(n).encode())
        contents[name] = path.read_bytes()
    os.mkfifo(tmp_path / "drops" / "pipe.csv")
    names = _copy_into_landing(tmp_path / "drops", Environment(home, CHECKOUT / "plant", (site,), ""))
    zone = LandingResource(landing=str(home.folder("landing")), archive="", quarantine="")
    assert sorted(zone.place_of(name).read_bytes() for name in names) == sorted(contents.values())
    assert {str(zone.place_of(name).relative_to(home.folder("landing") / "hamburg")) for name in names} == set(contents)
    assert all(name.isprintable() for name in names)
