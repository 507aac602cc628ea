import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from models.codecs import UndecodableError
from models.dicom import read_header, read_picture
from models.errors import InputError

NATIVE = ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"]
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
def test_uncompressed_films_are_read_whatever_their_encoding(name, dtype, ramp, make_dicom):
    pixels = (ramp >> 4).astype(dtype) if dtype == np.uint8 else (ramp - 2000 * (dtype == np.int16)).astype(dtype)
    low = {np.uint16: 0, np.int16: -2048, np.uint8: 0}[dtype]
    high = {np.uint16: 4095, np.int16: 2047, np.uint8: 255}[dtype]
    window = {"WindowCenter": (low + high + 1) / 2, "WindowWidth": high - low + 1}
    picture = read_picture(make_dicom(pixels, syntax=getattr(uid, name), **window))
    expected = np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    assert np.abs(picture.pixels - expected).max() < 1e-6
    assert picture.header.transfer_syntax == getattr(uid, name)
    assert picture.decoder.startswith("numpy ")


@pytest.mark.parametrize("name", NATIVE[:3])
def test_a_film_without_preamble_and_meta_information_is_read(name, ramp, make_dicom):
    with_meta = read_picture(make_dicom(ramp, syntax=getattr(uid, name), **WINDOW))
    without = read_picture(make_dicom(ramp, syntax=getattr(uid, name), has_meta=False, **WINDOW))
    assert (with_meta.pixels == without.pixels).all()
    assert without.header == with_meta.header


def test_an_odd_number_of_bytes_in_big_endian_words_is_read(make_dicom):
    pixels = np.arange(17 * 17, dtype=np.uint8).reshape(17, 17)
    swapped = read_picture(make_dicom(pixels, syntax=uid.ExplicitVRBigEndian, WindowCenter=128, WindowWidth=256))
    plain = read_picture(make_dicom(pixels, WindowCenter=128, WindowWidth=256))
    assert (plain.pixels == swapped.pixels).all()


def test_a_header_is_read_with_its_types(ramp, make_dicom):
    header = read_header(
        make_dicom(
            ramp,
            bits_stored=12,
            PresentationIntentType="FOR PRESENTATION",
            PresentationLUTShape="IDENTITY",
            ImageType=["ORIGINAL", "PRIMARY"],
            BurnedInAnnotation="NO",
            LossyImageCompression="01",
            ImagerPixelSpacing=[0.14, 0.15],
        ).replace(b"CS\x02\0PA", b"CS\x02\0pa")
    )
    assert (header.rows, header.columns, header.bits_stored, header.frames, header.samples_per_pixel) == (
        48,
        40,
        12,
        1,
        1,
    )
    assert (header.modality, header.body_part, header.view, header.age_years) == ("DX", "CHEST", "PA", 45.0)
    assert header.image_type == ("ORIGINAL", "PRIMARY")
    assert (header.presentation_intent, header.presentation_lut_shape, header.burned_in) == (
        "FOR PRESENTATION",
        "IDENTITY",
        "NO",
    )
    assert header.lossy
    assert header.spacing_mm == (0.14, 0.15)
    assert (header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid) == (
        "1.2.3.4",
        "1.2.3.5",
        "1.2.3.6",
    )
    assert header.patient_id == "PAT-1"


@pytest.mark.parametrize(
    ("elements", "age"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "003W"}, 21 / 365.25),
        ({"PatientAge": "010D"}, 10 / 365.25),
        ({"PatientAge": None}, None),
        ({"PatientAge": ""}, None),
        ({"PatientAge": None, "PatientBirthDate": "19800101", "StudyDate": "20200101"}, 40.0),
        ({"PatientAge": "039Y", "PatientBirthDate": "19800101", "StudyDate": "20200101"}, 39.0),
        ({"PatientAge": "009Y", "PatientBirthDate": "19800101", "StudyDate": "20200101"}, None),
        ({"PatientAge": None, "PatientBirthDate": "20300101", "StudyDate": "20200101"}, None),
        ({"PatientAge": None, "PatientBirthDate": "19800101"}, None),
        ({"PatientAge": "045Y", "PatientBirthDate": "", "StudyDate": ""}, 45.0),
    ],
)
def test_the_age_is_told_or_counted_and_unknown_where_these_disagree(elements, age, ramp, make_dicom):
    found = read_header(make_dicom(ramp, **elements)).age_years
    assert found == (None if age is None else pytest.approx(age, abs=0.01))


