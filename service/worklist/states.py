"""The states of a workitem and every change between them: DICOM PS3.4 Table CC.1.1-2, as one literal table.

A request to change the state carries a Transaction UID. The first change, SCHEDULED to IN PROGRESS, makes it the lock:
every later change must carry the same one. The answers are the status codes of PS3.4 Table CC.2.1-2 and, where a request
to cancel comes from somebody who does not hold the lock, of Table CC.2.2-2.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """(0074,1000) *Procedure Step State*."""

    #: Waits for a reader.
    SCHEDULED = "SCHEDULED"
    #: A reader has claimed it.
    IN_PROGRESS = "IN PROGRESS"
    #: Read; final.
    COMPLETED = "COMPLETED"
    #: Nobody will read it; final.
    CANCELED = "CANCELED"


class Lock(StrEnum):
    """What a request's Transaction UID is worth."""

    #: The one that claimed the workitem, or any valid one where none has claimed it.
    RIGHT = "right"
    #: Another one, or not a UID.
    WRONG = "wrong"
    #: None was given.
    MISSING = "missing"


class Outcome(StrEnum):
    """What becomes of a request."""

    #: 0000: the state is changed.
    DONE = "0000"
    #: B304: it is already canceled; nothing changes.
    ALREADY_CANCELED = "B304"
    #: B306: it is already completed; nothing changes.
    ALREADY_COMPLETED = "B306"
    #: C300: it is final.
    FINAL = "C300"
    #: C301: the right Transaction UID was not given.
    LOCKED = "C301"
    #: C302: it is already in progress.
    ALREADY_IN_PROGRESS = "C302"
    #: C303: only creation makes a workitem scheduled.
    ONLY_CREATED = "C303"
    #: C304: the requirements for the final state are not met.
    UNMET = "C304"
    #: C310: it is not in progress.
    NOT_IN_PROGRESS = "C310"
    #: C311: a completed one cannot be canceled any more.
    CANNOT_CANCEL = "C311"
    #: 0000 too, but nothing is changed: its performer is asked, who may cancel it or not.
    PERFORMER_ASKED = "0000, asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a request, and the state after it."""

    outcome: Outcome
    state: State


_S, _P, _C, _X = State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED, State.CANCELED
_O = Outcome

#: requested state: present state: (outcome, state afterwards), for the right Transaction UID.
CHANGES: dict[State, dict[State, tuple[Outcome, State]]] = {
    _S: {_S: (_O.ONLY_CREATED, _S), _P: (_O.ONLY_CREATED, _P), _C: (_O.ONLY_CREATED, _C), _X: (_O.ONLY_CREATED, _X)},
    _P: {_S: (_O.DONE, _P), _P: (_O.ALREADY_IN_PROGRESS, _P), _C: (_O.FINAL, _C), _X: (_O.FINAL, _X)},
    _C: {_S: (_O.NOT_IN_PROGRESS, _S), _P: (_O.DONE, _C), _C: (_O.ALREADY_COMPLETED, _C), _X: (_O.FINAL, _X)},
    _X: {_S: (_O.NOT_IN_PROGRESS, _S), _P: (_O.DONE, _X), _C: (_O.FINAL, _C), _X: (_O.ALREADY_CANCELED, _X)},
}

#: A request to cancel by somebody who need not hold the lock (PS3.4 CC.2.2).
CANCEL_REQUESTS: dict[State, tuple[Outcome, State]] = {
    _S: (_O.DONE, _X),
    _P: (_O.PERFORMER_ASKED, _P),
    _C: (_O.CANNOT_CANCEL, _C),
    _X: (_O.ALREADY_CANCELED, _X),
}


def change(present: State, requested: State, lock: Lock, *, is_complete: bool) -> Change:
    """Return what becomes of a request to change the state.

    ``is_complete`` says whether what the final state COMPLETED requires is there (a reader's result).
    """
    if requested is not State.SCHEDULED and lock is not Lock.RIGHT:
        return Change(outcome=Outcome.LOCKED, state=present)
    outcome, state = CHANGES[requested][present]
    if outcome is Outcome.DONE and state is State.COMPLETED and not is_complete:
        return Change(outcome=Outcome.UNMET, state=present)
    return Change(outcome=outcome, state=state)


def request_cancel(present: State) -> Change:
    """Return what becomes of a request to cancel."""
    outcome, state = CANCEL_REQUESTS[present]
    return Change(outcome=outcome, state=state)
