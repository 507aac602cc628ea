"""A film as a study table lists it: DICOM, or a PNG or JPEG that says nothing of itself."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.codecs import UndecodableError
from models.dicom import check_size, read_picture
from models.errors import InputError
from models.header import Header, Picture
from models.parsing import quiet

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
#: Pillow's modes with the value that is white.
_WHITE = {"1": 1.0, "L": 255.0, "I;16": 65535.0, "I;16B": 65535.0}


def read_film(data: bytes | memoryview, view: str = "", age_years: float | None = None) -> Picture:
    """Return the film in a DICOM, PNG or JPEG file, told apart by how it begins.

    Parameters
    ----------
    data : bytes-like
        The file.
    view : str
        Of the study table; for PNG and JPEG only, a DICOM file speaks for itself.
    age_years : float or None
        Likewise.

    Returns
    -------
    Picture
        For PNG and JPEG the header has an empty modality, which passes only in a scope that says so, and bright is taken to
        be dense.

    Raises
    ------
    InputError
        If the file is none of these, or breaks a bound.
    UndecodableError
        If its pixels cannot be decoded.
    """
    if is_dicom(data):
        return read_picture(data)
    return _read_picture_file(bytes(data), view, age_years)


def is_dicom(data: bytes | memoryview) -> bool:
    """Say whether a file is to be read as DICOM: it is neither PNG nor JPEG."""
    return bytes(data[:8]) != _PNG and bytes(data[:3]) != _JPEG


def read_mask(data: bytes) -> NDArray[np.bool_]:
    """Return where a mask's PNG is not black, shape (rows, columns).

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return np.asarray(_open(data).convert("L")) != 0


def _read_picture_file(data: bytes, view: str, age_years: float | None) -> Picture:
    image = _open(data)
    name = str(image.format)
    if image.mode not in _WHITE:
        colours = np.asarray(image.convert("RGB"))
        if not (np.ptp(colours, axis=2) == 0).all():
            raise UndecodableError("the picture is in colour")
        image = image.convert("L")
    pixels = np.asarray(image).astype(np.float32) / np.float32(_WHITE[image.mode])
    rows, columns = pixels.shape
    header = Header(
        view=view.upper(),
        age_years=age_years,
        photometric="MONOCHROME2",
        rows=rows,
        columns=columns,
        bits_stored=16 if image.mode.startswith("I") else 8,
        lossy=name == "JPEG",
    )
    return Picture(pixels=pixels, header=header, decoder=f"Pillow {Image.__version__} {name}")


def _open(data: bytes) -> Image.Image:
    """Open and decode a PNG or JPEG of a bounded size."""
    try:
        with quiet():
            image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
            check_size(image.height, image.width)
            image.load()
    except InputError:
        raise
    except Exception as fault:  # noqa: BLE001 - hostile bytes can raise anything in the decoder
        raise UndecodableError(f"not readable as a picture ({type(fault).__name__})") from None
    return image
