"""Promotions in a real ledger: one chain per site, whoever writes at once; rows that nobody changes; who was champion then."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ml.promotion_chain import broken_links
from resources.ledger.learning import (
    champion_at,
    latest_champion,
    promotions_of,
    record_promotion,
    record_version,
    sites_with_promotions,
)
from resources.ledger.ledger import MIGRATIONS, LedgerResource, engine_for

AWKWARD = {
    "big": 1e16,
    "bigger": 1e23,
    "small": 1e-7,
    "tenth": 0.1,
    "whole": 3.0,
    "minus": -0.0,
    "n": 12,
    "text": "ü",
    "deep": {"b": [1, None]},
}


def promotion(to: int | None, *, was: int | None = None, site: str = "s", who: str = "ada", **more: Any) -> dict[str, Any]:
    return {"site": site, "from_version": was, "to_version": to, "is_promoted": True, "who": who, "why": "w", "comparison": {}, **more}


def train(connection: Connection, version: int, *, site: str = "s") -> None:
    known = {"site": site, "version": version, "mlflow_run_id": "r", "artifact_sha256": "a" * 64, "data_sha256": "d" * 64}
    record_version(connection, {**known, "data_start": date(2026, 1, 1), "data_end": date(2026, 1, 14), "metrics": {"rate": 0.5}})


def broken(ledger: LedgerResource, site: str = "s") -> list[str]:
    with ledger.begin() as connection:
        return broken_links(promotions_of(connection, site=site))


def test_a_row_holds_its_versions_metrics_and_data_and_is_hashed_as_the_database_keeps_it(ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        train(connection, 1)
        row = record_promotion(connection, promotion(1, comparison=AWKWARD))
        record_promotion(connection, promotion(None, was=1))
    with ledger.begin() as connection:
        [first, taken_away] = promotions_of(connection, site="s")
    assert first["metrics"] == {"rate": 0.5}
    days = {"data_start": "2026-01-01", "data_end": "2026-01-14"}
    assert first["data"] == {**days, "data_sha256": "d" * 64, "artifact_sha256": "a" * 64}
    assert {name: first[name] for name in row} == row
    assert (taken_away["metrics"], taken_away["data"], taken_away["previous_sha256"]) == ({}, {}, first["sha256"])
    assert broken(ledger) == []


def test_writers_at_once_make_one_chain_per_site(ledger: LedgerResource) -> None:
    def write(n: int) -> None:
        with ledger.begin() as connection:
            record_promotion(connection, promotion(n, site=f"s{n % 2}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    with ledger.begin() as connection:
        assert sites_with_promotions(connection) == ["s0", "s1"]
        for site in ("s0", "s1"):
            rows = promotions_of(connection, site=site)
            assert [row["place"] for row in rows] == list(range(1, 13))
            assert broken_links(rows) == []


@pytest.mark.parametrize("change", ["update promotions set why = 'x'", "delete from promotions", "truncate promotions"])
def test_the_database_refuses_to_change_history(ledger: LedgerResource, change: str) -> None:
    with ledger.begin() as connection:
        record_promotion(connection, promotion(1))
    with pytest.raises(DBAPIError, match="the rows of promotions are history"), ledger.begin() as connection:
        connection.execute(text(change))
    assert broken(ledger) == []


@contextmanager
def as_owner(ledger: LedgerResource) -> Iterator[Connection]:
    """As somebody who may do anything, and switches the guard off."""
    with ledger.begin() as connection:
        connection.execute(text("alter table promotions disable trigger promotions_are_history"))
        yield connection
        connection.execute(text("alter table promotions enable trigger promotions_are_history"))


def test_who_gets_round_the_guard_is_found_out(ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        for n in range(1, 5):
            record_promotion(connection, promotion(n))
    with as_owner(ledger) as connection:
        connection.execute(text("update promotions set who = 'bob' where place = 2"))
    assert ["promotion 2 of s" in wrong for wrong in broken(ledger)] == [True]
    with as_owner(ledger) as connection:
        connection.execute(text("update promotions set who = 'ada' where place = 2"))
    assert broken(ledger) == []
    with as_owner(ledger) as connection:
        connection.execute(text("delete from promotions where place = 3"))
    assert "promotion 4 of s" in broken(ledger)[0]


def test_who_was_champion_then(ledger: LedgerResource) -> None:
    def at(day: int) -> datetime:
        return datetime(2026, 3, day, 12, tzinfo=UTC)

    with ledger.begin() as connection:
        record_promotion(connection, promotion(1, at=at(1)))
        record_promotion(connection, promotion(2, was=1, at=at(3), is_promoted=False))
        record_promotion(connection, promotion(3, was=1, at=at(5)))
        record_promotion(connection, promotion(9, site="t", at=at(5)))
        record_promotion(connection, promotion(None, was=3, at=at(7)))

        def then(moment: datetime) -> Any:
            row = champion_at(connection, site="s", at=moment)
            return row and row["to_version"]

        assert champion_at(connection, site="s", at=at(1) - timedelta(seconds=1)) is None
        assert [then(at(day)) for day in (1, 2, 3, 4, 5, 6, 7)] == [1, 1, 1, 1, 3, 3, None]
        assert latest_champion(connection, site="s") is None
        assert latest_champion(connection, site="t") == 9


def test_rows_of_an_earlier_ledger_become_a_chain(ledger: LedgerResource) -> None:
    """Back at the revision before, with rows of two sites, and up again."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine_for(ledger.url).begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        train(connection, 1)
        for site, version in (("s", 1), ("t", 5), ("s", 2)):
            connection.execute(
                text(
                    "insert into promotions (site, to_version, is_promoted, at, who, why, comparison)"
                    " values (:site, :version, true, clock_timestamp(), 'gate', 'w', '{\"a\": 0.1}')"
                ),
                {"site": site, "version": version},
            )
        command.upgrade(config, "head")
        record_promotion(connection, promotion(3, was=2))
        rows = promotions_of(connection, site="s")
        assert [(row["place"], row["to_version"]) for row in rows] == [(1, 1), (2, 2), (3, 3)]
        assert broken_links(rows) == []
        assert broken_links(promotions_of(connection, site="t")) == []
        assert rows[0]["data"]["data_end"] == "2026-01-14"
        assert (rows[0]["metrics"], rows[1]["data"]) == ({"rate": 0.5}, {})
