"""Stored instances as viewers want them: whole, as metadata, frame by frame, or as a picture."""

import io
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from models.decoding import Decoders
from models.dicom import read_header
from models.errors import InputError
from models.parsing import contained, parse
from models.preprocess import InputSpec
from service.errors import MissingError
from service.retrieve.store import Stored

#: The longer side of a rendered picture.
RENDERED_SIDE_MAX = 2048
_PATIENT_GROUP = 0x0010
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def metadata_of(data: memoryview, item: Stored, *, bulk_url: str) -> dict[str, Any]:
    """Return an instance's elements in DICOM JSON, its pixels by reference."""
    with contained():
        parsed = parse(data)
        dataset = Dataset(parsed.dataset)
        if item.patient:
            _name(dataset, item.patient)
        found = dataset.to_json_dict(bulk_data_threshold=1024, bulk_data_element_handler=lambda _element: bulk_url)
        if parsed.has_pixels:
            found["7FE00010"] = {"vr": parsed.pixel_vr or "OW", "BulkDataURI": bulk_url}
        found["00083002"] = {"vr": "UI", "Value": [parsed.transfer_syntax]}
        return found


def file_of(data: memoryview, item: Stored) -> bytes:
    """Return an instance as PS3.10 has a file: what came without preamble or meta information gets them.

    Where its study was found to be another patient's, the file names that one.
    """
    if item.patient:
        return _corrected(_file_of(data, item), item.patient)
    return _file_of(data, item)


def _file_of(data: memoryview, item: Stored) -> bytes:
    if bytes(data[128:132]) == b"DICM":
        return bytes(data)
    head = bytes(128) + b"DICM"
    if bytes(data[:2]) != b"\x02\x00":
        with contained():
            parsed = parse(data)
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = UID(parsed.text("SOPClassUID"))
            meta.MediaStorageSOPInstanceUID = UID(item.sop_instance_uid)
            meta.TransferSyntaxUID = UID(parsed.transfer_syntax)
            buffer = DicomBytesIO()
            write_file_meta_info(buffer, meta)
            head += buffer.getvalue()
    return head + bytes(data)


def _corrected(data: bytes, patient: dict[str, str]) -> bytes:
    with contained():
        dataset = dcmread(io.BytesIO(data))
        _name(dataset, patient)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()


def _name(dataset: Dataset, patient: dict[str, str]) -> None:
    """Let a data set name a patient; whatever else it says of the one before, group 0010, is left out."""
    if not all(value.isascii() for value in patient.values()):
        dataset.decode()
        dataset.SpecificCharacterSet = "ISO_IR 192"
    for element in [tag for tag in dataset.keys() if tag.group == _PATIENT_GROUP]:  # noqa: SIM118 - elements else
        del dataset[element]
    dataset.pop("OriginalAttributesSequence", None)
    for keyword, value in patient.items():
        setattr(dataset, keyword, value)


def frames_of(data: memoryview, numbers: list[int]) -> list[bytes]:
    """Return frames as they are stored, counted from one; InputError or MissingError if they are not to be had."""
    with contained():
        parsed = parse(data)
        if not parsed.has_pixels:
            raise InputError("the instance has no pixels")
        count = parsed.integer("NumberOfFrames", 1)
        if not all(1 <= number <= count for number in numbers):
            numbers = []
        if parsed.pixel_length is None:
            pixels = bytes(parsed.pixel_bytes(None))
            found = [get_frame(pixels, number - 1, number_of_frames=count) for number in numbers]
        else:
            rows, columns = parsed.integer("Rows", 0), parsed.integer("Columns", 0)
            samples, bits = parsed.integer("SamplesPerPixel", 1), parsed.integer("BitsAllocated", 16)
            size = rows * columns * samples * bits // 8
            pixels = bytes(parsed.pixel_bytes(size * max(numbers, default=0)))
            found = [pixels[(number - 1) * size : number * size] for number in numbers]
    if not found:
        raise MissingError("there is no such frame")
    return found


class Renderer:
    """Makes pictures of stored instances, decoded where a codec may be killed. Safe to use from many threads."""

    def __init__(self) -> None:
        self._decoders = Decoders(children=1)

    def close(self) -> None:
        """End the decoder."""
        self._decoders.close()

    def png_of(self, data: memoryview) -> bytes:
        """Return an instance as a PNG of 256 greys, windowed as the network's pictures are; InputError if it cannot be."""
        header = read_header(data)
        reduced = max(1.0, max(header.rows, header.columns) / RENDERED_SIDE_MAX)
        rows, columns = (max(1, round(side / reduced)) for side in (header.rows, header.columns))
        spec = InputSpec(rows=rows, columns=columns, mean=0.0, std=1.0, percentile_low=0.0, percentile_high=100.0)
        grey = np.clip(self._decoders.decode(data, spec).tensor[0], 0.0, 1.0)
        buffer = io.BytesIO()
        Image.fromarray(np.rint(grey * 255).astype(np.uint8)).save(buffer, "PNG")
        return buffer.getvalue()
