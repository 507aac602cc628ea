"""Compressed pixels: which library decodes which transfer syntax, and what is checked before it may.

imagecodecs comes first (several times faster on the commonest syntaxes, permissive licence), as a pydicom decoder plugin that
is asked for by name; pylibjpeg's OpenJPEG and RLE and pyjpegls stand behind it. pydicom's own choice is never used: it would
try whatever else happens to be installed. The module is itself the plugin (``is_available``, ``DECODER_DEPENDENCIES`` and the
functions that pydicom calls).

A codec sees a codestream only after its own header was found to agree with the file's: a tiny codestream cannot claim a huge
picture, nor a file's header one that its codestream cannot fill. One that is cut off is refused: some codecs would fill the
rest with grey and say nothing, others search for the end for seconds.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from io import BytesIO
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import decode_pixel_data as openjpeg_decode
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder
from rle.utils import decode_pixel_data as rle_decode

from models.errors import InputError

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
RLE = (uid.RLELossless,)
COMPRESSED = frozenset((*JPEG, *JPEG_LS, *JPEG_2000, *HTJ2K, *RLE))

#: What pydicom asks of a module that offers plugins.
DECODER_DEPENDENCIES = dict.fromkeys(COMPRESSED, ("imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle"))

#: The marker that ends JPEG, JPEG-LS and JPEG 2000 alike.
_END = b"\xff\xd9"
#: What real files pad a codestream with.
_FILL = b"\0\xff"
#: RLE turns two bytes into at most 128.
RLE_RATIO_MAX = 64
_IMAGECODECS, _OPENJPEG, _RLE, _PYJPEGLS = "imagecodecs", "demur-openjpeg", "demur-rle", "pyjpegls"
_DISTRIBUTIONS = {
    _IMAGECODECS: "imagecodecs",
    _OPENJPEG: "pylibjpeg-openjpeg",
    _RLE: "pylibjpeg-rle",
    _PYJPEGLS: "pyjpegls",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFormat:
    """What a file says of one frame of grey pixels."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    frames: int
    photometric: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """What a codestream's own header says."""

    rows: int
    columns: int
    components: int
    precision: int


class UndecodableError(InputError):
    """The pixels cannot be decoded"""


def is_available(syntax: str) -> bool:
    """Say, as pydicom asks of a plugin, whether a transfer syntax can be decoded."""
    return syntax in COMPRESSED


def decode_imagecodecs(src: bytes, runner: DecodeRunner) -> bytearray | bytes:
    """Decode one frame for pydicom with imagecodecs."""
    syntax = runner.transfer_syntax
    if syntax in JPEG:
        pixels = imagecodecs.jpeg_decode(src)
    elif syntax in JPEG_LS:
        pixels = imagecodecs.jpegls_decode(src)
    elif syntax in JPEG_2000:
        pixels = imagecodecs.jpeg2k_decode(src, numthreads=1)
    elif syntax in HTJ2K:
        pixels = imagecodecs.htj2k_decode(src)
    else:
        dtype = np.dtype(f"<u{runner.bits_allocated // 8}")
        pixels = np.frombuffer(imagecodecs.dicomrle_decode(src, dtype), dtype=dtype)
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    return pixels.tobytes()


