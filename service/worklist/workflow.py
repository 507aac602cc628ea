"""What happens on the readers' worklist.

Invariants:

- A study has at most one open workitem (a unique partial index), and one from the transaction that stores it.
- The state changes by the table in ``states`` only. A claimed workitem is never withdrawn by a decision, but is when its
  study is erased or its patient corrected: what the reader sees is no longer so.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from models.errors import WorklistError
from service.access.workflow import Principal
from service.errors import MissingError
from service.worklist import history, store
from service.worklist.states import Change, Lock, Outcome, State, change, request_cancel
from service.worklist.store import Priority, Workitem

_UID = re.compile(r"[0-9.]{1,64}")


class RefusedError(WorklistError):
    """The worklist does not allow this"""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where on the worklist a study stands, and why as readers are told."""

    priority: Priority
    read_by: datetime
    reasons: tuple[str, ...]


def ensure_open(
    connection: Connection,
    *,
    study_id: str,
    site_id: str,
    place: Place,
    now: datetime,
    replaces: str | None = None,
    reason: str = "",
) -> tuple[str, bool]:
    """Return the id of the study's open workitem, made if there is none, and whether it is new.

    ``reason`` is what the ledger is told of why it was made, if not for films that came.
    """
    present = store.open_of(connection, study_id)
    if present is not None:
        return present.id, False
    workitem_id = uuid4()
    store.add(
        connection,
        {
            "id": workitem_id.hex,
            "uid": uid_of(workitem_id),
            "study_id": study_id,
            "site_id": site_id,
            "state": State.SCHEDULED,
            "priority": place.priority,
            "read_by": place.read_by,
            "reasons": " ".join(place.reasons),
            "created_at": now,
            "changed_at": now,
            "replaces": replaces,
        },
    )
    history.made(
        connection,
        workitem_id=workitem_id.hex,
        study_id=study_id,
        site_id=site_id,
        replaces=replaces,
        reason=reason,
        now=now,
    )
    return workitem_id.hex, True


def move(connection: Connection, *, study_id: str, place: Place, now: datetime) -> str | None:
    """Give a study's open workitem, claimed or not, its place; return its id."""
    workitem = store.open_of(connection, study_id)
    if workitem is None:
        return None
    store.change(
        connection,
        workitem.id,
        priority=place.priority,
        read_by=place.read_by,
        reasons=" ".join(place.reasons),
        changed_at=now,
    )
    return workitem.id


def withdraw(connection: Connection, *, study_id: str, reason: str, now: datetime) -> bool:
    """Cancel a study's workitem unless a reader has claimed it; return whether the study has left the worklist."""
    workitem = store.open_of(connection, study_id)
    if workitem is None:
        return True
    if workitem.state is not State.SCHEDULED:
        return False
    _cancel(connection, workitem, reason=reason, by="demur", now=now)
    return True


def is_open(connection: Connection, study_id: str) -> bool:
    """Say whether a study is on the worklist, claimed or not."""
    return store.open_of(connection, study_id) is not None


def recall(connection: Connection, *, study_id: str, reason: str, by: str, now: datetime) -> str | None:
    """Cancel a study's workitem, claimed or not, since what it showed is no longer so; return its id."""
    workitem = store.open_of(connection, study_id)
    if workitem is None:
        return None
    _cancel(connection, workitem, reason=reason, by=by, now=now)
    return workitem.id


def find(
    connection: Connection, principal: Principal, *, uid: str | None = None, workitem_id: str | None = None
) -> Workitem:
    """Return a workitem that the asker may see."""
    return _find(connection, principal, uid=uid, workitem_id=workitem_id, lock=False)


