"""The ledger's SQL."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, text

from service.tables import ledger

#: Any constant: the name of the lock that puts appends of several processes in a row on PostgreSQL.
_APPEND_LOCK = 0x6C6564676572
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the ledger."""

    sequence: int
    at: datetime
    kind: str
    site_id: str | None
    study_id: str | None
    body: str
    previous: str
    digest: str


def lock(connection: Connection) -> None:
    """Wait until no other transaction appends; on SQLite the transaction itself is that lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": _APPEND_LOCK})


def last(connection: Connection) -> Entry | None:
    """Return the newest entry."""
    row = connection.execute(select(ledger).order_by(ledger.c.sequence.desc()).limit(1)).first()
    return None if row is None else _entry(row)


def add(connection: Connection, entry: Entry) -> None:
    """Append an entry."""
    connection.execute(
        insert(ledger).values(
            sequence=entry.sequence,
            at=entry.at,
            kind=entry.kind,
            site_id=entry.site_id,
            study_id=entry.study_id,
            body=entry.body,
            previous=entry.previous,
            digest=entry.digest,
        )
    )


def entries(connection: Connection, *, kind: str | None = None) -> Iterator[Entry]:
    """Yield entries in order, a page at a time."""
    query = select(ledger).order_by(ledger.c.sequence).limit(_PAGE)
    if kind is not None:
        query = query.where(ledger.c.kind == kind)
    after = -1
    while page := connection.execute(query.where(ledger.c.sequence > after)).all():
        yield from map(_entry, page)
        after = page[-1].sequence


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(**row._asdict())
