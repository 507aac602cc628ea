"""A plain folder of films with a CSV file that says what they are.

The CSV is the only one in the folder, or ``manifest.csv``. It needs a column ``file`` (or ``path``) and a column ``label`` with
``healthy``, ``abnormal`` or nothing; it may have ``patient`` (``patient_id``), ``study``, ``site``, ``finding`` (``stratum``),
``view`` and ``age_years`` (``age``). View and age of a DICOM file that the CSV does not state come from its header.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.dicom import read_header
from models.errors import DataError, InputError
from models.films import is_dicom
from models.vocabulary import Label
from training.importers.drafts import Draft, age_of

_NAMES = {
    "file": ("file", "path"),
    "label": ("label",),
    "patient": ("patient", "patient_id"),
    "study": ("study", "study_id"),
    "site": ("site",),
    "finding": ("finding", "stratum"),
    "view": ("view", "view_position"),
    "age": ("age_years", "age"),
}


def read_folder(source: Path) -> Iterator[Draft]:
    """Yield the images that the CSV lists.

    Raises
    ------
    DataError
        If there is not one CSV, it lacks a column, a label is another word, or a file is not there.
    """
    table = _table(source)
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for needed in ("file", "label"):
            if not set(_NAMES[needed]) & set(reader.fieldnames or ()):
                raise DataError(f"{table}: the column {needed!r} is missing")
        for number, line in enumerate(reader, start=1):
            yield _draft(line, number, table)


def _table(source: Path) -> Path:
    tables = sorted(source.glob("*.csv"))
    named = [table for table in tables if table.name == "manifest.csv"]
    if len(named or tables) != 1:
        raise DataError(f"{len(tables)} CSV files in {source}; one is needed, or manifest.csv among them")
    return (named or tables)[0]


def _draft(line: Mapping[str, str | None], number: int, table: Path) -> Draft:
    cell = {name: _cell(line, columns) for name, columns in _NAMES.items()}
    path = table.parent / cell["file"]
    if not path.is_file():
        raise DataError(f"{table}, row {number}: no such file: {path}")
    if cell["label"] not in ("", *Label):
        raise DataError(
            f"{table}, row {number}, column 'label': {cell['label']!r} is none of {', '.join(Label)}, or empty"
        )
    site = cell["site"] or "site"
    view, age = cell["view"].upper(), age_of(cell["age"])
    if not view or age is None:
        stated = _stated_by_header(path)
        view, age = view or stated[0], age if age is not None else stated[1]
    patient = f"{site}/{cell['patient'] or Path(cell['file']).stem}"
    abnormal = cell["label"] == Label.ABNORMAL
    return Draft(
        path=path,
        study=f"{site}/{cell['study'] or Path(cell['file']).stem}",
        patient=patient,
        site=site,
        view=view,
        age_years=age,
        # "Edema|Pneumonia | RSNA: Lung Opacity": the first is the kind; what a second source said is after the bar.
        findings=(cell["finding"].split("|")[0].strip() or "abnormal",) if abnormal else (),
        is_clear=cell["label"] == Label.HEALTHY,
    )


def _cell(line: Mapping[str, str | None], columns: tuple[str, ...]) -> str:
    return next((text.strip() for column in columns if (text := line.get(column))), "")


def _stated_by_header(path: Path) -> tuple[str, float | None]:
    data = path.read_bytes()
    if not is_dicom(data):
        return "", None
    try:
        header = read_header(data)
    except InputError as fault:
        raise DataError(f"cannot read the film {path}: {fault}") from None
    return header.view, header.age_years