def change_state(
    connection: Connection,
    principal: Principal,
    uid: str,
    *,
    requested: State,
    transaction_uid: str | None,
    lease: timedelta,
    now: datetime,
) -> Change:
    """Do what a request to change the state asks, if the table allows it; else raise RefusedError."""
    workitem = find_locked(connection, principal, uid=uid)
    lock = lock_of(workitem, transaction_uid)
    answer = change(workitem.state, requested, lock, is_complete=workitem.verdict is not None)
    if answer.outcome in (Outcome.ALREADY_CANCELED, Outcome.ALREADY_COMPLETED):
        return answer
    if answer.outcome is not Outcome.DONE:
        raise RefusedError(answer.outcome, _why(answer.outcome, lock))
    if answer.state is State.IN_PROGRESS:
        _claim(connection, workitem, principal, transaction_uid=transaction_uid or "", lease=lease, now=now)
    elif answer.state is State.COMPLETED:
        complete(connection, workitem, now=now)
    else:
        # The holder gives the case back: nobody has read it, so another workitem takes its place.
        _cancel(connection, workitem, reason="given back by its reader", by=principal.name, now=now)
        _replace(connection, workitem, now=now)
    return answer


def claim_next(
    connection: Connection, principal: Principal, *, transaction_uid: str, lease: timedelta, now: datetime
) -> Workitem | None:
    """Claim the case that ought to be read next; None if there is none."""
    workitem = store.next_scheduled(connection, principal.site_id)
    if workitem is not None:
        _claim(connection, workitem, principal, transaction_uid=transaction_uid, lease=lease, now=now)
    return workitem


def cancel_request(
    connection: Connection, principal: Principal, uid: str, *, reason: str, asked: str, now: datetime
) -> Change:
    """Do what a request to cancel asks: who holds a case is asked and never overruled, and no study leaves unread.

    ``asked`` is what the reader who holds it is told of the request, in DICOM JSON.
    """
    workitem = find_locked(connection, principal, uid=uid)
    answer = request_cancel(workitem.state)
    if answer.outcome is Outcome.DONE:
        _cancel(connection, workitem, reason="canceled on request", by=principal.name, now=now, told=reason)
        _replace(connection, workitem, now=now)
    elif answer.outcome is Outcome.PERFORMER_ASKED:
        store.change(connection, workitem.id, cancel_request=asked, changed_at=now)
        history.asked_to_cancel(connection, workitem, by=principal.name, now=now)
    elif answer.outcome is Outcome.CANNOT_CANCEL:
        raise RefusedError(answer.outcome, "The UPS is already COMPLETED.")
    return answer


def renew(
    connection: Connection,
    principal: Principal,
    uid: str,
    *,
    transaction_uid: str | None,
    lease: timedelta,
    now: datetime,
) -> None:
    """Renew a claim."""
    workitem = held(connection, principal, uid, transaction_uid=transaction_uid)
    store.change(connection, workitem.id, lease_until=now + lease)


def complete(connection: Connection, workitem: Workitem, *, now: datetime, reason: str = "") -> None:
    """Make a result final; films that came after the claim were perhaps not seen, so the study goes back for them."""
    store.change(connection, workitem.id, state=State.COMPLETED, final_at=None, lease_until=None, changed_at=now)
    history.moved(connection, workitem, State.COMPLETED, by=workitem.reader or "", reason=reason, now=now)
    if history.has_later_films(connection, workitem):
        _replace(connection, workitem, now=now)


def sweep(connection: Connection, *, now: datetime) -> int:
    """Complete what can no longer be undone, and end claims whose lease has run out; return how many.

    A result that was given stands: a claim that ends after it completes the case under its reader's name, as it would
    have been on the page. Only a case without one goes back to be read by somebody else.
    """
    changed = 0
    for workitem_id in store.due_results(connection, now):
        workitem = store.find(connection, site_id=None, workitem_id=workitem_id, lock=True)
        if workitem is not None and workitem.state is State.IN_PROGRESS and workitem.final_at is not None:
            complete(connection, workitem, now=now)
            changed += 1
    for workitem_id in store.overdue_leases(connection, now):
        workitem = store.find(connection, site_id=None, workitem_id=workitem_id, lock=True)
        if workitem is None or workitem.state is not State.IN_PROGRESS or workitem.final_at is not None:
            continue
        if workitem.lease_until is None or workitem.lease_until >= now:
            continue
        if workitem.verdict is not None:
            complete(connection, workitem, now=now, reason="the claim ended after the result was given")
        else:
            _cancel(connection, workitem, reason="the claim was not renewed", by="demur", now=now)
            _replace(connection, workitem, now=now)
        changed += 1
    return changed


