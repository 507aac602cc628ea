"""From the ledger to what is watched: calls, readings and inputs, entry by entry.

Invariants:

- Everything here follows from the ledger alone: followed again from its beginning it gives the same.
- A call is counted at a fixed age, by what readers had said of it by then. What is not read by then is an error for the bound, and
  is told. An error that readers find later counts from when it is found: the alarm stays valid, since errors are only added.
- The alarm does not wait for that age: it looks at every call that was made, with the errors that are known.
"""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from calibration.audits import Audited, look_ahead, process_due
from calibration.monitor import Watch, audited_error, new_monitor, observe
from calibration.policy import Placement
from models.vocabulary import Decision, Reason
from service.ledger.store import Entry, entries, entries_of
from service.ledger.workflow import Kind
from service.sites.store import Why
from service.watch import store
from service.watch.inputs import take
from service.watch.store import Made, Watched
from service.worklist.readings import Finding
from service.worklist.states import State

#: Entries that are followed in one transaction, and calls that are counted in one.
_PAGE = 1000
#: An entry is committed a little later than the time that it bears; nothing is counted before that is over.
_COMMIT = timedelta(minutes=5)
_READINGS = (Kind.VERDICT, Kind.UNDONE, Kind.ADDENDUM, Kind.WORKITEM)
KINDS = (Kind.DECIDED, Kind.SITE, *_READINGS)
_ACTED_ON = (Placement.CLEARED, Placement.END_OF_WORKLIST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a site must fall, and since when its calls are in doubt (None: as far back as calls are put back).

    Without a reason: no alarm stands against it, whatever was said before.
    """

    site_id: str
    bundle: str
    why: Why | None
    since: datetime | None = None


def follow(connection: Connection, *, grace: timedelta, now: datetime) -> tuple[int, list[Cause]]:
    """Follow the ledger some way on and count what is due; return how many entries that were, and what follows for which sites."""
    sequence = store.lock_cursor(connection)
    if sequence is None:
        return 0, []
    found = list(itertools.islice(entries(connection, kinds=KINDS, after=sequence), _PAGE))
    held = _Held(connection)
    causes = [cause for entry in found for cause in _take(held, entry, grace)]
    until = now - grace - _COMMIT
    for site_id, bundle in store.due(connection, until):
        causes += _count_due(held, held.get(site_id, bundle), until=until, grace=grace, now=now)
    causes += _look(held)
    held.save()
    if found:
        store.move_cursor(connection, found[-1].sequence)
    return len(found), causes


def outcome(readings: Iterable[Entry], *, by: datetime | None = None) -> bool | None:
    """Say what readers have found of a study: an error, none, or None where nobody has read it.

    A reading counts once it is final. A study that a reader cannot assess ought not to have been called healthy. Of several
    readings one error is enough. With ``by`` it is what they had said by then, or an error that they have named at any time since.
    """
    verdicts: dict[str, str | None] = {}
    final: set[str] = set()
    found: bool | None = None
    for entry in readings:
        body = json.loads(entry.body)
        if entry.kind != Kind.WORKITEM:
            verdicts[body["workitem"]] = None if entry.kind == Kind.UNDONE else body["verdict"]
        elif body["to"] == State.COMPLETED:
            final.add(body["workitem"])
        standing = {verdict for workitem, verdict in verdicts.items() if workitem in final and verdict is not None}
        after = standing != {str(Finding.NO_FINDING)} if standing else None
        if by is None or entry.at <= by or after:
            found = after
    return found


class _Held:
    """The watches that a transaction has touched, each loaded once and saved once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._watches: dict[tuple[str, str], Watched] = {}
        #: Watches whose errors have changed since the alarm looked at them.
        self.suspects: set[tuple[str, str]] = set()

    def get(self, site_id: str, bundle: str) -> Watched:
        key = (site_id, bundle)
        if key not in self._watches:
            self._watches[key] = store.load(self.connection, site_id, bundle)
        return self._watches[key]

    def put(self, watched: Watched) -> None:
        self._watches[watched.site_id, watched.bundle] = watched

    def save(self) -> None:
        for watched in self._watches.values():
            store.save(self.connection, watched)


def _take(held: _Held, entry: Entry, grace: timedelta) -> list[Cause]:
    if entry.site_id is None:
        return []
    if entry.kind in _READINGS:
        if entry.kind == Kind.WORKITEM and f'"to":"{State.COMPLETED}"' not in entry.body:
            return []
        for made in store.drawn_calls(held.connection, entry.study_id or ""):
            _read(held, made, grace)
        return []
    body = json.loads(entry.body)
    if entry.kind == Kind.SITE:
        _begin(held, entry.site_id, body)
        return []
    return _decided(held, entry, body, grace) if body["bundle"] else []


def _begin(held: _Held, site_id: str, body: dict[str, Any]) -> None:
    """Begin to watch a site that was raised; raised again it is watched on."""
    if "watch" not in body:
        return
    watched = held.get(site_id, body["bundle"])
    if watched.audited is None:
        audited = Audited(monitor=new_monitor(Watch(**body["watch"])))
        held.put(replace(watched, audited=audited))


def _decided(held: _Held, entry: Entry, body: dict[str, Any], grace: timedelta) -> list[Cause]:
    site_id, bundle = entry.site_id or "", body["bundle"]
    if body["decision"] == Decision.HEALTHY and body["placement"] in _ACTED_ON:
        made = Made(
            study_id=entry.study_id or "",
            revision=body["revision"],
            site_id=site_id,
            bundle=bundle,
            decided_at=entry.at,
            probability=body["audit"]["probability"],
            is_drawn=body["audit"]["is_drawn"],
            error=None,
            is_counted=False,
        )
        store.add_call(held.connection, made)
        if made.is_drawn:
            _read(held, made, grace)
    if Reason.REOPENED in body["gates"]:
        return []
    watched = held.get(site_id, bundle)
    inputs, drift = take(watched.inputs, float(body["score"]), float(body["strangeness"]), at=entry.at)
    held.put(replace(watched, inputs=inputs))
    return [] if drift is None else [Cause(site_id=site_id, bundle=bundle, why=Why.DRIFT, since=drift.since)]


def _read(held: _Held, made: Made, grace: timedelta) -> None:
    """Take what readers say by now of a call that was drawn; once it is counted only an error is added."""
    error = _error(held, made, grace if made.is_counted else None)
    if error == made.error or (made.is_counted and not error):
        return
    store.change_call(held.connection, made, error=error, is_counted=made.is_counted)
    if error or made.error:
        held.suspects.add((made.site_id, made.bundle))
    if made.is_counted:
        _count_again(held, held.get(made.site_id, made.bundle))


def _error(held: _Held, made: Made, grace: timedelta | None) -> bool | None:
    readings = entries_of(held.connection, made.study_id, kinds=_READINGS)
    return outcome(readings, by=None if grace is None else made.decided_at + grace)


def _count_due(held: _Held, watched: Watched, *, until: datetime, grace: timedelta, now: datetime) -> list[Cause]:
    """Count the calls that have reached their age, in their order."""
    if watched.audited is None:
        return []
    due = store.due_calls(held.connection, watched, until, _PAGE)
    known = [made.call(_error(held, made, grace) if made.is_drawn else None) for made in due]
    for made, call in zip(due, known, strict=True):
        store.change_call(held.connection, made, error=call.error, is_counted=True)
    through = watched.audited.through
    audited, unread = process_due(watched.audited, known, now=now, age=grace)
    held.put(replace(watched, audited=audited))
    if through is not None and (known[0].accessioned, known[0].key) <= through:
        _count_again(held, held.get(watched.site_id, watched.bundle))
    if any(call.error for call in known):
        held.suspects.add((watched.site_id, watched.bundle))
    return [Cause(site_id=watched.site_id, bundle=watched.bundle, why=Why.UNREAD)] if unread else []


def _count_again(held: _Held, watched: Watched) -> None:
    """Count every call from the first, after one of them has turned out to be an error."""
    if watched.audited is None:
        return
    counted = store.calls_of(held.connection, watched, is_counted=True)
    alarm = np.array([_z(made, unresolved=False) for made in counted])
    bound = np.array([_z(made, unresolved=True) for made in counted])
    monitor = observe(new_monitor(watched.audited.monitor.watch), alarm, bound)
    held.put(replace(watched, audited=replace(watched.audited, monitor=monitor)))


def _z(made: Made, *, unresolved: bool) -> float:
    error = unresolved if made.error is None else made.error
    return audited_error(audited=made.is_drawn, error=error, probability=made.probability)


def _look(held: _Held) -> list[Cause]:
    """Return of each site whose errors have changed whether they are too many, of all calls made so far."""
    causes: list[Cause] = []
    for site_id, bundle in sorted(held.suspects):
        watched = held.get(site_id, bundle)
        if watched.audited is None:
            continue
        waiting = [made.call(made.error) for made in store.calls_of(held.connection, watched, is_counted=False)]
        is_alarm = look_ahead(watched.audited, waiting).alarm_at is not None
        causes.append(Cause(site_id=site_id, bundle=bundle, why=Why.ALARM if is_alarm else None))
    return causes
