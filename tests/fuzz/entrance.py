"""What is fuzzed, and with what: mutated bodies at the multipart and DICOM entrance, in this process.

An input is the body of a request: a film of the seeds (phantoms, and the real files of ../shared where they are) or a STOW-RS
body of some, mutated. It goes the way of a request up to the database, cut into chunks: the multipart reader, the spool, the
identity, and, of every fourth film that was let in, the header, the scope and the pixels that no codec has to look at. Every
tenth goes to the whole service instead, over ASGI, database and storage included. Only what a sender is told may come out,
quickly, and it quotes nothing of the file. An input decides by itself how it is cut and where it goes, so it can be repeated.
"""

import asyncio
import io
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom

from models.decoding import IN_PLACE
from models.dicom import read_header, read_picture
from models.errors import InputError
from models.scope import CLINICAL, veto
from service.app import create_app
from service.errors import MediaTypeError, RequestError, TooLargeError
from service.ingest.identify import identify, partial
from service.ingest.multipart import RelatedReader, boundary_of
from service.settings import Settings
from service.sites.workflow import add_site
from service.storage.workflow import Spool
from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import phantom

SHARED = Path(__file__).resolve().parents[3] / "shared" / "dicom"
#: Whatever stands in a film and nowhere else; no error may repeat it.
CANARY = "CANARY7Q"
SINGLE = "application/dicom"
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


def body_of(films: list[bytes], rng: Rng) -> bytes:
    """Return a body that holds some films, in one of the ways in which clients write them."""
    if len(films) == 1 and rng.random() < 0.2:
        return films[0]
    body = rng.choice((b"", b"\r\n", b"a preamble\r\n"))
    for film in films:
        headers = rng.choice((b"Content-Type: application/dicom\r\n", b"", b"Content-Length: %d\r\n" % len(film)))
        body += b"--cut\r\n" + headers + b"\r\n" + film + b"\r\n"
    return body + rng.choice((b"--cut--\r\n", b"--cut--", b"--cut--\r\nan epilogue"))


def any_body(rng: Rng, films: list[bytes]) -> bytes:
    """Return a new input: films, mostly mutated, in a body, sometimes mutated."""
    chosen = [rng.choice(films) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.7:
        chosen = [mutate(film, rng, films) for film in chosen]
    body = body_of(chosen, rng)
    return mutate(body, rng, films) if rng.random() < 0.4 else body


class Entrance:
    """What an input goes through; ``seen`` counts what became of them. Raises what no sender may meet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._service = _Service(folder)
        self._peak = _peak()
        self.seen: Counter[str] = Counter()

    def close(self) -> None:
        """End the service."""
        self._service.close()

    def take(self, body: bytes) -> None:
        """Take in one input."""
        rng = random.Random(body)
        began = time.process_time()
        if rng.random() < 0.1:
            status = self._service.post(body, rng)
            self.seen[f"answered {status} by the service"] += 1
        else:
            self._walk(body, rng)
        spent, grown = time.process_time() - began, _peak() - self._peak
        assert spent < CPU_S_MAX, f"{spent:.1f} s of CPU"
        assert grown < GROWTH_BYTES_MAX, f"grown by {grown >> 20} MiB"
        self.seen["inputs"] += 1
        self.seen["growth, MiB"] = grown >> 20
        self.seen["slowest input, ms of CPU"] = max(self.seen["slowest input, ms of CPU"], round(1000 * spent))

    def _walk(self, body: bytes, rng: Rng) -> None:
        spools: list[Spool] = []

        def begin(_content_type: str = "") -> Spool:
            spools.append(Spool(self._folder))
            return spools[-1]

        try:
            try:
                kind = kind_of(body, rng)
                reader = begin() if kind == SINGLE else RelatedReader(boundary_of(kind), begin, parts_max=50)
                for chunk in chunks_of(body, rng):
                    reader.write(chunk)
                if isinstance(reader, RelatedReader):
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


class _Service:
    """The whole service on an empty database, spoken to over ASGI."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(
            database=f"sqlite:///{folder / 'demur.sqlite'}",
            storage=str(folder / "files"),
            reserve_bytes=0,
            site_requests_per_minute=1 << 30,
        )
        self._app = create_app(settings)
        self._loop = asyncio.new_event_loop()
        with self._app.state.runtime.database.writing() as connection:
            _, self._token = add_site(connection, "north", audit_probability=0.0, now=datetime.now(UTC))

    def close(self) -> None:
        self._loop.close()
        self._app.state.decider.close()
        self._app.state.renderer.close()
        self._app.state.runtime.database.close()

    def post(self, body: bytes, rng: Rng) -> int:
        """Post a body and return the status; raise unless the answer is one that a sender can do something with."""
        kind = kind_of(body, rng)
        path = rng.choice(("/dicom-web/studies", "/v1/studies")) if kind == SINGLE else "/dicom-web/studies"
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks_of(body, rng)
        ]
        messages.append({"type": "http.request", "body": b"", "more_body": False})
        waiting, answers = iter(messages), list[dict[str, Any]]()

        async def receive() -> dict[str, Any]:
            return next(waiting, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            answers.append(dict(message))

        headers = {"content-type": kind, "authorization": f"Bearer {self._token}", "host": "localhost"}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"more=true",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
        }
        self._loop.run_until_complete(self._app(scope, receive, send))
        status = int(answers[0]["status"])
        answer = b"".join(message.get("body", b"") for message in answers[1:])
        assert status < 500, f"answered {status}: {answer[:300]!r}"
        assert json.loads(answer), "answered nothing"
        assert CANARY.encode() not in answer, "the answer repeats what stands in the file"
        return status


def kind_of(body: bytes, rng: Rng) -> str:
    """Return the content type under which an input is sent."""
    if body[128:132] == b"DICM":
        return SINGLE
    return f'multipart/related; type="application/dicom"; boundary={rng.choice(("cut", chr(34) + "cut" + chr(34)))}'


def chunks_of(body: bytes, rng: Rng) -> Iterator[bytes]:
    """Cut an input as a network would."""
    at = 0
    while at < len(body):
        step = rng.choice((1, 7, 100, 4096, 1 << 16)) if len(body) < 4096 else rng.choice((4096, 1 << 16))
        yield body[at : at + step]
        at += step


def _named(film: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(film))
    dataset.PatientName, dataset.PatientID = f"{CANARY}^{CANARY}", CANARY
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
