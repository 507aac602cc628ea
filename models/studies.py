"""The study table: which images there are, and what is known of them.

A table is a CSV file with one row per image. A table that could be read is sound: every value parses, a study has one
patient, one site, one label, one stratum and one split, and a patient has one split. Whether the images exist is found
out when they are opened.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError
from models.vocabulary import Label, Split

COLUMNS = ("path", "study", "patient", "site", "label", "stratum", "severity", "view", "age_years", "split")
MASK = "mask"
AGE_MAX_YEARS = 130.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """One image of a study.

    Attributes
    ----------
    path : Path
        The image (DICOM, PNG or JPEG), absolute.
    study, patient, site : str
        Keys, unique in the table; a patient may have several studies, a study several images.
    label : Label or None
        None: not known.
    stratum : str
        Kind of the finding; empty for healthy or not known.
    severity : float or None
        At least 0; for phantoms the detectability d′.
    view : str
        As DICOM's (0018,5101) *View Position*: ``PA``, ``AP``, ``LL`` ...; empty: not known.
    age_years : float or None
        In [0, 130]; None: not known.
    split : Split or None
        None: not yet split.
    mask : Path or None
        An 8-bit PNG of the image's own size, non-zero where the finding is; absolute.
    """

    path: Path
    study: str
    patient: str
    site: str
    label: Label | None = None
    stratum: str = ""
    severity: float | None = None
    view: str = ""
    age_years: float | None = None
    split: Split | None = None
    mask: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTable:
    """All rows of a study table, in its order.

    Attributes
    ----------
    rows : tuple of StudyRow
        At least one.
    digest : str
        SHA-256 of the file's bytes, hexadecimal.
    """

    rows: tuple[StudyRow, ...]
    digest: str

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.rows)

    def __iter__(self) -> Iterator[StudyRow]:
        """Iterate over the images in the table's order."""
        return iter(self.rows)

    def studies(self) -> dict[str, tuple[StudyRow, ...]]:
        """Return the images of each study, studies and images in the table's order."""
        grouped: dict[str, list[StudyRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.study, []).append(row)
        return {study: tuple(rows) for study, rows in grouped.items()}

    def only(self, split: Split) -> tuple[StudyRow, ...]:
        """Return the rows of one split."""
        return tuple(row for row in self.rows if row.split is split)


def read_study_table(path: Path) -> StudyTable:
    """Read and check a study table.

    Parameters
    ----------
    path : Path
        A CSV file with the columns of ``COLUMNS`` and, if wanted, ``mask``; other columns are not looked at. Paths in it
        are relative to its folder.

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing, a value does not parse, or rows contradict one another. The message
        names row (1 is the first after the heading), column and value.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as fault:
        raise DataError(f"cannot read the study table {path}: {fault.strerror}; give a CSV file") from None
    except UnicodeDecodeError:
        raise DataError(f"the study table {path} is not UTF-8 text") from None
    folder = path.resolve().parent
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise DataError(f"{path}: the column {missing[0]!r} is missing")
        rows = tuple(_parse_row(cells, number, folder) for number, cells in enumerate(reader, start=1))
    except csv.Error as fault:
        raise DataError(f"{path}: not a CSV table: {fault}") from None
    if not rows:
        raise DataError(f"{path}: the table has no rows")
    check_rows(rows)
    return StudyTable(rows=rows, digest=hashlib.sha256(data).hexdigest())


def write_study_table(path: Path, rows: Iterable[StudyRow]) -> StudyTable:
    """Check rows and write them as a study table, whole or not at all; paths become relative to its folder.

    Parameters
    ----------
    path : Path
        The CSV file to write; its folder is made if need be. The column ``mask`` is written if any row has one.
    rows : iterable of StudyRow
        At least one.

    Returns
    -------
    StudyTable
        What ``read_study_table`` would give.

    Raises
    ------
    DataError
        If the rows contradict one another or there are none.
    """
    rows = tuple(rows)
    if not rows:
        raise DataError(f"{path}: a study table needs at least one row")
    check_rows(rows)
    folder = path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    columns = (*COLUMNS, MASK) if any(row.mask for row in rows) else COLUMNS
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row, column, folder) for column in columns])
    data = text.getvalue().encode()
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
    return StudyTable(rows=rows, digest=hashlib.sha256(data).hexdigest())


def check_rows(rows: Iterable[StudyRow]) -> None:
    """Check what rows say together.

    Raises
    ------
    DataError
        If an image is listed twice, a study has two patients, sites, labels, strata or splits, or a patient two splits.
    """
    first_by_path: dict[Path, int] = {}
    first_of_study: dict[str, tuple[int, StudyRow]] = {}
    first_of_patient: dict[str, tuple[int, StudyRow]] = {}
    for number, row in enumerate(rows, start=1):
        if row.label is Label.HEALTHY and row.stratum:
            raise DataError(f"row {number}, column 'stratum': {row.stratum!r} on a healthy study; leave it empty")
        earlier = first_by_path.setdefault(row.path, number)
        if earlier != number:
            raise DataError(f"row {number}, column 'path': {row.path.name!r} is row {earlier} already")
        earlier, other = first_of_study.setdefault(row.study, (number, row))
        for column in ("patient", "site", "label", "stratum", "split"):
            if getattr(row, column) != getattr(other, column):
                raise DataError(
                    f"row {number}, column {column!r}: {_shown(row, column)} but {_shown(other, column)} in row {earlier}"
                    f" of the same study {row.study!r}"
                )
        earlier, other = first_of_patient.setdefault(row.patient, (number, row))
        if row.split != other.split:
            raise DataError(
                f"row {number}, column 'split': {_shown(row, 'split')} but {_shown(other, 'split')} in row {earlier}"
                f" of the same patient {row.patient!r}; a patient has one split"
            )


def _shown(row: StudyRow, column: str) -> str:
    value = getattr(row, column)
    return "empty" if value is None else repr(str(value))


def _parse_row(cells: dict[str | None, str | None], number: int, folder: Path) -> StudyRow:
    """Return the row that the cells of one line mean."""
    if None in cells or None in cells.values():
        raise DataError(f"row {number}: another number of cells than the heading has")
    values = {str(column): str(value).strip() for column, value in cells.items()}

    def needed(column: str) -> str:
        if not values[column]:
            raise DataError(f"row {number}, column {column!r}: empty")
        return values[column]

    def number_in(column: str, greatest: float) -> float | None:
        try:
            value = float(values[column]) if values[column] else None
        except ValueError:
            value = math.nan
        if value is not None and not 0 <= value <= greatest:
            raise DataError(
                f"row {number}, column {column!r}: {values[column]!r} is not a number from 0 to {greatest:g}"
            )
        return value

    def word(column: str, kind: type[Label] | type[Split]) -> Label | Split | None:
        try:
            return kind(values[column]) if values[column] else None
        except ValueError:
            known = ", ".join(kind)
            raise DataError(
                f"row {number}, column {column!r}: {values[column]!r} is none of {known}, or empty"
            ) from None

    label, split = word("label", Label), word("split", Split)
    assert not isinstance(label, Split)
    assert not isinstance(split, Label)
    mask = values.get(MASK, "")
    return StudyRow(
        path=(folder / needed("path")).resolve(),
        study=needed("study"),
        patient=needed("patient"),
        site=needed("site"),
        label=label,
        stratum=values["stratum"],
        severity=number_in("severity", 1e12),
        view=values["view"].upper(),
        age_years=number_in("age_years", AGE_MAX_YEARS),
        split=split,
        mask=(folder / mask).resolve() if mask else None,
    )


def _cell(row: StudyRow, column: str, folder: Path) -> str:
    value = getattr(row, column)
    if value is None:
        return ""
    if isinstance(value, Path):
        return Path(os.path.relpath(value.resolve(), folder)).as_posix()
    if isinstance(value, float):
        return repr(value)
    return str(value)
