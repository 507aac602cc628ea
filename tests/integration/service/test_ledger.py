"""The ledger and the schema under it, on SQLite and PostgreSQL."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service import schema
from service.database import Database
from service.ledger.workflow import ORIGIN, Kind, append, canonical, verify
from service.tables import metadata

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Any:
    """Return a database with the newest schema."""
    opened = Database(database_url)
    schema.upgrade(opened)
    yield opened
    opened.close()


def fill(database: Database, entries: int) -> None:
    for number in range(entries):
        with database.writing() as connection:
            append(connection, Kind.SITE, {"number": number}, at=NOW)


def test_an_empty_ledger_holds(database: Database) -> None:
    with database.reading() as connection:
        found = verify(connection)
    assert (found.entries, found.head, found.flaw) == (0, ORIGIN, "")


def test_a_chain_holds_and_its_head_changes_with_every_entry(database: Database) -> None:
    heads = set()
    for _ in range(3):
        fill(database, 1)
        with database.reading() as connection:
            found = verify(connection)
        assert found.flaw == ""
        heads.add(found.head)
    assert len(heads) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET body = '{}' WHERE sequence = 2",
        "DELETE FROM ledger WHERE sequence = 2",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "INSERT OR REPLACE INTO ledger SELECT sequence, at, kind, site_id, study_id, '{}', previous, digest FROM ledger",
    ],
)
def test_the_database_refuses_every_change(database: Database, statement: str) -> None:
    fill(database, 3)
    with pytest.raises(DBAPIError), database.writing() as connection:
        connection.execute(text(statement))
    with database.reading() as connection:
        assert (verify(connection).entries, verify(connection).flaw) == (3, "")


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        ("UPDATE ledger SET body = '{}' WHERE sequence = 2", "entry 2 was changed"),
        ("UPDATE ledger SET kind = 'x' WHERE sequence = 1", "entry 1 was changed"),
        ("DELETE FROM ledger WHERE sequence = 2", "entry 2 is missing"),
        ("UPDATE ledger SET previous = digest WHERE sequence = 3", "entry 3 does not follow the one before"),
    ],
)
def test_whoever_removes_the_triggers_is_found_out(database: Database, statement: str, flaw: str) -> None:
    fill(database, 3)
    with database.writing() as connection:
        if database.is_sqlite:
            for name in ("UPDATE", "DELETE"):
                connection.execute(text(f"DROP TRIGGER ledger_no_{name}"))
        else:
            connection.execute(text("DROP TRIGGER ledger_no_change ON ledger"))
        connection.execute(text(statement))
    with database.reading() as connection:
        assert verify(connection).flaw == flaw


def test_appends_of_many_writers_make_one_chain(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: fill(database, 5), range(8)))
    with database.reading() as connection:
        found = verify(connection)
    assert (found.entries, found.flaw) == (40, "")


def test_who_writes_the_ledger_waits_for_nobodys_rows(database: Database) -> None:
    with database.writing() as connection:
        append(connection, Kind.SITE, {"number": 0}, at=NOW)
        connection.execute(text("CREATE TABLE rows (id INTEGER PRIMARY KEY, hits INTEGER)"))
        connection.execute(text("INSERT INTO rows VALUES (1, 0), (2, 0)"))

    def take(first: int, second: int) -> None:
        for _ in range(20):
            with database.writing() as connection:
                for row in sorted((first, second)):
                    connection.execute(text("UPDATE rows SET hits = hits + 1 WHERE id = :row"), {"row": row})
                    append(connection, Kind.SITE, {"row": row}, at=NOW)
                    time.sleep(0.002)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(take, (1, 2), (2, 2)))  # raises if the database had to end one for the other
    with database.reading() as connection:
        assert (verify(connection).entries, verify(connection).flaw) == (81, "")


def test_numbers_that_are_not_finite_are_words() -> None:
    assert (
        canonical({"b": float("inf"), "a": [float("nan"), -float("inf"), 1.5]}) == '{"a":["nan","-inf",1.5],"b":"inf"}'
    )


def test_the_migrations_make_the_tables_as_they_are_declared(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_many_processes_may_start_on_an_empty_database_at_once(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(schema.upgrade, databases))
    assert all(schema.is_current(database) for database in databases)
    for database in databases:
        database.close()
