"""Past days run again under other rules: what differs is told, and production is left as it was."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from sqlalchemy import select

from cli.errors import CommandError
from cli.what_if import Deed, Question, ask, replayed
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.rewind import rewind
from resources.ledger.tables import incidents, metadata, work_order_events, work_orders
from resources.ledger.work import decide
from resources.models import CHAMPION
from tests.chain.conftest import DAYS, START, Chain
from tests.ledger_states import judged, waiting_order

LAST = START + timedelta(days=DAYS - 1)
QUIET = Console(quiet=True)


def state_of(chain: Chain) -> dict[str, Any]:
    """Every row of the ledger, every file of the data folder but the server's own, the runs on record, the champion."""
    with chain.ledger.begin() as connection:
        rows = {t.name: sorted(map(str, connection.execute(select(t)))) for t in metadata.sorted_tables}
    root = chain.environment.home.root
    files = {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in root.rglob("*")
        if p.is_file() and p.relative_to(root).parts[0] not in ("pg", "dagster")
    }
    return {
        **rows,
        "files": files,
        "runs": chain.launcher.instance.get_runs_count(),
        "champion": chain.models.version_of("hamburg", CHAMPION),
    }


def test_a_stricter_rule_is_tried_out_beside_production(chain: Chain, tmp_path: Path) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(yaml.safe_dump({"policy": {"verdict": {"base_confidence": 0.6}}}))
    before = state_of(chain)
    answer = ask(chain.environment, Question(LAST - timedelta(days=2), LAST, policy=strict), console=QUIET)
    assert state_of(chain) == before
    assert not list(chain.environment.home.root.glob(".what-if-*"))
    worn = [r for r in answer.difference.incidents_changed if r["machine_id"] == "HH-C302"]
    assert [(r["before"]["verdict"], r["after"]["verdict"]) for r in worn] == [("credible", "investigate")]
    assert worn[0]["before"]["confidence"] - worn[0]["after"]["confidence"] == pytest.approx(0.3), "0.9 less 0.6"
    assert not answer.is_rescored


def test_a_detector_that_hardly_alarms_takes_the_incidents_away(chain: Chain, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf.yaml"
    deaf.write_text(yaml.safe_dump({"policy": {"detection": {"on_threshold": 1.0, "on_delay_windows": 1000}}}))
    answer = ask(chain.environment, Question(START + timedelta(days=5), LAST, policy=deaf), console=QUIET)
    assert answer.is_rescored
    assert "HH-C302" in {r["machine_id"] for r in answer.difference.incidents_removed}
    assert answer.difference.incidents_added == []
    assert answer.difference.figures["alarms"][0] > answer.difference.figures["alarms"][1] == 0


def test_the_same_rules_come_to_the_same(chain: Chain, tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    same.write_text(yaml.safe_dump({"policy": {"approval": {"auto_approve_confidence": 0.95}}}))
    answer = ask(chain.environment, Question(LAST, LAST, policy=same, model=1, site="hamburg"), console=QUIET)
    assert answer.difference.is_none
    assert answer.before.figures["incidents"] > 0


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (Question(LAST, LAST), "Say what is to be otherwise"),
        (Question(LAST, START, model=1), "ends .* before it starts"),
        (Question(LAST, LAST, model=99), "hamburg has no detector version 99 that was trained here"),
        (Question(LAST, LAST, policy=Path("/nowhere.yaml")), r"/nowhere\.yaml cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_answered_in_a_sentence(chain: Chain, question: Question, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        ask(chain.environment, question, console=QUIET)


def test_decisions_are_done_again_where_the_order_can_take_them(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s", machine="P1")
    at = datetime(2026, 10, 6, 12, tzinfo=UTC)
    deeds = [
        Deed("s", at, Decision(order, "approve", "ada", "heard it", at, request_id="1")),
        Deed("s", at, Decision("WO-GONE", "approve", "ada", "heard it", at, request_id="2")),
        Deed("s", at, Decision(order, "reject", "bob", "too late", at, request_id="3")),
    ]
    gone, illegal = replayed(ledger, deeds)
    assert gone == "2026-10-06 12:00: There is no work order 'WO-GONE'."
    assert illegal.startswith("2026-10-06 12:00: a work order that is approved cannot become rejected")
    with ledger.begin() as connection:
        assert connection.scalars(select(work_orders.c.state)).one() == "approved"


def test_the_copy_is_taken_back_to_the_morning(ledger: LedgerResource) -> None:
    early, late = date(2026, 10, 5), date(2026, 10, 8)
    judged(ledger, "s", early)
    judged(ledger, "s", late)
    order = waiting_order(ledger, "s", machine="P2")
    with ledger.begin() as connection:
        opened_on = connection.scalars(select(work_orders.c.opened_on)).one()
        history = list(connection.execute(select(work_order_events.c.to_state)))
        at = datetime(2026, 11, 20, tzinfo=UTC)
        decide(connection, Decision(order, "approve", "ada", "why not", at, request_id="1"))
    with ledger.begin() as connection:
        rewind(connection, site="other", start=early)
        assert connection.scalars(select(work_orders.c.state)).one() == "approved", "another site's days are left alone"
        rewind(connection, site="s", start=opened_on + timedelta(days=2))
        assert connection.scalars(select(work_orders.c.state)).one() == "awaiting_decision"
        assert list(connection.execute(select(work_order_events.c.to_state))) == history
        rewind(connection, site="s", start=early)
        counts = {t.name: len(connection.execute(select(t)).all()) for t in (work_orders, work_order_events)}
        assert counts == {"work_orders": 0, "work_order_events": 0}
        assert "P1" not in set(connection.scalars(select(incidents.c.machine_id)))
