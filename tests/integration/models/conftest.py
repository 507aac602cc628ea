"""Films in several codecs, and children that misbehave."""

import io
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

ENCODE = {
    uid.JPEGLosslessSV1: lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=1, bitspersample=12),
    uid.JPEGExtended12Bit: lambda p: imagecodecs.jpeg_encode(p, level=95, bitspersample=12),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.JPEG2000Lossless: lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True, bitspersample=12),
    uid.HTJ2KLossless: lambda p: imagecodecs.htj2k_encode(p, reversible=True),
}


def coded(syntax: str, rows: int = 96, columns: int = 80, damage: Callable[[bytes], bytes] = bytes) -> bytes:
    """Return a film of a ramp in a transfer syntax; ``damage`` is done to its codestream."""
    rng = np.random.default_rng(3)
    pixels = (
        np.linspace(0, 4000, rows * columns).reshape(rows, columns) + rng.integers(0, 90, (rows, columns))
    ).astype(np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    if syntax in ENCODE:
        dataset.PixelData = encapsulate([damage(bytes(ENCODE[syntax](pixels)))])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    target = io.BytesIO()
    dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


@pytest.fixture
def misbehaving(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Return the command of a child that runs some code instead of decoding a frame of 40 columns."""

    def make(code: str) -> tuple[str, ...]:
        script = tmp_path / "misbehaving.py"
        script.write_text(
            "import os, re, sys, time\n"
            "from models import codecs, decoder_child\n"
            "well = codecs.decode_frame\n"
            "def badly(data, syntax, form):\n"
            "    if form.columns == 40:\n" + textwrap.indent(code, "        ") + "\n"
            "    return well(data, syntax, form)\n"
            "codecs.decode_frame = badly\n"
            "decoder_child.main()\n"
        )
        return (sys.executable, "-P", str(script))

    return make
