"""The database: SQLite or PostgreSQL behind one small object.

Invariants:

- A write is one transaction, committed at the edge, durable when ``writing`` ends (SQLite: WAL with synchronous FULL).
- On SQLite one writer at a time per process; between processes ``BEGIN IMMEDIATE`` waits.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from models.errors import DataError

_BUSY_TIMEOUT_S = 30


class Moment(TypeDecorator[datetime]):
    """A time in UTC, with its time zone on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; refuse a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs its zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Database:
    """Connections to one database."""

    def __init__(self, url: str) -> None:
        self.engine = _create_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._turn: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if self.is_sqlite else contextlib.nullcontext()
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection with one consistent view; nothing is kept."""
        with self.engine.connect() as connection:
            yield connection
            connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection in a transaction that is committed at the end, or undone by an exception."""
        last: list[Callable[[], None]] = []
        with (
            self._turn,
            self.engine.connect().execution_options(demur_writes=True, demur_last=last) as connection,
            connection.begin(),
        ):
            yield connection
            for work in last:
                work()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def do_last(connection: Connection, work: Callable[[], None]) -> None:
    """Do something at the end of the transaction under way, after everything that may wait for another's rows."""
    connection.get_execution_options()["demur_last"].append(work)


def insert_or_ignore(connection: Connection, table: Any, values: dict[str, Any]) -> bool:
    """Insert a row; return whether it is new."""
    return connection.execute(_insert_or_ignore(connection.dialect.name, table), values).first() is not None


@functools.cache
def _insert_or_ignore(name: str, table: Any) -> Any:
    dialect = sqlite if name == "sqlite" else postgresql
    # Not rowcount, which drivers need not give for an insert: the row itself comes back if it was inserted.
    return dialect.insert(table).on_conflict_do_nothing().returning(*table.primary_key.columns)


def _create_engine(text: str) -> Engine:
    url = make_url(text)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        return create_engine(
            url, pool_size=20, max_overflow=40, pool_pre_ping=True, pool_timeout=10, hide_parameters=True
        )
    if url.drivername != "sqlite" or not url.database or url.database == ":memory:":
        raise DataError(
            f"no database of the kind {url.drivername!r}; give sqlite:///path/to/file or postgresql://user@host/name"
        )
    Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False},
        pool_size=20,
        max_overflow=40,
        hide_parameters=True,  # they would stand in the text of errors
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver starts no transactions of its own
        # secure_delete: what is erased is overwritten, not only forgotten.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("demur_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
