"""A folder of films with a manifest.csv: several sites, each label with a word on its quality, a digest of each file."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from models.errors import DataError
from models.studies import StudyRow
from models.vocabulary import Label
from training.importers.labels import FRONTAL, NOT_FRONTAL, OTHER, stratum_of
from training.importers.nih import patient_key
from training.importers.records import Record, read_records
from training.importers.source import Source

NEEDED = ("file", "site", "patient_id", "label", "finding", "view", "age_group", "label_quality", "sha256")
ALLOWED = ("country", "original_dataset", "licence", "orig_width", "orig_height")
#: What stands for "child": an age group is no age, but the table has no other place to say that this is no adult. What is
#: said of adults would be made up, and nothing needs it.
CHILD_YEARS = 5.0
AGES = {"child": CHILD_YEARS, "adult": None, "unknown": None}


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per film, each a study of its own, labels as given."""
    for record in read_records(source.table("manifest.csv"), NEEDED, ALLOWED):
        name = record.needed("file")
        path = source.image_at(name, record)
        if path is None:
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]:
            raise DataError(
                f"manifest.csv: row {record.number}: the image {name} is not the one listed (SHA-256 differs)"
            )
        view = record["view"].upper()
        if view and view not in FRONTAL:
            source.left_out[NOT_FRONTAL] += 1
            continue
        label = Label(told) if (told := record.among("label", ("", *Label))) else None
        if label is Label.HEALTHY and not view:
            label = None
            source.unlabelled["no finding, but the view is not known"] += 1
        site = record.needed("site")
        patient = _patient(site, record.needed("patient_id"))
        if label:
            source.notes[f"{site}, {label}: {record['label_quality'] or 'label quality not told'}"] += 1
        yield StudyRow(
            path=path,
            study=f"radiographs-{Path(name).stem}",
            patient=patient,
            site=site,
            label=label,
            stratum=_stratum(record) if label is Label.ABNORMAL else "",
            view=view,
            age_years=AGES[record.among("age_group", tuple(AGES))],
            split=source.split(patient),
        )


def _patient(site: str, identity: str) -> str:
    """Return the patient's key; a patient of NIH ChestX-ray14 has the same one there."""
    if found := re.fullmatch(r"NIH(\d+)", identity):
        return patient_key(found[1])
    return f"radiographs-{site}-{identity}"


def _stratum(record: Record) -> str:
    """Return the kind of finding: those of the report, and ``other`` if only the second reading (RSNA's) found one."""
    report, _, second = record["finding"].partition("| RSNA:")
    named = [finding for finding in re.split(r"[|,]", report) if finding.strip() not in ("", "No Finding")]
    if not named and second.strip() == "Lung Opacity":
        named = [second]
    return stratum_of(named) if named else OTHER
