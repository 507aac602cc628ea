"""CheXpert: 14 observations mined from reports, with doubts; 224,316 films (Irvin et al. 2019)."""

import re
from collections.abc import Iterator

from models.studies import StudyRow
from models.vocabulary import Split
from training.importers.labels import NOT_FRONTAL, Reading, judge
from training.importers.records import Record, read_records
from training.importers.source import Source

NO_FINDING = "No Finding"
#: MIMIC-CXR-JPG has the same ones.
FINDINGS = (
    *(
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
    ),
    *("Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices"),
)
PLACE = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
YES, NO, DOUBTFUL, UNSAID = "1", "0", "-1", ""
SPLITS = {"train.csv": Split.TRAIN, "valid.csv": Split.TUNE}


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per frontal image of both tables, or of the one that is there."""
    tables = [found for name in SPLITS if (found := source.find(name))] or [source.table(*SPLITS)]
    for table in tables:
        for record in read_records(table, (*PLACE, NO_FINDING, *FINDINGS), allowed=()):
            if row := _row(source, record, SPLITS[table.name]):
                yield row


def reading_of(record: Record) -> Reading:
    """Return what a row with the 14 observations says."""
    said = {finding: answer(record, finding) for finding in (NO_FINDING, *FINDINGS)}
    return Reading(
        findings=tuple(finding for finding in FINDINGS if said[finding] == YES),
        doubtful=DOUBTFUL in said.values(),
        says_healthy=said[NO_FINDING] == YES,
    )


def answer(record: Record, finding: str) -> str:
    """Return 1 (there), 0 (not there), -1 (doubtful) or empty (not spoken of)."""
    told = record[finding].removesuffix(".0")
    if told not in (YES, NO, DOUBTFUL, UNSAID):
        raise record.fault(finding, f"{record[finding]!r} is none of 1, 0, -1, empty")
    return told


def _row(source: Source, record: Record, split: Split) -> StudyRow | None:
    told = record.needed("Path")
    parts = re.search(r"(patient\d+)/(study\d+)/[^/]+$", told)
    if parts is None:
        raise record.fault("Path", f"{told!r} is not .../patientN/studyN/NAME")
    if record.among("Frontal/Lateral", ("Frontal", "Lateral")) == "Lateral":
        source.left_out[NOT_FRONTAL] += 1
        return None
    # The tables begin each path with the name of the release's own folder.
    relative = told if (source.root / told).is_file() else told.partition("/")[2]
    path = source.image_at(relative, record)
    if path is None:
        return None
    reading = reading_of(record)
    verdict = judge(reading, is_frontal=True)
    if verdict.reason:
        source.unlabelled[verdict.reason] += 1
    # Age 0 is taken for an age that is not known: the others of this set are adults.
    age = source.age_years(record["Age"])
    return StudyRow(
        path=path,
        study=f"chexpert-{parts[1]}-{parts[2]}",
        patient=f"chexpert-{parts[1]}",
        site=source.name,
        label=verdict.label,
        stratum=verdict.stratum,
        view=record["AP/PA"].upper(),
        age_years=age or None,
        split=split,
    )
