"""The deployment as docker-compose.yml describes it: well-formed, closed to the outside, and at work from a drop to its reports."""

import json
import re
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.server import PORTS
from ml.simulator import simulate
from resources.landing import drop_file
from resources.plant_files import read_plant
from resources.postgres import URL_VARIABLE, serving
from tests.conftest import CHECKOUT
from tests.deployment.composed import Composed, filled_in, read_compose, variables_used

DAY = date(2026, 10, 1)
MACHINES = ("HH-P101", "HH-P102")
KINDS = ("performance_summary", "anomaly_summary", "maintenance_summary", "system_health")
REPORTS_WITHIN_S = 180
ENDED_WITHIN_S = 15  # the kernel ends what is left in a container; here the children see by themselves that their parent is gone


def settings_explained() -> dict[str, str]:
    """Variable -> value of .env.example, for those below a comment."""
    explained, commented = {}, False
    for line in (CHECKOUT / ".env.example").read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if line.startswith("#"):
            commented = True
        elif not line:
            commented = False
        elif is_setting and commented:
            explained[name] = value
    return explained


def one_shots(services: dict[str, Any]) -> set[str]:
    """Services that others wait for to end."""
    waited_for = (d for s in services.values() if isinstance(s.get("depends_on"), dict) for d in s["depends_on"].items())
    return {name for name, dependency in waited_for if dependency["condition"] == "service_completed_successfully"}


def test_every_published_port_is_on_the_loopback_and_is_the_one_that_its_service_listens_on():
    published = {}
    for name, service in read_compose()["services"].items():
        for port in service.get("ports", ()):
            host, outside, inside = filled_in(port, settings_explained()).rsplit(":", 2)
            assert host == "127.0.0.1"
            assert outside.isdigit()
            published[name] = int(inside)
    assert published == {"webserver": PORTS["webserver"], "mlflow": PORTS["mlflow"]}


def test_every_service_has_a_health_check_and_is_restarted_or_ends_by_itself():
    services = read_compose()["services"]
    assert one_shots(services) == {"init"}
    for name, service in services.items():
        if name in one_shots(services):
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"], name
            assert (service["restart"], "stop_grace_period" in service) == ("unless-stopped", True), name


def test_every_setting_is_used_and_explained_in_the_example():
    assert set(settings_explained()) == variables_used()


def test_a_missing_password_is_refused_and_no_password_is_committed():
    assert settings_explained()["POSTGRES_PASSWORD"] == ""
    with pytest.raises(ValueError, match=r"POSTGRES_PASSWORD: set it in \.env"):
        filled_in((CHECKOUT / "docker-compose.yml").read_text(), settings_explained())


def test_the_python_services_share_image_user_data_and_plant():
    python = {n: s for n, s in read_compose()["services"].items() if n != "postgres"}
    assert python.keys() == {"init", *PORTS, "daemon"}
    for key in ("image", "user", "environment", "volumes"):
        assert len({json.dumps(service[key]) for service in python.values()}) == 1, key
    plant = next(mount for mount in python["init"]["volumes"] if mount["target"] == "/plant")
    assert plant["read_only"] is True


def test_the_build_context_holds_what_the_image_needs_and_no_secrets_or_data():
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert "*" in lines
    assert packages | {"definitions.py", "dagster.yaml", "pyproject.toml", "requirements.lock", project["project"]["readme"]} <= allowed
    assert not {".env", ".git", "tests", ".smart-maintenance"} & allowed
    copied = set(re.findall(r"^COPY (\S+) \S+$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == {"requirements.lock", "."}


def test_docker_compose_accepts_the_file(tmp_path):
    try:
        version = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("docker is not installed")
    if version.returncode:
        pytest.skip("docker has no compose plugin")
    settings = tmp_path / "env"
    settings.write_text("\n".join(f"{k}={v or 'secret'}" for k, v in settings_explained().items()))
    command = ["docker", "compose", "--env-file", str(settings), "-f", str(CHECKOUT / "docker-compose.yml"), "config", "--quiet"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Path:
    """Two machines of the demonstration plant."""
    folder = tmp_path_factory.mktemp("plant")
    site = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text())
    site["machines"] = [m for m in site["machines"] if m["machine_id"] in MACHINES]
    site.pop("travel")  # to areas where no machine is left
    (folder / "hamburg.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    return folder


@pytest.fixture(scope="module")
def composed(tmp_path_factory, plant) -> Iterator[Composed]:
    folder = tmp_path_factory.mktemp("server")
    values = settings_explained() | {"POSTGRES_PASSWORD": "secret"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URL_VARIABLE, raising=False)
        with serving(folder / "pg") as server_url:
            services = Composed(server_url, home=folder / "data", plant=plant, logs=folder, values=values)
            try:
                services.up()
                yield services
            finally:
                services.kill()


def test_a_drop_delivered_to_the_running_services_becomes_reports(composed, plant):
    landing = composed.home / "landing" / "hamburg"
    (day,) = simulate(read_plant(plant), start=DAY, days=1, seed=3, faults=[])
    for drop in day.drops:
        drop_file(drop.content, landing, drop.name)
    expected = [composed.home / "reports" / kind / "hamburg" / f"{DAY}.html" for kind in KINDS]
    until = time.monotonic() + REPORTS_WITHIN_S
    while not all(path.exists() for path in expected) and time.monotonic() < until:
        time.sleep(1)
    assert [path for path in expected if not path.exists()] == [], composed.log("daemon") + composed.log("code-location")
    assert list(landing.iterdir()) == []
    assert len(list((composed.home / "archive" / "drops" / "hamburg").iterdir())) == len(day.drops)


def test_the_webserver_shows_the_runs_that_the_daemon_launched_in_the_code_location(composed):
    locations = "repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } }"
    query = f"{{ {locations} runsOrError {{ ... on Runs {{ results {{ jobName status }} }} }} }}"
    request = urllib.request.Request(
        f"http://127.0.0.1:{composed.ports['webserver']}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = json.load(answer)["data"]
    assert [node["location"]["name"] for node in found["repositoriesOrError"]["nodes"]] == ["smart_maintenance"]
    runs = found["runsOrError"]["results"]
    assert {"intake", "process_site_day"} <= {run["jobName"] for run in runs}
    assert {run["status"] for run in runs} <= {"SUCCESS", "STARTED"}


def test_mlflow_answers_under_its_published_name(composed):
    with urllib.request.urlopen(f"http://localhost:{composed.ports['mlflow']}/", timeout=30) as page:
        assert b"MLflow" in page.read()


def test_the_services_stop_when_asked_and_leave_no_process_behind(composed):
    assert len(composed.left()) >= len(composed.running) == 4
    composed.down()
    until = time.monotonic() + ENDED_WITHIN_S
    while composed.left() and time.monotonic() < until:
        time.sleep(0.5)
    assert [process.cmdline() for process in composed.left()] == []
