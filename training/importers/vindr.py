"""VinDr-CXR: three radiologists a film in train, their consensus in test; 18,000 PA films of adults (Nguyen et al. 2022)."""

from collections import defaultdict
from collections.abc import Iterator

from models.studies import StudyRow
from models.vocabulary import Label, Split
from training.importers.boxes import Box, box_of, write_mask
from training.importers.headers import header_of
from training.importers.labels import OTHER, Reading, Verdict, judge, stratum_of
from training.importers.records import Record, read_records
from training.importers.source import Source

NO_FINDING = "No finding"
FINDINGS = (
    *("Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation"),
    *("Edema", "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst"),
    *("Mediastinal shift", "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax"),
    *("Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor", "Pneumonia", "Tuberculosis"),
)
#: Train and test name the last disease differently; only train names the reader.
VARIANTS = ("Other disease", "Other diseases", "rad_id")
SPLITS = {"train": Split.TRAIN, "test": Split.TEST}
SUFFIXES = (".dicom", ".dcm", ".png", ".jpg")


def read(source: Source) -> Iterator[StudyRow]:
    """Give a row per image; each is a study and a patient of its own, for none is published."""
    tables = {part: source.find(*_places("image_labels", part)) for part in SPLITS}
    if not any(tables.values()):
        source.table(*_places("image_labels", "train"))
    for part, table in tables.items():
        if table is None:
            continue
        boxes = _boxes(source, part)
        readers: dict[str, list[Record]] = defaultdict(list)
        for record in read_records(table, ("image_id", NO_FINDING, *FINDINGS), allowed=VARIANTS):
            readers[record.needed("image_id")].append(record)
        for image, records in readers.items():
            path = source.image_named(*(f"{image}{suffix}" for suffix in SUFFIXES), record=records[0])
            if path is None:
                continue
            verdict = _verdict([_reading(record) for record in records])
            if verdict.reason:
                source.unlabelled[verdict.reason] += 1
            header = header_of(path)
            found = boxes.get(image, []) if verdict.label is Label.ABNORMAL and header else []
            mask = source.masks / f"vindr-{image}.png"
            yield StudyRow(
                path=path,
                study=f"vindr-{image}",
                patient=f"vindr-{image}",
                site=source.name,
                label=verdict.label,
                stratum=verdict.stratum,
                view="PA",
                # Age 0 is taken for one that was taken out: the others of this set are adults.
                age_years=(header.age_years or None) if header else None,
                split=SPLITS[part],
                mask=write_mask(mask, found, rows=header.rows, columns=header.columns) if found and header else None,
            )


def _places(table: str, part: str) -> tuple[str, str]:
    """Return where a table lies: in its folder as published, or beside the images."""
    return f"annotations/{table}_{part}.csv", f"{table}_{part}.csv"


def _reading(record: Record) -> Reading:
    """Return what one reader says."""
    findings = (*FINDINGS, *(name for name in VARIANTS[:2] if name in record.cells))
    said = {name: record.among(name, ("1", "0", "1.0", "0.0", ""))[:1] == "1" for name in (NO_FINDING, *findings)}
    return Reading(findings=tuple(name for name in findings if said[name]), says_healthy=said[NO_FINDING])


def _verdict(readings: list[Reading]) -> Verdict:
    """Return what the readers agree on: all say healthy, or all say abnormal; the stratum is what most of them name."""
    verdicts = [judge(reading, is_frontal=True) for reading in readings]
    if len({verdict.label for verdict in verdicts}) > 1:
        return Verdict(label=None, reason="readers disagree")
    if verdicts[0].label is not Label.ABNORMAL:
        return verdicts[0]
    names = {name for reading in readings for name in reading.findings}
    agreed = [name for name in names if 2 * sum(name in reading.findings for reading in readings) > len(readings)]
    return Verdict(label=Label.ABNORMAL, stratum=stratum_of(agreed) if agreed else OTHER)


def _boxes(source: Source, part: str) -> dict[str, list[Box]]:
    """Return the boxes of each image, whoever drew them; findings of the whole film have none."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    if table := source.find(*_places("annotations", part)):
        for record in read_records(table, ("image_id", "class_name", "x_min", "y_min", "x_max", "y_max")):
            if record["x_min"]:
                drawn = box_of(record, "x_min", "y_min", right="x_max", bottom="y_max")
                boxes[record.needed("image_id")].append(drawn)
    return boxes
