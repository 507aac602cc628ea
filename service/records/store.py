"""What identifies a study's patient, in SQL: to show, to correct and to erase."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from service.tables import corrections, instances, sites, studies, workitems


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Whose a study is. Never logged."""

    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An instance by its internal id, without anything that identifies a patient."""

    id: str
    digest: str
    modality: str
    view: str
    bytes: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A study by its internal id."""

    id: str
    site: str
    state: str
    received_at: datetime


_BLANK = dict.fromkeys(
    (
        "patient_id",
        "patient_name",
        "patient_birth_date",
        "patient_sex",
        "accession_number",
        "study_date",
        "study_time",
        "study_description",
    ),
    "",
)


def patient_of(connection: Connection, study_id: str) -> Patient:
    """Return whose a study is."""
    columns = (studies.c[name] for name in Patient.__dataclass_fields__)
    return Patient(**connection.execute(select(*columns).where(studies.c.id == study_id)).one()._asdict())


def names_of(connection: Connection, study_id: str) -> list[str]:
    """Return everything by which a study can be known outside: no free text that is kept may hold one of these."""
    columns = (
        studies.c.patient_id,
        studies.c.patient_name,
        studies.c.patient_birth_date,
        studies.c.accession_number,
        studies.c.study_instance_uid,
    )
    return list(connection.execute(select(*columns).where(studies.c.id == study_id)).one())


def images(connection: Connection, study_id: str) -> list[Image]:
    """Return a study's instances in the order in which they came."""
    query = select(*(instances.c[name] for name in Image.__dataclass_fields__))
    query = query.where(instances.c.study_id == study_id).order_by(instances.c.received_at, instances.c.id)
    return [Image(**row._asdict()) for row in connection.execute(query)]


def search(connection: Connection, *, site: str | None, name: str) -> list[Found]:
    """Return studies that have an accession number, patient identifier or Study Instance UID; the newest first."""
    query = (
        select(studies.c.id, sites.c.name.label("site"), studies.c.state, studies.c.received_at)
        .join(sites, sites.c.id == studies.c.site_id)
        .where(
            or_(
                studies.c.accession_number == name,
                studies.c.patient_id == name,
                studies.c.study_instance_uid == name,
            )
        )
    )
    if site is not None:
        query = query.where(sites.c.name == site)
    return [Found(**row._asdict()) for row in connection.execute(query.order_by(studies.c.received_at.desc()))]


def delete_images(connection: Connection, images_gone: Sequence[Image]) -> None:
    """Delete instances."""
    connection.execute(delete(instances).where(instances.c.id.in_([image.id for image in images_gone])))


def blank(connection: Connection, study_id: str, *, former_patient: str | None, now: datetime) -> None:
    """Take everything from a study, and from its readings, that says whose it was."""
    connection.execute(
        update(studies)
        .where(studies.c.id == study_id)
        .values(
            **_BLANK,
            age_years=None,
            study_instance_uid=f"2.25.{uuid4().int}",  # nobody knows it, so nothing can be added
            former_patient=former_patient,
            state="erased",
            erased_at=now,
            changed_at=now,
        )
    )
    connection.execute(delete(corrections).where(corrections.c.study_id == study_id))
    connection.execute(
        update(workitems)
        .where(workitems.c.study_id == study_id)
        .values(note=None, cancel_reason=None, cancel_request=None)
    )


def set_patient(connection: Connection, study_id: str, patient: Patient, *, now: datetime) -> None:
    """Say whose a study is."""
    values = {name: getattr(patient, name) for name in Patient.__dataclass_fields__}
    connection.execute(
        update(studies).where(studies.c.id == study_id).values(**values, age_years=None, corrected_at=now)
    )


def add_correction(connection: Connection, *, correction_id: str, study_id: str, salt: str, now: datetime) -> None:
    """Keep the salt of a correction's digests."""
    connection.execute(insert(corrections).values(id=correction_id, study_id=study_id, salt=salt, at=now))


def outlived(connection: Connection, *, before: datetime, limit: int, study_id: str | None = None) -> list[str]:
    """Return studies that nobody has to read any more and to which nothing has happened since a time, the oldest first.

    Of one study, say whether it is such a one, and lock it for change.
    """
    later = select(workitems.c.id).where(
        workitems.c.study_id == studies.c.id,
        or_(workitems.c.state.in_(("SCHEDULED", "IN PROGRESS")), workitems.c.changed_at >= before),
    )
    query = select(studies.c.id).where(
        studies.c.state == "decided", studies.c.decided_at < before, studies.c.changed_at < before, ~later.exists()
    )
    if study_id is not None:
        query = query.where(studies.c.id == study_id).with_for_update()
    return list(connection.execute(query.order_by(studies.c.decided_at).limit(limit)).scalars())


def erased(connection: Connection) -> int:
    """Return how many studies were erased."""
    return connection.execute(select(func.count()).where(studies.c.state == "erased")).scalar_one()
