"""Deleting files that lie by content, that several sites may share, and that may be coming in again at this moment.

The invariant: **an instance that a committed transaction refers to has its file.** It holds at every moment, for any number
of processes, whatever dies between any two steps, and no clock has a part in it:

- A file is deleted in ``sweep`` alone, in a transaction that has seized the file's lock and found, after that, that no
  instance of any site refers to it.
- Before that, a transaction has committed the file's row in ``erasures``. Such rows stay for ever. So: no row, never deleted.
- Whoever takes an instance in puts the file into storage, begins a transaction, and there shares the file's lock until it
  commits (``hold``). If the file has a row it may have been deleted since it was put there, so it is put there once more,
  under the lock. If that cannot be done nothing is committed and nothing acknowledged; the sender sends again.

On PostgreSQL the locks are advisory and end with their transaction; on SQLite there is one writer, which is the same. A
process that dies after the row and before the deletion, or after the deletion and before its commit, leaves a row that is
not settled, and the next sweep does the whole step again.

Files in storage that nothing refers to, left by a process that died between storing and committing, are deleted the same
way: found in a walk, given a row, swept.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from models.errors import DemurError
from service.database import Database
from service.storage import store
from service.storage.workflow import Spool, Storage

logger = logging.getLogger(__name__)

#: The site of a file that nothing refers to.
NO_SITE = ""
_SWEPT_AT_ONCE, _BATCH = 1000, 500


def hold(connection: Connection, storage: Storage, spools: Sequence[Spool], *, site_id: str) -> frozenset[str]:
    """Make sure that kept files are there until the transaction under way ends; return those that the site had erased.

    To be called first in the transaction, before rows are locked: who waits for a file's lock must hold nothing.
    """
    if not spools:
        return frozenset()
    digests = {spool.digest for spool in spools}
    store.share(connection, digests)
    marked = store.marked(connection, digests)
    doubtful = {digest for digest, _ in marked}
    for spool in spools:
        if spool.digest in doubtful:
            storage.keep(spool)
    return frozenset(digest for digest, site in marked if site == site_id)


def sweep(database: Database, storage: Storage, *, now: datetime) -> int:
    """Delete what is to be deleted and what nothing refers to; return how many files."""
    with database.reading() as connection:
        found = store.unswept(connection, limit=_SWEPT_AT_ONCE)
    count, last_fault = 0, None
    for digest in found:
        try:
            with database.writing() as connection:
                store.seize(connection, digest)
                # Settled before it is asked who refers to it: an erasure that commits in between stays to be swept.
                store.settle(connection, digest, now=now)
                if not store.referred_to(connection, [digest]):
                    storage.delete(digest)
                    count += 1
        except (DemurError, OSError) as fault:  # one file that cannot be deleted holds up no other
            last_fault = fault
    if last_fault is not None:
        raise last_fault
    return count


def mark_orphans(database: Database, storage: Storage, *, older_than: float, now: datetime) -> int:
    """Let files be swept that were stored before a time (seconds since the epoch) and that nothing refers to."""
    count = 0
    for digests in _batches(storage.kept(older_than)):
        with database.reading() as connection:
            orphans = set(digests) - store.referred_to(connection, digests)
        if orphans:
            with database.writing() as connection:
                for digest in sorted(orphans):
                    store.mark(connection, digest, site_id=NO_SITE, now=now)
            count += len(orphans)
    if count:
        logger.warning("orphaned files found", extra={"action": "orphans_found", "files": count})
    return count


def _batches(digests: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(islice(digests, _BATCH)):
        yield batch
