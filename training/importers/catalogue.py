"""Which data sets can be imported, and the import itself: rows of one data set that may stand in one study table."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from models.errors import DataError
from models.studies import StudyRow, StudyTable, write_study_table
from models.vocabulary import Label
from training.importers import chexpert, folder, mimic, nih, padchest, radiographs, rsna, vindr
from training.importers.names import DataSet
from training.importers.source import Source

CATALOGUE: dict[DataSet, Callable[[Source], Iterable[StudyRow]]] = {
    DataSet.NIH: nih.read,
    DataSet.CHEXPERT: chexpert.read,
    DataSet.MIMIC: mimic.read,
    DataSet.PADCHEST: padchest.read,
    DataSet.VINDR: vindr.read,
    DataSet.RSNA: rsna.read,
    DataSet.RADIOGRAPHS: radiographs.read,
    DataSet.FOLDER: folder.read,
}


def import_data_set(data_set: DataSet, source: Source, advance: Callable[[], None]) -> StudyTable:
    """Write the study table of a data set, every study with one label; ``advance`` is called after each image."""
    rows: list[StudyRow] = []
    for row in CATALOGUE[data_set](source):
        rows.append(row)
        advance()
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in source.left_out.items())
        raise DataError(f"{source.root} gives no image ({reasons or 'its tables are empty'}); nothing is written")
    return write_study_table(source.out, _agreeing(rows, source))


def source_of(data_set: DataSet, root: Path, out: Path) -> Source:
    """Return the source in a folder; a plain folder goes by its own name."""
    if not root.is_dir():
        raise DataError(f"no such folder: {root}; give the folder of the data set {data_set}")
    place = root.resolve()
    return Source(name=place.name if data_set is DataSet.FOLDER else data_set.value, root=place, out=out.resolve())


def count_by_site(rows: Iterable[StudyRow]) -> dict[str, Counter[Label | None]]:
    """Return how many images of each label every site has, sites in the alphabet's order."""
    counts: dict[str, Counter[Label | None]] = {}
    for row in rows:
        counts.setdefault(row.site, Counter())[row.label] += 1
    return dict(sorted(counts.items()))


def _agreeing(rows: list[StudyRow], source: Source) -> Iterator[StudyRow]:
    """Give the rows, without label where the images of a study do not have the same one."""
    labels: dict[str, set[tuple[Label | None, str]]] = {}
    for row in rows:
        labels.setdefault(row.study, set()).add((row.label, row.stratum))
    for row in rows:
        if len(labels[row.study]) == 1:
            yield row
            continue
        if row.label is not None:
            source.unlabelled["images of the study disagree"] += 1
        yield replace(row, label=None, stratum="", mask=None)
