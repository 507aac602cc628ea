"""PadChest: ``PADCHEST_chest_x_ray_images_labels_160K*.csv(.gz)`` and 16-bit PNG files in numbered folders.

References: Bustos et al. (2020), doi:10.1016/j.media.2020.101797.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from training.importers.drafts import Draft, files_by_name, read_published

SITE = "san_juan"
_COLUMNS = ("ImageID", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "Projection", "Labels")
#: Projections of the source as view positions; others (costal, excluded) keep their word and are out of scope.
_VIEWS = {"AP_HORIZONTAL": "AP", "L": "LL"}
#: Not findings: what they say of the film, or that the earlier one looked the same.
_SILENT = ("normal", "", "exclude", "unchanged", "suboptimal study")


def read_padchest(source: Path) -> Iterator[Draft]:
    """Yield the images that the table lists and that are there."""
    files = files_by_name(source, ".png")
    for line in read_published(source, "PADCHEST_chest_x_ray_images_labels_160K*.csv", _COLUMNS):
        if line["ImageID"] not in files:
            continue
        labels = _labels(line["Labels"])
        projection = line["Projection"].upper()
        yield Draft(
            path=files[line["ImageID"]],
            study=f"padchest/{line['StudyID']}",
            patient=f"padchest/{line['PatientID']}",
            site=SITE,
            view=_VIEWS.get(projection, projection),
            age_years=_age(line["StudyDate_DICOM"], line["PatientBirth"]),
            findings=tuple(label for label in labels if label not in _SILENT),
            is_clear=labels == ("normal",),
            # "unchanged" or "exclude" beside no finding says neither.
            is_uncertain=any(label in _SILENT[2:] for label in labels),
        )


def _labels(text: str) -> tuple[str, ...]:
    """Return the labels of a cell that is written as a Python list."""
    try:
        listed = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ()
    return tuple(str(label).strip().lower() for label in listed) if isinstance(listed, list) else ()


def _age(study_date: str, birth: str) -> float | None:
    """Return the age in whole years: the source has the year of birth alone."""
    try:
        years = float(study_date[:4]) - float(birth[:4])
    except ValueError:
        return None
    return years if 0 <= years <= 120 else None
