"""Plant files: what is right is read, what is wrong is named by file and field."""

from pathlib import Path

import pytest

from resources.plant_files import PlantError, earliest_day, read_plant
from tests.conftest import CHECKOUT

GOOD = """
site: {site}
name: A site
first_day: 2026-09-0{day}
machines:
  - machine_id: {machine}
    machine_class: pump
    sensors:
      - {{sensor_id: {machine}-VIB, type: vibration, unit: mm/s, alarm: {{high: 4.5}}, trip: {{high: 7.1}}}}
"""


def plant(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_a_plant_is_all_its_sites_by_name(tmp_path: Path) -> None:
    folder = plant(tmp_path, b=GOOD.format(site="b", day=3, machine="P2"), a=GOOD.format(site="a", day=2, machine="P1"))
    assert [s.site for s in read_plant(folder)] == ["a", "b"]
    assert earliest_day(folder).isoformat() == "2026-09-02"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD.format(site="a", day=2, machine="P1").replace("unit: mm/s", "unti: mm/s"),
            r"a\.yaml: machines\.0\.sensors\.0\.unti: Extra inputs",
        ),
        (GOOD.format(site="a", day=2, machine="P1").replace("7.1", "4.0"), r"a\.yaml: machines\.0\.sensors\.0: .*4\.5 is above 4\.0"),
        (GOOD.format(site="a", day=2, machine="P1") + "time_zone: Mars/Base\n", r"a\.yaml: .*time_zone: unknown time zone 'Mars/Base'"),
        (GOOD.format(site="other", day=2, machine="P1"), r"a\.yaml: site is 'other'"),
        ("site: [", r"a\.yaml, line 2: not valid YAML"),
        ("just text", r"a\.yaml: a plant file is a mapping"),
        (
            GOOD.format(site="a", day=2, machine="P1")
            + "technicians: [{technician_id: t, name: T, skills: [mechanical], shifts: [{start: 14:00, end: '22:00'}]}]\n",
            r"a\.yaml: technicians\.0\.shifts\.0\.start: .*in quotes",
        ),
    ],
)
def test_an_error_names_file_and_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PlantError, match=words):
        read_plant(plant(tmp_path, a=text))


def test_a_machine_belongs_to_one_site(tmp_path: Path) -> None:
    folder = plant(tmp_path, a=GOOD.format(site="a", day=2, machine="P1"), b=GOOD.format(site="b", day=2, machine="P1"))
    with pytest.raises(PlantError, match=r"b\.yaml: P1 is already used in a\.yaml"):
        read_plant(folder)


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    folder = plant(tmp_path, a=GOOD.format(site="a", day=2, machine="P1"))
    assert read_plant(folder)[0].name == "A site"
    plant(tmp_path, a=GOOD.format(site="a", day=2, machine="P1").replace("A site", "Another name"))
    assert read_plant(folder)[0].name == "Another name"


def test_an_empty_folder_and_a_missing_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(PlantError, match=r"has no <site>\.yaml"):
        read_plant(tmp_path)
    with pytest.raises(PlantError, match="There is no plant folder"):
        read_plant(tmp_path / "nowhere")


RECEIVER = "receivers:\n  - {receiver_id: ada, role: planner, url_variable: ADA_URL}\n"


def test_a_receiver_belongs_to_one_site_and_names_sites_that_are_there(tmp_path: Path) -> None:
    a, b = (GOOD.format(site=s, day=2, machine=f"P{s}") for s in "ab")
    plant(tmp_path, a=a + RECEIVER, b=b + RECEIVER)
    with pytest.raises(PlantError, match=r"b\.yaml: ada is already used in a\.yaml"):
        read_plant(tmp_path)
    plant(tmp_path, b=b + RECEIVER.replace("ada", "ben").replace("role", "sites: [a, c], role"))
    with pytest.raises(PlantError, match=r"b\.yaml: receivers: ben names the site 'c'; the plant has none such"):
        read_plant(tmp_path)
    plant(tmp_path, b=b + RECEIVER.replace("ada", "ben").replace("role", "sites: [a], role"))
    assert [r.receiver_id for s in read_plant(tmp_path) for r in s.receivers] == ["ada", "ben"]


def test_the_receivers_shown_in_the_demonstration_plant_are_ones_that_could_be(tmp_path: Path) -> None:
    folder = Path(CHECKOUT, "plant")
    for path in folder.glob("*.yaml"):
        head, shown, rest = path.read_text().partition("# receivers:\n")
        uncommented = "receivers:\n" + "".join(line.removeprefix("# ") + "\n" for line in rest.splitlines())
        (tmp_path / path.name).write_text(head + uncommented if shown else head)
    found = {r.receiver_id: r for s in read_plant(tmp_path) for r in s.receivers}
    assert list(found) == ["hh-planners", "hh-brandt-phone", "data-team"]
    assert found["hh-planners"].quiet_hours is not None
    assert not any(s.receivers for s in read_plant(folder))
