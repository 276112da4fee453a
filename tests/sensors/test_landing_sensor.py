"""The landing sensor over real folders: what is finished is asked for once, what still grows waits."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from jobs.pipeline import intake
from resources.landing import LandingResource
from resources.plant import PlantResource
from sensors import landing as landing_module
from sensors.landing import FILES_PER_RUN, RETRY_S, landing_sensor

PLANT = """
site: {site}
name: A site
first_day: 2026-09-01
machines:
  - machine_id: {site}-P1
    machine_class: pump
    sensors: [{{sensor_id: {site}-P1-T, type: temperature, unit: °C}}]
"""


class Clock:
    """Time as the sensor sees it; whatever happens while it waits is done by `while_asleep`."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept = 0.0
        self.while_asleep: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds
        self.while_asleep()


class Zone:
    """Landing folders of two sites, a Dagster instance, and the sensor's ticks with its cursor kept from one to the next."""

    def __init__(self, root: Path, clock: Clock, instance: dg.DagsterInstance) -> None:
        for site in ("a", "b"):
            (root / "plant").mkdir(exist_ok=True)
            (root / "plant" / f"{site}.yaml").write_text(PLANT.format(site=site))
        self.root = root / "landing"
        self.clock = clock
        self.instance = instance
        self.cursor: str | None = None
        self.landing = LandingResource(landing=str(self.root), archive=str(root / "archive"), quarantine=str(root / "quarantine"))
        self.resources = {
            "landing": self.landing,
            "plant": PlantResource(folder=str(root / "plant")),
        }

    def put(self, name: str, content: str = "x", *, age_s: float = 0) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (self.clock.now - age_s, self.clock.now - age_s))
        return path

    def tick(self) -> dg.RunRequest | str:
        """The run that the tick asks for, or why it asks for none."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=self.resources)
        data = landing_sensor.evaluate_tick(context)
        self.cursor = data.cursor
        assert len(data.run_requests or ()) <= 1
        return data.run_requests[0] if data.run_requests else str(data.skip_message)


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    clock = Clock()
    monkeypatch.setattr(landing_module, "time", clock)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Zone(tmp_path, clock, instance)


def files_of(request: dg.RunRequest | str) -> list[str]:
    assert isinstance(request, dg.RunRequest), request
    files: list[str] = request.run_config["ops"]["drops"]["config"]["files"]
    return files


def test_files_that_stay_as_they_are_between_two_looks_are_asked_for_in_one_run_oldest_first(zone: Zone) -> None:
    zone.put("a/2.csv", age_s=10)
    zone.put("b/1.csv", age_s=20)
    zone.put("a/1.csv", age_s=30)
    zone.put("a/line-3/deep.csv", age_s=5)
    assert files_of(zone.tick()) == ["a/1.csv", "a/2.csv", "a/line-3/deep.csv", "b/1.csv"]
    assert zone.clock.slept > 0


def test_an_empty_landing_zone_costs_no_wait_and_asks_for_nothing(zone: Zone) -> None:
    assert zone.tick() == "The landing zone is empty."
    assert zone.clock.slept == 0


def test_a_file_still_growing_waits_while_a_settled_one_goes_ahead(zone: Zone) -> None:
    growing = zone.put("a/growing.csv")

    def grow() -> None:
        with growing.open("a") as file:
            file.write("more")

    zone.clock.while_asleep = grow
    assert zone.tick() == "1 files are still being written."
    zone.put("a/settled.csv", age_s=60)
    assert files_of(zone.tick()) == ["a/settled.csv"]
    zone.clock.while_asleep = lambda: None
    (zone.root / "a/settled.csv").unlink()
    assert files_of(zone.tick()) == ["a/growing.csv"]


def test_a_file_rewritten_at_the_same_length_is_still_seen_to_change(zone: Zone) -> None:
    path = zone.put("a/x.csv", "12")
    zone.clock.while_asleep = lambda: (path.write_text("34"), None)[1]
    assert zone.tick() == "1 files are still being written."


def test_a_done_marker_speeds_it_up_and_is_no_drop_itself(zone: Zone) -> None:
    path = zone.put("a/x.csv")
    zone.put("a/x.csv.done", "")
    zone.clock.while_asleep = lambda: (path.write_text("late change"), None)[1]
    assert files_of(zone.tick()) == ["a/x.csv"]


@pytest.mark.parametrize("name", ["a/x.csv.tmp", "a/x.part", "a/x.partial", "a/x.filepart", "a/.x.csv", "a/.hidden/x.csv", "a/x.csv.done"])
def test_unfinished_and_hidden_names_are_ignored(zone: Zone, name: str) -> None:
    zone.put(name)
    assert zone.tick() == "The landing zone is empty."


def test_a_folder_of_no_site_is_left_alone(zone: Zone) -> None:
    zone.put("elsewhere/x.csv")
    assert zone.tick() == "The landing zone is empty."


def test_the_same_files_keep_their_run_key_until_the_retry_is_due(zone: Zone) -> None:
    zone.clock.now = RETRY_S * 1000.0
    zone.put("a/x.csv")
    first = zone.tick()
    zone.clock.now = RETRY_S * 1001 - 1
    same = zone.tick()
    zone.clock.now = RETRY_S * 1001
    later = zone.tick()
    keys = [r.run_key for r in (first, same, later) if isinstance(r, dg.RunRequest)]
    assert len(keys) == 3
    assert keys[0] == keys[1], "Dagster starts no second run for a key that it knows"
    assert keys[2] != keys[1], "what a failed intake left behind is asked for again"


def test_a_new_delivery_under_a_known_name_is_asked_for_at_once(zone: Zone) -> None:
    zone.clock.now = RETRY_S * 1000.0
    zone.put("a/x.csv", age_s=9)
    first = zone.tick()
    zone.put("a/x.csv", age_s=1)
    second = zone.tick()
    assert isinstance(first, dg.RunRequest) and isinstance(second, dg.RunRequest)
    assert first.run_key != second.run_key


def test_five_thousand_tiny_files_are_taken_by_runs_of_five_hundred(zone: Zone) -> None:
    for n in range(5_000):
        zone.put(f"a/{n:04}.csv", age_s=n)
    asked: list[list[str]] = []
    while isinstance(request := zone.tick(), dg.RunRequest):
        asked.append(files_of(request))
        for name in asked[-1]:  # as an intake does
            (zone.root / name).unlink()
    assert request == "The landing zone is empty."
    assert [len(files) for files in asked] == [FILES_PER_RUN] * 10
    assert [name for files in asked for name in files] == [f"a/{n:04}.csv" for n in reversed(range(5_000))]
    assert zone.clock.slept < 2, "only the first tick saw something new and looked twice"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_while_an_intake_is_under_way_nothing_is_asked_for(zone: Zone, status: dg.DagsterRunStatus) -> None:
    zone.put("a/x.csv")
    run = zone.instance.add_run(dg.DagsterRun(job_name=intake.name, status=status))
    assert zone.tick() == "1 files wait for the intake that is under way."
    assert json.loads(zone.cursor or "{}").keys() == {"a/x.csv"}, "and yet they are remembered"
    zone.instance.delete_run(run.run_id)
    before = zone.clock.slept
    assert files_of(zone.tick()) == ["a/x.csv"]
    assert zone.clock.slept == before, "seen a tick ago and unchanged since: no second look"


def test_other_jobs_and_ended_intakes_do_not_hold_files_up(zone: Zone) -> None:
    zone.put("a/x.csv")
    for job, status in ((intake.name, dg.DagsterRunStatus.FAILURE), ("process_site_day", dg.DagsterRunStatus.STARTED)):
        zone.instance.add_run(dg.DagsterRun(job_name=job, status=status))
    assert files_of(zone.tick()) == ["a/x.csv"]


def test_what_an_intake_had_claimed_when_it_died_is_asked_for_with_the_rest(zone: Zone) -> None:
    zone.put("a/line-3/claimed.csv")
    zone.landing.claim("a/line-3/claimed.csv")
    assert files_of(zone.tick()) == ["a/line-3/claimed.csv"], "nothing else lands: it must not lie there for ever"
    zone.put("b/new.csv")
    assert files_of(zone.tick()) == ["a/line-3/claimed.csv", "b/new.csv"]


def test_what_a_running_intake_has_claimed_is_left_to_it(zone: Zone) -> None:
    zone.put("a/claimed.csv")
    zone.landing.claim("a/claimed.csv")
    zone.instance.add_run(dg.DagsterRun(job_name=intake.name, status=dg.DagsterRunStatus.STARTED))
    assert zone.tick() == "1 files wait for the intake that is under way."
