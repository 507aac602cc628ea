"""The SQL of which files were erased, and of who holds them."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select, text, update

from service.database import insert_or_ignore
from service.tables import erasures, instances

#: Any constant: the class of the advisory locks of files. There are few of them, since a request may have many files
#: and a PostgreSQL server has room for some thousand locks; files that share one wait for each other a little longer.
_FILE_LOCKS = 0x66696C65
_LOCKS = 64


def share(connection: Connection, digests: Collection[str]) -> None:
    """Keep files from being deleted until the transaction ends; on SQLite being the writer does that."""
    if connection.dialect.name == "postgresql":
        keys = sorted({_key(digest) for digest in digests})
        query = text("SELECT pg_advisory_xact_lock_shared(:class, key) FROM unnest(CAST(:keys AS int[])) AS key")
        connection.execute(query, {"class": _FILE_LOCKS, "keys": keys})


def seize(connection: Connection, digest: str) -> None:
    """Wait until no transaction takes a file in, and let none begin to until this one ends."""
    if connection.dialect.name == "postgresql":
        query = text("SELECT pg_advisory_xact_lock(:class, :key)")
        connection.execute(query, {"class": _FILE_LOCKS, "key": _key(digest)})


def marked(connection: Connection, digests: Collection[str]) -> set[tuple[str, str]]:
    """Return those of some files that were ever to be deleted, each with the site that erased it."""
    query = select(erasures.c.digest, erasures.c.site_id).where(erasures.c.digest.in_(digests))
    return {(row.digest, row.site_id) for row in connection.execute(query)}


def mark(connection: Connection, digest: str, *, site_id: str, now: datetime) -> None:
    """Write down that a file is to be deleted unless something refers to it."""
    values = {"digest": digest, "site_id": site_id, "at": now, "swept_at": None}
    if not insert_or_ignore(connection, erasures, values):
        row = (erasures.c.digest == digest) & (erasures.c.site_id == site_id)
        connection.execute(update(erasures).where(row).values(at=now, swept_at=None))


def unswept(connection: Connection, *, limit: int) -> list[str]:
    """Return files that are to be deleted, the oldest first."""
    query = select(erasures.c.digest).where(erasures.c.swept_at.is_(None)).group_by(erasures.c.digest)
    return list(connection.execute(query.order_by(func.min(erasures.c.at)).limit(limit)).scalars())


def unswept_since(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many files are to be deleted, and since when the oldest of them."""
    query = select(func.count(func.distinct(erasures.c.digest)), func.min(erasures.c.at))
    count, oldest = connection.execute(query.where(erasures.c.swept_at.is_(None))).one()
    return count, oldest


def settle(connection: Connection, digest: str, *, now: datetime) -> None:
    """Write down that nothing is left to be done with a file."""
    rows = (erasures.c.digest == digest) & erasures.c.swept_at.is_(None)
    connection.execute(update(erasures).where(rows).values(swept_at=now))


def referred_to(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return those of some files that an instance of any site refers to."""
    query = select(instances.c.digest).where(instances.c.digest.in_(digests))
    return set(connection.execute(query).scalars())


def erased(connection: Connection) -> set[tuple[str, str]]:
    """Return site and digest of every file that a site has erased and not sent again."""
    again = select(instances.c.id).where(
        instances.c.digest == erasures.c.digest, instances.c.site_id == erasures.c.site_id
    )
    query = select(erasures.c.site_id, erasures.c.digest).where(~again.exists())
    return {(row.site_id, row.digest) for row in connection.execute(query)}


def _key(digest: str) -> int:
    return int(digest[:8], 16) % _LOCKS
