import io
import logging
import logging.config
import struct
import traceback
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from models.dicom import read_header, read_picture
from models.errors import InputError
from models.parsing import HEADER_BYTES_MAX, contained, parse

META = b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI" + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99"
IMPLICIT_META = b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI" + struct.pack("<H", 18) + b"1.2.840.10008.1.2\0"


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def explicit(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def explicit_long(group: int, element: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, element, vr, 0, length)


def test_a_deflate_bomb_before_the_pixels_is_refused_without_being_inflated():
    size = 40 << 20
    bomb = META + deflate(explicit_long(0x0009, 0x1001, b"OB", size) + bytes(size))
    assert len(bomb) < 50_000
    with contained(), pytest.raises(InputError, match="longer than 16 MiB"):
        parse(bomb)


def test_a_deflate_bomb_in_the_pixels_is_not_inflated_for_the_header(make_dicom):
    plain = make_dicom(np.zeros((64, 64), np.uint16), syntax=uid.ExplicitVRLittleEndian)
    start = plain.index(b"\x08\0\x16\0UI")
    body = plain[start:].replace(struct.pack("<I", 64 * 64 * 2), struct.pack("<I", 50 << 20)) + bytes(50 << 20)
    bomb = META + deflate(body)
    assert read_header(bomb).rows == 64
    with contained():
        parsed = parse(bomb)
        parsed.pixel_bytes(8192)
        assert len(parsed.reader._inflated) < 1 << 20  # pyright: ignore[reportAttributeAccessIssue]
    assert read_picture(bomb).pixels.shape == (64, 64)


def test_a_deflated_stream_of_junk_or_cut_off_is_an_input_error(make_dicom):
    whole = make_dicom(np.zeros((64, 64), np.uint16), syntax=uid.DeflatedExplicitVRLittleEndian)
    for data in (META + b"junk" * 20, META, whole[: len(whole) - 40]):
        with pytest.raises(InputError):
            read_picture(data)


def test_a_header_of_too_many_elements_is_refused():
    elements = b"".join(explicit(0x0009, element & 0xFFFF, b"LO", b"") for element in range(60_000))
    with contained(), pytest.raises(InputError, match="too many elements"):
        parse(b"\0" * 128 + b"DICM" + elements * 2)


def test_a_header_that_is_too_long_is_refused():
    data = (
        b"\0" * 128 + b"DICM" + explicit_long(0x0009, 0x1001, b"OB", HEADER_BYTES_MAX + 8) + bytes(HEADER_BYTES_MAX + 8)
    )
    with contained(), pytest.raises(InputError, match="longer than"):
        parse(data)


@pytest.mark.parametrize("levels", [400, 50_000])
def test_sequences_nested_without_end_are_refused(levels):
    opened = (
        explicit_long(0x0008, 0x1140, b"SQ", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ) * levels
    with pytest.raises(InputError, match="nested too deeply"):
        read_header(b"\0" * 128 + b"DICM" + opened)


def test_a_value_that_is_looked_at_may_not_be_huge(make_dicom):
    plain = make_dicom(np.zeros((64, 64), np.uint16), ViewPosition="PA")
    with pytest.raises(InputError, match="BodyPartExamined is too long"):
        read_header(_with_long(plain, 0x0018, 0x0015, b"UT", 1 << 19))


def test_a_lookup_table_may_not_be_huge(make_dicom):
    plain = make_dicom(np.zeros((64, 64), np.uint16))
    with pytest.raises(InputError, match="VOILUTSequence is too long"):
        read_picture(_with_long(plain, 0x0028, 0x3010, b"SQ", 2 << 20))


def _with_long(plain: bytes, group: int, element: int, vr: bytes, size: int) -> bytes:
    """Put an element just before the pixels; a repeated element replaces the earlier one."""
    at = plain.index(b"\xe0\x7f\x10\0OW")
    return plain[:at] + explicit_long(group, element, vr, size) + b"1" * size + plain[at:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\0" * 132,
        b"not dicom at all, just a text that goes on for a while" * 9,
        b"%PDF-1.7\n" + b"0" * 300,
        bytes(5000),
    ],
)
def test_what_is_not_dicom_is_refused(data):
    with pytest.raises(InputError):
        read_header(data)


def test_memoryviews_and_bytearrays_are_read_like_bytes(make_dicom, ramp):
    data = make_dicom(ramp)
    assert read_header(memoryview(data)) == read_header(bytearray(data)) == read_header(data)


SECRET = "Musterfrau^Erika"


def test_neither_errors_nor_warnings_nor_logs_hold_what_the_file_holds(make_dicom, ramp, capfd, caplog):
    broken = [
        make_dicom(ramp, PatientName=SECRET).replace(b"1.2.3.4", b"1.x.3.4"),
        make_dicom(ramp, PatientName=SECRET).replace(b"045Y", b"0?5Y"),
        make_dicom(ramp, PatientName=SECRET, WindowCenter=1234, WindowWidth=99).replace(b"1234", b"12^4"),
        make_dicom(ramp, PatientName=SECRET, NumberOfFrames=1).replace(b"IS\x02\x001 ", b"IS\x02\0x "),
        make_dicom(ramp, PatientName=SECRET, SpecificCharacterSet="ISO_IR 100").replace(
            b"ISO_IR 100", b"ISO_XX " + b"100"
        ),
        make_dicom(ramp, PatientName=SECRET)[:-900],
        make_dicom(ramp, PatientName=SECRET, syntax=uid.JPEGLosslessSV1, frame=b"Musterfrau"),
    ]
    # What uvicorn does: configure logging with disable_existing_loggers false.
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "DEBUG"}})
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for data in broken:
                try:
                    read_picture(data)
                except InputError as error:
                    told.write("".join(traceback.format_exception(error)))
    finally:
        logging.getLogger().removeHandler(handler)
    assert caught == []
    output = told.getvalue() + caplog.text + "".join(capfd.readouterr())
    for secret in ("Musterfrau", "1.x.3", "0?5Y", "12^4", "ISO_XX", "pydicom"):
        assert secret not in output


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(st.tuples(st.integers(0, 4600), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 5000),
    st.booleans(),
)
def test_whatever_the_bytes_the_outcome_is_a_picture_or_an_input_error(make_dicom, ramp, changes, keep, is_implicit):
    syntax = uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
    data = bytearray(make_dicom(ramp, bits_stored=12, WindowCenter=2048, WindowWidth=4096, syntax=syntax))
    for place, value in changes:
        data[place % len(data)] = value
    if keep < len(data) // 4:
        del data[keep:]
    try:
        picture = read_picture(bytes(data))
    except InputError:
        return
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.min() >= 0
    assert picture.pixels.max() <= 1
