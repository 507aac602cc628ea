import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.codecs import UndecodableError
from models.errors import InputError
from models.films import is_dicom, read_film, read_mask


def coded(pixels: np.ndarray, form: str = "PNG", mode: str | None = None) -> bytes:
    target = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(target, form)
    return target.getvalue()


EIGHT = np.arange(64 * 50, dtype=np.int64).reshape(64, 50) % 251
EIGHT = EIGHT.astype(np.uint8)


def test_a_png_is_read_with_what_the_study_table_says_of_it():
    picture = read_film(coded(EIGHT), view="pa", age_years=7.0)
    assert np.allclose(picture.pixels, EIGHT / 255)
    assert picture.pixels.dtype == np.float32
    header = picture.header
    assert (header.modality, header.view, header.age_years, header.photometric) == ("", "PA", 7.0, "MONOCHROME2")
    assert (header.rows, header.columns, header.bits_stored, header.lossy) == (64, 50, 8, False)
    assert picture.decoder.endswith("PNG")


def test_a_png_of_16_bits_keeps_them():
    pixels = (EIGHT.astype(np.uint16) << 8) + 3
    picture = read_film(coded(pixels))
    assert np.allclose(picture.pixels, pixels / 65535, atol=1e-7)
    assert picture.header.bits_stored == 16


def test_a_jpeg_is_read_as_lossy():
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    picture = read_film(coded(smooth, "JPEG"))
    assert np.abs(picture.pixels - smooth / 255).max() < 0.05
    assert picture.header.lossy


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_colours_is_grey(mode):
    assert np.allclose(read_film(coded(EIGHT, mode=mode)).pixels, EIGHT / 255)


def test_colour_is_refused():
    colours = np.zeros((40, 40, 3), np.uint8)
    colours[5, 5, 0] = 9
    with pytest.raises(UndecodableError, match="colour"):
        read_film(coded(colours))


def test_a_dicom_file_speaks_for_itself(make_dicom, ramp):
    data = make_dicom(ramp)
    assert read_film(data, view="LL", age_years=3.0).header.view == "PA"
    assert is_dicom(data)
    assert not is_dicom(coded(EIGHT))
    assert not is_dicom(memoryview(coded(EIGHT, "JPEG")))


@pytest.mark.parametrize(
    "data", [coded(EIGHT)[:60], coded(EIGHT)[:10], b"\xff\xd8\xff\xe0junk", b"", b"GIF89a" + b"\0" * 99]
)
def test_what_cannot_be_read_is_an_input_error(data):
    with pytest.raises(InputError):
        read_film(data)


def test_a_png_that_claims_a_huge_size_is_refused_before_it_is_inflated():
    header = struct.pack(">II5B", 60000, 60000, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError):
        read_film(bomb)


def test_a_picture_too_small_for_a_film_is_refused():
    with pytest.raises(InputError, match="10 x 50 pixels"):
        read_film(coded(EIGHT[:10]))


def test_a_mask_is_where_it_is_not_black():
    mask = np.zeros((40, 30), np.uint8)
    mask[3:9, 5:7] = 1
    assert (read_mask(coded(mask)) == (mask > 0)).all()
    with pytest.raises(InputError):
        read_mask(b"\x89PNG\r\n\x1a\n")
