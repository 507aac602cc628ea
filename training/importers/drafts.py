"""What importers share: published tables read as text, and drafts that become rows of a study table.

Labels are aligned over all sources: a study is abnormal if a finding is named, healthy if it is said to have none and has a
frontal film, and neither where the source is uncertain or silent.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError
from models.studies import AGE_MAX_YEARS, StudyRow
from models.vocabulary import Label
from training.splits import SplitPlan, split_of

FRONTAL = ("AP", "PA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One image as a source lists it.

    Attributes
    ----------
    findings : tuple of str
        Findings that are named, the first gives the stratum.
    is_clear : bool
        The source says that there is none.
    is_uncertain : bool
        The source is uncertain of a finding, and names none for sure.
    """

    path: Path
    study: str
    patient: str
    site: str
    view: str
    age_years: float | None
    findings: tuple[str, ...]
    is_clear: bool
    is_uncertain: bool = False


def rows_of(drafts: Iterable[Draft], plan: SplitPlan) -> tuple[StudyRow, ...]:
    """Return study-table rows, with each patient's split by salted hash.

    A study's findings are those of all its images; it is healthy only if it has a frontal one.
    """
    studies: dict[str, list[Draft]] = {}
    for draft in drafts:
        studies.setdefault(draft.study, []).append(draft)
    return tuple(row for images in studies.values() for row in _rows_of_study(images, plan))


def _rows_of_study(images: Sequence[Draft], plan: SplitPlan) -> Iterator[StudyRow]:
    findings = tuple(finding for image in images for finding in image.findings)
    label, stratum = None, ""
    if findings:
        label, stratum = Label.ABNORMAL, findings[0]
    elif all(image.is_clear and not image.is_uncertain for image in images):
        label = Label.HEALTHY if any(image.view in FRONTAL for image in images) else None
    for image in images:
        yield StudyRow(
            path=image.path,
            study=image.study,
            patient=image.patient,
            site=image.site,
            label=label,
            stratum=stratum,
            view=image.view,
            age_years=image.age_years,
            split=split_of(image.site, image.patient, plan),
        )


def read_published(source: Path, name: str, columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Yield the lines of a published CSV file, gzipped or not, found by name pattern anywhere below ``source``.

    Raises
    ------
    DataError
        If there is no such file, or it lacks a column.
    """
    place = find_one(source, name)
    data = place.read_bytes()
    text = (gzip.decompress(data) if place.suffix == ".gz" else data).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise DataError(f"{place}: the column {missing[0]!r} is missing; is it the published file?")
    for line in reader:
        yield {key: (value or "").strip() for key, value in line.items() if isinstance(key, str)}


def find_one(source: Path, name: str) -> Path:
    """Return the first file below a folder whose name matches a pattern, as it is or gzipped; DataError if there is none."""
    for pattern in (name, f"{name}.gz"):
        if found := sorted(source.rglob(pattern)):
            return found[0]
    raise DataError(f"no {name} below {source}; give the folder of the published data set")


def files_by_name(source: Path, *suffixes: str) -> dict[str, Path]:
    """Return every file below a folder that ends so, by its name."""
    return {path.name: path for suffix in suffixes for path in sorted(source.rglob(f"*{suffix}"))}


def age_of(text: str) -> float | None:
    """Return an age in years: ``58``, ``058Y``, ``006M``; None where it is missing or cannot be one."""
    unit = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}.get(text[-1:].upper())
    try:
        years = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        return None
    return years if 0 <= years <= AGE_MAX_YEARS else None
