"""Every work order of a real run is walked back to lines of the delivered files, which say what the lake holds."""

import csv
import json
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import select

from assets.tracing.page import to_html
from assets.tracing.trace import STEPS, Sources, trace_order
from cli.errors import CommandError
from cli.trace import page, traced, write_page
from resources.landing import LandingResource
from resources.ledger.tables import work_orders
from tests.chain.conftest import Chain
from tests.html_page import Page


@pytest.fixture
def sources(chain: Chain) -> Iterator[Sources]:
    folder = chain.environment.home.folder
    landing = LandingResource(landing=str(folder("landing")), archive=str(folder("archive")), quarantine=str(folder("quarantine")))
    with chain.ledger.begin() as connection:
        yield Sources(connection, chain.lake, landing, chain.launcher.instance, {s.site: s for s in chain.environment.sites})


def ids(sources: Sources) -> list[str]:
    """Of the orders that came of the chain; a neighbouring test opens one by itself, which rests on nothing."""
    of_the_chain = select(work_orders.c.order_id).where(work_orders.c.reason != "late data")
    found = list(sources.connection.scalars(of_the_chain.order_by(work_orders.c.order_id)))
    assert found
    return found


def test_every_order_is_resolved_to_its_bytes_within_a_second(sources: Sources) -> None:
    for order_id in ids(sources):
        begun = time.process_time()
        trace = trace_order(order_id, sources)
        assert time.process_time() - begun < 1, "seconds of this process: the machine may be busy with others"
        assert trace["gaps"] == []
        assert trace["history"][0]["to_state"] == "proposed"
        assert set(trace["runs"]) == set(STEPS)
        assert all(run["run_id"] and run["code_version"] for run in trace["runs"].values())
        for incident in trace["incidents"]:
            assert incident["windows"][0]["window_start"] == incident["onset_at"]
            assert max(w["score"] for w in incident["windows"]) == pytest.approx(incident["peak_score"])
            assert incident["n_readings"] == sum_of_readings(sources, incident)


def sum_of_readings(sources: Sources, incident: dict[str, object]) -> int:
    """Counted with pandas over whole days, without the trace."""
    start, last = (pd.Timestamp(str(incident[name])) for name in ("onset_at", "last_window_at"))
    days = pd.date_range(start.floor("D"), last.floor("D"))
    stored = pd.concat([sources.lake.read("sensor_readings", site="hamburg", day=day.date()) for day in days])
    moved = {*incident["moved_sensors"], incident["top_sensor_id"]}  # type: ignore[misc]
    return int(
        (stored["sensor_id"].isin(moved) & (stored["timestamp"] >= start) & (stored["timestamp"] < last + pd.Timedelta("10min"))).sum()
    )


def test_the_lines_named_hold_the_readings_that_are_stored(sources: Sources) -> None:
    n = 0
    for order_id in ids(sources):
        trace = trace_order(order_id, sources)
        for drop in trace["drops"]:
            text = sources.landing.kept_path(drop["kept_as"]).read_text().splitlines()
            for of_sensor in drop["lines"]:
                for reading in of_sensor["readings"]:
                    [row] = csv.reader([text[reading["line"] - 1]])
                    assert (row[1], float(row[2])) == (of_sensor["sensor_id"], reading["value"])
                    assert pd.Timestamp(row[0]) == pd.Timestamp(reading["timestamp"])
                    n += 1
        shown = sum(r["n_readings"] for i in trace["incidents"] for w in i["windows"] for r in w["readings"])
        assert sum(of_sensor["n"] for drop in trace["drops"] for of_sensor in drop["lines"]) <= shown
    assert n > 50


def test_a_changed_original_and_a_missing_one_are_said(sources: Sources) -> None:
    order_id = next(o for o in ids(sources) if "C302" in o)
    [drop, *_] = trace_order(order_id, sources)["drops"]
    path = sources.landing.kept_path(drop["kept_as"])
    content = path.read_bytes()
    try:
        path.write_bytes(content.replace(b"1", b"2", 1))
        changed = trace_order(order_id, sources)
        path.unlink()
        missing = trace_order(order_id, sources)
    finally:
        path.write_bytes(content)
    assert changed["gaps"] == [f"drop {drop['drop_id']}: {path} has other bytes than were taken in"]
    assert missing["gaps"] == [f"drop {drop['drop_id']}: {path} is missing"]
    assert not changed["drops"][0]["is_intact"]
    assert changed["drops"][0]["lines"] == []
    assert trace_order(order_id, sources)["gaps"] == []


def test_people_and_machines_read_it(chain: Chain, sources: Sources, tmp_path: Path) -> None:
    order_id = next(o for o in ids(sources) if "C302" in o)
    trace = traced(chain.environment, order_id)
    assert json.loads(json.dumps(trace, allow_nan=False)) == trace
    for width in (80, 140):
        console = Console(file=StringIO(), width=width)
        console.print(page(trace), highlight=False)
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, text.splitlines())) <= width
        flat = "".join(text.split())
        for said in (order_id, trace["drops"][0]["sha256"], trace["detectors"][0]["artifact_sha256"], "Everylinkisresolved."):
            assert said in flat
    path = write_page(chain.environment, trace, out=tmp_path / "trace.html")
    found = Page(path.read_text())
    assert not [link for link in found.links if not link.startswith(("#", "http://127.0.0.1:3000/runs/"))], "nothing is loaded"
    assert trace["drops"][0]["sha256"] in found.texts
    with pytest.raises(CommandError, match="There is no work order 'WO-X'"):
        traced(chain.environment, "WO-X")


def test_text_of_the_ledger_is_escaped_on_the_page(sources: Sources) -> None:
    trace = trace_order(ids(sources)[0], sources)
    trace["order"]["title"] = "<script>alert(1)</script>"
    assert "script" not in Page(to_html(trace, dagster_url="http://127.0.0.1:3000")).tags
