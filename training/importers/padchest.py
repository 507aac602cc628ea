"""PadChest: labels from reports, a quarter read by physicians; 160,868 films of one hospital (Bustos et al. 2020)."""

import ast
from collections.abc import Iterator

from models.studies import StudyRow
from training.importers.labels import NOT_FRONTAL, Reading, judge
from training.importers.records import Record, read_records
from training.importers.source import Source

COLUMNS = (
    *("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "Projection", "MethodLabel"),
    "Labels",
)
NORMAL = "normal"
#: These say nothing of the patient's health; beside "normal" the last one makes it doubtful.
NO_FINDINGS = (NORMAL, "unchanged", "exclude", "suboptimal study")
VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP"}
OTHER_VIEWS = ("L", "COSTAL", "EXCLUDE", "")


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per frontal image."""
    table = source.table("PADCHEST_chest_x_ray_images_labels_160K*.csv*")
    for record in read_records(table, COLUMNS):
        projection = record.among("Projection", (*VIEWS, *OTHER_VIEWS))
        labels = _labels(record)
        if projection not in VIEWS:
            source.left_out[NOT_FRONTAL if projection else "view is not known"] += 1
            continue
        if "exclude" in labels:
            source.left_out["excluded by the readers"] += 1
            continue
        name = record.needed("ImageID")
        path = source.image_named(name, record=record)
        if path is None:
            continue
        reading = Reading(
            findings=tuple(label for label in labels if label not in NO_FINDINGS),
            doubtful="suboptimal study" in labels,
            says_healthy=NORMAL in labels,
        )
        verdict = judge(reading, is_frontal=True)
        if verdict.reason:
            source.unlabelled[verdict.reason] += 1
        source.notes[f"labels by {record['MethodLabel'] or 'a method that is not told'}"] += 1
        patient = f"padchest-{record.needed('PatientID')}"
        yield StudyRow(
            path=path,
            study=f"padchest-{record.needed('StudyID')}",
            patient=patient,
            site=source.name,
            label=verdict.label,
            stratum=verdict.stratum,
            view=VIEWS[projection],
            age_years=_age_years(source, record),
            split=source.split(patient),
        )


def _labels(record: Record) -> tuple[str, ...]:
    """Return the labels of a row: a Python list as text, some with blanks around the words, some with empty words."""
    if not record["Labels"]:
        return ()
    try:
        labels = ast.literal_eval(record["Labels"])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise record.fault("Labels", f"{record['Labels'][:80]!r} is not a list of labels")
    return tuple(dict.fromkeys(label.strip().lower() for label in labels if label.strip()))


def _age_years(source: Source, record: Record) -> float | None:
    """Return the age in the year of the study: only the year of birth is published. Unknown stays unknown."""
    born, seen = record["PatientBirth"].removesuffix(".0"), record["StudyDate_DICOM"].removesuffix(".0")
    if not born or not seen:
        return None
    if not (born.isdigit() and seen.isdigit() and len(seen) == 8):
        source.notes["age cannot be true: left empty"] += 1
        return None
    return source.age_years(str(int(seen[:4]) - int(born)))
