"""RSNA Pneumonia Detection Challenge 2018: NIH films read again by radiologists, three classes (Shih et al. 2019)."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from models.errors import DataError, InputError
from models.studies import StudyRow
from training.importers.boxes import Box, box_of, write_mask
from training.importers.labels import FRONTAL, NOT_FRONTAL, OTHER, Reading, judge
from training.importers.nih import SITE, patient_key
from training.importers.records import read_records
from training.importers.source import Source

CLASSES = {
    "Normal": Reading(says_healthy=True),
    "Lung Opacity": Reading(findings=("Lung Opacity",)),
    "No Lung Opacity / Not Normal": Reading(findings=(OTHER,)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Film:
    view: str
    age: str
    rows: int
    columns: int


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per labelled image; what the challenge calls a patient is an image."""
    labels = source.table("stage_2_train_labels.csv")
    classes = _classes(source)
    patients = _patients(source)
    boxes: dict[str, list[Box]] = defaultdict(list)
    seen = {}
    for record in read_records(labels, ("patientId", "x", "y", "width", "height", "Target")):
        image = record.needed("patientId")
        seen.setdefault(image, record)
        if image not in classes:
            raise record.fault("patientId", f"{image} is not in stage_2_detailed_class_info.csv")
        if (record.among("Target", ("0", "1")) == "1") != (classes[image] == "Lung Opacity"):
            raise record.fault("Target", f"{record['Target']} for an image of the class {classes[image]!r}")
        if record["Target"] == "1":
            boxes[image].append(box_of(record, "x", "y", width="width", height="height"))
    if not patients:
        source.notes["patients are not told apart without pneumonia-challenge-dataset-mappings_2018.json"] = len(seen)
    for image, record in seen.items():
        path = source.image_named(f"{image}.dcm", record=record)
        if path is None:
            continue
        film = _film(path)
        if film.view and film.view not in FRONTAL:
            source.left_out[NOT_FRONTAL] += 1
            continue
        verdict = judge(CLASSES[classes[image]], is_frontal=film.view in FRONTAL)
        if verdict.reason:
            source.unlabelled[verdict.reason] += 1
        patient = patients.get(image, f"rsna-{image}")
        mask = source.masks / f"rsna-{image}.png"
        yield StudyRow(
            path=path,
            study=f"rsna-{image}",
            patient=patient,
            site=SITE,
            label=verdict.label,
            stratum=verdict.stratum,
            view=film.view,
            age_years=source.age_years(film.age),
            split=source.split(patient),
            mask=write_mask(mask, boxes[image], rows=film.rows, columns=film.columns) if image in boxes else None,
        )


def _classes(source: Source) -> dict[str, str]:
    table = source.table("stage_2_detailed_class_info.csv")
    classes: dict[str, str] = {}
    for record in read_records(table, ("patientId", "class")):
        image, kind = record.needed("patientId"), record.among("class", tuple(CLASSES))
        if classes.setdefault(image, kind) != kind:
            raise record.fault("class", f"{kind!r}, but {classes[image]!r} in an earlier row of the same image")
    return classes


def _patients(source: Source) -> dict[str, str]:
    """Return the NIH patient of each image, where the challenge's own list of origins is there."""
    table = source.find("pneumonia-challenge-dataset-mappings_2018.json")
    if table is None:
        return {}
    try:
        origins = json.loads(table.read_text())
        return {one["subset_img_id"]: patient_key(one["img_id"].partition("_")[0]) for one in origins}
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise DataError(f"{table}: not a list of subset_img_id and img_id: {fault!r}") from None


def _film(path: Path) -> _Film:
    """Return what the header says; its age is a bare number of years, which the standard's readers do not take for one."""
    try:
        header = pydicom.dcmread(
            path, stop_before_pixels=True, specific_tags=["ViewPosition", "PatientAge", "Rows", "Columns"]
        )
        age = header.get_item("PatientAge")
        told = age.value if age else b""
        return _Film(
            view=str(header.get("ViewPosition") or "").strip().upper(),
            age=(told.decode("ascii", "replace") if isinstance(told, bytes) else str(told or "")).strip(" \0"),
            rows=int(header["Rows"].value),
            columns=int(header["Columns"].value),
        )
    except (InvalidDicomError, KeyError, ValueError, TypeError) as fault:
        raise InputError(f"{path} is not readable as a DICOM image ({type(fault).__name__})") from None
