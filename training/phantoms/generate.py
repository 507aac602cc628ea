"""A folder of phantoms with its study table, made by as many processes as wanted."""

import csv
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from models.errors import DataError
from models.vocabulary import Split
from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import Phantom, phantom
from training.phantoms.formats import Format
from training.phantoms.sites import SITES
from training.splits import SplitPlan, split_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to make."""

    sites: tuple[str, ...]
    #: Studies in all; divided evenly, the first sites have one more if it does not divide.
    studies: int
    seed: int
    size: int
    #: None is each site's own.
    prevalence: float | None
    #: Kinds of finding take turns instead of following the site's mix.
    balanced: bool
    format: Format
    #: The first index; films of other indices are other patients.
    first: int
    #: One split for all, or None for the plan's.
    split: Split | None
    plan: SplitPlan

    def films(self) -> Iterator[tuple[str, int]]:
        """Return (site, index) of every film, sites in turn."""
        for i in range(self.studies):
            yield self.sites[i % len(self.sites)], self.first + i // len(self.sites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the study table."""

    path: str
    study: str
    patient: str
    site: str
    label: str
    stratum: str
    severity: str
    view: str
    age_years: str
    split: str
    mask: str


def chosen_sites(count: int, names: Sequence[str]) -> tuple[str, ...]:
    """Return the named sites, or the first ``count``."""
    unknown = [name for name in names if name not in SITES]
    if unknown:
        raise DataError(f"no such site: {unknown[0]}; give one of {', '.join(SITES)}")
    if not names and not 1 <= count <= len(SITES):
        raise DataError(f"{count} sites; give 1 to {len(SITES)}")
    return tuple(dict.fromkeys(names)) or tuple(SITES)[:count]


def write_film(order: Order, out: Path, film: tuple[str, int]) -> Row:
    """Make one film, write its files and return its line of the table."""
    site, index = film
    made = phantom(order.seed, site, index, order.size, prevalence=order.prevalence, balanced=order.balanced)
    suffix = "dcm" if order.format is Format.DICOM else "png"
    # A thousand files a folder.
    path = Path("images", site, f"{index // 1000:03d}", f"{made.name}.{suffix}")
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    if order.format is Format.DICOM:
        (out / path).write_bytes(dicom_bytes(made, modality=SITES[site].formation.modality))
    else:
        grey = np.rint(made.pixels * np.float32(255)).astype(np.uint8)
        Image.fromarray(grey).save(out / path, compress_level=1)
    mask = ""
    if made.stratum:
        mask = str(Path("masks", site, f"{index // 1000:03d}", f"{made.name}.png"))
        (out / mask).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made.mask.astype(np.uint8) * 255).save(out / mask, compress_level=1)
    return row_of(made, order, str(path), mask)


def row_of(made: Phantom, order: Order, path: str, mask: str) -> Row:
    """Return the film's line of the table."""
    split = order.split or split_of(made.site, made.name, order.plan)
    return Row(
        path=path,
        study=made.name,
        patient=made.name,
        site=made.site,
        label=made.label.value,
        stratum=made.stratum,
        severity="" if made.severity is None else f"{made.severity:.2f}",
        view=made.patient.view,
        age_years=str(made.patient.age),
        split=split.value,
        mask=mask,
    )


def keep_memory() -> None:
    """Let the process keep the memory of freed maps: it would else spend a quarter of its time on page faults.

    glibc raises its thresholds to the size of the largest mapped block that was freed (mallopt(3), M_MMAP_THRESHOLD).
    """
    np.empty(30 * 2**20, np.uint8)


def generate(order: Order, out: Path, *, workers: int, progress: Callable[[], None]) -> list[Row]:
    """Write all films and ``studies.csv``; the files do not depend on the number of workers."""
    out.mkdir(parents=True, exist_ok=True)
    films = list(order.films())
    task = partial(write_film, order, out)
    rows: list[Row] = []
    if workers <= 1:
        keep_memory()
        for film in films:
            rows.append(task(film))
            progress()
    else:
        with multiprocessing.get_context("spawn").Pool(workers, keep_memory) as pool:
            for row in pool.imap(task, films, chunksize=8):
                rows.append(row)
                progress()
    write_table(out / "studies.csv", rows)
    return rows


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the study table, whole or not at all."""
    names = [field.name for field in fields(Row)]
    partial_path = path.with_suffix(".partial")
    with partial_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)
    partial_path.replace(path)
