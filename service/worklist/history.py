"""What the ledger is told of the worklist; ``feed`` reads it again. Free text stays out of it: a note is its digest."""

import hashlib
import json
from datetime import datetime

from sqlalchemy import Connection

from service.ledger.store import entries_of
from service.ledger.workflow import Kind, append
from service.worklist.states import State
from service.worklist.store import Workitem


def made(
    connection: Connection,
    *,
    workitem_id: str,
    study_id: str,
    site_id: str,
    replaces: str | None,
    reason: str,
    now: datetime,
) -> None:
    """Record that a workitem was made."""
    body = {
        "workitem": workitem_id,
        "from": None,
        "to": State.SCHEDULED,
        "by": "demur",
        "reason": reason,
        "replaces": replaces,
    }
    append(connection, Kind.WORKITEM, body, at=now, site_id=site_id, study_id=study_id)


def moved(connection: Connection, workitem: Workitem, state: State, *, by: str, reason: str, now: datetime) -> None:
    """Record that a workitem came into a state."""
    body = {"workitem": workitem.id, "from": workitem.state, "to": state, "by": by, "reason": reason}
    append(connection, Kind.WORKITEM, body, at=now, site_id=workitem.site_id, study_id=workitem.study_id)


def asked_to_cancel(connection: Connection, workitem: Workitem, *, by: str, now: datetime) -> None:
    """Record that somebody asks the reader of a workitem to cancel it."""
    body = {"workitem": workitem.id, "by": by}
    append(connection, Kind.CANCEL_ASKED, body, at=now, site_id=workitem.site_id, study_id=workitem.study_id)


def read(
    connection: Connection,
    kind: Kind,
    workitem: Workitem,
    *,
    by: str,
    verdict: str,
    confidence: str,
    note: str,
    now: datetime,
) -> None:
    """Record a result, or an addendum to it."""
    salted = hashlib.sha256(f"{workitem.id}:{note}".encode()).hexdigest()
    body = {
        "workitem": workitem.id,
        "reader": by,
        "verdict": verdict,
        "confidence": confidence,
        "note_digest": salted if note else None,
    }
    append(connection, kind, body, at=now, site_id=workitem.site_id, study_id=workitem.study_id)


def undone(connection: Connection, workitem: Workitem, *, by: str, now: datetime) -> None:
    """Record that a result was taken back."""
    body = {"workitem": workitem.id, "reader": by}
    append(connection, Kind.UNDONE, body, at=now, site_id=workitem.site_id, study_id=workitem.study_id)


def has_later_films(connection: Connection, workitem: Workitem) -> bool:
    """Say whether a claimed workitem's study got films after the claim.

    After, that is, in the order of the ledger, which is the order of the commits: a film's time of arrival is taken before
    its transaction waits for anybody, and processes' clocks differ.
    """
    is_claimed = False
    for entry in entries_of(connection, workitem.study_id, kinds=(Kind.STORED, Kind.WORKITEM)):
        if entry.kind == Kind.STORED:
            if is_claimed:
                return True
            continue
        body = json.loads(entry.body)
        is_claimed |= body["workitem"] == workitem.id and body["to"] == State.IN_PROGRESS
    return False
