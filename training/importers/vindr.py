"""VinDr-CXR: ``annotations/image_labels_{train,test}.csv`` and ``{train,test}/*.dicom``.

Three radiologists read each training film; a finding counts where two name it, and a film is clear where all say so. Test
films have one reading, by consensus. Every film is PA, of a patient of its own: the source has no patients.

References: Nguyen et al. (2022), doi:10.1038/s41597-022-01498-w.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from models.errors import DataError
from training.importers.drafts import Draft, files_by_name, read_published

SITE = "vindr"
_NO_FINDING = "No finding"
_NOT_FINDINGS = ("image_id", "rad_id", _NO_FINDING)


def read_vindr(source: Path) -> Iterator[Draft]:
    """Yield the images that the tables list and that are there."""
    files = files_by_name(source, ".dicom", ".dcm")
    readings: dict[str, list[Mapping[str, str]]] = {}
    tables = [name for name in ("image_labels_train.csv", "image_labels_test.csv") if any(source.rglob(name))]
    if not tables:
        raise DataError(f"no image_labels_train.csv below {source}; give the folder of the published data set")
    for table in tables:
        for line in read_published(source, table, ("image_id", _NO_FINDING)):
            readings.setdefault(line["image_id"], []).append(line)
    for image, lines in readings.items():
        path = files.get(f"{image}.dicom") or files.get(f"{image}.dcm")
        if path is None:
            continue
        findings = _agreed(lines)
        is_clear = all(_is_one(line[_NO_FINDING]) for line in lines)
        yield Draft(
            path=path,
            study=f"vindr/{image}",
            patient=f"vindr/{image}",
            site=SITE,
            view="PA",
            age_years=None,
            findings=findings,
            is_clear=is_clear,
        )


def _agreed(lines: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return the findings that most readers name, in the table's order."""
    names = [name for name in lines[0] if name not in _NOT_FINDINGS]
    return tuple(name for name in names if 2 * sum(_is_one(line.get(name, "")) for line in lines) > len(lines))


def _is_one(text: str) -> bool:
    return text in ("1", "1.0")
