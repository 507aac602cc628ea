"""A plain folder of films with a CSV table: what the table leaves open is taken from the DICOM headers."""

import math
from collections.abc import Iterator
from pathlib import Path

from models.header import Header
from models.studies import StudyRow
from models.vocabulary import Label, Split
from training.importers.headers import header_of
from training.importers.labels import FRONTAL, NOT_FRONTAL
from training.importers.records import Record, read_records
from training.importers.source import Source

NEEDED = ("path", "label")
OPTIONAL = ("stratum", "severity", "patient", "study", "site", "view", "age_years", "split", "mask")
NO_HEADER = Header()


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per image of the only CSV file in the folder."""
    for record in read_records(source.table("*.csv"), NEEDED, OPTIONAL):
        path = source.image_at(record.needed("path"), record)
        if path is None:
            continue
        header = header_of(path) or NO_HEADER
        view = (_cell(record, "view") or header.view).upper()
        if view and view not in FRONTAL:
            source.left_out[NOT_FRONTAL] += 1
            continue
        label = Label(told) if (told := record.among("label", ("", *Label))) else None
        if label is Label.HEALTHY and not view:
            label = None
            source.unlabelled["no finding, but the view is not known"] += 1
        elif label is None:
            source.unlabelled["nothing is said"] += 1
        yield _row(source, record, path, header, label, view)


def _row(source: Source, record: Record, path: Path, header: Header, label: Label | None, view: str) -> StudyRow:
    study = _key(source, _cell(record, "study"), header.study_instance_uid) or f"{source.name}-{record.needed('path')}"
    patient = _key(source, _cell(record, "patient"), header.patient_id)
    if not patient:
        source.notes["patient is not known: taken for one of their own"] += 1
        patient = study
    age = _cell(record, "age_years")
    mask = _cell(record, "mask")
    split = record.among("split", ("", *Split)) if _cell(record, "split") else ""
    return StudyRow(
        path=path,
        study=study,
        patient=patient,
        site=_cell(record, "site") or source.name,
        label=label,
        stratum=_cell(record, "stratum"),
        severity=_severity(record),
        view=view,
        age_years=source.age_years(age) if age else header.age_years,
        split=Split(split) if split else source.split(patient),
        mask=source.image_at(mask, record) if mask else None,
    )


def _cell(record: Record, column: str) -> str:
    return record.cells.get(column, "")


def _key(source: Source, told: str, of_header: str) -> str:
    """Return the key as the table tells it, else one made of the header's; empty if neither says anything."""
    if told:
        return f"{source.name}-{told}"
    return f"{source.name}-{source.key(of_header)}" if of_header else ""


def _severity(record: Record) -> float | None:
    text = _cell(record, "severity")
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value < math.inf:
        raise record.fault("severity", f"{text!r} is not a number from 0")
    return value
