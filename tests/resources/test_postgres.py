"""The databases: drivers named, made once, and a server that does not answer is said without its password."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from resources.postgres import DATABASES, URL_VARIABLE, DatabaseError, database_url, make_databases, serving


@pytest.mark.parametrize(
    ("server_url", "database", "expected"),
    [
        ("postgresql://u:p@h:5/postgres", "smart_maintenance", "postgresql+psycopg://u:p@h:5/smart_maintenance"),
        ("postgresql://u:p@h:5/postgres", "dagster", "postgresql+psycopg2://u:p@h:5/dagster"),
        ("postgresql+psycopg://u:p@h", "mlflow", "postgresql+psycopg2://u:p@h/mlflow"),
        ("postgresql://u:@/postgres?host=/run/pg", "smart_maintenance", "postgresql+psycopg://u:@/smart_maintenance?host=%2Frun%2Fpg"),
        ("postgresql://u:p%40ss%2Fword@h/x", "dagster", "postgresql+psycopg2://u:p%40ss%2Fword@h/dagster"),
    ],
)
def test_a_databases_url_names_its_driver_and_keeps_the_rest(server_url: str, database: str, expected: str) -> None:
    assert database_url(server_url, database) == expected  # type: ignore[arg-type]


def connected(server_url: str) -> dict[str, str]:
    """The database that each of our URLs leads to."""
    names = {}
    for database in DATABASES:
        engine = create_engine(database_url(server_url, database))
        with engine.connect() as connection:
            names[database] = str(connection.scalar(text("select current_database()")))
        engine.dispose()
    return names


def test_databases_are_made_once_and_left_alone_the_second_time(postgres: str) -> None:
    make_databases(postgres)
    engine = create_engine(database_url(postgres, "dagster"))
    with engine.begin() as connection:
        connection.execute(text("create table if not exists kept_by_the_second_time (n int)"))
    make_databases(postgres)
    assert connected(postgres) == {"smart_maintenance": "smart_maintenance", "dagster": "dagster", "mlflow": "mlflow"}
    with engine.begin() as connection:
        assert connection.scalar(text("select count(*) from kept_by_the_second_time")) == 0
        connection.execute(text("drop table kept_by_the_second_time"))
    engine.dispose()


@pytest.mark.parametrize(
    ("server_url", "shown"),
    [
        ("postgresql://planner:swordfish@127.0.0.1:1/postgres", "postgresql://planner:***@127.0.0.1:1/postgres"),
        ("postgresql://planner:swordfish@/postgres?host=/nonexistent", "postgresql://planner:***@/postgres?host=%2Fnonexistent"),
    ],
)
def test_a_server_that_does_not_answer_is_said_without_its_password(server_url: str, shown: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        make_databases(server_url)
    said = str(caught.value)
    assert said.startswith(f"PostgreSQL at {shown} does not answer: ")
    assert "swordfish" not in said


def test_a_server_that_refuses_the_user_is_said_without_the_password(postgres: str) -> None:
    stranger = make_url(postgres).set(username="nobody_known", password="swordfish").render_as_string(hide_password=False)
    with pytest.raises(DatabaseError) as caught:
        make_databases(stranger)
    assert "nobody_known" in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_a_url_that_names_no_database_connects_to_postgres_whoever_the_user_is(postgres: str) -> None:
    admin = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("create role planner_of_the_test login createdb"))
    try:
        nameless = make_url(postgres).set(username="planner_of_the_test")._replace(database=None)
        make_databases(nameless.render_as_string(hide_password=False))
        assert set(connected(nameless.render_as_string(hide_password=False))) == set(DATABASES)
    finally:
        with admin.connect() as connection:
            connection.execute(text("drop role planner_of_the_test"))
        admin.dispose()


def test_a_named_server_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(URL_VARIABLE, "postgresql://u@h/x")
    with serving(tmp_path / "pg") as url:
        assert url == "postgresql://u@h/x"
    assert not (tmp_path / "pg").exists()


def test_a_folder_in_which_the_embedded_server_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    (tmp_path / "file").write_text("x")
    folder = tmp_path / "file" / "pg"
    with pytest.raises(DatabaseError, match=f"The embedded PostgreSQL does not start in {folder}"), serving(folder):
        pass
