"""What readers say of a case.

A result is on the ledger from the moment it is given, its note by digest only; it may be undone until it is final, and after
that only added to.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection

from service.access.workflow import Principal
from service.ledger.workflow import Kind
from service.worklist import history, store, workflow
from service.worklist.states import Outcome, State
from service.worklist.store import Workitem


class Finding(StrEnum):
    """A reader's result."""

    #: There is one.
    FINDING = "finding"
    #: There is none.
    NO_FINDING = "no_finding"
    #: The study cannot be read.
    NOT_ASSESSABLE = "not_assessable"


class Confidence(StrEnum):
    """How sure the reader is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a reader says of a study."""

    finding: Finding
    note: str = ""
    confidence: Confidence = Confidence.MEDIUM


def give_result(
    connection: Connection,
    principal: Principal,
    uid: str,
    result: Result,
    *,
    transaction_uid: str | None,
    final_at: datetime | None,
    now: datetime,
) -> Workitem:
    """Keep a reader's result: durable at once. With ``final_at`` it completes by itself then, unless undone."""
    workitem = workflow.held(connection, principal, uid, transaction_uid=transaction_uid)
    store.change(
        connection,
        workitem.id,
        verdict=result.finding,
        note=result.note,
        confidence=result.confidence,
        read_at=now,
        final_at=final_at,
        changed_at=now,
    )
    _record(connection, Kind.VERDICT, workitem, by=principal.name, result=result, now=now)
    return workitem


def undo_result(
    connection: Connection,
    principal: Principal,
    uid: str,
    *,
    transaction_uid: str | None,
    lease: timedelta,
    now: datetime,
) -> None:
    """Take back a result that is not yet final; the case stays claimed."""
    workitem = workflow.held(connection, principal, uid, transaction_uid=transaction_uid)
    if workitem.verdict is None:
        raise workflow.RefusedError(Outcome.UNMET, "there is no result to undo")
    store.change(
        connection,
        workitem.id,
        verdict=None,
        note=None,
        confidence=None,
        read_at=None,
        final_at=None,
        lease_until=now + lease,
        changed_at=now,
    )
    history.undone(connection, workitem, by=principal.name, now=now)


def amend(connection: Connection, principal: Principal, workitem_id: str, result: Result, *, now: datetime) -> None:
    """Add to a completed reading; what stood before stays on the ledger."""
    workitem = workflow.find_locked(connection, principal, workitem_id=workitem_id)
    if workitem.state is not State.COMPLETED:
        raise workflow.RefusedError(Outcome.NOT_IN_PROGRESS, "only a completed reading is amended")
    if store.is_erased(connection, workitem.study_id):
        raise workflow.RefusedError(Outcome.FINAL, "the study was erased, and what was said of it")
    note = "\n".join(
        filter(None, [workitem.note, f"[{now:%Y-%m-%d %H:%M} {principal.name}] {result.finding}: {result.note}"])
    )
    store.change(
        connection, workitem.id, note=note, verdict=result.finding, confidence=result.confidence, changed_at=now
    )
    _record(connection, Kind.ADDENDUM, workitem, by=principal.name, result=result, now=now)


def _record(connection: Connection, kind: Kind, workitem: Workitem, *, by: str, result: Result, now: datetime) -> None:
    history.read(
        connection,
        kind,
        workitem,
        by=by,
        verdict=result.finding,
        confidence=result.confidence,
        note=result.note,
        now=now,
    )