def lock_of(workitem: Workitem, transaction_uid: str | None) -> Lock:
    """Say what a Transaction UID is worth for a workitem."""
    if not transaction_uid:
        return Lock.MISSING
    if not _UID.fullmatch(transaction_uid):
        return Lock.WRONG
    if workitem.transaction_uid is None:
        return Lock.RIGHT
    return Lock.RIGHT if transaction_uid == workitem.transaction_uid else Lock.WRONG


def held(connection: Connection, principal: Principal, uid: str, *, transaction_uid: str | None) -> Workitem:
    """Return a workitem in progress whose lock was presented; else raise RefusedError."""
    workitem = find_locked(connection, principal, uid=uid)
    lock = lock_of(workitem, transaction_uid)
    if workitem.state in (State.COMPLETED, State.CANCELED):
        raise RefusedError(Outcome.FINAL, _why(Outcome.FINAL, lock))
    if workitem.state is not State.IN_PROGRESS:
        raise RefusedError(Outcome.NOT_IN_PROGRESS, _why(Outcome.NOT_IN_PROGRESS, lock))
    if lock is not Lock.RIGHT:
        raise RefusedError(Outcome.LOCKED, _why(Outcome.LOCKED, lock))
    return workitem


def uid_of(workitem_id: UUID) -> str:
    """Return a workitem's UID (PS3.5 B.2: a UUID as decimal under 2.25)."""
    return f"2.25.{workitem_id.int}"


def find_locked(
    connection: Connection, principal: Principal, *, uid: str | None = None, workitem_id: str | None = None
) -> Workitem:
    """Return a workitem that the asker may see, locked for change."""
    return _find(connection, principal, uid=uid, workitem_id=workitem_id, lock=True)


def _find(
    connection: Connection, principal: Principal, *, uid: str | None = None, workitem_id: str | None = None, lock: bool
) -> Workitem:
    workitem = store.find(connection, site_id=principal.site_id, uid=uid, workitem_id=workitem_id, lock=lock)
    if workitem is None:
        raise MissingError("there is no such workitem")
    return workitem


def _claim(
    connection: Connection,
    workitem: Workitem,
    principal: Principal,
    *,
    transaction_uid: str,
    lease: timedelta,
    now: datetime,
) -> None:
    store.change(
        connection,
        workitem.id,
        state=State.IN_PROGRESS,
        transaction_uid=transaction_uid,
        reader=principal.name,
        claimed_at=now,
        lease_until=now + lease,
        changed_at=now,
    )
    history.moved(connection, workitem, State.IN_PROGRESS, by=principal.name, reason="", now=now)


def _cancel(connection: Connection, workitem: Workitem, *, reason: str, by: str, now: datetime, told: str = "") -> None:
    """Cancel a workitem; words of somebody's own, which may name a patient, stay out of the ledger."""
    store.change(
        connection,
        workitem.id,
        state=State.CANCELED,
        cancel_reason=told or reason,
        lease_until=None,
        final_at=None,
        changed_at=now,
    )
    history.moved(connection, workitem, State.CANCELED, by=by, reason=reason, now=now)


def _replace(connection: Connection, workitem: Workitem, *, now: datetime) -> None:
    """Put a study back whose workitem was cancelled unread: never IN PROGRESS to SCHEDULED (PS3.4 CC.1.1)."""
    place = Place(priority=workitem.priority, read_by=workitem.read_by, reasons=workitem.reasons)
    ensure_open(
        connection, study_id=workitem.study_id, site_id=workitem.site_id, place=place, now=now, replaces=workitem.id
    )


def _why(outcome: Outcome, lock: Lock) -> str:
    """Return the text that PS3.18 section 11.7.3.2 puts into the Warning header."""
    if outcome is Outcome.LOCKED:
        return "The Transaction UID is missing." if lock is Lock.MISSING else "The Transaction UID is incorrect."
    return "The submitted request is inconsistent with the state of the UPS Instance."
