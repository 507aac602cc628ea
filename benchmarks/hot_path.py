"""What a film costs on its way from bytes to score, in milliseconds of CPU, and what the engine adds to it.

    python benchmarks/hot_path.py CANDIDATE/ [--films 100]

Films are smooth noise of 12 bits, kept as hospitals send them. The tight loop decodes, preprocesses and runs the graph with
nothing around it, in this process; the engine is what serves: bounds, scope, decoder processes, gates, timings. Both are
measured in turns in the same run, so that a busy machine is busy for both. CPU time counts every thread and decoder process.
"""

import argparse
import io
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless, generate_uid
from rich.console import Console
from rich.table import Table

from deploy.candidate import Candidate
from deploy.runtime import Engine, Image
from models.dicom import read_header, read_picture
from models.preprocess import preprocess
from models.scope import veto
from models.scoring import score_image

ROUNDS = 5
STAGES = ("header", "decode", "preprocess", "infer", "score")
Encode = Callable[[np.ndarray], bytes]


def film(rows: int, columns: int, syntax: str, encode: Encode | None) -> bytes:
    """Return a DX film of smooth noise with a grain, 12 of 16 bits."""
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.uniform(500, 3500, (rows // 64 + 1, columns // 64 + 1)), np.ones((64, 64)))[:rows, :columns]
    pixels = np.clip(smooth + rng.normal(0, 20, smooth.shape), 0, 4095).astype(np.uint16)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Modality, data.BodyPartExamined, data.ViewPosition, data.PatientAge = "DX", "CHEST", "PA", "050Y"
    data.PresentationIntentType, data.PhotometricInterpretation = "FOR PRESENTATION", "MONOCHROME2"
    data.SamplesPerPixel, data.Rows, data.Columns = 1, rows, columns
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.WindowCenter, data.WindowWidth = 2048, 4096
    data.PixelData = pixels.tobytes() if encode is None else encapsulate([encode(pixels)])
    data["PixelData"].VR = "OW" if encode is None else "OB"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def films() -> dict[str, bytes]:
    """Return the films to measure by what they are."""
    return {
        "raw 512 × 512": film(512, 512, ExplicitVRLittleEndian, None),
        "raw 1024 × 512 (1 MB)": film(1024, 512, ExplicitVRLittleEndian, None),
        "raw 2500 × 2048 (10 MB)": film(2500, 2048, ExplicitVRLittleEndian, None),
        "JPEG-LS 2500 × 2048": film(2500, 2048, JPEGLSLossless, imagecodecs.jpegls_encode),
        "HTJ2K 2500 × 2048": film(
            2500, 2048, HTJ2KLossless, lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)
        ),
        "JPEG 2000 2500 × 2048": film(
            2500,
            2048,
            JPEG2000Lossless,
            lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True),
        ),
    }


def cpu_s() -> float:
    """Return the CPU seconds of this process and its living children."""
    total = time.process_time()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def tight(engine: Engine, data: bytes) -> float:
    """Decode and infer, with nothing around it."""
    logits, strangeness = engine.infer(preprocess(read_picture(data).pixels, engine.candidate.input_spec))
    return score_image(logits, strangeness, engine.candidate.rule)


def stages_of(engine: Engine, data: bytes, repeats: int) -> list[float]:
    """Return the CPU milliseconds of each stage, the least of all repeats."""
    candidate, best = engine.candidate, [np.inf] * len(STAGES)
    for _ in range(repeats):
        marks = [time.thread_time()]
        veto(read_header(data), candidate.scope)
        marks.append(time.thread_time())
        pixels = read_picture(data).pixels
        marks.append(time.thread_time())
        tensor = preprocess(pixels, candidate.input_spec)
        marks.append(time.thread_time())
        logits, strangeness = engine.infer(tensor)
        marks.append(time.thread_time())
        score_image(logits, strangeness, candidate.rule)
        marks.append(time.thread_time())
        best = [min(a, 1000 * b) for a, b in zip(best, np.diff(marks), strict=True)]
    return best


def both(engine: Engine, data: bytes, count: int) -> tuple[float, float, float, float]:
    """Return CPU ms per film and films per second of wall clock: tight loop, engine; the median of the rounds."""
    ways = (lambda: tight(engine, data), lambda: engine.assess([Image(data=data)]))
    found = []
    with ThreadPoolExecutor(engine.threads) as pool:
        for way in ways:
            list(pool.map(lambda _, way=way: way(), range(2 * engine.threads)))
        for _ in range(ROUNDS):
            for way in ways:
                cpu, wall = cpu_s(), time.perf_counter()
                list(pool.map(lambda _, way=way: way(), range(count)))
                found.append((1000 * (cpu_s() - cpu) / count, count / (time.perf_counter() - wall)))
    tight_cpu, tight_rate = np.median(found[0::2], axis=0)
    engine_cpu, engine_rate = np.median(found[1::2], axis=0)
    return tight_cpu, engine_cpu, tight_rate, engine_rate


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--films", type=int, default=40, help="films per round and way; %(default)s")
    arguments = parser.parse_args()
    table = Table(
        "film", *STAGES, "tight CPU", "engine CPU", "CPU ratio", "tight films/s", "engine films/s", "throughput"
    )
    with Engine(Candidate.open(arguments.candidate)) as engine:
        for name, data in films().items():
            stages = stages_of(engine, data, 5)
            tight_cpu, engine_cpu, tight_rate, engine_rate = both(engine, data, arguments.films)
            table.add_row(
                name,
                *(f"{stage:.2f}" for stage in stages),
                f"{tight_cpu:.1f}",
                f"{engine_cpu:.1f}",
                f"{tight_cpu / engine_cpu:.2f}",
                f"{tight_rate:.1f}",
                f"{engine_rate:.1f}",
                f"{engine_rate / tight_rate:.2f}",
            )
    console = Console(width=160)
    console.print(table)
    console.print(
        f"{engine.candidate.members} members at {engine.candidate.input_spec.rows} × {engine.candidate.input_spec.columns},"
        f" {engine.threads} threads; milliseconds of CPU per film; ratio: tight over engine, throughput: engine over tight"
    )


if __name__ == "__main__":
    main()
