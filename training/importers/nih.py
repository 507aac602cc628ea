"""NIH ChestX-ray14: findings mined from reports, 112,120 frontal films, a published test list (Wang et al. 2017)."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from models.errors import DataError
from models.studies import StudyRow
from models.vocabulary import Split
from training.importers.boxes import Box, box_of, write_mask
from training.importers.labels import FRONTAL, NOT_FRONTAL, Reading, judge, word
from training.importers.records import read_records
from training.importers.source import Source
from training.splits import SplitPlan

SITE = "nih_cc"
NO_FINDING = "No Finding"
FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax"),
)
#: The box list calls infiltration so.
BOX_NAMES = {"infiltrate": "infiltration"}


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per image: every image is a study of its own (one follow-up)."""
    entries = source.table("Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv")
    boxes, splits = _boxes(source), _splits(source)
    for record in read_records(
        entries, ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
    ):
        name = record.needed("Image Index")
        path = source.image_named(name, record=record)
        if path is None:
            continue
        view = record["View Position"].upper()
        if view and view not in FRONTAL:
            source.left_out[NOT_FRONTAL] += 1
            continue
        said = [finding.strip() for finding in record["Finding Labels"].split("|") if finding.strip()]
        for finding in said:
            if finding not in (*FINDINGS, NO_FINDING):
                raise record.fault("Finding Labels", f"{finding!r} is unknown")
        findings = tuple(finding for finding in said if finding != NO_FINDING)
        verdict = judge(Reading(findings=findings, says_healthy=NO_FINDING in said), is_frontal=view in FRONTAL)
        if verdict.reason:
            source.unlabelled[verdict.reason] += 1
        patient = patient_key(record.needed("Patient ID"))
        row = StudyRow(
            path=path,
            study=f"nih-{Path(name).stem}",
            patient=patient,
            site=SITE,
            label=verdict.label,
            stratum=verdict.stratum,
            view=view,
            age_years=source.age_years(record["Patient Age"]),
            split=_split(source, splits, name, patient),
        )
        yield _with_mask(source, row, findings, boxes.get(name, {}))


def patient_key(identity: str) -> str:
    """Return the key of an NIH patient; other data sets hold films of the same patients."""
    return f"nih-{identity.lstrip('0') or '0'}"


def _splits(source: Source) -> dict[str, Split]:
    """Return what the published lists say of each image; both lists or none."""
    train, test = source.find("train_val_list.txt"), source.find("test_list.txt")
    if (train is None) != (test is None):
        raise DataError(f"{source.root}: of train_val_list.txt and test_list.txt one is absent; give both, or none")
    if train is None or test is None:
        return {}
    listed = dict.fromkeys(train.read_text().split(), Split.TRAIN)
    return listed | dict.fromkeys(test.read_text().split(), Split.TEST)


def _split(source: Source, splits: dict[str, Split], name: str, patient: str) -> Split:
    """Return the published split, an eighth of the patients of train_val going to tune; without lists, by hash."""
    if not splits:
        return source.split(patient)
    if name not in splits:
        raise DataError(f"the image {name} is neither in train_val_list.txt nor in test_list.txt")
    if splits[name] is Split.TEST:
        return Split.TEST
    plan = SplitPlan(train=0.875, tune=0.125, calibration=0.0, salt=source.plan.salt)
    return source.split(patient, plan)


def _boxes(source: Source) -> dict[str, dict[str, list[Box]]]:
    """Return the boxes of each image by finding."""
    boxes: dict[str, dict[str, list[Box]]] = defaultdict(lambda: defaultdict(list))
    if listed := source.find("BBox_List_2017.csv"):
        # The heading's own brackets hold commas, so that it falls apart: "Bbox [x", "y", "w", "h]".
        for record in read_records(listed, ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")):
            finding = word(record.needed("Finding Label"))
            boxes[record.needed("Image Index")][BOX_NAMES.get(finding, finding)].append(
                box_of(record, "Bbox [x", "y", width="w", height="h]")
            )
    return boxes


def _with_mask(source: Source, row: StudyRow, findings: tuple[str, ...], boxes: dict[str, list[Box]]) -> StudyRow:
    """Return the row with a mask if every finding named has a box; a mask with holes would teach that nothing is there."""
    if not boxes:
        return row
    if {word(finding) for finding in findings} != set(boxes):
        source.notes["boxes for some of the findings only: no mask"] += 1
        return row
    from PIL import Image

    with Image.open(row.path) as image:
        columns, rows = image.size
    every = [box for drawn in boxes.values() for box in drawn]
    return replace(row, mask=write_mask(source.masks / f"{row.study}.png", every, rows=rows, columns=columns))
