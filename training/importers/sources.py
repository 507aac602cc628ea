"""The data sets that ``demur import`` knows, each with what reads it."""

from collections.abc import Callable, Iterator
from pathlib import Path

from models.errors import DataError
from models.studies import StudyRow, StudyTable, write_study_table
from training.importers.chexpert import read_chexpert
from training.importers.drafts import Draft, rows_of
from training.importers.folder import read_folder
from training.importers.mimic import read_mimic
from training.importers.names import Source
from training.importers.nih import read_nih
from training.importers.padchest import read_padchest
from training.importers.rsna import read_rsna
from training.importers.vindr import read_vindr
from training.splits import SplitPlan

READERS: dict[Source, Callable[[Path], Iterator[Draft]]] = {
    Source.NIH: read_nih,
    Source.CHEXPERT: read_chexpert,
    Source.MIMIC: read_mimic,
    Source.PADCHEST: read_padchest,
    Source.VINDR: read_vindr,
    Source.RSNA: read_rsna,
    Source.FOLDER: read_folder,
}


def import_source(source: Source, folder: Path, out: Path, plan: SplitPlan) -> StudyTable:
    """Write the study table of a data set; the films stay where they are.

    Raises
    ------
    DataError
        If the folder is not the published data set, or has none of its films.
    """
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}; give the folder of the data set")
    rows: tuple[StudyRow, ...] = rows_of(READERS[source](folder), plan)
    if not rows:
        raise DataError(f"{folder} has none of the films that its table lists")
    return write_study_table(out, rows)
