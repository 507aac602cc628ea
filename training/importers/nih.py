"""NIH ChestX-ray14: ``Data_Entry_2017*.csv`` and the folders ``images*/``.

References: Wang et al. (2017), doi:10.1109/CVPR.2017.369.
"""

from collections.abc import Iterator
from pathlib import Path

from training.importers.drafts import Draft, age_of, files_by_name, read_published

SITE = "nih_cc"
_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")


def read_nih(source: Path) -> Iterator[Draft]:
    """Yield the images that the table lists and that are there."""
    files = files_by_name(source, ".png")
    for line in read_published(source, "Data_Entry_2017*.csv", _COLUMNS):
        name = line["Image Index"]
        if name not in files:
            continue
        findings = tuple(part for part in line["Finding Labels"].split("|") if part not in ("", "No Finding"))
        yield Draft(
            path=files[name],
            # Each image is a study of its own: the source has no studies, only follow-up numbers.
            study=f"nih/{Path(name).stem}",
            patient=f"nih/{line['Patient ID']}",
            site=SITE,
            view=line["View Position"].upper(),
            age_years=age_of(line["Patient Age"]),
            findings=findings,
            is_clear=line["Finding Labels"] == "No Finding",
        )
