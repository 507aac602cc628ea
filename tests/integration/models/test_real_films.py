"""The real DICOM files beside the project: every codec on what scanners wrote, and pictures that are the right way round."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.encaps import get_frame

from models.codecs import FrameFormat, decode_with
from models.dicom import read_header, read_picture
from models.parsing import contained, parse
from models.scope import CLINICAL, RESEARCH, veto
from models.vocabulary import Reason

CHEST = ["barre_CR-MONO1-10-chest", "nema_RG1_chest_J2KI", "nema_RG1_chest_JLSN"]


def read(shared: Path, name: str) -> bytes:
    return (shared / "dicom" / f"{name}.dcm").read_bytes()


@pytest.mark.parametrize("name", CHEST)
def test_chest_films_show_bright_bone_and_dark_lung(shared, name):
    pixels = read_picture(read(shared, name)).pixels
    rows, columns = pixels.shape
    spine = np.median(pixels[rows // 3 : rows // 2, int(columns * 0.47) : int(columns * 0.53)])
    lungs = [
        np.median(pixels[rows // 5 : rows // 2, int(columns * at) : int(columns * (at + 0.1))]) for at in (0.2, 0.7)
    ]
    assert spine > max(lungs) + 0.05


@pytest.mark.parametrize(
    ("coded", "plain"),
    [
        ("nonchest_nema_RG2_JPLL", "nonchest_nema_RG2_UNC"),
        ("nonchest_nema_RG2_RLE", "nonchest_nema_RG2_UNC"),
        ("nonchest_nema_RG3_JLSL", "nonchest_nema_RG3_UNC"),
        ("nonchest_nema_RG3_J2KR", "nonchest_nema_RG3_UNC"),
    ],
)
def test_a_lossless_film_is_the_picture_of_its_uncompressed_twin_bit_for_bit(shared, coded, plain):
    assert (read_picture(read(shared, coded)).pixels == read_picture(read(shared, plain)).pixels).all()


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("nonchest_nema_RG2_JPLL", "jpegsof3"),
        ("nonchest_fodicom_CR-ModalitySequenceLUT", "jpegsof3"),
        ("nonchest_nema_RG2_RLE", "demur-rle"),
        ("nonchest_nema_RG3_JLSL", "pyjpegls"),
        ("nonchest_nema_RG3_J2KR", "demur-openjpeg"),
    ],
)
def test_two_decoders_agree_bit_for_bit(shared, name, second):
    with contained():
        parsed = parse(read(shared, name))
        data = bytes(parsed.pixel_bytes(None))
        form = FrameFormat(
            rows=parsed.integer("Rows", 0),
            columns=parsed.integer("Columns", 0),
            bits_allocated=parsed.integer("BitsAllocated", 0),
            bits_stored=parsed.integer("BitsStored", 0),
            is_signed=False,
            frames=1,
            photometric="MONOCHROME2",
        )
        first = decode_with("imagecodecs", data, parsed.transfer_syntax, form)
        if second == "jpegsof3":
            other = imagecodecs.jpegsof3_decode(get_frame(data, 0, number_of_frames=1))
        else:
            other = decode_with(second, data, parsed.transfer_syntax, form)
    assert (first == other).all()
    assert np.ptp(first) > 500


def test_every_file_becomes_a_picture_in_range(shared):
    files = sorted((shared / "dicom").glob("*.dcm"))
    assert files
    for path in files:
        picture = read_picture(path.read_bytes())
        assert picture.pixels.min() >= 0
        assert picture.pixels.max() <= 1
        assert np.ptp(picture.pixels) > 0.5
        assert picture.header == read_header(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nonchest_nema_CT1_UNC", Reason.MODALITY),
        ("nonchest_nema_MR1_UNC", Reason.MODALITY),
        ("nonchest_nema_MG1_JPLY", Reason.BODY_PART),
        ("nonchest_nema_RG2_UNC", Reason.BODY_PART),
        ("nonchest_nema_RG3_JPLY", Reason.BODY_PART),
        ("barre_CR-MONO1-10-chest", Reason.AGE),
    ],
)
def test_the_header_takes_what_is_no_adult_chest_out_of_scope(shared, name, reason):
    assert reason in veto(read_header(read(shared, name)), CLINICAL)


@pytest.mark.parametrize("name", CHEST)
def test_chest_films_are_in_the_research_scope(shared, name):
    assert veto(read_header(read(shared, name)), RESEARCH) == ()


def test_a_film_without_preamble_says_how_it_is_encoded(shared):
    header = read_header(read(shared, "barre_CR-MONO1-10-chest"))
    assert header.transfer_syntax == uid.ImplicitVRLittleEndian
    assert (header.rows, header.columns, header.bits_stored) == (440, 440, 10)
