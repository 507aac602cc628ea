"""Studies, attempts and workers in SQL."""

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, exists, func, insert, or_, select, update

from service.database import insert_or_ignore
from service.tables import attempts, instances, studies, workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What a decision needs to know of a study, and what it says."""

    id: str
    site_id: str
    state: str
    revision: int
    received_at: datetime
    is_reopened: bool
    conflicts: int
    decision: str | None
    reasons: tuple[str, ...]
    score: float | None
    threshold: float | None
    placement: str | None
    mode: str | None
    bundle: str | None
    decided_at: datetime | None
    elapsed_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at deciding one revision of a study."""

    id: str
    study_id: str
    revision: int
    worker_id: str
    begun_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An instance as it lies in storage."""

    digest: str
    sent_digest: str
    transfer_syntax_uid: str
    bytes: int
    received_at: datetime


_STUDY = tuple(studies.c[name] for name in Study.__dataclass_fields__)
#: What is asked for every study is built once: building a statement costs as much as running it.
_GET = select(*_STUDY).where(studies.c.id == bindparam("wanted"))
_GET_LOCKED = _GET.with_for_update()
_CHANGE = update(studies).where(studies.c.id == bindparam("wanted"))


def get(connection: Connection, study_id: str, *, site_id: str | None = None, lock: bool = False) -> Study | None:
    """Return a study that may be seen, locked for change if asked."""
    query = _GET_LOCKED if lock else _GET
    if site_id is not None:
        query = query.where(studies.c.site_id == site_id)
    row = connection.execute(query, {"wanted": study_id}).first()
    return None if row is None else _study(row)


def change(connection: Connection, study_id: str, **values: Any) -> None:
    """Set columns of a study that this transaction has locked."""
    connection.execute(_CHANGE, {"wanted": study_id, **values})


def lock_patient(connection: Connection, study_id: str) -> int | None:
    """Return how many other studies of a study's patient were decided; None if the patient has no identifier.

    Until the transaction ends no other decision on this patient is counted: of two at once, one sees the other.
    """
    row = connection.execute(select(studies.c.site_id, studies.c.patient_id).where(studies.c.id == study_id)).one()
    if not row.patient_id:
        return None
    if connection.dialect.name == "postgresql":
        key = func.hashtextextended(f"{row.site_id} {row.patient_id}", 0)
        connection.execute(select(func.pg_advisory_xact_lock(key)))
    query = select(func.count()).where(
        studies.c.site_id == row.site_id,
        or_(
            and_(studies.c.patient_id == row.patient_id, or_(studies.c.state == "decided", studies.c.is_reopened)),
            studies.c.former_patient == former_patient(row.site_id, row.patient_id),
        ),
        studies.c.id != study_id,
    )
    return connection.execute(query).scalar_one()


def former_patient(site_id: str, patient_id: str) -> str:
    """Return what is kept of an erased study's patient, so that later ones of the same patient are counted right."""
    return hashlib.sha256(f"{site_id} {patient_id}".encode()).hexdigest()


def due(connection: Connection, now: datetime, limit: int) -> list[Study]:
    """Return waiting studies that are due and that no other process is taking, locked for change."""
    query = select(*_STUDY).where(studies.c.state == "waiting", studies.c.due_at <= now)
    query = query.order_by(studies.c.due_at).limit(limit).with_for_update(skip_locked=True)
    return [_study(row) for row in connection.execute(query)]


def is_any_due(connection: Connection, now: datetime) -> bool:
    """Say whether a study waits to be decided by now."""
    query = select(studies.c.id).where(studies.c.state == "waiting", studies.c.due_at <= now).limit(1)
    return connection.execute(query).first() is not None


def images(connection: Connection, study_id: str) -> list[Stored]:
    """Return a study's instances in the order in which they came."""
    query = (
        select(
            instances.c.digest,
            instances.c.sent_digest,
            instances.c.transfer_syntax_uid,
            instances.c.bytes,
            instances.c.received_at,
        )
        .where(instances.c.study_id == study_id)
        .order_by(instances.c.received_at, instances.c.id)
    )
    return [Stored(**row._asdict()) for row in connection.execute(query)]


def begin(connection: Connection, attempt: Attempt) -> None:
    """Write down that an attempt has begun."""
    connection.execute(
        insert(attempts),
        {
            "id": attempt.id,
            "study_id": attempt.study_id,
            "revision": attempt.revision,
            "worker_id": attempt.worker_id,
            "begun_at": attempt.begun_at,
        },
    )


def end(connection: Connection, attempt_id: str, *, outcome: str, now: datetime) -> bool:
    """End an attempt; False if it had ended already, say because its worker was taken for dead."""
    result = connection.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id, attempts.c.ended_at.is_(None))
        .values(ended_at=now, outcome=outcome)
    )
    return result.rowcount == 1


def lost(connection: Connection, silent_since: datetime, *, worker_id: str, active: AbstractSet[str]) -> list[Attempt]:
    """Return open attempts that will never end. They are not locked: who ends one first has it, and a study comes first.

    They are those of workers that have not been seen since a time, and of the asking one those that it does not pursue.
    """
    lives = exists().where(workers.c.id == attempts.c.worker_id, workers.c.seen_at >= silent_since)
    query = select(
        attempts.c.id, attempts.c.study_id, attempts.c.revision, attempts.c.worker_id, attempts.c.begun_at
    ).where(
        attempts.c.ended_at.is_(None),
        attempts.c.begun_at < silent_since,
        or_(~lives, attempts.c.worker_id == worker_id),
    )
    found = [Attempt(**row._asdict()) for row in connection.execute(query)]
    return [attempt for attempt in found if attempt.id not in active]


def beat(connection: Connection, worker_id: str, now: datetime) -> None:
    """Say that a worker lives."""
    if not insert_or_ignore(connection, workers, {"id": worker_id, "seen_at": now}):
        connection.execute(update(workers).where(workers.c.id == worker_id).values(seen_at=now))


def retire(connection: Connection, worker_id: str) -> None:
    """Forget a worker that has ended in good order."""
    connection.execute(delete(workers).where(workers.c.id == worker_id))


def counts(connection: Connection) -> Sequence[Any]:
    """Return state and number of the studies that are not decided."""
    query = select(studies.c.state, func.count()).where(
        or_(studies.c.state == "waiting", studies.c.state == "deciding")
    )
    return connection.execute(query.group_by(studies.c.state)).all()


def _study(row: Row[Any]) -> Study:
    values = row._asdict()
    values["reasons"] = tuple((values["reasons"] or "").split())
    return Study(**values)
