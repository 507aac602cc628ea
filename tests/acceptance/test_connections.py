"""Clients that hold a connection without asking anything, over real sockets."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.service_support import Process, make_dicom

HEADER_S = 0.5
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("connections")
    made = Process(
        database=f"sqlite:///{folder / 'demur.sqlite'}",
        storage=folder / "files",
        environment={"DEMUR_HEADER_S": str(HEADER_S)},
    ).start()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def token(service: Process) -> str:
    return service.demur("site", "add", "slow")["token"]


@pytest.fixture
def connection(service: Process) -> Iterator[socket.socket]:
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as made:
        yield made


def is_ended(connection: socket.socket, drip: bytes = b"") -> bool:
    """Send the same again and again until the other side has closed; time out if it never does."""
    connection.settimeout(0.05)
    for _ in range(1200):
        try:
            if drip:
                connection.sendall(drip)
            if not connection.recv(65536):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (HEAD, b""),
        (HEAD + b"X-Slow: ", b"x"),
        (HEAD + b"\r\n", b"\r\n"),
        (HEAD + b"\r\n", b"G"),
        (b"POST /v1/studies HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    ],
    ids=[
        "silent from the first",
        "empty lines",
        "half a header",
        "a header by the byte",
        "empty lines after an answer",
        "a header by the byte after an answer",
        "a body after its answer",
    ],
)
def test_who_asks_nothing_is_let_go(connection: socket.socket, first: bytes, drip: bytes) -> None:
    connection.sendall(first)
    assert is_ended(connection, drip)


def test_a_header_without_end_is_cut_off_before_its_time(process: Process) -> None:
    process.start()
    place = urlsplit(process.url)
    trailer = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    for first in (HEAD, trailer):
        with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
            connection.sendall(first + b"X-Long: ")
            with pytest.raises(ConnectionError):  # noqa: PT012 - which of these bytes is refused is the system's choice
                for _ in range(16 << 10):
                    connection.sendall(b"x" * (4 << 10))
    assert process.stop() == 0


def test_a_body_may_take_longer_than_a_header(service: Process, token: str, connection: socket.socket) -> None:
    data = make_dicom()
    head = (
        f"POST /v1/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/dicom\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    connection.sendall(head.encode())
    for at in range(0, len(data), len(data) // 4):
        time.sleep(HEADER_S)
        connection.sendall(data[at : at + len(data) // 4])
    assert connection.recv(100).startswith(b"HTTP/1.1 201")


def test_a_connection_may_rest_between_requests(service: Process) -> None:
    with httpx.Client() as client:
        with client.stream("GET", f"{service.url}/healthz") as answer:
            answer.read()
            first = answer.extensions["network_stream"].get_extra_info("client_addr")
        time.sleep(3 * HEADER_S)
        with client.stream("GET", f"{service.url}/healthz") as answer:
            assert answer.read()
            assert answer.extensions["network_stream"].get_extra_info("client_addr") == first
