"""QIDO-RS: what a search may ask, and its matches in DICOM JSON (PS3.18 sections 8.3.4 and 10.6)."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from sqlalchemy import ColumnElement, and_

from service.errors import RequestError
from service.retrieve.store import KEYS, Page

Json = dict[str, Any]

LIMIT = 1000
_PASSED_OVER = frozenset({"includefield", "fuzzymatching"})
#: Columns and the elements that they hold.
_ELEMENTS = {
    "study_instance_uid": "StudyInstanceUID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "accession_number": "AccessionNumber",
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "study_description": "StudyDescription",
    "series_instance_uid": "SeriesInstanceUID",
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "body_part": "BodyPartExamined",
    "sop_instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
    "instance_number": "InstanceNumber",
    "rows": "Rows",
    "columns": "Columns",
    "frames": "NumberOfFrames",
    "transfer_syntax_uid": "AvailableTransferSyntaxUID",
}


def conditions_of(query: Sequence[tuple[str, str]]) -> tuple[list[ColumnElement[bool]], Page]:
    """Return what a search asks for; RequestError for a key or a value that means nothing."""
    conditions: list[ColumnElement[bool]] = []
    numbers = {"limit": LIMIT, "offset": 0}
    for name, value in query:
        keyword = keyword_for_tag(name) if len(name) == 8 and not name.isalpha() else name
        if name in numbers:
            if not value.isdecimal() or len(value) > 9:
                raise RequestError(f"{name} is a whole number")
            numbers[name] = int(value)
        elif keyword in KEYS:
            conditions.append(_match(KEYS[keyword], keyword, value))
        elif name not in _PASSED_OVER:
            raise RequestError("a matching key is not supported; docs/hospital.md lists those that are")
    return conditions, Page(limit=min(numbers["limit"], LIMIT), offset=numbers["offset"])


def dataset_of(row: Mapping[str, Any], *, root: str) -> Json:
    """Return a match in DICOM JSON."""
    dataset: Json = {}
    for name, keyword in _ELEMENTS.items():
        if name in row:
            _put(dataset, keyword, row[name])
    url = f"{root}/studies/{row['study_instance_uid']}"
    if "series_instance_uid" in row:
        url += f"/series/{row['series_instance_uid']}"
    else:
        _put(dataset, "NumberOfStudyRelatedSeries", row["series"])
        _put(dataset, "NumberOfStudyRelatedInstances", row["instances"])
        modalities = sorted({row["first_modality"], row["last_modality"]} - {""})
        _put(dataset, "ModalitiesInStudy", *modalities)
    if "sop_instance_uid" in row:
        url += f"/instances/{row['sop_instance_uid']}"
    elif "series_instance_uid" in row:
        _put(dataset, "NumberOfSeriesRelatedInstances", row["instances"])
    _put(dataset, "RetrieveURL", url)
    _put(dataset, "InstanceAvailability", "ONLINE")
    return dataset


def _put(dataset: Json, keyword: str, *values: object) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    vr = dictionary_VR(tag)
    present = [_json_value(vr, value) for value in values if value not in ("", None)]
    dataset[f"{tag:08X}"] = {"vr": vr, "Value": present} if present else {"vr": vr}


def _json_value(vr: str, value: object) -> object:
    if vr == "PN":
        return {"Alphabetic": value}
    if vr == "IS":
        text = str(value)
        return int(text) if text.lstrip("+-").isdecimal() else text
    return value


def _match(column: ColumnElement[Any], keyword: str, value: str) -> ColumnElement[bool]:
    """Match as PS3.4 C.2.2.2 has it: single value, list of UIDs, wild card, range of dates; empty is universal."""
    if value == "":
        return column.is_not(None)
    if keyword.endswith(("Date", "Time")) and "-" in value:
        first, _, last = value.partition("-")
        bounds = ([column >= first] if first else []) + ([column <= last] if last else [])
        return and_(*bounds) if bounds else column.is_not(None)
    if keyword.endswith("UID"):
        return column.in_(value.replace("\\", ",").split(","))
    if "*" in value or "?" in value:
        pattern = value.replace("!", "!!").replace("%", "!%").replace("_", "!_").replace("*", "%").replace("?", "_")
        return column.like(pattern, escape="!")
    return column == value
