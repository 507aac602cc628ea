"""The ledger: what was stored, decided and read, as a chain of digests that only grows.

Invariants:

- An entry's digest covers its content and the digest before it; database triggers refuse change and deletion.
- Nothing in it identifies a patient: internal ids, digests of files, numbers and reasons. Erasing a study's pixels and
  identity leaves the chain as it was.
- Entries are written last in a transaction: on PostgreSQL the appends of several processes wait for each other until the
  commit, and whoever holds the chain waits for nobody's rows.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection

from service.database import do_last
from service.ledger import store
from service.ledger.store import Entry

#: What the first entry comes after.
ORIGIN = "0" * 64


class Kind(StrEnum):
    """What an entry says."""

    #: An instance was stored; its study is on the worklist.
    STORED = "instance_stored"
    #: Other bytes came under the UID of a stored instance; they were refused.
    CONFLICT = "instance_conflicted"
    #: A study was decided; everything that the decision rests on.
    DECIDED = "study_decided"
    #: A decision no longer holds, since instances came after it.
    REOPENED = "study_reopened"
    #: A workitem was made, claimed, completed or cancelled.
    WORKITEM = "workitem_changed"
    #: The reader of a workitem was asked to cancel it.
    CANCEL_ASKED = "cancellation_asked"
    #: A reader's result, its withdrawal within the time to undo, or an addendum to it.
    VERDICT = "verdict_given"
    UNDONE = "verdict_undone"
    ADDENDUM = "verdict_amended"
    #: A site was added, its mode or its audit probability set.
    SITE = "site_changed"
    #: A study's pixels and identity were erased, or one of its instances.
    ERASED = "study_erased"
    #: A study was found to be another patient's; salted digests of both.
    CORRECTED = "study_corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a walk along the chain found; ``flaw`` is empty for a whole one."""

    entries: int
    head: str
    flaw: str


def append(
    connection: Connection,
    kind: Kind,
    body: Mapping[str, Any],
    *,
    at: datetime,
    site_id: str | None = None,
    study_id: str | None = None,
) -> None:
    """Append an entry at the end of the transaction under way."""
    entry = Entry(
        sequence=0,
        at=at.astimezone(UTC),
        kind=kind,
        site_id=site_id,
        study_id=study_id,
        body=canonical(body),
        previous="",
        digest="",
    )
    do_last(connection, lambda: _chain(connection, entry))


def _chain(connection: Connection, entry: Entry) -> None:
    store.lock(connection)
    last = store.last(connection)
    entry = replace(
        entry,
        sequence=1 if last is None else last.sequence + 1,
        previous=ORIGIN if last is None else last.digest,
    )
    store.add(connection, replace(entry, digest=digest_of(entry)))


def verify(connection: Connection) -> Verification:
    """Walk the chain from its origin and name the first entry that does not hold."""
    count, previous = 0, ORIGIN
    for entry in store.entries(connection):
        count += 1
        if entry.sequence != count:
            return Verification(entries=count - 1, head=previous, flaw=f"entry {count} is missing")
        if entry.previous != previous:
            return Verification(entries=count - 1, head=previous, flaw=f"entry {count} does not follow the one before")
        if entry.digest != digest_of(entry):
            return Verification(entries=count - 1, head=previous, flaw=f"entry {count} was changed")
        previous = entry.digest
    return Verification(entries=count, head=previous, flaw="")


def digest_of(entry: Entry) -> str:
    """Return the digest that an entry must have."""
    content = canonical(
        {
            "sequence": entry.sequence,
            "at": entry.at.isoformat(timespec="microseconds"),
            "kind": entry.kind,
            "site": entry.site_id,
            "study": entry.study_id,
            "body": entry.body,
            "previous": entry.previous,
        }
    )
    return hashlib.sha256(content.encode()).hexdigest()


def canonical(value: object) -> str:
    """Return canonical JSON: sorted keys, no spaces; a number that is not finite becomes a word."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value
