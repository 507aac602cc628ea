import struct

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder

from models import codecs
from models.codecs import FrameFormat, UndecodableError, check_codestream, decode_frame, decode_with
from models.dicom import read_picture
from models.greyscale import Greyscale, to_grey


def form_of(pixels: np.ndarray, bits_stored: int | None = None) -> FrameFormat:
    bits = pixels.dtype.itemsize * 8
    return FrameFormat(
        rows=pixels.shape[0],
        columns=pixels.shape[1],
        bits_allocated=bits,
        bits_stored=bits_stored or bits,
        is_signed=pixels.dtype.kind == "i",
        frames=1,
        photometric="MONOCHROME2",
    )


def rle(pixels: np.ndarray) -> bytes:
    options = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": pixels.dtype.itemsize * 8,
        "bits_stored": pixels.dtype.itemsize * 8,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    return get_encoder(uid.RLELossless).encode(pixels, encoding_plugin="pydicom", **options)


LOSSLESS = {
    "JPEGLossless": lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=4, bitspersample=12),
    "JPEGLosslessSV1": lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=1, bitspersample=12),
    "JPEGLSLossless": imagecodecs.jpegls_encode,
    "JPEG2000Lossless": lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True, bitspersample=12),
    "HTJ2KLossless": lambda p: imagecodecs.htj2k_encode(p, reversible=True),
    "HTJ2KLosslessRPCL": lambda p: imagecodecs.htj2k_encode(p, reversible=True),
    "RLELossless": rle,
}
LOSSY = {
    "JPEGBaseline8Bit": lambda p: imagecodecs.jpeg_encode((p >> 4).astype(np.uint8), level=95),
    "JPEGExtended12Bit": lambda p: imagecodecs.jpeg_encode(p, level=95, bitspersample=12),
    "JPEGLSNearLossless": lambda p: imagecodecs.jpegls_encode(p, level=3),
    "JPEG2000": lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=60, bitspersample=12),
    "HTJ2K": lambda p: imagecodecs.htj2k_encode(p, reversible=False, level=0.0001),
}
#: For each lossless syntax a second implementation, none of them the plugin that is asked first.
SECOND = {
    "JPEGLossless": lambda data, form: imagecodecs.jpegsof3_decode(data),
    "JPEGLosslessSV1": lambda data, form: imagecodecs.ljpeg_decode(data),
    "JPEGLSLossless": lambda data, form: decode_with("pyjpegls", encapsulate([data]), uid.JPEGLSLossless, form),
    "JPEG2000Lossless": lambda data, form: decode_with(
        "demur-openjpeg", encapsulate([data]), uid.JPEG2000Lossless, form
    ),
    "HTJ2KLossless": lambda data, form: decode_with("demur-openjpeg", encapsulate([data]), uid.HTJ2KLossless, form),
    "HTJ2KLosslessRPCL": lambda data, form: decode_with(
        "demur-openjpeg", encapsulate([data]), uid.HTJ2KLosslessRPCL, form
    ),
    "RLELossless": lambda data, form: decode_with("demur-rle", encapsulate([data]), uid.RLELossless, form),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_pixels_come_back_bit_for_bit_and_a_second_decoder_agrees(name, ramp):
    data, form = bytes(LOSSLESS[name](ramp)), form_of(ramp, 12)
    pixels, bits, decoder = decode_frame(encapsulate([data]), getattr(uid, name), form)
    assert (pixels == ramp).all()
    assert pixels.dtype == np.uint16
    assert 12 <= bits <= 16
    assert decoder.startswith("imagecodecs ")
    assert decoder.endswith(name)
    assert (np.asarray(SECOND[name](data, form)) == pixels).all()


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_pixels_come_back_nearly(name, ramp):
    data = bytes(LOSSY[name](ramp))
    original = (ramp >> 4).astype(np.uint8) if name == "JPEGBaseline8Bit" else ramp
    pixels, _, _ = decode_frame(
        encapsulate([data]), getattr(uid, name), form_of(original, min(12, original.itemsize * 8))
    )
    assert np.abs(pixels.astype(int) - original).mean() < 20


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_compressed_film_is_the_same_picture_as_the_plain_one(name, ramp, make_dicom):
    plain = read_picture(make_dicom(ramp, bits_stored=12, WindowCenter=2048, WindowWidth=4096))
    coded = read_picture(
        make_dicom(
            ramp,
            bits_stored=12,
            syntax=getattr(uid, name),
            frame=bytes(LOSSLESS[name](ramp)),
            WindowCenter=2048,
            WindowWidth=4096,
        )
    )
    assert (plain.pixels == coded.pixels).all()
    assert coded.header.transfer_syntax == getattr(uid, name)


@pytest.mark.parametrize("name", ["JPEGLSLossless", "JPEG2000Lossless", "RLELossless"])
def test_signed_pixels_keep_their_sign(name, ramp, make_dicom):
    values = ramp.astype(np.int16) - 2000
    encode = {
        "JPEGLSLossless": lambda v: imagecodecs.jpegls_encode(v.view(np.uint16)),
        "JPEG2000Lossless": lambda v: imagecodecs.jpeg2k_encode(v, codecformat="j2k", reversible=True),
        "RLELossless": lambda v: rle(v.view(np.uint16)),
    }[name]
    elements = {"bits_stored": 16, "WindowCenter": 0, "WindowWidth": 4096}
    plain = read_picture(make_dicom(values, **elements))
    coded = read_picture(make_dicom(values, syntax=getattr(uid, name), frame=bytes(encode(values)), **elements))
    assert (plain.pixels == coded.pixels).all()
    assert np.ptp(plain.pixels) > 0.9


def test_a_fallback_decodes_where_the_first_codec_cannot(ramp, monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("no")

    for name, fallback in (
        ("JPEGLSLossless", "pyjpegls"),
        ("JPEG2000Lossless", "pylibjpeg-openjpeg"),
        ("RLELossless", "pylibjpeg-rle"),
    ):
        data = bytes(LOSSLESS[name](ramp))
        with monkeypatch.context() as patch:
            for codec in ("jpegls_decode", "jpeg2k_decode", "dicomrle_decode"):
                patch.setattr(imagecodecs, codec, broken)
            pixels, _, decoder = decode_frame(encapsulate([data]), getattr(uid, name), form_of(ramp, 12))
        assert (pixels == ramp).all()
        assert decoder.startswith(fallback)


def test_no_plugin_but_ours_and_pyjpegls_is_ever_asked():
    asked = {plugin for syntax in codecs.COMPRESSED for plugin in codecs.plugins_of(syntax)}
    assert asked == {"imagecodecs", "demur-openjpeg", "demur-rle", "pyjpegls"}
    assert all(codecs.plugins_of(syntax)[0] == "imagecodecs" for syntax in codecs.COMPRESSED)


@pytest.mark.parametrize("name", [name for name in (*LOSSLESS, *LOSSY) if name != "RLELossless"])
def test_a_codestream_of_another_size_than_the_header_s_never_reaches_a_codec(name, ramp, monkeypatch):
    data = bytes({**LOSSLESS, **LOSSY}[name](ramp))
    form = form_of(np.zeros((4000, 4000), np.uint16), 12)
    monkeypatch.setattr(codecs, "decode_with", lambda *_: pytest.fail("a codec was asked"))
    with pytest.raises(UndecodableError, match="the codestream holds 48 x 40 pixels, the header says 4000 x 4000"):
        decode_frame(encapsulate([data]), getattr(uid, name), form)


def test_a_tiny_codestream_that_claims_a_huge_picture_is_refused(ramp):
    data = bytearray(LOSSLESS["JPEG2000Lossless"](ramp))
    struct.pack_into(">II", data, 8, 40000, 40000)
    with pytest.raises(UndecodableError, match="40000 x 40000"):
        decode_frame(encapsulate([bytes(data)]), uid.JPEG2000Lossless, form_of(ramp, 12))


def test_a_codestream_in_colour_is_refused(ramp):
    data = imagecodecs.jpeg_encode(np.zeros((48, 40, 3), np.uint8))
    with pytest.raises(UndecodableError, match="3 components"):
        decode_frame(encapsulate([bytes(data)]), uid.JPEGBaseline8Bit, form_of(ramp.astype(np.uint8)))


def test_a_codestream_of_more_bits_than_are_allocated_is_refused(ramp):
    data = LOSSLESS["JPEGLSLossless"](ramp)
    with pytest.raises(UndecodableError, match="bits in pixels of 8"):
        decode_frame(encapsulate([bytes(data)]), uid.JPEGLSLossless, form_of(ramp.astype(np.uint8)))


@pytest.mark.parametrize("syntax", sorted(codecs.COMPRESSED))
@pytest.mark.parametrize(
    "junk", [b"", b"\0", b"\xff\xd8", b"\xff\xd8" + b"\xff" * 50, b"\xff\x4f\xff\x51\0\x29", b"x" * 200]
)
def test_junk_is_refused_whatever_it_says_it_is(syntax, junk, ramp):
    with pytest.raises(UndecodableError):
        decode_frame(encapsulate([junk]) if junk else b"", syntax, form_of(ramp, 12))


@pytest.mark.parametrize("name", [name for name in (*LOSSLESS, *LOSSY) if name != "RLELossless"])
@pytest.mark.parametrize("keep", [0.98, 0.9, 0.5])
def test_a_codestream_that_is_cut_off_is_refused(name, keep, ramp):
    data = bytes({**LOSSLESS, **LOSSY}[name](ramp))
    original = (ramp >> 4).astype(np.uint8) if name == "JPEGBaseline8Bit" else ramp
    with pytest.raises(UndecodableError, match="cut off"):
        decode_frame(encapsulate([data[: int(len(data) * keep)]]), getattr(uid, name), form_of(original))


@pytest.mark.parametrize("keep", [0.98, 0.9, 0.5])
def test_rle_that_is_cut_off_is_refused(keep, ramp):
    data = rle(ramp)
    with pytest.raises(UndecodableError):
        decode_frame(encapsulate([data[: int(len(data) * keep)]]), uid.RLELossless, form_of(ramp))


def test_rle_cannot_claim_more_than_it_can_hold(ramp):
    small = rle(np.zeros((64, 64), np.uint16))
    with pytest.raises(UndecodableError, match="cannot hold 16000000 pixels"):
        decode_frame(encapsulate([small]), uid.RLELossless, form_of(np.zeros((4000, 4000), np.uint16)))


def test_a_panic_of_the_rle_decoder_is_an_error_like_any_other(ramp):
    form = form_of(np.zeros((48, 30), np.uint16))  # fewer pixels than the segments hold
    for plugin in ("imagecodecs", "demur-rle"):
        with pytest.raises(Exception, match=r"."):
            decode_with(plugin, encapsulate([rle(ramp)]), uid.RLELossless, form)
    with pytest.raises(UndecodableError, match="demur-rle: RuntimeError"):
        decode_frame(encapsulate([rle(ramp)]), uid.RLELossless, form)


@pytest.mark.parametrize(("place", "value"), [(0, 3), (4, 10), (8, 1 << 30)])
def test_rle_segments_are_checked(place, value, ramp):
    data = bytearray(rle(ramp))
    struct.pack_into("<I", data, place, value)
    with pytest.raises(UndecodableError, match="segments"):
        check_codestream(bytes(data), uid.RLELossless, form_of(ramp))


def test_a_codestream_of_several_fragments_is_put_together(ramp):
    data = bytes(LOSSLESS["JPEGLosslessSV1"](ramp))
    pixels, _, _ = decode_frame(encapsulate([data], fragments_per_frame=3), uid.JPEGLosslessSV1, form_of(ramp, 12))
    assert (pixels == ramp).all()


def test_the_codestream_s_own_bits_count_where_the_header_has_fewer(ramp):
    data = bytes(LOSSLESS["JPEGLosslessSV1"](ramp))
    pixels, bits, _ = decode_frame(encapsulate([data]), uid.JPEGLosslessSV1, form_of(ramp, 10))
    assert bits == 12
    assert (
        to_grey(pixels, Greyscale(bits_allocated=16, bits_stored=bits, high_bit=bits - 1, is_signed=False)).max() == 1.0
    )


def test_pydicom_itself_can_use_the_plugin(ramp, make_dicom):
    codecs.plugins_of(uid.JPEGLosslessSV1)
    dataset = Dataset()
    assert codecs.is_available(uid.JPEGLosslessSV1)
    assert not codecs.is_available(uid.MPEG2MPML)
    from pydicom import dcmread
    from pydicom.filebase import DicomBytesIO

    data = make_dicom(ramp, bits_stored=12, syntax=uid.JPEGLosslessSV1, frame=bytes(LOSSLESS["JPEGLosslessSV1"](ramp)))
    dataset = dcmread(DicomBytesIO(data))
    dataset.pixel_array_options(decoding_plugin="imagecodecs")
    assert (dataset.pixel_array == ramp).all()
