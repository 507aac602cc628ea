"""What a file says it is: the few elements that storing, finding and showing it need."""

import re
from dataclasses import dataclass

from models.dicom import age_years
from models.errors import InputError
from models.parsing import Parsed, contained, parse

_UID = re.compile(r"[0-9.]{1,64}")
_TEXT_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An instance's place in the DICOM hierarchy, and what a worklist shows of it. Never logged."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    age_years: float | None
    accession_number: str
    study_date: str
    study_time: str
    study_description: str
    modality: str
    body_part: str
    view: str
    series_number: str
    instance_number: str
    rows: int
    columns: int
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """The UIDs that an unusable file has all the same; empty where it has none."""

    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def identify(data: memoryview) -> Identity:
    """Read what a file says it is; InputError if it is not DICOM or lacks a UID that everything hangs on."""
    with contained():
        parsed = parse(data)
        return Identity(
            study_instance_uid=_uid(parsed, "StudyInstanceUID"),
            series_instance_uid=_uid(parsed, "SeriesInstanceUID"),
            sop_instance_uid=_uid(parsed, "SOPInstanceUID"),
            sop_class_uid=_uid(parsed, "SOPClassUID"),
            transfer_syntax_uid=parsed.transfer_syntax if _UID.fullmatch(parsed.transfer_syntax) else "",
            patient_id=_text(parsed, "PatientID"),
            patient_name=_text(parsed, "PatientName"),
            patient_birth_date=_text(parsed, "PatientBirthDate"),
            patient_sex=_text(parsed, "PatientSex"),
            age_years=_age(parsed),
            accession_number=_text(parsed, "AccessionNumber"),
            study_date=_text(parsed, "StudyDate"),
            study_time=_text(parsed, "StudyTime"),
            study_description=_text(parsed, "StudyDescription"),
            modality=_text(parsed, "Modality"),
            body_part=_text(parsed, "BodyPartExamined"),
            view=_text(parsed, "ViewPosition"),
            series_number=_text(parsed, "SeriesNumber"),
            instance_number=_text(parsed, "InstanceNumber"),
            rows=_count(parsed, "Rows"),
            columns=_count(parsed, "Columns"),
            frames=_count(parsed, "NumberOfFrames"),
        )


def partial(data: memoryview) -> Partial:
    """Return the UIDs of an unusable file as far as it has any, for the answer to its sender."""
    try:
        with contained():
            parsed = parse(data)
            return Partial(sop_class_uid=_uid(parsed, "SOPClassUID"), sop_instance_uid=_uid(parsed, "SOPInstanceUID"))
    except InputError:
        return Partial()


def _uid(parsed: Parsed, keyword: str) -> str:
    value = parsed.text(keyword)
    if not _UID.fullmatch(value):
        raise InputError(f"the file has no usable {keyword}")
    return value


def _text(parsed: Parsed, keyword: str) -> str:
    """Return a text that no database refuses; a value that cannot be read is no reason to refuse the file."""
    try:
        return parsed.text(keyword).replace("\0", "").encode("utf-8", "replace").decode()[:_TEXT_MAX]
    except Exception:  # noqa: BLE001 - pydicom raises anything on a broken value
        return ""


def _age(parsed: Parsed) -> float | None:
    try:
        return age_years(parsed)
    except Exception:  # noqa: BLE001 - as above
        return None


def _count(parsed: Parsed, keyword: str) -> int:
    number = parsed.number(keyword)
    return int(number) if number is not None and 0 <= number < 1 << 31 else 0
