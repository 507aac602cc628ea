"""The streaming reader of multipart/related, on what clients send and on what nobody should."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MediaTypeError, RequestError, TooLargeError
from service.ingest.multipart import RelatedReader, boundary_of


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes | memoryview) -> None:
        self.data += bytes(data)


def read(body: bytes, *, size: int = 1 << 20, boundary: str = "b", parts_max: int = 9) -> list[bytes]:
    sinks: list[Sink] = []

    def begin(_content_type: str) -> Sink:
        sinks.append(Sink())
        return sinks[-1]

    reader = RelatedReader(boundary, begin, parts_max=parts_max)
    for at in range(0, len(body), size):
        reader.write(body[at : at + size])
    reader.finish()
    return [sink.data for sink in sinks]


def body_of(parts: list[bytes], boundary: str = "b") -> bytes:
    mark = b"--" + boundary.encode()
    return b"".join(mark + b"\r\n\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


@given(
    st.lists(st.binary(max_size=200), min_size=1, max_size=4),
    st.integers(1, 50),
    st.sampled_from([b"", b"\r\n", b"text\r\n"]),
)
def test_parts_come_back_however_the_body_is_cut(parts: list[bytes], size: int, preamble: bytes) -> None:
    if any(b"--b" in part for part in parts):
        return
    assert read(preamble + body_of(parts), size=size) == parts


@given(st.binary(max_size=300), st.integers(1, 20))
def test_noise_is_refused_or_read_but_never_a_fault(noise: bytes, size: int) -> None:
    with contextlib.suppress(RequestError, TooLargeError):
        read(noise, size=size)


@pytest.mark.parametrize("cut", range(3, 20))
def test_a_body_without_its_end_is_refused(cut: int) -> None:
    with pytest.raises(RequestError):
        read(body_of([b"0123456789"])[:-cut])


def test_what_follows_the_end_is_passed_over() -> None:
    assert read(body_of([b"x"]) + b"an epilogue --b\r\n") == [b"x"]


def test_a_first_boundary_that_never_comes_is_not_waited_for_in_memory() -> None:
    with pytest.raises(RequestError):
        read(b"x" * (1 << 17), size=1000)


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(TooLargeError):
        read(body_of([b"x"] * 10))


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b"', "a b"),
        ("multipart/related; type=application/dicom; boundary=abc-1", "abc-1"),
        ("Multipart/Related; boundary=x", "x"),
    ],
)
def test_boundaries_quoted_or_not(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("", MediaTypeError),
        ("multipart/form-data; boundary=x", MediaTypeError),
        ("multipart/related; type=image/png; boundary=x", MediaTypeError),
        ("multipart/related", RequestError),
        (f"multipart/related; boundary={'x' * 201}", RequestError),
        ('multipart/related; boundary="x "', RequestError),
    ],
)
def test_what_names_no_boundary_is_refused(content_type: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        boundary_of(content_type)
