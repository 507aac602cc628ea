"""Mutated bodies at the multipart and DICOM entrance, in this process: no fault, no hang, no growth.

    python tests/fuzz/fuzz_entrance.py --inputs 100000 [--seed 7]

Each input is a film of the seeds (phantoms, and the real files of ../shared where they are) mutated, or a STOW-RS body of some,
mutated and cut into chunks at random. It goes the way of a request up to the database: the multipart reader, the spool, the
identity, and, of every fourth film that was let in, the header, the scope and the pixels that no codec has to look at. Only the errors that a
sender is told may come out, quickly, and they quote nothing of the file. An input that breaks this is kept beside its seed.
"""

import argparse
import io
import logging
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.decoding import IN_PLACE
from models.dicom import read_header, read_picture
from models.errors import InputError
from models.scope import CLINICAL, veto
from service.errors import MediaTypeError, RequestError, TooLargeError
from service.ingest.identify import identify, partial
from service.ingest.multipart import RelatedReader, boundary_of
from service.storage.workflow import Spool
from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import phantom

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
#: Whatever stands in a film and nowhere else; no error may repeat it.
CANARY = "CANARY7Q"
CPU_S_MAX = 5.0
GROWTH_BYTES_MAX = 1 << 30
#: Pieces that parsers stumble over: lengths, delimiters, tags, transfer syntaxes, encodings.
DICTIONARY = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
    b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xe0\x7f\x10\x00OW\x00\x00\xff\xff\xff\xff",
    b"\x08\x00\x05\x00CS\x0a\x00ISO 2022 I",
    b"1.2.840.10008.1.2\0\0\0",
    b"1.2.840.10008.1.2.2\0",
    b"1.2.840.10008.1.2.1.99",
    b"1.2.840.10008.1.2.4.90",
    b"SQ\x00\x00\xff\xff\xff\xff",
    b"UN\x00\x00\xff\xff\xff\xff",
    b"\x28\x00\x10\x00US\x02\x00\xff\xff",
    b"\r\n--cut\r\n",
    b"\r\n--cut--",
    b"--cut",
    b"Content-Type: application/dicom\r\n\r\n",
    b"Content-Length: 99999999999\r\n",
    b"\r\n\r\n",
    b"DICM",
    b"\x1b$B",
    b"\\" * 200,
)
Rng = random.Random


def seeds() -> list[bytes]:
    """Return the films that inputs are made from, no larger than a few hundred KB."""
    made = [_named(dicom_bytes(phantom(7, f"site-{n:02d}", 0, 64), modality="DX")) for n in range(1, 5)]
    big_endian = pydicom.dcmread(io.BytesIO(made[0]))
    deflated = pydicom.dcmread(io.BytesIO(made[1]))
    deflated.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    implicit = pydicom.dcmread(io.BytesIO(made[2]))
    implicit.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    for film in (big_endian, deflated, implicit):
        file = io.BytesIO()
        film.save_as(file, enforce_file_format=True)
        made.append(file.getvalue())
    # Of large real films the header and some pixels do.
    made += [path.read_bytes()[: 64 << 10] for path in sorted(SHARED.glob("*.dcm"))]
    return made


