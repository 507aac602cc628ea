"""RSNA Pneumonia Detection Challenge: ``stage_2_detailed_class_info.csv`` and ``stage_2_train_images/*.dcm``.

View and age are in the DICOM headers. "No Lung Opacity / Not Normal" is abnormal of a kind of its own.

References: Shih et al. (2019), doi:10.1148/ryai.2019180041.
"""

from collections.abc import Iterator
from pathlib import Path

from models.dicom import read_header
from models.errors import DataError, InputError
from training.importers.drafts import Draft, files_by_name, read_published

SITE = "rsna"
_NORMAL, _NOT_NORMAL = "Normal", "No Lung Opacity / Not Normal"
_KINDS = {"Lung Opacity": "Lung Opacity", _NOT_NORMAL: "Not Normal"}


def read_rsna(source: Path) -> Iterator[Draft]:
    """Yield the training images that the table lists and that are there; the test images have no labels."""
    files = files_by_name(source, ".dcm")
    seen: set[str] = set()
    for line in read_published(source, "stage_2_detailed_class_info.csv", ("patientId", "class")):
        patient, kind = line["patientId"], line["class"]
        path = files.get(f"{patient}.dcm")
        if path is None or patient in seen:
            continue
        seen.add(patient)  # the table has a line per box
        try:
            header = read_header(path.read_bytes())
        except InputError as fault:
            raise DataError(f"cannot read the film {path}: {fault}") from None
        yield Draft(
            path=path,
            study=f"rsna/{patient}",
            patient=f"rsna/{patient}",
            site=SITE,
            view=header.view,
            age_years=header.age_years,
            findings=(_KINDS[kind],) if kind in _KINDS else (),
            is_clear=kind == _NORMAL,
        )
