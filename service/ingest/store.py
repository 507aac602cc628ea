"""Studies and instances in SQL, as they come in."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from service.database import insert_or_ignore
from service.ingest.identify import Identity
from service.tables import instances, studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An instance that is stored already."""

    study_id: str
    study_instance_uid: str
    digest: str
    sent_digest: str


def add_study(connection: Connection, *, study_id: str, site_id: str, identity: Identity, now: datetime) -> str:
    """Return the id of the site's study of this UID, locked for change, and made if it is new."""
    values = {
        "id": study_id,
        "site_id": site_id,
        "study_instance_uid": identity.study_instance_uid,
        "patient_id": identity.patient_id,
        "patient_name": identity.patient_name,
        "patient_birth_date": identity.patient_birth_date,
        "patient_sex": identity.patient_sex,
        "age_years": identity.age_years,
        "accession_number": identity.accession_number,
        "study_date": identity.study_date,
        "study_time": identity.study_time,
        "study_description": identity.study_description,
        "received_at": now,
        "changed_at": now,
        "state": "waiting",
        "due_at": now,
        "revision": 0,
        "is_reopened": False,
        "conflicts": 0,
    }
    while True:
        insert_or_ignore(connection, studies, values)
        found = find_study(connection, site_id=site_id, study_instance_uid=identity.study_instance_uid)
        if found is not None:  # else it was erased between the two, and is new again
            return found


def names_other_patient(connection: Connection, study_id: str, patient_id: str) -> bool:
    """Say whether a study belongs to another patient than an instance says."""
    return connection.execute(select(studies.c.patient_id).where(studies.c.id == study_id)).scalar_one() != patient_id


def find_study(connection: Connection, *, site_id: str, study_instance_uid: str) -> str | None:
    """Return the id of a site's study, locked for change."""
    query = select(studies.c.id).where(studies.c.site_id == site_id, studies.c.study_instance_uid == study_instance_uid)
    return connection.execute(query.with_for_update()).scalar()


def find_instance(connection: Connection, *, site_id: str, sop_instance_uid: str) -> Known | None:
    """Return a site's instance of this UID."""
    query = (
        select(instances.c.study_id, studies.c.study_instance_uid, instances.c.digest, instances.c.sent_digest)
        .join(studies, studies.c.id == instances.c.study_id)
        .where(instances.c.site_id == site_id, instances.c.sop_instance_uid == sop_instance_uid)
    )
    row = connection.execute(query).first()
    return None if row is None else Known(**row._asdict())


def add_instance(
    connection: Connection,
    *,
    instance_id: str,
    study_id: str,
    site_id: str,
    identity: Identity,
    digest: str,
    sent_digest: str,
    size: int,
    now: datetime,
) -> bool:
    """Insert an instance; False if its UID is known at this site."""
    return insert_or_ignore(
        connection,
        instances,
        {
            "id": instance_id,
            "study_id": study_id,
            "site_id": site_id,
            "sop_instance_uid": identity.sop_instance_uid,
            "sop_class_uid": identity.sop_class_uid,
            "series_instance_uid": identity.series_instance_uid,
            "transfer_syntax_uid": identity.transfer_syntax_uid,
            "modality": identity.modality,
            "body_part": identity.body_part,
            "view": identity.view,
            "series_number": identity.series_number,
            "instance_number": identity.instance_number,
            "rows": identity.rows,
            "columns": identity.columns,
            "frames": identity.frames,
            "digest": digest,
            "sent_digest": sent_digest,
            "bytes": size,
            "received_at": now,
        },
    )
