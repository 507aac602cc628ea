"""Studies, series and instances as QIDO-RS finds them, and where their bytes lie. Every query is limited to a site."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from service.tables import instances, studies


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """What a request names of the DICOM hierarchy; None: anything."""

    site_id: str | None
    study: str | None = None
    series: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An instance and where it lies."""

    study_id: str
    site_id: str
    digest: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    frames: int
    #: Whose it is said to be after a correction, by keyword; empty where the file itself is right.
    patient: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """How many matches to return, from where."""

    limit: int
    offset: int


#: Matching keys of QIDO-RS by keyword (PS3.18 Table 10.6.1-5), and the column that each is held against.
KEYS: dict[str, ColumnElement[Any]] = {
    "StudyInstanceUID": studies.c.study_instance_uid,
    "StudyDate": studies.c.study_date,
    "StudyTime": studies.c.study_time,
    "AccessionNumber": studies.c.accession_number,
    "PatientName": studies.c.patient_name,
    "PatientID": studies.c.patient_id,
    "PatientBirthDate": studies.c.patient_birth_date,
    "StudyDescription": studies.c.study_description,
    "ModalitiesInStudy": instances.c.modality,
    "Modality": instances.c.modality,
    "SeriesInstanceUID": instances.c.series_instance_uid,
    "SeriesNumber": instances.c.series_number,
    "BodyPartExamined": instances.c.body_part,
    "SOPInstanceUID": instances.c.sop_instance_uid,
    "SOPClassUID": instances.c.sop_class_uid,
    "InstanceNumber": instances.c.instance_number,
}

_PATIENT = {
    "PatientName": studies.c.patient_name,
    "PatientID": studies.c.patient_id,
    "PatientBirthDate": studies.c.patient_birth_date,
    "PatientSex": studies.c.patient_sex,
}
_STUDY = (
    studies.c.study_instance_uid,
    studies.c.study_date,
    studies.c.study_time,
    studies.c.accession_number,
    studies.c.patient_name,
    studies.c.patient_id,
    studies.c.patient_birth_date,
    studies.c.patient_sex,
    studies.c.study_description,
)
_SERIES = (instances.c.series_instance_uid, instances.c.modality, instances.c.series_number, instances.c.body_part)
_INSTANCE = (
    instances.c.sop_instance_uid,
    instances.c.sop_class_uid,
    instances.c.instance_number,
    instances.c.rows,
    instances.c.columns,
    instances.c.frames,
    instances.c.transfer_syntax_uid,
)


def find_studies(
    connection: Connection, path: Path, conditions: Sequence[ColumnElement[bool]], page: Page
) -> list[dict[str, Any]]:
    """Return studies with their modalities and counts."""
    matching = _joined(select(studies.c.id), path).where(*conditions).distinct()
    query = (
        select(
            *_STUDY,
            func.count(instances.c.id).label("instances"),
            func.count(func.distinct(instances.c.series_instance_uid)).label("series"),
            func.min(instances.c.modality).label("first_modality"),
            func.max(instances.c.modality).label("last_modality"),
        )
        .join(instances, instances.c.study_id == studies.c.id)
        .where(studies.c.id.in_(matching))
        .group_by(studies.c.id)
        .order_by(studies.c.received_at.desc(), studies.c.id)
    )
    return _page(connection, query, page)


def find_series(
    connection: Connection, path: Path, conditions: Sequence[ColumnElement[bool]], page: Page
) -> list[dict[str, Any]]:
    """Return series with their counts."""
    query = _joined(select(*_STUDY, *_SERIES, func.count(instances.c.id).label("instances")), path)
    query = query.where(*conditions).group_by(studies.c.id, *_SERIES).order_by(instances.c.series_instance_uid)
    return _page(connection, query, page)


def find_instances(
    connection: Connection, path: Path, conditions: Sequence[ColumnElement[bool]], page: Page
) -> list[dict[str, Any]]:
    """Return instances."""
    query = _joined(select(*_STUDY, *_SERIES, *_INSTANCE), path).where(*conditions)
    return _page(connection, query.order_by(instances.c.sop_instance_uid), page)


def stored(connection: Connection, path: Path) -> list[Stored]:
    """Return where the instances lie that a path names."""
    columns = (
        instances.c.study_id,
        instances.c.site_id,
        instances.c.digest,
        instances.c.transfer_syntax_uid,
        studies.c.study_instance_uid,
        instances.c.series_instance_uid,
        instances.c.sop_instance_uid,
        instances.c.frames,
    )
    told = (studies.c.corrected_at, *_PATIENT.values())
    query = _joined(select(*columns, *told), path).order_by(instances.c.received_at, instances.c.id)
    return [_stored(row._asdict()) for row in connection.execute(query)]


def _stored(row: dict[str, Any]) -> Stored:
    patient = {keyword: row.pop(column.name) for keyword, column in _PATIENT.items()}
    return Stored(**row, patient=patient) if row.pop("corrected_at") is not None else Stored(**row, patient={})


def _joined(query: Any, path: Path) -> Any:
    query = query.select_from(studies.join(instances, instances.c.study_id == studies.c.id))
    named = {
        studies.c.site_id: path.site_id,
        studies.c.study_instance_uid: path.study,
        instances.c.series_instance_uid: path.series,
        instances.c.sop_instance_uid: path.instance,
    }
    return query.where(*(column == value for column, value in named.items() if value is not None))


def _page(connection: Connection, query: Any, page: Page) -> list[dict[str, Any]]:
    return [row._asdict() for row in connection.execute(query.limit(page.limit).offset(page.offset))]
