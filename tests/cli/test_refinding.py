"""Thresholds changed while an event goes on: one event under two names, until the days before are found anew, as a person asks for it."""

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console
from sqlalchemy import select

from assets.partitions import LOOK_BACK_DAYS, SiteDay
from cli.revalidate import Revalidation, Span, apply, look, show
from ml.incidents import incident_id
from resources.ledger.findings import Label, label_incidents
from resources.ledger.intake import pending_site_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import incident_assessments, incident_labels, revalidations
from resources.ledger.tables import incidents as incidents_table
from resources.plant import read_plant
from tests.assets.test_detection import DAY, Detection, scores
from tests.conftest import CHECKOUT
from tests.ledger_states import deliver

BEFORE = DAY - timedelta(days=1)
MACHINE = "HH-P101"


def at(hour: float) -> pd.Timestamp:
    return pd.Timestamp(BEFORE, tz="UTC") + pd.Timedelta(hours=hour)


OLD, NEW = incident_id(MACHINE, at(15)), incident_id(MACHINE, at(20))


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "hamburg.yaml").write_text((CHECKOUT / "plant" / "hamburg.yaml").read_text())
    return folder


@pytest.fixture
def detection(tmp_path: Path, ledger: LedgerResource, plant: Path) -> Detection:
    """A machine that is a little unusual from 15:00 on, very much so from 20:00, and so until 08:00 on the next day."""
    made = Detection(tmp_path, ledger, plant=plant)
    evening = scores(MACHINE, day=BEFORE, anomalous=slice(120, 144), version=1)
    evening.loc[90:119, "score"] = 0.65
    made.stored(evening, day=BEFORE)
    made.stored(scores(MACHINE, day=DAY, anomalous=slice(0, 48), version=1), day=DAY)
    deliver(ledger, "hamburg", [BEFORE, DAY], is_processed=True)
    return made


def change_thresholds(plant: Path, **policy: float) -> None:
    site = yaml.safe_load((plant / "hamburg.yaml").read_text())
    site["policy"] = {**site.get("policy", {}), "detection": policy}
    (plant / "hamburg.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))


def known(detection: Detection) -> dict[str, list[date]]:
    """Each incident and the days that know of it."""
    a = incident_assessments.c
    with detection.ledger.begin() as connection:
        found: dict[str, list[date]] = {name: [] for name in connection.scalars(select(incidents_table.c.incident_id))}
        for name, day in connection.execute(select(a.incident_id, a.day).order_by(a.day)):
            found[name].append(day)
    return found


def said(found: Revalidation, span: Span) -> str:
    console = Console(width=200, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        show(found, span=span, console=console)
    return capture.get()


def test_an_event_that_goes_on_over_a_change_of_thresholds_is_one_again_once_its_days_are_found_anew(
    detection: Detection, plant: Path
) -> None:
    def span() -> Span:
        return Span(read_plant(plant)[0], BEFORE, DAY)

    detection.run(BEFORE)
    with detection.ledger.begin() as connection:
        label_incidents(connection, [OLD], Label("confirmed", "person", "ada", "worn", at(23).to_pydatetime()))
    assert look(detection.ledger, Span(span().site, BEFORE, BEFORE), lake=detection.lake).refound == ()

    change_thresholds(plant, on_threshold=0.8)
    [made] = detection.run(DAY).asset_materializations_for_node("incidents")
    assert str(made.metadata["warning"].value).startswith(f"{NEW} is {OLD} on earlier days: policy.detection has changed since")
    assert known(detection) == {OLD: [BEFORE], NEW: [DAY]}, "the same event twice"

    would = look(detection.ledger, span(), lake=detection.lake)
    assert [(found.day, found.come, found.gone, found.other) for found in would.refound] == [(BEFORE, (NEW,), (OLD,), ())]
    assert f"{BEFORE}  {NEW} would be found; {OLD} would not" in said(would, span())
    done = apply(detection.ledger, span(), lake=detection.lake, operator="ada", why="fewer alarms")
    assert done.days == (BEFORE, DAY), "a fall of health is looked for on the day after"
    with detection.ledger.begin() as connection:
        assert [SiteDay(p.day, p.site) for p in pending_site_days(connection)] == [SiteDay(BEFORE, "hamburg"), SiteDay(DAY, "hamburg")]
        [changes] = connection.scalars(select(revalidations.c.changes))
    assert changes == [
        {"incident_id": NEW, "day": BEFORE.isoformat(), "found_anew": "found"},
        {"incident_id": OLD, "day": BEFORE.isoformat(), "found_anew": "not found"},
    ]

    for day in done.days:
        [made] = detection.run(day).asset_materializations_for_node("incidents")
        assert "warning" not in made.metadata
    assert known(detection) == {NEW: [BEFORE, DAY]}
    with detection.ledger.begin() as connection:
        given = connection.execute(select(incident_labels.c.incident_id, incident_labels.c.label, incident_labels.c.who)).all()
        assert [tuple(row) for row in given] == [(NEW, "confirmed", "ada")]
        assert connection.scalars(select(incidents_table.c.label)).all() == ["confirmed"]
    assert not look(detection.ledger, span(), lake=detection.lake).is_change


def test_an_incident_that_only_ends_earlier_is_found_otherwise_and_what_is_judged_there_is_judged_once(
    detection: Detection, plant: Path
) -> None:
    tail = scores(MACHINE, day=DAY, anomalous=slice(0, 48), version=1)
    tail.loc[48:60, "score"] = 0.5
    detection.stored(tail, day=DAY)
    for day in (BEFORE, DAY):
        detection.run(day)
    change_thresholds(plant, off_threshold=0.55)
    span = Span(read_plant(plant)[0], BEFORE, DAY)
    would = look(detection.ledger, span, lake=detection.lake)
    assert [(found.day, found.come, found.gone, found.other) for found in would.refound] == [(DAY, (), (), (OLD,))]
    assert f"{DAY}  {OLD} would be found otherwise" in said(would, span)
    assert would.rejudged.n_judged == 1, "the day before; the other is judged when it is found"


def test_an_event_longer_than_the_look_back_is_found_otherwise_on_all_its_days(detection: Detection, plant: Path) -> None:
    days = [BEFORE + timedelta(days=n) for n in range(LOOK_BACK_DAYS + 2)]
    for day in days[1:]:
        detection.stored(scores(MACHINE, day=day, anomalous=slice(0, 144), version=1), day=day)
    for day in days:
        detection.run(day)
    assert known(detection) == {OLD: days}
    change_thresholds(plant, on_threshold=0.8)
    refound = look(detection.ledger, Span(read_plant(plant)[0], days[0], days[-1]), lake=detection.lake).refound
    assert [(found.day, found.come, found.gone) for found in refound] == [(day, (NEW,), (OLD,)) for day in days]


def test_a_machine_that_has_left_the_plant_file_keeps_its_incidents(detection: Detection, plant: Path) -> None:
    for day in (BEFORE, DAY):
        detection.run(day)
    site = read_plant(plant)[0]
    without = site.model_copy(update={"machines": tuple(m for m in site.machines if m.machine_id != MACHINE)})
    assert not look(detection.ledger, Span(without, BEFORE, DAY), lake=detection.lake).is_change