def lut_item(descriptor: list[int], data: list[int], vr: str = "US") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
    item.add_new("LUTData", vr, data if vr == "US" else np.array(data, "<u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_tables_of_the_file_are_applied_in_order(vr, syntax, make_dicom):
    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    modality = lut_item([4096, 0, 12], list(range(4095, -1, -1)), vr)
    voi = lut_item([1024, 1000, 8], [min(255, entry // 4) for entry in range(1024)], vr)
    picture = read_picture(
        make_dicom(pixels, bits_stored=12, syntax=syntax, ModalityLUTSequence=modality, VOILUTSequence=voi)
    )
    after_modality = 4095 - np.arange(4096)
    expected = np.clip((after_modality - 1000) // 4, 0, 255) / 255
    assert np.abs(picture.pixels.ravel() - expected).max() < 1e-6


def test_a_table_that_begins_below_zero_is_applied_to_signed_pixels(make_dicom):
    pixels = (np.arange(4096) - 2048).astype(np.int16).reshape(64, 64)
    voi = lut_item([4096, -2048, 12], list(range(4096)))
    picture = read_picture(make_dicom(pixels, VOILUTSequence=voi))
    assert np.abs(picture.pixels.ravel() - np.arange(4096) / 4095).max() < 1e-6


def test_a_table_with_too_few_entries_is_an_input_error(ramp, make_dicom):
    with pytest.raises(InputError, match="100 entries"):
        read_picture(make_dicom(ramp, VOILUTSequence=lut_item([100, 0, 8], [1, 2, 3])))
    with pytest.raises(InputError, match="17 bits"):
        read_picture(make_dicom(ramp, VOILUTSequence=lut_item([3, 0, 17], [1, 2, 3])))


def test_the_first_of_several_windows_counts(ramp, make_dicom):
    several = read_picture(make_dicom(ramp, WindowCenter=[2048, 100], WindowWidth=[4096, 50]))
    assert (several.pixels == read_picture(make_dicom(ramp, **WINDOW)).pixels).all()


@pytest.mark.parametrize(
    ("photometric", "shape", "is_inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_polarity_follows_the_presentation_shape_and_else_the_photometric_interpretation(
    photometric, shape, is_inverted, ramp, make_dicom
):
    upright = read_picture(make_dicom(ramp, **WINDOW)).pixels
    data = make_dicom(ramp, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **WINDOW)
    assert np.allclose(read_picture(data).pixels, 1 - upright if is_inverted else upright, atol=1e-6)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_of_a_range_is_black(syntax, signed, make_dicom):
    pixels = np.tile(np.arange(64, dtype=np.int16 if signed else np.uint16) * 30, (64, 1))
    padding = (-2000, -1990) if signed else (3000, 3010)
    pixels[:, :20] = padding[0] + 5
    data = make_dicom(
        pixels,
        syntax=syntax,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=padding[0],
        PixelPaddingRangeLimit=padding[1],
    )
    picture = read_picture(data)
    assert (picture.pixels[:, :20] == 0).all()
    assert picture.pixels[:, 20:].max() == 1.0


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels"),
        ({"Rows": 4, "Columns": 4}, "4 x 4 pixels"),
        ({"NumberOfFrames": 1_000_000}, "1000000 frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "not plain grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not plain grey"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "32 bits"),
        ({"Rows": 4000, "Columns": 4000}, "shorter than 4000 x 4000"),
        ({"RescaleSlope": 0}, "rescale"),
    ],
)
def test_bounds_come_before_work(elements, told, ramp, make_dicom):
    with pytest.raises(InputError, match=told):
        read_picture(make_dicom(ramp, **elements))


def test_a_file_that_ends_before_its_pixels_do_is_undecodable(ramp, make_dicom):
    with pytest.raises(UndecodableError, match="ends before"):
        read_picture(make_dicom(ramp)[:-100])


def test_a_file_without_pixels_has_a_header_and_no_picture(ramp, make_dicom):
    data = make_dicom(ramp)
    data = data[: data.index(b"\xe0\x7f\x10\0OW")]
    assert read_header(data).modality == "DX"
    with pytest.raises(UndecodableError, match="no pixel data"):
        read_picture(data)


def test_a_transfer_syntax_that_nobody_decodes_is_told(ramp, make_dicom):
    with pytest.raises(UndecodableError, match="none that can be decoded"):
        read_picture(make_dicom(ramp, syntax="1.2.840.10008.1.2.4.100", frame=b"mpeg"))


def test_native_pixels_in_fragments_are_undecodable(ramp, make_dicom):
    data = make_dicom(ramp, syntax=uid.JPEGLosslessSV1, frame=b"x" * 9999)
    native = data.replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.1\0\0\0")
    with pytest.raises(UndecodableError, match="shorter"):
        read_picture(native)


def test_several_frames_have_a_header_that_the_scope_can_refuse(make_dicom):
    frames = np.zeros((3 * 32, 32), np.uint16)
    assert read_header(make_dicom(frames, Rows=32, NumberOfFrames=3)).frames == 3
    assert read_picture(make_dicom(frames, Rows=32, NumberOfFrames=3)).pixels.shape == (32, 32)


def test_the_same_file_is_always_the_same_picture(ramp, make_dicom):
    data = make_dicom(ramp)
    assert read_picture(data).pixels.tobytes() == read_picture(data).pixels.tobytes()
