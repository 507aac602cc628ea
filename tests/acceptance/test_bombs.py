"""Hostile bodies over HTTP: the sender gets a reason, and the service goes on with little time and memory spent."""

import gzip
import io
import json
import os
import random
import resource
import signal
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid

from benchmarks.storm_films import Films
from tests.service_support import Process, make_dicom, related

#: What one request may cost the service and its decoders.
CPU_S_MAX = 5.0
GROWTH_BYTES_MAX = 1 << 30
DICOM = {"Content-Type": "application/dicom"}


class Town:
    """The service with a release, its sender, and what it has spent."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.token = process.demur("site", "add", "north")["token"]
        self.client = httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=60)

    def post(
        self, body: bytes, path: str = "/v1/studies", *, cpu_s_max: float = CPU_S_MAX, **headers: str
    ) -> httpx.Response:
        """Post and check that neither a fault, nor much time, nor much memory came of it."""
        cpu_s, peak = self.cpu_s(), self.memory()
        answer = self.client.post(path, content=body, headers=DICOM | headers)
        assert answer.status_code != 500, answer.text
        assert self.cpu_s() - cpu_s < cpu_s_max
        assert self.memory() - peak < GROWTH_BYTES_MAX
        assert self.client.get("/healthz").status_code == 200
        return answer

    def _family(self) -> list[Path]:
        pid = self.process._process.pid
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [found for task in tasks for found in task.read_text().split()]
        return [Path(f"/proc/{found}") for found in (str(pid), *children)]

    def cpu_s(self) -> float:
        """Return the CPU time of the service and of its decoders, the ended ones too."""
        ticks = 0
        for place in self._family():
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15] if place == self._family()[0] else fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self) -> int:
        """Return the peak memory of the service so far."""
        text = (self._family()[0] / "status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) << 10


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    pytest.importorskip("onnx")
    from benchmarks.storm_release import make_release

    release = make_release(folder, sites=("north",), films=Films(random.Random(1), phantoms=8).plain)
    process = Process(
        database=f"sqlite:///{folder / 'demur.sqlite'}",
        storage=folder / "files",
        environment={"DEMUR_QUIET_S": "0.1", "DEMUR_BODY_S": "5"},
    )
    process.start("--bundle", str(release.path), "--trust", str(release.trust))
    found = Town(process)
    yield found
    found.client.close()
    assert process.stop() == 0
    levels = [json.loads(line)["level"] for line in process.log().splitlines()]
    assert "ERROR" not in levels, process.log()


def changed(**elements: object) -> pydicom.FileDataset:
    """Return a film as a dataset."""
    found = pydicom.dcmread(io.BytesIO(make_dicom(PatientBirthDate=None)))
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def written(film: pydicom.FileDataset) -> bytes:
    file = io.BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def deflated_file(dataset: bytes) -> bytes:
    """Return a file in the deflated transfer syntax with such a dataset."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    file = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(file, meta)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + file.getvalue() + squeeze.compress(dataset) + squeeze.flush()


def plain_dataset(film: pydicom.FileDataset) -> bytes:
    """Return a dataset's bytes without preamble and meta information."""
    file = io.BytesIO()
    file_like = pydicom.filebase.DicomFileLike(file)
    file_like.is_little_endian, file_like.is_implicit_VR = True, False
    pydicom.filewriter.write_dataset(file_like, pydicom.Dataset(film))
    return file.getvalue()


def is_idk(answer: httpx.Response, *reasons: str) -> bool:
    told = answer.json()
    return answer.status_code in (200, 201) and told["decision"] == "IDK" and bool(set(reasons) & set(told["reasons"]))


def explains(answer: httpx.Response, status: int) -> bool:
    told = answer.json()
    return answer.status_code == status and bool(told["detail"]) and told["status"] == status


def test_a_deflate_bomb_before_the_pixels_is_refused(town: Town) -> None:
    film = changed()
    film.add_new(0x00091010, "OB", bytes(400 << 20))
    assert explains(town.post(deflated_file(plain_dataset(film))), 400)


