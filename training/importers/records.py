"""Tables as data sets are published: CSV, packed or not, read strictly, with every fault naming its place."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError

csv.field_size_limit(1 << 24)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a published table."""

    table: Path
    number: int
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        """Return the cell of a column that was asked for; empty where the row has none."""
        return self.cells[column]

    def needed(self, column: str) -> str:
        """Return a cell that must say something."""
        if not self.cells[column]:
            raise self.fault(column, "empty")
        return self.cells[column]

    def among(self, column: str, known: tuple[str, ...]) -> str:
        """Return a cell that must hold one of these words."""
        if self.cells[column] not in known:
            told = ", ".join(word or "empty" for word in known)
            raise self.fault(column, f"{self.cells[column]!r} is none of {told}")
        return self.cells[column]

    def fault(self, column: str, problem: str) -> DataError:
        """Return the error that names table, row and column; the caller raises it."""
        return DataError(f"{self.table.name}: row {self.number}, column {column!r}: {problem}")


def read_records(path: Path, needed: tuple[str, ...], allowed: tuple[str, ...] | None = None) -> Iterator[Record]:
    """Give the rows of a CSV table (``.gz`` is unpacked), cells without blanks around them.

    A column of ``needed`` that is missing is an error, and so is one outside ``needed`` and ``allowed`` if ``allowed`` is
    given: where any column may be a finding, one that is not understood must not be lost.
    """
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig", newline="") as lines
        ):
            reader = csv.reader(lines, strict=True)
            heading = [column.strip() for column in next(reader, [])]
            _check_heading(path, heading, needed, allowed)
            last = max(i for i, column in enumerate(heading) if column)
            for number, row in enumerate((row for row in reader if row), start=1):
                if len(row) <= last or any(cell.strip() for cell in row[len(heading) :]):
                    raise DataError(f"{path.name}: row {number}: {len(row)} cells; the heading has {len(heading)}")
                cells = {column: cell.strip() for column, cell in zip(heading, row, strict=False) if column}
                yield Record(path, number, cells)
    except OSError as fault:
        raise DataError(f"cannot read {path}: {fault.strerror or fault}") from None
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error) as fault:
        raise DataError(f"{path}: not a CSV table in UTF-8: {fault}") from None


def _check_heading(path: Path, heading: list[str], needed: tuple[str, ...], allowed: tuple[str, ...] | None) -> None:
    named = [column for column in heading if column]
    for column in needed:
        if column not in named:
            raise DataError(f"{path.name}: the column {column!r} is missing")
    for column in named:
        if named.count(column) > 1:
            raise DataError(f"{path.name}: the column {column!r} is there twice")
        if allowed is not None and column not in (*needed, *allowed):
            raise DataError(
                f"{path.name}: the column {column!r} is unknown; known are {', '.join((*needed, *allowed))}"
            )
