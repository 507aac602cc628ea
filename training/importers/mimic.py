"""MIMIC-CXR and MIMIC-CXR-JPG: ``mimic-cxr-2.0.0-{metadata,chexpert}.csv(.gz)`` and ``files/p10/p10000032/s50414267/``.

References: Johnson et al. (2019), doi:10.1038/s41597-019-0322-0.
"""

from collections.abc import Iterator
from pathlib import Path

from training.importers.chexpert import OBSERVATIONS, read_observations
from training.importers.drafts import Draft, read_published

SITE = "bidmc"
_VIEWS = {"LATERAL": "LL"}


def read_mimic(source: Path) -> Iterator[Draft]:
    """Yield the images that the tables list and that are there, as JPEG or DICOM; ages are not published with them."""
    columns = ("subject_id", "study_id", "No Finding", *OBSERVATIONS)
    labels = {line["study_id"]: line for line in read_published(source, "mimic-cxr-2.0.0-chexpert.csv", columns)}
    wanted = ("dicom_id", "subject_id", "study_id", "ViewPosition")
    for line in read_published(source, "mimic-cxr-2.0.0-metadata.csv", wanted):
        subject, study = f"p{line['subject_id']}", f"s{line['study_id']}"
        stem = source / "files" / subject[:3] / subject / study / line["dicom_id"]
        path = next((p for p in (stem.with_suffix(".jpg"), stem.with_suffix(".dcm")) if p.is_file()), None)
        if path is None:
            continue
        known = labels.get(line["study_id"])
        findings, is_clear, is_uncertain = read_observations(known) if known else ((), False, False)
        yield Draft(
            path=path,
            study=f"mimic/{study}",
            patient=f"mimic/{subject}",
            site=SITE,
            view=_VIEWS.get(line["ViewPosition"], line["ViewPosition"]),
            age_years=None,
            findings=findings,
            is_clear=is_clear,
            is_uncertain=is_uncertain,
        )
