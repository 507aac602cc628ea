"""A PACS forwards by itself: Debian's Orthanc with its DICOMweb plugin, in one network namespace with the service.

Orthanc 1.10 listens at every address and cannot be told otherwise, so that it and Demur run where there is only a loopback.
The test runs itself again inside that namespace: what is below ``main`` happens there.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = "http://127.0.0.1:8142"
FORWARD = """
function OnStableStudy(id, tags, metadata, origin)
  RestApiPost('/dicom-web/servers/demur/stow', '{"Resources":["' .. id .. '"],"Synchronous":false}', false)
end
"""


def test_orthanc_forwards_a_study_by_itself_and_again(
    tmp_path: Path, shared: Path, needs_command: Callable[[str], str]
) -> None:
    for command in ("Orthanc", "unshare", "ip"):
        needs_command(command)
    if not PLUGIN.exists():
        needs_command("Orthanc's DICOMweb plugin")
    unshare = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        needs_command("unshare with a network namespace")
    inside = f"ip link set lo up && exec {sys.executable} {__file__} {tmp_path} {shared / 'dicom'}"
    done = subprocess.run(
        [*unshare, "sh", "-c", inside],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found["forwarded"]) == {"Success"}
    assert len(found["forwarded"]) >= found["studies"]
    assert found["resent"] == "Success"
    assert found["instances"] == found["sent"]
    assert found["studies_in_demur"] == found["studies"] == found["open_workitems"]
    assert found["ledger_grew_by_the_resend"] == 0
    assert found["decisions"] == ["IDK"]


def main(folder: Path, films: Path) -> None:
    """Run Demur and Orthanc, give Orthanc films as a modality would, and print what came of it."""
    from tests.service_support import Process

    service = Process(
        database=f"sqlite:///{folder / 'demur.sqlite'}",
        storage=folder / "files",
        environment={"DEMUR_QUIET_S": "0.5"},
    ).start()
    token = service.demur("site", "add", "north")["token"]
    orthanc = _start_orthanc(folder, url=f"{service.url}/dicom-web/", token=token)
    try:
        sent = sorted(films.glob("*RG*.dcm"))
        client = httpx.Client(base_url=ORTHANC, timeout=60)
        for film in sent:
            client.post("/instances", content=film.read_bytes()).raise_for_status()
        studies = client.get("/studies").json()
        forwarded = _wait_for_jobs(client, len(studies))
        _wait_until(lambda: _count(folder, "SELECT count(*) FROM studies WHERE state <> 'decided'") == 0)
        before = service.demur("ledger", "verify")["entries"]
        again = client.post("/dicom-web/servers/demur/stow", json={"Resources": studies, "Synchronous": False}).json()[
            "ID"
        ]
        _wait_until(lambda: client.get(f"/jobs/{again}").json()["State"] in ("Success", "Failure"))
        sys.stdout.write(
            json.dumps(
                {
                    "sent": len(sent),
                    "studies": len(studies),
                    "forwarded": forwarded,
                    "resent": client.get(f"/jobs/{again}").json()["State"],
                    "instances": _count(folder, "SELECT count(*) FROM instances"),
                    "studies_in_demur": _count(folder, "SELECT count(*) FROM studies"),
                    "open_workitems": _count(folder, "SELECT count(*) FROM workitems WHERE state = 'SCHEDULED'"),
                    "ledger_grew_by_the_resend": service.demur("ledger", "verify")["entries"] - before,
                    "decisions": _rows(folder, "SELECT DISTINCT decision FROM studies"),
                }
            )
        )
    finally:
        orthanc.terminate()
        orthanc.wait(30)
        service.stop()


def _start_orthanc(folder: Path, *, url: str, token: str) -> "subprocess.Popen[bytes]":
    (folder / "forward.lua").write_text(FORWARD)
    settings = {
        "Plugins": [str(PLUGIN)],
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "HttpPort": 8142,
        "DicomPort": 4342,
        "RemoteAccessAllowed": False,
        "StableAge": 1,
        "LuaScripts": [str(folder / "forward.lua")],
        "DicomWeb": {
            "Enable": True,
            "Root": "/dicom-web/",
            "Servers": {"demur": {"Url": url, "Username": "north", "Password": token, "ChunkedTransfers": True}},
        },
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    _wait_until(_answers)
    return process


def _answers() -> bool:
    try:
        return httpx.get(f"{ORTHANC}/system").status_code == 200
    except httpx.TransportError:
        return False


def _wait_for_jobs(client: httpx.Client, count: int) -> list[str]:
    def states() -> list[str]:
        return [job["State"] for job in client.get("/jobs?expand").json()]

    _wait_until(lambda: len(states()) >= count and not {"Pending", "Running"} & set(states()))
    return states()


def _wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.1)


def _rows(folder: Path, question: str) -> list[Any]:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "demur.sqlite")) as connection:
        return [row[0] for row in connection.execute(question)]


def _count(folder: Path, question: str) -> int:
    return _rows(folder, question)[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
