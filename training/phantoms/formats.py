"""What pictures can be stored as. Standard library only, so that the command line starts fast."""

from enum import StrEnum


class Format(StrEnum):
    """What the pictures are stored as."""

    #: DX or CR, as the site has it.
    DICOM = "dicom"
    #: 8 bit, bright where dense.
    PNG = "png"