def decode_openjpeg(src: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame of JPEG 2000 for pydicom with pylibjpeg-openjpeg."""
    frame = bytearray(openjpeg_decode(src, version=2))
    runner.set_option("bits_allocated", 8 * (len(frame) // (runner.rows * runner.columns)))
    return frame


def decode_rle(src: bytes, runner: DecodeRunner) -> bytearray:
    """Decode one frame of RLE for pydicom with pylibjpeg-rle."""
    options = {"rows": runner.rows, "columns": runner.columns, "bits_allocated": runner.bits_allocated}
    try:
        return bytearray(rle_decode(src, ds=None, version=2, **options))
    except BaseException as fault:
        # A panic of Rust is no Exception, and would end a process that only meant to decode a film.
        if type(fault).__name__ == "PanicException":
            raise ValueError("the RLE decoder panicked") from None
        raise


@cache
def plugins_of(syntax: str) -> tuple[str, ...]:
    """Return the plugins of a transfer syntax in the order in which they are asked, and register ours."""
    ours = {_IMAGECODECS: "decode_imagecodecs"}
    if syntax in JPEG_2000 or syntax in HTJ2K:
        ours[_OPENJPEG] = "decode_openjpeg"
    if syntax in RLE:
        ours[_RLE] = "decode_rle"
    decoder = get_decoder(syntax)
    for label, function in ours.items():
        if label not in decoder.available_plugins:
            decoder.add_plugin(label, (__name__, function))
    return (*ours, _PYJPEGLS) if syntax in JPEG_LS else tuple(ours)


def decode_frame(encapsulated: bytes, syntax: str, form: FrameFormat) -> tuple[NDArray[np.unsignedinteger], int, str]:
    """Decode the first frame of compressed pixel data.

    Parameters
    ----------
    encapsulated : bytes
        The value of (7FE0,0010) *Pixel Data*: offset table and fragments.
    syntax : str
        Transfer syntax UID, one of ``COMPRESSED``.
    form : FrameFormat
        What the file's header says.

    Returns
    -------
    pixels : ndarray of uint8 or uint16, shape (rows, columns)
        The allocated bits.
    bits : int
        How many of them, from the lowest, may be set: the precision of the codestream.
    decoder : str
        Library, version and transfer syntax's name.

    Raises
    ------
    UndecodableError
        If the codestream disagrees with the header, or no library can decode it.
    """
    codestream = _first_codestream(encapsulated, form)
    bits = check_codestream(codestream, syntax, form)
    faults: list[str] = []
    for plugin in plugins_of(syntax):
        try:
            pixels = decode_with(plugin, encapsulated, syntax, form)
        except Exception as fault:  # noqa: BLE001 - codecs raise what they like on bad bytes; the next one is asked
            faults.append(f"{plugin}: {type(fault).__name__}")
            continue
        return pixels, bits, f"{_version_of(plugin)} {uid.UID(syntax).keyword}"
    raise UndecodableError(f"no codec could decode the {uid.UID(syntax).keyword} pixels ({'; '.join(faults)})")


@cache
def _version_of(plugin: str) -> str:
    """Look it up once: a distribution's metadata is a file, and parsing it takes as long as reading a film's header."""
    return f"{_DISTRIBUTIONS[plugin]} {version(_DISTRIBUTIONS[plugin])}"


def decode_with(plugin: str, encapsulated: bytes, syntax: str, form: FrameFormat) -> NDArray[np.unsignedinteger]:
    """Decode the first frame with one plugin, whatever it raises; the allocated bits as unsigned."""
    plugins_of(syntax)
    options: Any = {  # pydicom's own TypedDict cannot be given to it
        "rows": form.rows,
        "columns": form.columns,
        "samples_per_pixel": 1,
        "bits_allocated": form.bits_allocated,
        "bits_stored": form.bits_stored,
        "number_of_frames": form.frames,
        "pixel_representation": int(form.is_signed),
        "photometric_interpretation": form.photometric,
        "pixel_keyword": "PixelData",
    }
    pixels, _ = get_decoder(syntax).as_array(encapsulated, index=0, raw=True, decoding_plugin=plugin, **options)
    return pixels.view(f"u{pixels.dtype.itemsize}")


def check_codestream(codestream: bytes, syntax: str, form: FrameFormat) -> int:
    """Check that a codestream holds what the file's header says, before any codec sees it.

    Returns
    -------
    int
        Bits per value: the codestream's precision, for RLE the allocated bits.

    Raises
    ------
    UndecodableError
        If it does not.
    """
    if syntax in RLE:
        _check_rle(codestream, form)
        return form.bits_allocated
    found = codestream_header(codestream, syntax)
    if found is None:
        raise UndecodableError(f"the pixels are not a {uid.UID(syntax).keyword} codestream")
    if (found.rows, found.columns) != (form.rows, form.columns):
        raise UndecodableError(
            f"the codestream holds {found.rows} x {found.columns} pixels, the header says {form.rows} x {form.columns}"
        )
    if not codestream.rstrip(_FILL).endswith(_END):
        raise UndecodableError("the codestream is cut off")
    if found.components != 1:
        raise UndecodableError(f"the codestream has {found.components} components, the header says 1")
    if not 2 <= found.precision <= form.bits_allocated:
        raise UndecodableError(f"the codestream has {found.precision} bits in pixels of {form.bits_allocated}")
    return found.precision


def codestream_header(codestream: bytes, syntax: str) -> Codestream | None:
    """Return what a codestream says of itself; None if it cannot be read."""
    try:
        return _siz(codestream) if syntax in (*JPEG_2000, *HTJ2K) else _sof(codestream)
    except (struct.error, IndexError):
        return None


def _sof(codestream: bytes) -> Codestream | None:
    """Read the frame header of JPEG (ITU-T T.81 B.2.2) or JPEG-LS (ITU-T T.87 C.2.2)."""
    if codestream[:2] != b"\xff\xd8":
        return None
    for marker, position in _segments(codestream, 2):
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame or marker == 0xF7:
            precision, rows, columns, components = struct.unpack_from(">BHHB", codestream, position)
            return Codestream(rows=rows, columns=columns, components=components, precision=precision)
    return None


def _segments(codestream: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Walk the marker segments up to the scan: marker and where its parameters begin."""
    while True:
        if codestream[position] != 0xFF:
            return
        while codestream[position] == 0xFF:  # fill bytes
            position += 1
        marker = codestream[position]
        if marker in (0xD9, 0xDA):  # end of image, start of scan
            return
        (length,) = struct.unpack_from(">H", codestream, position + 1)
        yield marker, position + 3
        position += 1 + max(2, length)


def _siz(codestream: bytes) -> Codestream | None:
    """Read the SIZ segment of JPEG 2000 (ITU-T T.800 A.5.1), in a JP2 box too."""
    start = 0
    if codestream[4:8] == b"jP  ":
        start = codestream.find(b"\xff\x4f\xff\x51")
    if start < 0 or codestream[start : start + 4] != b"\xff\x4f\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">4I", codestream, start + 8)
    components, precision = struct.unpack_from(">HB", codestream, start + 40)
    return Codestream(rows=bottom - top, columns=right - left, components=components, precision=(precision & 0x7F) + 1)


def _check_rle(frame: bytes, form: FrameFormat) -> None:
    """Check the segments of a frame of RLE (PS3.5 Annex G) against the pixels that they must fill."""
    segments = form.bits_allocated // 8
    if len(frame) < 64 or int.from_bytes(frame[:4], "little") != segments:
        raise UndecodableError(f"the RLE frame does not have the {segments} segments of its bits allocated")
    offsets = [*struct.unpack_from(f"<{segments}I", frame, 4), len(frame)]
    pixels = form.rows * form.columns
    for start, end in pairwise(offsets):
        if not 64 <= start <= end <= len(frame):
            raise UndecodableError("the RLE segments lie outside of the frame")
        if (end - start) * RLE_RATIO_MAX < pixels:
            raise UndecodableError(f"{end - start} bytes of RLE cannot hold {pixels} pixels")


def _first_codestream(encapsulated: bytes, form: FrameFormat) -> bytes:
    try:
        return get_frame(BytesIO(encapsulated), 0, number_of_frames=form.frames)
    except Exception as fault:  # noqa: BLE001 - hostile bytes can raise anything in the parser
        raise UndecodableError(f"the pixel data's fragments cannot be read ({type(fault).__name__})") from None
