"""The ledger's SQL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, text

from service.tables import ledger

#: Any constant: the name of the lock that puts appends of several processes in a row on PostgreSQL.
_APPEND_LOCK = 0x6C6564676572
_PAGE = 1000
#: What is asked for every study is built once: building a statement costs as much as running it.
_LAST = select(ledger).order_by(ledger.c.sequence.desc()).limit(1)


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
    row = connection.execute(_LAST).first()
    return None if row is None else _entry(row)


def add(connection: Connection, entry: Entry) -> None:
    """Append an entry."""
    connection.execute(
        insert(ledger),
        {
            "sequence": entry.sequence,
            "at": entry.at,
            "kind": entry.kind,
            "site_id": entry.site_id,
            "study_id": entry.study_id,
            "body": entry.body,
            "previous": entry.previous,
            "digest": entry.digest,
        },
    )


def entries(connection: Connection, *, kinds: Sequence[str] = (), after: int = 0) -> Iterator[Entry]:
    """Yield entries after a sequence number in order, a page at a time; of some kinds if any are named."""
    query = select(ledger).order_by(ledger.c.sequence).limit(_PAGE)
    if kinds:
        query = query.where(ledger.c.kind.in_(kinds))
    while page := connection.execute(query.where(ledger.c.sequence > after)).all():
        yield from map(_entry, page)
        after = page[-1].sequence


def entries_of(connection: Connection, study_id: str, *, kinds: Sequence[str]) -> list[Entry]:
    """Return a study's entries of some kinds, in order."""
    query = select(ledger).where(ledger.c.study_id == study_id, ledger.c.kind.in_(kinds))
    return [_entry(row) for row in connection.execute(query.order_by(ledger.c.sequence))]


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(**row._asdict())
