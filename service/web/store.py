"""What the pages show, in SQL. Rows of the worklist carry no name, number or UID of a patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, select

from models.vocabulary import Reason
from service.access.workflow import Principal
from service.tables import instances, sites, studies, workitems
from service.worklist.states import State

#: The states that readers see; see ``words.STATES``.
SHOWN = (State.SCHEDULED, State.IN_PROGRESS, State.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which cases to show; None means any."""

    state: State | None = None
    site: str | None = None
    reason: Reason | None = None
    #: Cases that were read before this are left out.
    read_since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the worklist."""

    id: str
    study_id: str
    site: str
    state: State
    priority: str
    read_by: datetime
    received_at: datetime
    reasons: tuple[str, ...]
    reader: str | None
    verdict: str | None
    final_at: datetime | None
    patient_birth_date: str
    patient_sex: str
    age_years: float | None
    study_date: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of a case."""

    id: str
    digest: str
    modality: str
    body_part: str
    view: str
    frames: int
    bytes: int


_CASE = (
    workitems.c.id,
    workitems.c.study_id,
    sites.c.name.label("site"),
    workitems.c.state,
    workitems.c.priority,
    workitems.c.read_by,
    studies.c.received_at,
    workitems.c.reasons,
    workitems.c.reader,
    workitems.c.verdict,
    workitems.c.final_at,
    studies.c.patient_birth_date,
    studies.c.patient_sex,
    studies.c.age_years,
    studies.c.study_date,
)
_JOINED = workitems.join(studies, studies.c.id == workitems.c.study_id).join(sites, sites.c.id == workitems.c.site_id)


def cases(connection: Connection, principal: Principal, wanted: Filter, *, limit: int) -> list[Case]:
    """Return cases: open ones in the order in which they ought to be read, read ones by when."""
    state = State.SCHEDULED if wanted.state is None else wanted.state
    order = workitems.c.changed_at.desc() if state is State.COMPLETED else workitems.c.read_by
    query = (
        select(*_CASE)
        .select_from(_JOINED)
        .where(*_conditions(principal, wanted), workitems.c.state == state)
        .order_by(order, workitems.c.id)
        .limit(limit)
    )
    return [_case(row) for row in connection.execute(query).mappings()]


def counts(connection: Connection, principal: Principal, wanted: Filter) -> dict[State, int]:
    """Return how many cases each state has."""
    query = (
        select(workitems.c.state, func.count())
        .select_from(_JOINED)
        .where(*_conditions(principal, wanted))
        .group_by(workitems.c.state)
    )
    found = {State(state): count for state, count in connection.execute(query)}
    return {state: found.get(state, 0) for state in SHOWN}


def held(connection: Connection, principal: Principal) -> str | None:
    """Return the id of the case that a reader holds without having given a result."""
    query = select(workitems.c.id).where(
        workitems.c.state == State.IN_PROGRESS, workitems.c.reader == principal.name, workitems.c.verdict.is_(None)
    )
    return connection.execute(query.order_by(workitems.c.claimed_at).limit(1)).scalar()


def undoable(connection: Connection, principal: Principal, now: datetime) -> Case | None:
    """Return the reader's latest case whose result can still be undone."""
    query = (
        select(*_CASE)
        .select_from(_JOINED)
        .where(workitems.c.state == State.IN_PROGRESS, workitems.c.reader == principal.name, workitems.c.final_at > now)
        .order_by(workitems.c.read_at.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else _case(row)


def site_names(connection: Connection, principal: Principal) -> list[str]:
    """Return the names of the sites that may be seen."""
    query = select(sites.c.name).order_by(sites.c.name)
    if principal.site_id is not None:
        query = query.where(sites.c.id == principal.site_id)
    return list(connection.execute(query).scalars())


def images(connection: Connection, study_ids: Sequence[str]) -> dict[str, list[Image]]:
    """Return the images of studies, in the order of their series and instance numbers as they came."""
    query = (
        select(instances.c.study_id, *(instances.c[name] for name in Image.__dataclass_fields__))
        .where(instances.c.study_id.in_(study_ids))
        .order_by(instances.c.received_at, instances.c.id)
    )
    found: dict[str, list[Image]] = {study_id: [] for study_id in study_ids}
    for row in connection.execute(query).mappings():
        values: dict[str, Any] = dict(row)
        found[values.pop("study_id")].append(Image(**values))
    return found


def received_at(connection: Connection, study_id: str) -> datetime:
    """Return when a study came."""
    return connection.execute(select(studies.c.received_at).where(studies.c.id == study_id)).scalar_one()


def age_years(connection: Connection, study_id: str) -> float | None:
    """Return the patient's age at a study, if its first instance tells it."""
    return connection.execute(select(studies.c.age_years).where(studies.c.id == study_id)).scalar_one()


def open_case_of(connection: Connection, study_id: str) -> str | None:
    """Return the id of a study's open workitem: what replaced one that was given back."""
    query = select(workitems.c.id).where(
        workitems.c.study_id == study_id, workitems.c.state.in_((State.SCHEDULED, State.IN_PROGRESS))
    )
    return connection.execute(query).scalar()


def _conditions(principal: Principal, wanted: Filter) -> list[ColumnElement[bool]]:
    recent = (workitems.c.state != State.COMPLETED) | (workitems.c.changed_at >= wanted.read_since)
    conditions: list[ColumnElement[bool]] = [workitems.c.state.in_(SHOWN), recent]
    if principal.site_id is not None:
        conditions.append(workitems.c.site_id == principal.site_id)
    if wanted.site is not None:
        conditions.append(sites.c.name == wanted.site)
    if wanted.reason is not None:
        # Reasons stand in one column, separated by blanks.
        padded = " " + workitems.c.reasons + " "
        conditions.append(padded.contains(f" {wanted.reason} ", autoescape=True))
    return conditions


def _case(row: RowMapping) -> Case:
    values: dict[str, Any] = dict(row)
    values["state"] = State(values["state"])
    values["reasons"] = tuple(values["reasons"].split())
    return Case(**values)
