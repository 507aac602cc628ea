"""What a file on disk says of itself."""

from pathlib import Path

from models.dicom import read_header
from models.errors import InputError
from models.films import is_dicom
from models.header import Header


def header_of(path: Path) -> Header | None:
    """Return the header of a DICOM file; None for a PNG or JPEG, which says nothing of itself."""
    data = path.read_bytes()
    try:
        return read_header(data) if is_dicom(data) else None
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None
