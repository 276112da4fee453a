"""The README is true: its commands, paths, assets, targets and snippets are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from cli.main import app
from definitions import defs
from tests.conftest import CHECKOUT

README = (CHECKOUT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.+?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
TARGETS = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make ")])
def test_each_make_target_is_there(command: str) -> None:
    assert set(command.split()[1:]) <= TARGETS


@pytest.mark.parametrize("command", [c for c in COMMANDS if "maintenance " in c])
def test_each_maintenance_command_and_its_options_are_there(command: str) -> None:
    words = command.split("maintenance ", 1)[1].split()
    verb = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    if hasattr(verb, "commands"):
        verb = verb.commands[words[1]]
    known = {option for parameter in verb.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_there_are_commands_and_no_others() -> None:
    assert len(COMMANDS) >= 12
    assert all(c.startswith(("make ", ".venv/bin/maintenance ")) for c in COMMANDS)


def test_each_named_file_is_there() -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|yaml|yml|lock|example))`", README))
    ours = {
        n
        for n in named
        if not n.startswith(
            (".smart-maintenance/", "landing/", "archive/", "quarantine/", "lake/", "pg/", "reports/", "mlflow/", "validation/", "fits/")
        )
    }
    missing = {n for n in ours if not (CHECKOUT / n).exists()} - {"models/", "logs/", "my-files/"}
    assert missing == set()
    assert len(ours) > 8


def test_each_asset_is_named_in_its_group() -> None:
    for spec in defs.resolve_all_asset_specs():
        row = next(line for line in README.splitlines() if line.startswith(f"| `{spec.group_name}`"))
        assert f"`{spec.key.to_user_string()}`" in row


def test_the_sensors_schedules_and_jobs_that_it_names_are_there() -> None:
    repository = defs.get_repository_def()
    there = (
        {s.name for s in repository.sensor_defs} | {s.name for s in repository.schedule_defs} | {j.name for j in repository.get_all_jobs()}
    )
    assert {"landing_sensor", "new_drops_sensor", "reconcile", "submit_decision", "complete_work_order"} <= there


def test_the_snippet_that_reads_the_lake_runs(tmp_path: Path) -> None:
    from datetime import date

    import pyarrow as pa

    from expectations.contracts import SENSOR_READINGS
    from resources.lake import LakeResource

    rows = [{"sensor_id": s, "timestamp": 0, "value": 1.5, "drop_seq": 1} for s in ("HH-C302-VIB", "other")]
    LakeResource(root=str(tmp_path / ".smart-maintenance" / "lake")).write(
        "sensor_readings", pa.Table.from_pylist(rows, schema=SENSOR_READINGS.schema), site="hamburg", day=date(1970, 1, 1)
    )
    snippet = re.search(r"```python\n(.+?)```", README, flags=re.DOTALL)
    assert snippet
    *lines, last = snippet[1].strip().splitlines()
    script = "\n".join([*lines, f"print(({last}).num_rows)"])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
