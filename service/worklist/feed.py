"""The worklist's history for those who poll: read from the ledger, whose order is the order of commits."""

import json
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import Connection, func, select

from service.ledger.workflow import Kind
from service.tables import ledger

_KINDS = (Kind.STORED, Kind.WORKITEM, Kind.CANCEL_ASKED, Kind.VERDICT, Kind.UNDONE, Kind.ADDENDUM)


class Event(BaseModel):
    """Something that happened to a workitem."""

    sequence: int
    at: datetime
    kind: str
    workitem: str
    #: The state that it was in and the one that it came into, if it changed; a new one was in none.
    was: str | None
    state: str | None


def events_after(connection: Connection, *, site_id: str | None, after: int, limit: int) -> list[Event]:
    """Return events after a sequence number, oldest first."""
    query = select(ledger.c.sequence, ledger.c.at, ledger.c.kind, ledger.c.body).where(
        ledger.c.sequence > after, ledger.c.kind.in_(_KINDS)
    )
    if site_id is not None:
        query = query.where(ledger.c.site_id == site_id)
    events: list[Event] = []
    for sequence, at, kind, body in connection.execute(query.order_by(ledger.c.sequence).limit(limit)):
        content = json.loads(body)
        events.append(
            Event(
                sequence=sequence,
                at=at,
                kind=kind,
                workitem=content["workitem"],
                was=content.get("from"),
                state=content.get("to"),
            )
        )
    return events


def head(connection: Connection) -> int:
    """Return the sequence number that was given last; 0 before the first."""
    return connection.execute(select(func.max(ledger.c.sequence))).scalar() or 0
