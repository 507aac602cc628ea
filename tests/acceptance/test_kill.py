"""Nothing that was acknowledged is lost when the process is killed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx

from tests.service_support import Process, make_dicom, wait_until

DICOM = {"Content-Type": "application/dicom"}


def test_every_acknowledged_study_survives_kill_9(process: Process) -> None:
    process.environment = {"DEMUR_QUIET_S": "0.2", "DEMUR_HEARTBEAT_S": "0.3", "DEMUR_LOST_AFTER_S": "1.5"}
    process.start()
    token = process.demur("site", "add", "north")["token"]
    headers = {"Authorization": f"Bearer {token}", **DICOM}
    acknowledged: dict[str, bytes] = {}
    stopped = threading.Event()

    def post(number: int) -> None:
        at_once = number % 2 == 0
        with httpx.Client(timeout=5) as client:
            seed = number
            while not stopped.is_set():
                seed += 100
                data = make_dicom(seed=seed)
                try:
                    path = "/v1/studies" if at_once else "/dicom-web/studies"
                    answer = client.post(f"{process.url}{path}", content=data, headers=headers)
                except httpx.TransportError:
                    continue
                if answer.status_code in (200, 201, 202):
                    acknowledged[sha256(data).hexdigest()] = data

    with ThreadPoolExecutor(4) as pool:
        posting = [pool.submit(post, number) for number in range(4)]
        for kills in range(3):
            wanted = len(acknowledged) + 15
            wait_until(lambda wanted=wanted: len(acknowledged) >= wanted)
            process.kill()
            process.start()
            assert kills < 3
        stopped.set()
        for done in posting:
            done.result()

    stored = {
        path.parent.name + path.name: path.read_bytes()
        for path in process.storage.glob("??/*")
        if path.parent.name != "incoming"
    }
    assert set(acknowledged) <= set(stored)
    assert all(stored[digest] == data for digest, data in acknowledged.items())
    with httpx.Client(base_url=process.url, headers={"Authorization": f"Bearer {token}"}) as client:
        reader = {"Authorization": f"Bearer {process.reader_token}"}

        def undecided() -> int:
            items = client.get("/dicom-web/workitems", params={"limit": "1000"}, headers=reader).json()
            return sum("Value" not in item["00400400"] for item in items)

        wait_until(lambda: undecided() == 0)
        studies = client.get("/dicom-web/studies", params={"limit": "1000"}).json()
        items = client.get("/dicom-web/workitems", params={"limit": "1000"}, headers=reader).json()
        on_worklist = [item["00404021"]["Value"][0]["0020000D"]["Value"][0] for item in items]
        assert len(on_worklist) == len(set(on_worklist)), "no workitem is doubled"
        assert set(on_worklist) == {study["0020000D"]["Value"][0] for study in studies}
        assert len(studies) >= len(acknowledged)
    assert process.demur("ledger", "verify")["flaw"] is None


def test_sigterm_finishes_what_is_under_way(process: Process) -> None:
    process.start()
    token = process.demur("site", "add", "north")["token"]
    headers = {"Authorization": f"Bearer {token}", **DICOM}
    statuses: list[int] = []

    def post() -> None:
        statuses.append(
            httpx.post(f"{process.url}/v1/studies", content=make_dicom(side=1500), headers=headers).status_code
        )

    thread = threading.Thread(target=post)
    thread.start()
    wait_until(lambda: any(process.storage.glob("incoming/*")) or bool(statuses))
    assert process.stop() == 0
    thread.join()
    assert statuses == [201]
