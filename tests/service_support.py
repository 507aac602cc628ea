"""What tests of the service are made with: small DICOM files, a database of either kind, a process of the real service."""

import hashlib
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from service.database import Database

DEMUR = [sys.executable, "-m", "demur"]
ROOT = Path(__file__).resolve().parents[1]


def make_dicom(*, preamble: bytes = bytes(128), seed: int = 0, side: int = 64, **elements: Any) -> bytes:
    """Return a small film; ``elements`` override its own by keyword, None leaves one out."""
    dataset = Dataset()
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientName": "Mustermann^Erika",
        "PatientBirthDate": "19600102",
        "PatientSex": "F",
        "PatientAge": "050Y",
        "AccessionNumber": "ACC9731",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "Rows": side,
        "Columns": side,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": np.random.default_rng(seed).integers(0, 4096, (side, side), dtype=np.uint16).tobytes(),
    }
    study = elements.get("StudyInstanceUID", values["StudyInstanceUID"])
    values["PatientID"] = f"SECRETID42-{hashlib.sha256(str(study).encode()).hexdigest()[:8]}"
    for keyword, value in (values | elements).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    dataset.file_meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID") or values["SOPInstanceUID"]
    dataset.preamble = preamble
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def uid_of(data: bytes, keyword: str) -> str:
    """Return a UID of a file."""
    import pydicom

    return str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)[keyword].value)


def related(
    parts: list[bytes], *, boundary: str = "b-1", preamble: bytes = b"", quoted: bool = True
) -> tuple[bytes, str]:
    """Return a multipart/related body and its content type."""
    body = preamble
    for part in parts:
        body += b"--" + boundary.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n"
    body += b"--" + boundary.encode() + b"--\r\n"
    mark = f'"{boundary}"' if quoted else boundary
    return body, f'multipart/related; type="application/dicom"; boundary={mark}'


@dataclass(kw_only=True)
class Process:
    """``demur serve`` as a process of its own, on a free port."""

    database: str
    storage: Path
    environment: dict[str, str] = field(default_factory=dict)
    reader_token: str = "reader-token-of-a-test"
    authority: Path | None = None
    log_name: str = "serve.log"
    url: str = ""
    _process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, port: int = 0) -> "Process":
        """Start and wait until it listens."""
        command = [*DEMUR, "serve", "--json", "--database", self.database, "--storage", str(self.storage)]
        self._log = (self.storage.parent / self.log_name).open("ab")
        self._process = subprocess.Popen(
            [*command, "--port", str(port), *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env={**os.environ, "DEMUR_READER_TOKEN": self.reader_token, **self.environment},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        self.url = json.loads(line)["url"]
        wait_until(self._is_alive)
        return self

    def log(self) -> str:
        """Return what it has logged."""
        return (self.storage.parent / self.log_name).read_text()

    def kill(self) -> None:
        """Kill it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._finish()

    def stop(self) -> int:
        """End it in good order and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._finish()

    def is_running(self) -> bool:
        """Say whether it was started and not ended."""
        return self._process is not None

    def _finish(self) -> int:
        assert self._process is not None
        assert self._process.stdout is not None
        code = self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()
        self._process = None
        return code

    def _is_alive(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", verify=self.trust()).status_code == 200
        except httpx.TransportError:
            return False

    def trust(self) -> ssl.SSLContext:
        """Return what a client of it trusts: the authority, where it speaks HTTPS with a certificate of that one."""
        return ssl.create_default_context(cafile=self.authority)

    def demur(self, *arguments: str) -> Any:
        """Run a verb on its database and return what it printed as JSON."""
        done = subprocess.run(
            [*DEMUR, *arguments, "--database", self.database, "--json"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@dataclass(kw_only=True)
class Receiving:
    """``demur receive`` as a process of its own; PACS sends for north."""

    folder: Path
    database: str
    port: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def start(self) -> "Receiving":
        """Start and wait until it listens."""
        command = [*DEMUR, "receive", "--json", "--site", "PACS=north", "--port", "0", "--database", self.database]
        with (self.folder / "receive.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--storage", str(self.folder / "files")],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, **self.environment},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log()
        self.port = json.loads(line)["port"]
        return self

    def log(self) -> str:
        """Return what it has logged."""
        return (self.folder / "receive.log").read_text()

    def is_running(self) -> bool:
        """Say whether it was started and not ended."""
        return self._process is not None

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal and return its exit code."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.send_signal(number)
        code = self._process.wait(timeout=60)
        self._process.stdout.close()
        self._process = None
        return code

    def query(self, question: str) -> list[tuple[Any, ...]]:
        """Ask its database."""
        database = Database(self.database)
        try:
            with database.reading() as connection:
                return [tuple(row) for row in connection.exec_driver_sql(question)]
        finally:
            database.close()

    def stored(self) -> dict[str, bytes]:
        """Return the stored files by SOP Instance UID."""
        rows = self.query("SELECT sop_instance_uid, digest FROM instances")
        return {uid: (self.folder / "files" / digest[:2] / digest[2:]).read_bytes() for uid, digest in rows}


def wait_until(condition: Any, timeout_s: float = 60.0) -> None:
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.05)


class Release:
    """Stands for a bundle whose engine gives scores of choice; the policy that decides on them is the real one."""

    bundle = "b" * 64

    def __init__(self, certificate: Any, score: float | Exception = -1.0) -> None:
        self.certificate, self.score = certificate, score

    def assess(self, images: Any) -> Any:
        from deploy.runtime import Assessment, Timings

        if isinstance(self.score, Exception):
            raise self.score
        return Assessment(
            score=self.score,
            gates=(),
            logits=(self.score,),
            strangeness=0.0,
            images=(),
            runtime="r 1",
            timings=Timings(),
        )

    def close(self) -> None:
        pass
