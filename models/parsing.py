"""DICOM bytes to elements: bounds come before work, and no patient data leaves in an error or a warning.

Invariants:

- What is read before the pixels is bounded in bytes and in elements, and nested sequences by the interpreter's own stack.
- A deflated file is inflated only as far as its reader gets, so that a bomb costs no more than a header's bound.
- Whatever a file holds, the outcome is a value or an ``InputError`` whose text quotes nothing from the file.
- pydicom's warnings and log lines quote what they complain about; they are kept in.
"""

import logging
import math
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from models.errors import InputError

#: Everything before the pixels: bytes, and how often they are read (once at least per element).
HEADER_BYTES_MAX = 16 << 20
HEADER_READS_MAX = 100_000
#: A single value that is looked at, and a sequence that is.
VALUE_BYTES_MAX = 1 << 18
SEQUENCE_BYTES_MAX = 1 << 20

_PIXEL_DATA = 0x7FE00010
_PIXEL_TAGS = (_PIXEL_DATA, 0x7FE00008, 0x7FE00009)  # the others are floats
_UNDEFINED = 0xFFFFFFFF
_REST = 1 << 40
_INFLATED_STEP, _DEFLATED_STEP = 1 << 20, 1 << 16

# A filter, since whoever configures logging switches disabled loggers on again.
logging.getLogger("pydicom").addFilter(lambda _record: False)
# The filters of warnings belong to the whole process.
_quiet = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings in; one thread at a time."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def contained() -> Iterator[None]:
    """Keep pydicom's warnings in, and turn whatever it raises into an ``InputError`` that quotes nothing.

    Raises
    ------
    InputError
        For any exception inside.
    """
    with quiet():
        try:
            yield
        except InputError:
            raise
        except RecursionError:
            raise InputError("sequences are nested too deeply") from None
        except Exception as fault:  # noqa: BLE001 - hostile bytes can raise anything in the parser
            raise InputError(f"not readable as DICOM ({type(fault).__name__})") from None


class _Reader:
    """A file over bytes, as pydicom wants one, that reads only so much and so often."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0
        self._bytes_left = HEADER_BYTES_MAX
        self._reads_left = HEADER_READS_MAX

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes; InputError beyond a bound."""
        wanted = len(self._data) - self._position if size < 0 else size
        self._reads_left -= 1
        if self._reads_left < 0:
            raise InputError("the header has too many elements")
        found = self.view(self._position, min(wanted, self._bytes_left + 1))
        self._bytes_left -= len(found)
        if self._bytes_left < 0:
            raise InputError(f"the header is longer than {HEADER_BYTES_MAX >> 20} MiB")
        self._position += len(found)
        return bytes(found)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset from the start (0) or from here (1)."""
        if whence not in (0, 1):
            raise InputError("the header cannot be read from its end")
        self._position = max(0, offset + (self._position if whence else 0))
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def view(self, start: int, size: int) -> memoryview:
        """Return up to ``size`` bytes from ``start`` without counting them."""
        return self._data[start : start + size]


class _InflatingReader(_Reader):
    """Inflates a deflated dataset as far as it is read."""

    def __init__(self, data: memoryview) -> None:
        super().__init__(data)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated = bytearray()
        self._consumed = 0

    def view(self, start: int, size: int) -> memoryview:
        """Return up to ``size`` bytes from ``start``, inflating up to there."""
        while len(self._inflated) < start + size and not self._inflate.eof:
            source = self._inflate.unconsumed_tail
            if not source:
                source = self._data[self._consumed : self._consumed + _DEFLATED_STEP]
                self._consumed += len(source)
                if not source:
                    break
            step = min(_INFLATED_STEP, start + size - len(self._inflated))
            self._inflated += self._inflate.decompress(source, step)
        return memoryview(bytes(self._inflated[start : start + size]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A file up to its pixels; to be looked at inside ``contained``.

    Attributes
    ----------
    dataset : Dataset
        The elements before the pixels.
    transfer_syntax : str
        As the file says, or as its encoding shows where it says nothing.
    pixel_tag : int
        0 if there are no pixels.
    pixel_vr : str
        ``OB``, ``OW``, or empty in implicit VR.
    pixel_length : int or None
        Bytes; None for encapsulated pixels.
    """

    dataset: Dataset
    transfer_syntax: str
    pixel_tag: int
    pixel_vr: str
    pixel_length: int | None
    pixel_offset: int
    reader: _Reader

    @property
    def has_pixels(self) -> bool:
        """Say whether there is (7FE0,0010) *Pixel Data*, the only kind that is decoded."""
        return self.pixel_tag == _PIXEL_DATA

    def pixel_bytes(self, size: int | None) -> memoryview:
        """Return up to ``size`` bytes of the pixels, to the end of the file for None."""
        return self.reader.view(self.pixel_offset, _REST if size is None else size)

    def element(self, keyword: str) -> DataElement | None:
        """Return an element; None if it is absent or empty, InputError if it is too long to be looked at."""
        tag = tag_for_keyword(keyword)
        assert tag is not None
        if tag not in self.dataset:
            return None
        raw = self.dataset.get_item(tag)
        if isinstance(raw, RawDataElement) and raw.length > (
            SEQUENCE_BYTES_MAX if keyword.endswith("Sequence") else VALUE_BYTES_MAX
        ):
            raise InputError(f"the element {keyword} is too long")
        element = self.dataset[tag]
        return None if element.is_empty else element

    def text(self, keyword: str) -> str:
        """Return a text as it stands, the first of several; empty if it is absent."""
        return (self.texts(keyword) or ("",))[0]

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return all values of a text."""
        element = self.element(keyword)
        if element is None:
            return ()
        values = element.value if element.VM > 1 else [element.value]
        return tuple(str(value).strip(" \0") for value in values)

    def code(self, keyword: str) -> str:
        """Return a code string in upper case."""
        return self.text(keyword).upper()

    def number(self, keyword: str) -> float | None:
        """Return a number, the first of several; None if it is absent or not a number."""
        numbers = self.numbers(keyword)
        return numbers[0] if numbers else None

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return all numbers; none if any is not a finite number."""
        try:
            numbers = tuple(float(text) for text in self.texts(keyword))
        except ValueError:
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()

    def integer(self, keyword: str, otherwise: int) -> int:
        """Return a whole number of a binary or text element; InputError if it is not one."""
        element = self.element(keyword)
        if element is None:
            return otherwise
        value = element.value if element.VM <= 1 else element.value[0]
        if isinstance(value, bytes):  # a US or SS whose sign pydicom could not tell
            value = int.from_bytes(value[:2], "little" if self.is_little_endian else "big")
        return int(value)

    @property
    def is_little_endian(self) -> bool:
        """Say how the elements' numbers are stored."""
        return self.transfer_syntax != uid.ExplicitVRBigEndian

    def items(self, keyword: str) -> tuple[Dataset, ...]:
        """Return the items of a sequence."""
        element = self.element(keyword)
        return tuple(element.value) if element is not None and element.VR == "SQ" else ()


