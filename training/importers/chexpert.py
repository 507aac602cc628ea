"""CheXpert: ``train.csv`` and ``valid.csv``, whose paths begin with the data set's own name.

References: Irvin et al. (2019), doi:10.1609/aaai.v33i01.3301590.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from models.errors import DataError
from training.importers.drafts import Draft, age_of, read_published

SITE = "stanford"
#: The observations of the CheXpert labeller beside ``No Finding``; MIMIC-CXR has the same.
OBSERVATIONS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
_COLUMNS = ("Path", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *OBSERVATIONS)


def read_chexpert(source: Path) -> Iterator[Draft]:
    """Yield the images that the tables list and that are there."""
    tables = [name for name in ("train.csv", "valid.csv") if any(source.rglob(name))]
    if not tables:
        raise DataError(f"neither train.csv nor valid.csv below {source}; give the folder of the published data set")
    for table in tables:
        for line in read_published(source, table, _COLUMNS):
            parts = PurePosixPath(line["Path"]).parts
            path = next((p for p in (source.joinpath(*parts), source.joinpath(*parts[1:])) if p.is_file()), None)
            if path is None or len(parts) < 3:
                continue
            findings, is_clear, is_uncertain = read_observations(line)
            patient = f"chexpert/{parts[-3]}"
            yield Draft(
                path=path,
                study=f"{patient}/{parts[-2]}",
                patient=patient,
                site=SITE,
                view="LL" if line["Frontal/Lateral"] == "Lateral" else line["AP/PA"].upper(),
                age_years=age_of(line["Age"]),
                findings=findings,
                is_clear=is_clear,
                is_uncertain=is_uncertain,
            )


def read_observations(line: Mapping[str, str]) -> tuple[tuple[str, ...], bool, bool]:
    """Return the findings named, whether none is said to be there, and whether one is uncertain; empty is not mentioned."""
    values = {name: float(line[name]) if line[name] else None for name in ("No Finding", *OBSERVATIONS)}
    findings = tuple(name for name in OBSERVATIONS if values[name] == 1)
    return findings, values["No Finding"] == 1, -1 in values.values()
