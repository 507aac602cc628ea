"""Where a data set lies, what its masks are called, and the account of the rows that did not come through whole."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import DataError
from models.studies import AGE_MAX_YEARS
from models.vocabulary import Split
from training.importers.records import Record
from training.splits import SplitPlan, split_of


@dataclass(slots=True, kw_only=True)
class Source:
    """A data set on disk, and what is to be told of its import.

    ``left_out`` counts rows without a place in the study table, ``unlabelled`` rows whose label stays empty, and ``notes``
    what else a person should know, each by reason.
    """

    name: str
    root: Path
    #: The study table to be; masks go beside it.
    out: Path
    #: Leave out images that are listed but absent; else they are an error.
    partial: bool = False
    plan: SplitPlan = field(default_factory=SplitPlan)
    left_out: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    _places: dict[str, list[Path]] = field(default_factory=dict)

    @property
    def masks(self) -> Path:
        """Return the folder for the masks that are made of boxes."""
        return self.out.with_name(f"{self.out.stem}-masks")

    def find(self, *patterns: str) -> Path | None:
        """Return the table that the first fitting pattern names, unpacked before packed; None if there is none."""
        for pattern in patterns:
            found = sorted(path for path in self.root.glob(pattern) if path != self.out)
            if len({path.name.removesuffix(".gz") for path in found}) > 1:
                raise DataError(
                    f"{self.root}: more than one {pattern}: {', '.join(path.name for path in found)}; keep one"
                )
            if found:
                return found[0]
        return None

    def table(self, *patterns: str) -> Path:
        """Return the table that the first fitting pattern names."""
        if (found := self.find(*patterns)) is None:
            raise DataError(
                f"no file {' or '.join(patterns)} in {self.root}; give the folder of the data set {self.name}"
            )
        return found

    def image_at(self, relative: str, record: Record) -> Path | None:
        """Return the image at a path; None, with the row counted as left out, if it is absent in a partial copy."""
        path = self.root / relative
        return path if path.is_file() else self._absent(relative, record)

    def image_named(self, *names: str, record: Record) -> Path | None:
        """Return the image that has one of these names, in whatever folder; None as in ``image_at``."""
        if not self._places:
            self._index()
        for name in names:
            places = self._places.get(name, [])
            if len(places) > 1:
                raise DataError(f"the image {name} is there twice: {places[0]} and {places[1]}; keep one")
            if places:
                return places[0]
        return self._absent(names[0], record)

    def split(self, patient: str, plan: SplitPlan | None = None) -> Split:
        """Return the split of a patient for whom none is published; the same in every data set that has this patient."""
        return split_of("", patient, plan or self.plan)

    def age_years(self, text: str) -> float | None:
        """Return an age as published: years, or a number with Y, M, W or D; None, with a note, where it cannot be one."""
        units = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
        unit = units.get(text[-1:].upper())
        try:
            age = float(text[:-1] if unit else text) * (unit or 1.0) if text else None
        except ValueError:
            age = -1.0
        if age is None or 0 <= age <= AGE_MAX_YEARS:
            return age
        self.notes["age cannot be true: left empty"] += 1
        return None

    def key(self, identity: str) -> str:
        """Return a key for an identity of a DICOM header, which must not be written anywhere itself."""
        return hashlib.sha256(f"{self.name}\x00{identity}".encode()).hexdigest()[:16]

    def _absent(self, name: str, record: Record) -> None:
        if not self.partial:
            raise DataError(
                f"{record.table.name}: row {record.number}: the image {name} is absent; complete the data set,"
                " or give --partial to leave out what is absent"
            )
        self.left_out["image is absent"] += 1

    def _index(self) -> None:
        for folder, _, names in os.walk(self.root):
            if Path(folder) != self.masks:
                for name in names:
                    self._places.setdefault(name, []).append(Path(folder, name))