def mutate(data: bytes, rng: Rng, others: list[bytes]) -> bytes:
    """Return some bytes with one to eight changes."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4, 8))):
        # Headers are at the front, and most changes ought to be there.
        at = rng.randrange(min(len(body), rng.choice((400, 2000, 1 << 20))) or 1) if body else 0
        size = min(rng.choice((1, 2, 4, 8, 64, 1000)), max(0, len(body) - at))
        change = rng.randrange(8)
        if change == 0:
            body[at : at + 1] = bytes((rng.randrange(256),))
        elif change == 1:
            body[at : at + 1] = bytes(((body[at] ^ (1 << rng.randrange(8))) if at < len(body) else 0,))
        elif change == 2:
            del body[at : at + size]
        elif change == 3:
            body[at:at] = body[at : at + size] * rng.choice((1, 2, 50))
        elif change == 4:
            piece = rng.choice(DICTIONARY)
            body[at : at + len(piece) * rng.randrange(2)] = piece
        elif change == 5:
            body[at : at + size] = rng.randbytes(size)
        elif change == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            body[at : at + size] = other[start : start + size]
        else:
            del body[at if rng.random() < 0.3 else len(body) :]
    return bytes(body)


def request_of(films: list[bytes], rng: Rng) -> tuple[str, bytes]:
    """Return a content type and body that hold some films, in one of the ways in which clients write them."""
    boundary = "cut"
    kind = (
        f'multipart/related; type="application/dicom"; boundary={rng.choice((boundary, chr(34) + boundary + chr(34)))}'
    )
    body = rng.choice((b"", b"\r\n", b"a preamble\r\n"))
    for film in films:
        headers = rng.choice((b"Content-Type: application/dicom\r\n", b"", b"Content-Length: %d\r\n" % len(film)))
        body += b"--cut\r\n" + headers + b"\r\n" + film + b"\r\n"
    return kind, body + rng.choice((b"--cut--\r\n", b"--cut--", b"--cut--\r\nan epilogue"))


class Entrance:
    """The way of a request, up to the database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seen: Counter[str] = Counter()

    def take(self, kind: str, body: bytes, rng: Rng) -> None:
        """Take in a STOW-RS body in chunks; count what becomes of it."""
        spools: list[Spool] = []

        def begin(_content_type: str) -> Spool:
            spools.append(Spool(self._folder))
            return spools[-1]

        try:
            try:
                reader = RelatedReader(boundary_of(kind), begin, parts_max=50)
                at = 0
                while at < len(body):
                    step = rng.choice((1, 7, 100, 4096, 1 << 16)) if len(body) < 4096 else rng.choice((4096, 1 << 16))
                    reader.write(body[at : at + step])
                    at += step
                reader.finish()
            except (RequestError, MediaTypeError, TooLargeError) as fault:
                self._told("the request", fault)
                return
            for spool in spools:
                spool.finish()
                self.look(bytes(spool.view()), rng)
        finally:
            for spool in spools:
                spool.discard()

    def look(self, data: bytes, rng: Rng) -> None:
        """Look at one film."""
        view = memoryview(data)
        try:
            identify(view)
        except InputError as fault:
            self._told("the identity", fault)
            partial(view)
            return
        self.seen["let in"] += 1
        if rng.random() < 0.25:
            try:
                header = read_header(view)
                veto(header, CLINICAL)
                if header.transfer_syntax in IN_PLACE:
                    read_picture(view)
                self.seen["looked at"] += 1
            except InputError as fault:
                self._told("the picture", fault)

    def _told(self, where: str, fault: Exception) -> None:
        self.seen[f"refused at {where}"] += 1
        if CANARY in str(fault):
            raise AssertionError(f"an error repeats what stands in the file: {fault}")


def fuzz(
    inputs: int, seed: int, folder: Path, report: Callable[[int, Counter[str]], None] | None = None
) -> Counter[str]:
    """Try so many inputs; raise what no sender may meet, with the input kept in the folder."""
    films, entrance = seeds(), Entrance(folder)
    peak = _peak()
    for number in range(inputs):
        rng = random.Random(f"{seed}/{number}")
        chosen = [rng.choice(films) for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.7:
            chosen = [mutate(film, rng, films) for film in chosen]
        kind, body = request_of(chosen, rng)
        if rng.random() < 0.4:
            body = mutate(body, rng, films)
        began = time.process_time()
        try:
            entrance.take(kind, body, rng)
            spent, grown = time.process_time() - began, _peak() - peak
            assert spent < CPU_S_MAX, f"{spent:.1f} s of CPU"
            assert grown < GROWTH_BYTES_MAX, f"grown by {grown >> 20} MiB"
        except BaseException as fault:
            kept = folder / f"input-{seed}-{number}.bin"
            kept.write_bytes(body)
            fault.add_note(f"input {number} of seed {seed}, kept as {kept}")
            raise
        entrance.seen["slowest input, ms of CPU"] = max(entrance.seen["slowest input, ms of CPU"], round(1000 * spent))
        if report is not None and number % 1000 == 999:
            report(number + 1, entrance.seen)
    entrance.seen["inputs"] = inputs
    entrance.seen["growth, MiB"] = (_peak() - peak) >> 20
    return entrance.seen


def _named(film: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(film))
    dataset.PatientName, dataset.PatientID = f"{CANARY}^{CANARY}", CANARY
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="demur-fuzz-"))
    logging.getLogger("python_multipart").setLevel(logging.ERROR)

    def report(number: int, seen: Counter[str]) -> None:
        print(f"{number} inputs, {seen['let in']} films let in", file=sys.stderr, flush=True)  # noqa: T201

    seen = fuzz(options.inputs, options.seed, folder, report if sys.stderr.isatty() else None)
    for name, count in sorted(seen.items()):
        print(f"{count:9d}  {name}")  # noqa: T201
    print("No fault, no hang, no growth.")  # noqa: T201


if __name__ == "__main__":
    main()
