"""The names of the data sets that ``demur import`` knows. Standard library only: the command line reads them."""

from enum import StrEnum


class DataSet(StrEnum):
    """A published data set, or a folder."""

    #: NIH ChestX-ray14.
    NIH = "nih"
    #: CheXpert.
    CHEXPERT = "chexpert"
    #: MIMIC-CXR-JPG.
    MIMIC = "mimic"
    #: PadChest.
    PADCHEST = "padchest"
    #: VinDr-CXR.
    VINDR = "vindr"
    #: RSNA Pneumonia Detection Challenge.
    RSNA = "rsna"
    #: Films of several sites with a manifest.csv.
    RADIOGRAPHS = "radiographs"
    #: Films with a CSV file.
    FOLDER = "folder"
