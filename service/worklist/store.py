"""Workitems in SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, update

from service.tables import sites, studies, workitems
from service.worklist.states import State

OPEN = (State.SCHEDULED, State.IN_PROGRESS)


class Priority(StrEnum):
    """(0074,1200) *Scheduled Procedure Step Priority*."""

    #: Looks most unlike healthy.
    HIGH = "HIGH"
    #: The ordinary case.
    MEDIUM = "MEDIUM"
    #: Decided healthy at a site that reads these last.
    LOW = "LOW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workitem:
    """One case for a reader, with what the worklist shows of its study."""

    id: str
    uid: str
    study_id: str
    site_id: str
    site: str
    state: State
    priority: Priority
    read_by: datetime
    reasons: tuple[str, ...]
    created_at: datetime
    changed_at: datetime
    transaction_uid: str | None
    reader: str | None
    claimed_at: datetime | None
    lease_until: datetime | None
    verdict: str | None
    note: str | None
    confidence: str | None
    read_at: datetime | None
    final_at: datetime | None
    cancel_reason: str | None
    cancel_request: str | None
    replaces: str | None
    study_instance_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    accession_number: str
    study_date: str
    study_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for; None and empty mean anything, and in names and numbers ``*`` and ``?`` stand for others.

    ``site_id`` limits to what the asker may see.
    """

    site_id: str | None = None
    ids: tuple[str, ...] | None = None
    states: tuple[State, ...] = ()
    site: str | None = None
    priority: str | None = None
    patient_name: str | None = None
    patient_id: str | None = None
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    accession_number: str | None = None
    study_instance_uid: str | None = None
    uids: tuple[str, ...] = ()
    reader: str | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None
    limit: int = 100
    offset: int = 0


_STUDY_COLUMNS = (
    studies.c.study_instance_uid,
    studies.c.patient_id,
    studies.c.patient_name,
    studies.c.patient_birth_date,
    studies.c.patient_sex,
    studies.c.accession_number,
    studies.c.study_date,
    studies.c.study_time,
)


_WORKITEM = (
    select(workitems, sites.c.name.label("site"), *_STUDY_COLUMNS)
    .join(studies, studies.c.id == workitems.c.study_id)
    .join(sites, sites.c.id == workitems.c.site_id)
)
#: What is asked for every study is built once: building a statement costs as much as running it. The states stand in it in
#: full, so that PostgreSQL finds the partial indices whatever plan it keeps.
_OPEN_OF = _WORKITEM.where(
    workitems.c.study_id == bindparam("wanted"),
    workitems.c.state.in_(bindparam("states", OPEN, expanding=True, literal_execute=True)),
).with_for_update(of=workitems)
_CHANGE = update(workitems).where(workitems.c.id == bindparam("wanted"))
_SCHEDULED = workitems.c.state == bindparam("scheduled", State.SCHEDULED, literal_execute=True)


def add(connection: Connection, values: dict[str, Any]) -> None:
    """Insert a workitem."""
    connection.execute(insert(workitems), values)


def change(connection: Connection, workitem_id: str, **values: Any) -> None:
    """Set columns of a workitem that this transaction has locked."""
    connection.execute(_CHANGE, {"wanted": workitem_id, **values})


def find(
    connection: Connection,
    *,
    site_id: str | None,
    uid: str | None = None,
    workitem_id: str | None = None,
    lock: bool = False,
) -> Workitem | None:
    """Return a workitem by UID or id, as far as its site may be seen; locked for change if asked, after its study."""
    wanted = [workitems.c.uid == uid if uid is not None else workitems.c.id == workitem_id]
    if site_id is not None:
        wanted.append(workitems.c.site_id == site_id)
    query = _WORKITEM.where(*wanted)
    if lock:
        # A workitem that takes this one's place refers to the study; whoever decides holds the study and wants the workitem.
        study = select(studies.c.id).join(workitems, workitems.c.study_id == studies.c.id).where(*wanted)
        connection.execute(study.with_for_update(of=studies, read=True, key_share=True))
        query = query.with_for_update(of=workitems)
    row = connection.execute(query).first()
    return None if row is None else _workitem(row)


def open_of(connection: Connection, study_id: str) -> Workitem | None:
    """Return the open workitem of a study, locked for change."""
    row = connection.execute(_OPEN_OF, {"wanted": study_id}).first()
    return None if row is None else _workitem(row)


def search(connection: Connection, wanted: Search) -> list[Workitem]:
    """Return workitems in the order in which they ought to be read."""
    query = _WORKITEM.where(*_conditions(wanted)).order_by(workitems.c.read_by, workitems.c.id)
    return [_workitem(row) for row in connection.execute(query.limit(wanted.limit).offset(wanted.offset))]