def test_of_a_deflate_bomb_in_the_pixels_no_more_is_inflated_than_the_picture_has(town: Town) -> None:
    film = changed(Rows=64, Columns=64, PixelData=bytes(600 << 20))
    film["PixelData"].VR = "OW"
    assert town.post(deflated_file(plain_dataset(film))).status_code == 201


def test_a_deflated_stream_that_never_ends_well_is_refused(town: Town) -> None:
    assert explains(town.post(deflated_file(b"\x08\x00\x16\x00UI\xff\xff" + bytes(100))[:-7]), 400)


@pytest.mark.parametrize(("rows", "columns", "frames"), [(65535, 65535, 1), (40000, 40000, 1), (64, 64, 2**31 - 1)])
def test_claims_of_a_huge_picture_are_not_believed(town: Town, rows: int, columns: int, frames: int) -> None:
    film = changed(Rows=rows, Columns=columns, NumberOfFrames=frames)
    assert is_idk(town.post(written(film)), "undecodable", "unreadable", "out_of_scope_frames")


def test_a_small_rle_file_that_claims_a_huge_picture_is_not_believed(town: Town) -> None:
    film = changed(Rows=20000, Columns=20000, BitsAllocated=16)
    segments = struct.pack("<16L", 2, 64, 64 + 600_000, *[0] * 13) + b"\x81\x00" * 600_000
    film.PixelData = pydicom.encaps.encapsulate([segments])
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.file_meta.TransferSyntaxUID = uid.RLELossless
    assert is_idk(town.post(written(film)), "undecodable", "decoder_killed", "unreadable")


def test_a_codestream_of_another_size_than_the_header_is_not_believed(town: Town) -> None:
    soc_siz = struct.pack(
        ">HHHHLLLLLLLLHBBB", 0xFF4F, 0xFF51, 41, 0, 40000, 40000, 0, 0, 40000, 40000, 0, 0, 1, 15, 1, 1
    )
    film = changed()
    film.PixelData = pydicom.encaps.encapsulate([soc_siz + bytes(200)])
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    assert is_idk(town.post(written(film)), "undecodable", "decoder_killed", "unreadable")


def compressed() -> bytes:
    film = changed(SOPInstanceUID=uid.generate_uid(), StudyInstanceUID=uid.generate_uid())
    film.compress(uid.RLELossless, generate_instance_uid=False)
    return written(film)


def test_a_codec_that_hangs_is_killed_and_the_study_read_by_a_human(town: Town) -> None:
    assert not is_idk(town.post(compressed()), "decoder_killed")
    decoders = [int(place.name) for place in town._family()[1:]]
    assert decoders
    for pid in decoders:
        os.kill(pid, signal.SIGSTOP)  # it holds a film and gives no answer: what a hang is to the service
    assert is_idk(town.post(compressed()), "decoder_killed")
    assert not is_idk(town.post(compressed()), "decoder_killed"), "another has taken its place"


