"""Real DICOM files posted by real clients: each is answered, stored, and on the worklist with a reason."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session

from tests.service_support import Process, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what real files hold


@pytest.fixture(params=["as it is", "with preamble", "without preamble"])
def bodies(request: pytest.FixtureRequest, shared: Path) -> dict[str, bytes]:
    """Return every real file, as it is and with or without its preamble."""
    found = {}
    for path in sorted((shared / "dicom").glob("*.dcm")):
        data = path.read_bytes()
        has_preamble = data[128:132] == b"DICM"
        if request.param == "with preamble" and not has_preamble:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            buffer = io.BytesIO()
            pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
            data = buffer.getvalue()
        found[path.name] = data[132:] if request.param == "without preamble" and has_preamble else data
    assert len(found) >= 14
    return found


def test_curl_posts_every_file(process: Process, bodies: dict[str, bytes], needs_command: Any, tmp_path: Path) -> None:
    curl = needs_command("curl")
    process.start()
    token = process.demur("site", "add", "north")["token"]
    for name, data in bodies.items():
        (tmp_path / name).write_bytes(data)
        done = subprocess.run(
            [curl, "--silent", "--show-error", "--data-binary", f"@{tmp_path / name}", "--header", f"Authorization: Bearer {token}",
             "--header", "Content-Type: application/dicom", f"{process.url}/v1/studies"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        assert answer["decision"] == "IDK", (name, answer)
        assert answer["reasons"], name
    check_worklist(process, bodies)


def test_dicomweb_client_stores_finds_and_retrieves_every_file(process: Process, bodies: dict[str, bytes]) -> None:
    process.environment = {"DEMUR_QUIET_S": "0.2"}
    process.start()
    session = create_session()
    session.headers["Authorization"] = f"Bearer {process.demur('site', 'add', 'north')['token']}"
    client = DICOMwebClient(f"{process.url}/dicom-web", session=session)
    for name, data in bodies.items():
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        dataset.file_meta.setdefault("TransferSyntaxUID", "1.2.840.10008.1.2")
        stored = client.store_instances([dataset])
        assert len(stored.ReferencedSOPSequence) == 1, name
        path = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        found = client.search_for_instances(*path[:2], search_filters={"SOPInstanceUID": path[2]})
        assert found[0]["00080018"]["Value"] == [path[2]]
        assert client.retrieve_instance(*path).PixelData == dataset.PixelData
        assert client.retrieve_instance_metadata(*path)["00080018"]["Value"] == [path[2]]
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            assert client.retrieve_instance_frames(*path, frame_numbers=[1])[0] == dataset.PixelData
    check_worklist(process, bodies)


def check_worklist(process: Process, bodies: dict[str, bytes]) -> None:
    """Check that every study is on the worklist with a reason, and the ledger whole."""
    studies = {pydicom.dcmread(io.BytesIO(data), force=True).StudyInstanceUID for data in bodies.values()}
    reader = sign_in(process)

    def listed() -> dict[str, str]:
        answer = reader.get("/dicom-web/workitems", params={"limit": "1000", "ProcedureStepState": "SCHEDULED"})
        return {
            item["00404021"]["Value"][0]["0020000D"]["Value"][0]: item["00400400"].get("Value", [""])[0]
            for item in answer.json()
        }

    wait_until(lambda: set(listed()) == studies and all(listed().values()))
    reader.close()
    assert process.demur("ledger", "verify")["flaw"] is None
    assert '"status": 500' not in process.log()


def sign_in(process: Process) -> httpx.Client:
    """Return a reader's client."""
    return httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {process.reader_token}"})
