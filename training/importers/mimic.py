"""MIMIC-CXR-JPG: observations mined from reports by two labellers; 377,110 films (Johnson et al. 2019)."""

from collections.abc import Iterator

from models.studies import StudyRow
from models.vocabulary import Split
from training.importers.chexpert import DOUBTFUL, FINDINGS, NO_FINDING, YES, answer
from training.importers.labels import FRONTAL, NOT_FRONTAL, Reading, judge
from training.importers.records import read_records
from training.importers.source import Source

SPLITS = {"train": Split.TRAIN, "validate": Split.TUNE, "test": Split.TEST}
LABELLERS = ("mimic-cxr-*-chexpert.csv*", "mimic-cxr-*-negbio.csv*")
NOTHING = Reading()


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per frontal image; where both labellers are there, what they do not agree on is doubtful."""
    metadata = source.table("mimic-cxr-*-metadata.csv*")
    splits = _splits(source)
    readings = _readings(source)
    for record in read_records(metadata, ("dicom_id", "subject_id", "study_id", "ViewPosition")):
        view = record["ViewPosition"].upper()
        if view not in FRONTAL:
            source.left_out[NOT_FRONTAL if view else "view is not known"] += 1
            continue
        image, subject, study = (record.needed(column) for column in ("dicom_id", "subject_id", "study_id"))
        path = source.image_at(f"files/p{subject[:2]}/p{subject}/s{study}/{image}.jpg", record)
        if path is None:
            continue
        if image not in splits:
            raise record.fault("dicom_id", f"{image} is not in the table of splits")
        verdict = judge(readings.get(study, NOTHING), is_frontal=True)
        if verdict.reason:
            source.unlabelled[verdict.reason] += 1
        yield StudyRow(
            path=path,
            study=f"mimic-{study}",
            patient=f"mimic-{subject}",
            site=source.name,
            label=verdict.label,
            stratum=verdict.stratum,
            view=view,
            split=splits[image],
        )


def _splits(source: Source) -> dict[str, Split]:
    table = source.table("mimic-cxr-*-split.csv*")
    needed = ("dicom_id", "study_id", "subject_id", "split")
    return {
        record.needed("dicom_id"): SPLITS[record.among("split", tuple(SPLITS))]
        for record in read_records(table, needed)
    }


def _readings(source: Source) -> dict[str, Reading]:
    """Return what the labellers together say of each study."""
    tables = [found for pattern in LABELLERS if (found := source.find(pattern))] or [source.table(*LABELLERS)]
    said: dict[str, list[dict[str, str]]] = {}
    for table in tables:
        for record in read_records(table, ("subject_id", "study_id", NO_FINDING, *FINDINGS), allowed=()):
            answers = {finding: answer(record, finding) for finding in (NO_FINDING, *FINDINGS)}
            said.setdefault(record.needed("study_id"), []).append(answers)
    return {study: _agreed(answers, len(tables)) for study, answers in said.items()}


def _agreed(answers: list[dict[str, str]], labellers: int) -> Reading:
    """Return the findings that every labeller names; one that only some name, or that is in doubt, is doubtful."""
    named = {finding: [one[finding] == YES for one in answers] for finding in (NO_FINDING, *FINDINGS)}
    findings = tuple(finding for finding in FINDINGS if all(named[finding]))
    disputed = any(any(votes) and not all(votes) for votes in named.values()) or len(answers) != labellers
    in_doubt = any(DOUBTFUL in one.values() for one in answers)
    return Reading(findings=findings, doubtful=disputed or in_doubt, says_healthy=all(named[NO_FINDING]))