def parse(data: bytes | bytearray | memoryview) -> Parsed:
    """Read a file up to its pixels; to be called inside ``contained``.

    Parameters
    ----------
    data : bytes-like
        A DICOM file, with or without preamble and meta information.

    Raises
    ------
    InputError
        If a bound is broken or it is not DICOM.
    """
    whole = memoryview(data).cast("B")
    reader = _Reader(whole)
    has_preamble = bytes(whole[128:132]) == b"DICM"
    reader.seek(132 if has_preamble else 0)
    meta = read_dataset(
        cast("BinaryIO", reader),
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag >> 16 != 2,
    )
    syntax = str(meta.get("TransferSyntaxUID", "") or "").strip(" \0")
    start = reader.tell()
    syntax = syntax or _encoding_at(bytes(whole[start : start + 6]))
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        reader = _InflatingReader(whole[start:])
    found: list[tuple[int, str, int, int]] = []

    def is_at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            found.append((int(tag), vr or "", length, reader.tell()))
        return tag in _PIXEL_TAGS

    dataset = read_dataset(
        cast("BinaryIO", reader),
        is_implicit_VR=syntax == uid.ImplicitVRLittleEndian,
        is_little_endian=syntax != uid.ExplicitVRBigEndian,
        stop_when=is_at_pixels,
    )
    if not has_preamble and "SOPClassUID" not in dataset:
        raise InputError("not a DICOM file")
    tag, vr, length, offset = found[-1] if found else (0, "", 0, 0)
    return Parsed(
        dataset=dataset,
        transfer_syntax=syntax,
        pixel_tag=tag,
        pixel_vr=vr,
        pixel_length=None if length == _UNDEFINED else length,
        pixel_offset=offset,
        reader=reader,
    )


def _encoding_at(first: bytes) -> str:
    """Return the uncompressed transfer syntax whose dataset begins like this, for files that do not name theirs."""
    if first[4:6].isalpha() and first[4:6].isupper():
        return str(uid.ExplicitVRBigEndian if first[0] == 0 and first[1] != 0 else uid.ExplicitVRLittleEndian)
    return str(uid.ImplicitVRLittleEndian)
