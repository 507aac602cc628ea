"""What decoding and preprocessing cost, by transfer syntax: CPU and wall milliseconds, best of several, in this process.

Run ``python benchmarks/decode.py [--rows 2500] [--columns 2048] [--repeats 5]``. The film is a smooth picture with noise in 12
of 16 bits, encoded here. Wall times are those of an idle machine only if it is one; CPU times hold on a busy one too. The last
column is the whole way through a decoder child, as the service takes it (uncompressed films: in place).
"""

import argparse
import io
import time
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder

from models.decoding import Decoders
from models.dicom import read_header, read_picture
from models.preprocess import InputSpec, preprocess

SPEC = InputSpec(rows=224, columns=224)


def rle(pixels: np.ndarray) -> bytes:
    """Encode one frame with pydicom's RLE encoder."""
    options = {
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": 16,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "number_of_frames": 1,
    }
    return get_encoder(uid.RLELossless).encode(pixels, encoding_plugin="pydicom", **options)


ENCODE: dict[str, Callable[[np.ndarray], bytes] | None] = {
    "ImplicitVRLittleEndian": None,
    "ExplicitVRLittleEndian": None,
    "ExplicitVRBigEndian": None,
    "DeflatedExplicitVRLittleEndian": None,
    "RLELossless": rle,
    "JPEGExtended12Bit": lambda p: imagecodecs.jpeg_encode(p, level=95, bitspersample=12),
    "JPEGLossless": lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=6, bitspersample=12),
    "JPEGLosslessSV1": lambda p: imagecodecs.jpeg_encode(p, lossless=True, predictor=1, bitspersample=12),
    "JPEGLSLossless": imagecodecs.jpegls_encode,
    "JPEGLSNearLossless": lambda p: imagecodecs.jpegls_encode(p, level=2),
    "JPEG2000Lossless": lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", reversible=True, bitspersample=12),
    "JPEG2000": lambda p: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=50, bitspersample=12),
    "HTJ2KLossless": lambda p: imagecodecs.htj2k_encode(p, reversible=True),
}


def film(pixels: np.ndarray, name: str) -> bytes:
    """Return the pixels as a DICOM file in a transfer syntax."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "DX", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    encode = ENCODE[name]
    if encode is None:
        dataset.PixelData = (pixels.byteswap() if "Big" in name else pixels).tobytes()
        dataset["PixelData"].VR = "OW"
    else:
        dataset.PixelData = encapsulate([bytes(encode(pixels))])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = getattr(uid, name)
    target = io.BytesIO()
    dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def best_ms(work: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Return the least of several times in milliseconds, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        started = clock()
        work()
        times.append(clock() - started)
    return 1000 * min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2500)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : options.rows, 0 : options.columns] / options.rows
    smooth = 2000 + 900 * np.sin(5 * x + 3 * y) + 700 * np.cos(9 * y)
    pixels = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 4095).astype(np.uint16)
    print(
        f"{'transfer syntax':32} {'MB':>6} {'header':>7} {'picture':>8} {'input':>6} {'child, wall':>12}   ms of CPU, best"
    )
    with Decoders(children=1) as decoders:
        for name in ENCODE:
            data = film(pixels, name)
            picture = read_picture(data)
            header_ms = best_ms(lambda data=data: read_header(data), options.repeats, time.process_time)
            picture_ms = best_ms(lambda data=data: read_picture(data), options.repeats, time.process_time)
            input_ms = best_ms(lambda seen=picture: preprocess(seen.pixels, SPEC), options.repeats, time.process_time)
            child_ms = best_ms(lambda data=data: decoders.decode(data, SPEC), options.repeats, time.perf_counter)
            figures = f"{len(data) / 1e6:6.1f} {header_ms:7.2f} {picture_ms:8.1f} {input_ms:6.1f} {child_ms:12.1f}"
            print(f"{name:32} {figures}   {picture.decoder}")


if __name__ == "__main__":
    main()