def count(connection: Connection, wanted: Search) -> int:
    """Return how many workitems there are to be found, whatever the limit."""
    matching = _WORKITEM.where(*_conditions(wanted)).subquery()
    return int(connection.execute(select(func.count()).select_from(matching)).scalar_one())


def page_after(connection: Connection, wanted: Search, *, after: str, limit: int) -> list[Workitem]:
    """Return workitems by their ids, from after one of them; the search's own limit and offset say nothing here."""
    query = _WORKITEM.where(*_conditions(wanted), workitems.c.id > after).order_by(workitems.c.id).limit(limit)
    return [_workitem(row) for row in connection.execute(query)]


def of_ids(connection: Connection, ids: tuple[str, ...], *, site_id: str | None) -> list[Workitem]:
    """Return these workitems, as far as their site may be seen."""
    return search(connection, Search(site_id=site_id, ids=ids, limit=len(ids)))


def next_scheduled(connection: Connection, site_id: str | None) -> Workitem | None:
    """Return the next case that nobody has claimed or is just claiming, locked for change."""
    query = select(workitems.c.id).where(_SCHEDULED)
    if site_id is not None:
        query = query.where(workitems.c.site_id == site_id)
    query = query.order_by(workitems.c.read_by, workitems.c.id).limit(1).with_for_update(skip_locked=True)
    found = connection.execute(query).scalar()
    return None if found is None else find(connection, site_id=site_id, workitem_id=found)


def overdue_leases(connection: Connection, now: datetime) -> list[str]:
    """Return the ids of claimed workitems whose lease has ended, but for those that complete by themselves."""
    query = select(workitems.c.id).where(
        workitems.c.state == "IN PROGRESS", workitems.c.lease_until < now, workitems.c.final_at.is_(None)
    )
    return list(connection.execute(query).scalars())


def due_results(connection: Connection, now: datetime) -> list[str]:
    """Return the ids of claimed workitems whose result can no longer be undone."""
    query = select(workitems.c.id).where(workitems.c.state == "IN PROGRESS", workitems.c.final_at <= now)
    return list(connection.execute(query).scalars())


def counts(connection: Connection) -> Sequence[Any]:
    """Return site, state, number and oldest of the open workitems."""
    query = (
        select(sites.c.name, workitems.c.state, func.count(), func.min(workitems.c.created_at))
        .join(sites, sites.c.id == workitems.c.site_id)
        .where(workitems.c.state.in_(OPEN))
        .group_by(sites.c.name, workitems.c.state)
    )
    return connection.execute(query).all()


def _conditions(wanted: Search) -> Sequence[ColumnElement[bool]]:
    equal = {
        workitems.c.site_id: wanted.site_id,
        workitems.c.priority: wanted.priority,
        studies.c.patient_birth_date: wanted.patient_birth_date,
        studies.c.patient_sex: wanted.patient_sex,
        studies.c.study_instance_uid: wanted.study_instance_uid,
    }
    alike = {
        sites.c.name: wanted.site,
        studies.c.patient_name: wanted.patient_name,
        studies.c.patient_id: wanted.patient_id,
        studies.c.accession_number: wanted.accession_number,
        workitems.c.reader: wanted.reader,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    conditions += [_alike(column, value) for column, value in alike.items() if value is not None]
    if wanted.uids:
        conditions.append(workitems.c.uid.in_(wanted.uids))
    if wanted.ids is not None:
        conditions.append(workitems.c.id.in_(wanted.ids))
    if wanted.states:
        conditions.append(workitems.c.state.in_(wanted.states))
    if wanted.from_time is not None:
        conditions.append(workitems.c.created_at >= wanted.from_time)
    if wanted.to_time is not None:
        conditions.append(workitems.c.created_at <= wanted.to_time)
    return conditions


def _alike(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Match one value, or with a wild card (PS3.4 C.2.2.2.4), which on neither database minds the case."""
    if "*" not in value and "?" not in value:
        return column == value
    pattern = value.replace("!", "!!").replace("%", "!%").replace("_", "!_").replace("*", "%").replace("?", "_")
    return func.lower(column).like(pattern.lower(), escape="!")


def _workitem(row: Row[Any]) -> Workitem:
    values = row._asdict()
    values["state"] = State(values["state"])
    values["priority"] = Priority(values["priority"])
    values["reasons"] = tuple(values["reasons"].split())
    return Workitem(**values)


def is_erased(connection: Connection, study_id: str) -> bool:
    """Say whether a study's pixels and identity were erased."""
    return connection.execute(select(studies.c.state).where(studies.c.id == study_id)).scalar() == "erased"
