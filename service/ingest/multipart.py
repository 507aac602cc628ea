"""A streaming reader of multipart/related bodies, as DICOMweb clients send them.

python-multipart splits the body; what it lets pass is checked here: the end boundary must come, and a text before the
first boundary is dropped. Nothing is allocated from what a header claims.
"""

import re
from collections.abc import Callable
from email.message import Message
from typing import Protocol

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from service.errors import MediaTypeError, RequestError, TooLargeError

_PREAMBLE_MAX = 64 << 10
#: RFC 2046 allows 70 characters; Orthanc sends 73.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,200}")


class Sink(Protocol):
    """Takes in the bytes of a part."""

    def write(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        ...


def boundary_of(content_type: str) -> str:
    """Return the boundary of a multipart/related content type of DICOM parts."""
    header = Message()
    header["content-type"] = content_type
    if header.get_content_type() != "multipart/related":
        raise MediaTypeError(
            f"the media type {header.get_content_type()!r} is not taken in; send multipart/related or application/dicom"
        )
    kind = header.get_param("type")
    if kind is not None and str(kind).lower() != "application/dicom":
        raise MediaTypeError(f"parts of the type {kind!r} are not taken in; send application/dicom")
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary) or boundary.endswith(" "):
        raise RequestError("the Content-Type names no usable boundary")
    return boundary


class RelatedReader:
    """Feeds the parts of one body into sinks.

    ``begin`` is called with a part's content type (empty if it has none) and gives the sink of its bytes.
    """

    def __init__(self, boundary: str, begin: Callable[[str], Sink], *, parts_max: int) -> None:
        self._delimiter = b"--" + boundary.encode("ascii")
        self._before: bytes | None = b""
        self._begin = begin
        self._parts_left = parts_max
        self._sink: Sink | None = None
        self._name, self._value, self._content_type = b"", b"", ""
        self._has_ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_part_data": self._on_part_data,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_end": self._on_end,
            },
            max_header_count=16,
            max_header_size=8 << 10,
        )

    def write(self, data: bytes) -> None:
        """Take in the next bytes of the body; RequestError if they are not multipart."""
        if self._before is not None:
            data = self._after_preamble(data)
        if not data or self._has_ended:  # what follows the end boundary is an epilogue
            return
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise RequestError("the body is not well-formed multipart") from None

    def finish(self) -> None:
        """Say that the body has ended; RequestError unless its end boundary has come."""
        if not self._has_ended:
            raise RequestError("the body ends before its end boundary; nothing of it was stored")

    def _after_preamble(self, data: bytes) -> bytes:
        assert self._before is not None
        before = self._before + data
        at = 0 if before.startswith(self._delimiter) else before.find(b"\r\n" + self._delimiter)
        if at < 0:
            if len(before) > _PREAMBLE_MAX:
                raise RequestError("the first boundary does not come")
            self._before = before
            return b""
        self._before = None
        return before[at + 2 if at or not before.startswith(self._delimiter) else 0 :]

    def _on_part_begin(self) -> None:
        self._parts_left -= 1
        if self._parts_left < 0:
            raise TooLargeError("the request has too many parts; send fewer at once")
        self._content_type = ""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._name.lower() == b"content-type":
            self._content_type = self._value.decode("latin-1").strip()
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        self._sink = self._begin(self._content_type)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(memoryview(data)[start:end])

    def _on_end(self) -> None:
        self._has_ended = True
