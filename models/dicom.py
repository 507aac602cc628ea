"""From DICOM bytes to a header and a picture: the one way there is.

Bounds come before work (see ``models.parsing`` and ``models.codecs``); the greyscale is that of ``models.greyscale``. Only
plain grey single films are made into pictures: whatever else a file holds has a header, on which the scope decides.
"""

from dataclasses import replace
from datetime import date
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from models import codecs
from models.codecs import FrameFormat, UndecodableError
from models.errors import InputError
from models.greyscale import Greyscale, Lut, VoiFunction, Window, to_grey
from models.header import Header, Picture
from models.parsing import Parsed, contained, parse

#: The largest detectors have 30 million pixels.
PIXELS_MAX = 40 << 20
#: The smaller side of what can be a film.
SIDE_MIN = 16
PIXELS_OF_ALL_FRAMES_MAX = 1 << 30
NATIVE = frozenset(
    (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    )
)
#: Ages from header and from dates may differ by this much before neither is believed.
AGE_TOLERANCE_YEARS = 2.0
_NATIVE_DECODER = f"numpy {version('numpy')} native"
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read_header(data: bytes | bytearray | memoryview) -> Header:
    """Return what a DICOM file says of itself, without touching its pixels.

    Parameters
    ----------
    data : bytes-like
        A DICOM file, with or without preamble and meta information.

    Raises
    ------
    InputError
        If it is not DICOM, or breaks a bound.
    """
    with contained():
        return _header(parse(data))


def read_picture(data: bytes | bytearray | memoryview) -> Picture:
    """Return the film that a DICOM file holds. Codecs run in this process: see ``models.decoding`` for one that may die.

    Parameters
    ----------
    data : bytes-like
        A DICOM file, with or without preamble and meta information.

    Raises
    ------
    InputError
        If it is not DICOM, or breaks a bound.
    UndecodableError
        If there is no single grey film in it, or its pixels cannot be decoded.
    """
    with contained():
        parsed = parse(data)
        header = _header(parsed)
        _check_is_film(parsed, header)
        greyscale = _greyscale(parsed, header)
        if header.transfer_syntax in NATIVE:
            raw, decoder = _native(parsed, header, greyscale.bits_allocated), _NATIVE_DECODER
        else:
            raw, greyscale, decoder = _compressed(parsed, header, greyscale)
    return Picture(pixels=to_grey(raw, greyscale), header=header, decoder=decoder)


