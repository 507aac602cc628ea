"""Builders of DICOM files for the tests of ``models``."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

MakeDicom = Callable[..., bytes]


def build(
    pixels: np.ndarray,
    *,
    syntax: str = ExplicitVRLittleEndian,
    frame: bytes | None = None,
    bits_stored: int | None = None,
    has_meta: bool = True,
    **elements: object,
) -> bytes:
    """Return a film as a file; ``frame`` is its codestream where the syntax is compressed. None removes an element."""
    dataset = Dataset()
    allocated = pixels.dtype.itemsize * 8
    stored = bits_stored or allocated
    values: dict[str, object] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3.5",
        "SeriesInstanceUID": "1.2.3.6",
        "PatientID": "PAT-1",
        "PatientName": "Secret^Name",
        "PatientAge": "045Y",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": stored - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        **elements,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    is_big = syntax == uid.ExplicitVRBigEndian
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    else:
        data = pixels.astype(pixels.dtype.newbyteorder(">" if is_big else "<")).tobytes()
        data += b"\0" * (len(data) % 2)
        if is_big and allocated == 8:  # in words of 16 bits, each of which is swapped
            data = np.frombuffer(data, np.uint16).byteswap().tobytes()
        dataset.PixelData = data
        dataset["PixelData"].VR = "OW"
    target = io.BytesIO()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", "1.2.3")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    if has_meta:
        dataset.file_meta = meta
        dcmwrite(target, dataset, enforce_file_format=True)
    else:
        dcmwrite(
            target,
            dataset,
            implicit_vr=syntax == uid.ImplicitVRLittleEndian,
            little_endian=not is_big,
            enforce_file_format=False,
        )
    return target.getvalue()


@pytest.fixture(scope="session")
def make_dicom() -> MakeDicom:
    return build


@pytest.fixture(scope="session")
def ramp() -> np.ndarray:
    """12 bits of everything: a ramp with some texture, uint16, 48 x 40."""
    rng = np.random.default_rng(5)
    base = np.linspace(0, 4000, 48 * 40).reshape(48, 40)
    return (base + rng.integers(0, 90, base.shape)).astype(np.uint16)