def test_a_codestream_that_a_codec_searches_without_end_is_refused(town: Town) -> None:
    """CharLS searches for seconds to minutes where the scan ends early but its end is marked."""
    film = changed()
    stream = imagecodecs.jpegls_encode(np.kron(film.pixel_array, np.ones((8, 8), np.uint16)))
    film.Rows = film.Columns = 8 * film.Rows
    film.PixelData = pydicom.encaps.encapsulate([stream[: len(stream) // 2] + b"\xff\xd9"])
    film["PixelData"].VR, film["PixelData"].is_undefined_length = "OB", True
    film.file_meta.TransferSyntaxUID = uid.JPEGLSLossless
    answer = town.post(written(film), cpu_s_max=2 * CPU_S_MAX)  # the time-out of a decoder is five seconds
    assert is_idk(answer, "decoder_killed", "undecodable")


def test_an_element_that_claims_four_gigabytes_is_refused(town: Town) -> None:
    whole = make_dicom()
    element = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, 0xFFFFFFF0)
    at = whole.index(struct.pack("<HH", 0x0010, 0x0010))
    assert explains(town.post(whole[:at] + element + whole[at:]), 400)


@pytest.mark.parametrize("levels", [2_000, 50_000])
def test_nested_sequences_are_refused(town: Town, levels: int) -> None:
    whole = make_dicom()
    opening = struct.pack("<HH2sHL", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    at = whole.index(struct.pack("<HH", 0x7FE0, 0x0010))
    assert explains(town.post(whole[:at] + opening * levels + whole[at:]), 400)


def test_a_header_of_a_million_elements_is_refused(town: Town) -> None:
    whole = make_dicom()
    many = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + n % 0xE000, b"LO", 0) for n in range(1_000_000))
    at = whole.index(struct.pack("<HH", 0x0010, 0x0010))
    assert explains(town.post(whole[:at] + many + whole[at:]), 400)


def test_a_compressed_body_is_refused(town: Town) -> None:
    body = gzip.compress(bytes(200 << 20))
    assert explains(town.post(body, **{"Content-Encoding": "gzip"}), 415)


def test_a_content_length_beyond_the_limit_is_refused_before_the_body(town: Town) -> None:
    place = urlsplit(town.process.url)
    request = (
        f"POST /v1/studies HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {town.token}\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {1 << 60}\r\n\r\n"
    )
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(request.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("cut", [20, 400, -3])
def test_a_truncated_multipart_stores_nothing(town: Town, cut: int) -> None:
    data = make_dicom()
    body, kind = related([data])
    answer = town.post(body[:cut], "/dicom-web/studies", **{"Content-Type": kind})
    assert explains(answer, 400)
    assert town.post(data).status_code == 201, "nothing of it was known before"


def test_too_many_parts_are_refused(town: Town) -> None:
    body, kind = related([b"x"] * 2001)
    assert explains(town.post(body, "/dicom-web/studies", **{"Content-Type": kind}), 413)


def test_many_parts_do_not_use_up_the_files_that_a_process_may_open(town: Town) -> None:
    pid = town.process._process.pid
    present = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, present[1]))
    body, kind = related([make_dicom(seed=n, side=8) for n in range(300)])
    answer = town.post(body, "/dicom-web/studies", cpu_s_max=60, **{"Content-Type": kind})
    resource.prlimit(pid, resource.RLIMIT_NOFILE, present)
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 300


def test_a_part_with_endless_headers_is_refused(town: Town) -> None:
    body = b"--b\r\n" + b"X-Long: " + b"x" * (1 << 20) + b"\r\n\r\nbody\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    assert explains(town.post(body, "/dicom-web/studies", **{"Content-Type": kind}), 400)


def test_a_boundary_that_never_comes_is_refused(town: Town) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    assert explains(town.post(b"\r\n--" * (4 << 20), "/dicom-web/studies", **{"Content-Type": kind}), 400)


def test_senders_that_drip_are_let_go_and_hold_up_nobody(town: Town) -> None:
    place = urlsplit(town.process.url)
    head = (
        f"POST /v1/studies HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {town.token}\r\n"
        "Content-Type: application/dicom\r\nContent-Length: 1000000\r\n\r\n"
    )
    slow = [socket.create_connection((place.hostname, place.port), timeout=60) for _ in range(70)]
    try:
        for connection in slow:
            connection.sendall(head.encode() + b"x")
        deadline = time.monotonic() + 60
        while (answer := town.post(make_dicom())).status_code != 201:
            assert answer.status_code == 429, "the others of the same site hold its share of the places"
            assert answer.headers["retry-after"]
            assert time.monotonic() < deadline, "those who drip keep everybody out"
            for connection in slow:
                connection.sendall(b"x")
            time.sleep(0.2)
        told = [connection.recv(1000) for connection in slow]
        assert all(b"400" in answer or b"429" in answer for answer in told)
    finally:
        for connection in slow:
            connection.close()


def test_half_open_requests_hold_up_nobody(town: Town) -> None:
    place = urlsplit(town.process.url)
    slow = [socket.create_connection((place.hostname, place.port), timeout=60) for _ in range(100)]
    for connection in slow:
        connection.sendall(b"POST /v1/studies HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert town.post(make_dicom()).status_code == 201
    for connection in slow:
        connection.close()