def _header(parsed: Parsed) -> Header:
    spacing = parsed.numbers("ImagerPixelSpacing") or parsed.numbers("PixelSpacing")
    return Header(
        sop_class_uid=parsed.text("SOPClassUID"),
        sop_instance_uid=parsed.text("SOPInstanceUID"),
        study_instance_uid=parsed.text("StudyInstanceUID"),
        series_instance_uid=parsed.text("SeriesInstanceUID"),
        patient_id=parsed.text("PatientID"),
        modality=parsed.code("Modality"),
        body_part=parsed.code("BodyPartExamined"),
        view=parsed.code("ViewPosition"),
        age_years=age_years(parsed),
        presentation_intent=parsed.code("PresentationIntentType"),
        photometric=parsed.code("PhotometricInterpretation"),
        presentation_lut_shape=parsed.code("PresentationLUTShape"),
        samples_per_pixel=parsed.integer("SamplesPerPixel", 1),
        frames=_frames(parsed),
        rows=parsed.integer("Rows", 0),
        columns=parsed.integer("Columns", 0),
        bits_stored=parsed.integer("BitsStored", 0),
        transfer_syntax=parsed.transfer_syntax,
        image_type=tuple(text.upper() for text in parsed.texts("ImageType")),
        burned_in=parsed.code("BurnedInAnnotation"),
        conversion_type=parsed.code("ConversionType"),
        lossy=parsed.code("LossyImageCompression") == "01",
        spacing_mm=(spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None,
    )


def _frames(parsed: Parsed) -> int:
    """Return (0028,0008) *Number of Frames*; some files say 0 of their only one."""
    return max(1, parsed.integer("NumberOfFrames", 1))


def age_years(parsed: Parsed) -> float | None:
    """Return the patient's age at the study, from its own element or from dates; None where these disagree."""
    told = parsed.code("PatientAge")
    age = None
    if len(told) >= 2 and told[:-1].isdigit() and told[-1] in _YEARS:
        age = int(told[:-1]) * _YEARS[told[-1]]
    born, seen = _date(parsed, "PatientBirthDate"), _date(parsed, "StudyDate")
    if born is None or seen is None or seen < born:
        return age
    counted = (seen - born).days / 365.25
    if age is None:
        return counted
    return age if abs(age - counted) <= AGE_TOLERANCE_YEARS else None


def _date(parsed: Parsed, keyword: str) -> date | None:
    text = parsed.text(keyword).replace(".", "").replace("-", "")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def check_size(rows: int, columns: int) -> None:
    """Check that a picture of this size can be a film.

    Raises
    ------
    InputError
        If it is too small or too large.
    """
    if min(rows, columns) < SIDE_MIN or rows * columns > PIXELS_MAX:
        raise InputError(
            f"{rows} x {columns} pixels; a film has at least {SIDE_MIN} on each side, at most {PIXELS_MAX >> 20} Mi in all"
        )


def _check_is_film(parsed: Parsed, header: Header) -> None:
    """Check, before memory is spent on it, that there is one grey film of a possible size."""
    if not parsed.has_pixels:
        raise UndecodableError("the file holds no pixel data")
    if header.transfer_syntax not in NATIVE and header.transfer_syntax not in codecs.COMPRESSED:
        raise UndecodableError("the transfer syntax is none that can be decoded")
    rows, columns, frames = header.rows, header.columns, header.frames
    if min(rows, columns) < SIDE_MIN or rows * columns > PIXELS_MAX:
        raise InputError(
            f"{rows} x {columns} pixels; a film has {SIDE_MIN} a side at least, {PIXELS_MAX >> 20} Mi at most"
        )
    if rows * columns * frames > PIXELS_OF_ALL_FRAMES_MAX:
        raise InputError(f"{frames} frames of {rows} x {columns} pixels are too many")
    if header.samples_per_pixel != 1 or header.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UndecodableError("the picture is not plain grey")


def _greyscale(parsed: Parsed, header: Header) -> Greyscale:
    """Return what turns stored values into grey."""
    allocated = parsed.integer("BitsAllocated", 0)
    is_signed = parsed.integer("PixelRepresentation", 0) == 1
    slope, intercept = parsed.number("RescaleSlope"), parsed.number("RescaleIntercept")
    return Greyscale(
        bits_allocated=allocated,
        bits_stored=header.bits_stored,
        high_bit=parsed.integer("HighBit", header.bits_stored - 1),
        is_signed=is_signed,
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        modality_lut=_lut(parsed, "ModalityLUTSequence", is_signed=is_signed),
        voi_lut=_lut(parsed, "VOILUTSequence", is_signed=is_signed),
        window=_window(parsed),
        is_inverted=_is_inverted(header),
        padding=_padding(parsed, is_signed=is_signed, bits_stored=header.bits_stored),
    )


def _is_inverted(header: Header) -> bool:
    """Say whether great values are dark. (2050,0020) *Presentation LUT Shape* says it where it is given."""
    if header.presentation_lut_shape in ("INVERSE", "IDENTITY"):
        return header.presentation_lut_shape == "INVERSE"
    return header.photometric == "MONOCHROME1"


def _window(parsed: Parsed) -> Window | None:
    """Return the first window, if there is one that can be read."""
    center, width = parsed.number("WindowCenter"), parsed.number("WindowWidth")
    function = parsed.code("VOILUTFunction") or VoiFunction.LINEAR
    if center is None or width is None or function not in tuple(VoiFunction):
        return None
    return Window(center=center, width=width, function=VoiFunction(function))


def _padding(parsed: Parsed, *, is_signed: bool, bits_stored: int) -> tuple[int, int] | None:
    """Return (0028,0120) *Pixel Padding Value* to (0028,0121) *Pixel Padding Range Limit*, as stored values."""
    if parsed.element("PixelPaddingValue") is None:
        return None
    first = parsed.integer("PixelPaddingValue", 0)
    ends = (first, parsed.integer("PixelPaddingRangeLimit", first))
    values = [end & ((1 << bits_stored) - 1) if bits_stored > 0 else end for end in ends]
    if is_signed and bits_stored > 0:
        sign = 1 << (bits_stored - 1)
        values = [(value ^ sign) - sign for value in values]
    return min(values), max(values)


def _lut(parsed: Parsed, keyword: str, *, is_signed: bool) -> Lut | None:
    """Return the first table of a sequence."""
    items = parsed.items(keyword)
    if not items or "LUTDescriptor" not in items[0] or "LUTData" not in items[0]:
        return None
    entries, first, bits = _words(items[0]["LUTDescriptor"].value, parsed)[:3]
    entries = int(entries) or 1 << 16
    first = int(first) - (1 << 16) if is_signed and first >= 1 << 15 else int(first)
    if not 1 <= bits <= 16:
        raise InputError(f"a lookup table with entries of {bits} bits")
    value = items[0]["LUTData"].value
    if isinstance(value, bytes) and bits <= 8 and len(value) in (entries, entries + 1):
        data = np.frombuffer(value, np.uint8)
    else:
        data = _words(value, parsed)
    if len(data) < entries:
        raise InputError(f"a lookup table of {entries} entries with {len(data)}")
    return Lut(first=first, bits=int(bits), data=data[:entries].astype(np.uint16))


def _words(value: object, parsed: Parsed) -> NDArray[np.int64]:
    """Return 16-bit words, whether pydicom took them for numbers or for bytes."""
    if isinstance(value, bytes):
        return np.frombuffer(value[: len(value) & ~1], "<u2" if parsed.is_little_endian else ">u2").astype(np.int64)
    return np.atleast_1d(np.array(value, dtype=np.int64)) & 0xFFFF


def _native(parsed: Parsed, header: Header, bits_allocated: int) -> NDArray[np.unsignedinteger]:
    """Return the first frame of uncompressed pixels, as they lie in the file."""
    size = header.rows * header.columns * bits_allocated // 8
    if parsed.pixel_length is None or parsed.pixel_length < size:
        raise UndecodableError(f"the pixel data is shorter than {header.rows} x {header.columns} pixels")
    swapped = not parsed.is_little_endian and bits_allocated == 8 and parsed.pixel_vr == "OW"
    found = parsed.pixel_bytes(size + size % 2 if swapped else size)
    if len(found) < size:
        raise UndecodableError(f"the file ends before its {header.rows} x {header.columns} pixels")
    if bits_allocated == 8:
        pixels = np.frombuffer(found, np.uint8)
        if swapped:  # bytes travel in pairs, in big-endian words
            pixels = pixels.reshape(-1, 2)[:, ::-1].ravel()[:size]
    else:
        pixels = np.frombuffer(found, "<u2" if parsed.is_little_endian else ">u2")
    return pixels.reshape(header.rows, header.columns)


def _compressed(
    parsed: Parsed, header: Header, greyscale: Greyscale
) -> tuple[NDArray[np.unsignedinteger], Greyscale, str]:
    """Return the first frame of compressed pixels, what its bits mean, and who decoded it."""
    form = FrameFormat(
        rows=header.rows,
        columns=header.columns,
        bits_allocated=greyscale.bits_allocated,
        bits_stored=greyscale.bits_stored,
        is_signed=greyscale.is_signed,
        frames=header.frames,
        photometric=header.photometric,
    )
    raw, bits, decoder = codecs.decode_frame(bytes(parsed.pixel_bytes(None)), header.transfer_syntax, form)
    if header.transfer_syntax not in codecs.RLE:  # a codestream knows its own bits; they start at bit 0
        greyscale = replace(greyscale, bits_stored=bits, high_bit=bits - 1)
    return raw, greyscale, decoder
