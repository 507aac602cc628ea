"""Event channels of real processes: told across processes, closed in good order, and silent in the log."""

import json
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.service_support import Process, make_dicom, wait_until

WORKLIST = "1.2.840.10008.5.1.4.34.5"
#: No reader's, though one cannot see that from its length.
WRONG = "A" * 43


def channel(process: Process, token: str, **options: Any) -> Any:
    url = process.url.replace("http", "ws", 1) + "/dicom-web/subscribers/CORRIDOR"
    return connect(url, additional_headers={"Authorization": f"Bearer {token}"}, **options)


def told(socket: ClientConnection) -> tuple[int, str]:
    """Return the type of the next report and the state in it."""
    report = json.loads(socket.recv(timeout=60))
    state = report.get("00741000") or report.get("00741242") or {"Value": [""]}
    return report["00001002"]["Value"][0], state["Value"][0]


def test_what_happens_in_one_process_is_told_by_another_which_says_goodbye(process: Process) -> None:
    process.start()
    other = Process(
        database=process.database, storage=process.storage, log_name="other.log", reader_token=process.reader_token
    ).start()
    try:
        sender = {"Authorization": f"Bearer {process.demur('site', 'add', 'north')['token']}"}
        reader = {"Authorization": f"Bearer {process.reader_token}"}
        with channel(other, process.reader_token) as socket:
            assert told(socket) == (4, "RESTARTED")
            subscribed = httpx.post(
                f"{process.url}/dicom-web/workitems/{WORKLIST}/subscribers/CORRIDOR", headers=reader
            )
            assert subscribed.headers["content-location"] == process.url.replace("http", "ws", 1) + (
                "/dicom-web/subscribers/CORRIDOR"
            )
            stored = httpx.post(
                f"{process.url}/v1/studies?more=true",
                content=make_dicom(),
                headers=sender | {"Content-Type": "application/dicom"},
                timeout=60,
            )
            assert stored.status_code == 202
            assert told(socket) == (1, "SCHEDULED")
            with pytest.raises(InvalidStatus) as refused, channel(other, WRONG):
                pass
            assert refused.value.response.status_code == 401
            assert json.loads(refused.value.response.body or b"")["status"] == 401
            assert other.stop() == 0
            assert told(socket) == (4, "GOING DOWN")
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=60)
            assert socket.close_code == 1001
        log = other.log()
        assert "CORRIDOR" not in log, "a path is not logged"
        assert process.reader_token not in log
        assert '"level": "ERROR"' not in log
    finally:
        if other.is_running():
            other.kill()


def test_no_token_and_no_path_is_in_the_log_at_its_most_talkative(process: Process) -> None:
    process.environment = {"DEMUR_LOG_LEVEL": "DEBUG"}
    process.start()
    with channel(process, process.reader_token) as socket:
        assert told(socket) == (4, "RESTARTED")
    wait_until(lambda: "channel closed" in process.log())
    assert process.stop() == 0
    assert process.reader_token not in process.log()
    assert "CORRIDOR" not in process.log()
