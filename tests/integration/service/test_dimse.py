"""The receiver of DIMSE in this process: statuses and their reasons, limits, and that nothing acknowledged is not stored."""

import gc
import io
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from service.ingest import dimse
from service.ingest.dimse import Receiver
from service.ingest.dimse_limits import Allowance
from service.ingest.gate import Gate
from service.sites.store import find
from service.storage.workflow import Folder, Spool
from tests.service_support import make_dicom, wait_until

# Where shutting a socket down fails, pynetdicom, as client too, leaves its closing to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")

CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have what is left to the collector collected here, not in the midst of another file's test."""
    yield
    gc.collect()


@dataclass
class Front:
    """A receiver that listens, and who sends to it."""

    port: int
    receiver: Receiver

    @contextmanager
    def sending(self, title: str = "PACS", called: str = "DEMUR") -> Iterator[Association]:
        entity = AE(ae_title=title)
        entity.add_requested_context(CR, ExplicitVRLittleEndian)
        entity.add_requested_context("1.2.840.10008.1.1")
        association = entity.associate("127.0.0.1", self.port, ae_title=called)
        try:
            yield association
        finally:
            if association.is_established:
                association.release()

    def store(self, data: bytes, title: str = "PACS") -> Dataset:
        with self.sending(title) as association:
            assert association.is_established
            return association.send_c_store(pydicom.dcmread(io.BytesIO(data)))


@pytest.fixture
def front(service: Any, tmp_path: Path) -> Iterator[Callable[..., Front]]:
    """Return a function that starts a receiver on the service's database: PACS is north, VAN south."""
    begun: list[Receiver] = []

    def begin(
        *,
        storage: Any = None,
        message_bytes: int = 1 << 20,
        total_bytes: int = 4 << 20,
        connections: int = 8,
        associations_max: int = 4,
        per_minute: int = 1000,
        bytes_per_minute: int = 1 << 30,
        pdu_s: float = 30.0,
    ) -> Front:
        with service.database.reading() as connection:
            sites = {"PACS": find(connection, "north"), "VAN": find(connection, "south")}
        receiver = Receiver(
            service.database,
            storage or Folder(tmp_path / "files", reserve_bytes=0),
            {title: site.id for title, site in sites.items() if site is not None},
            ae_title="DEMUR",
            quiet_s=5.0,
            associations_max=associations_max,
            allowance=Allowance(
                connections=connections, message_bytes=message_bytes, total_bytes=total_bytes, pdu_s=pdu_s
            ),
            gate=Gate(at_once=4, per_minute=per_minute, bytes_per_minute=bytes_per_minute),
            clock=service.clock,
        )
        begun.append(receiver)
        return Front(port=receiver.start("127.0.0.1", 0), receiver=receiver)

    yield begin
    for receiver in begun:
        receiver.stop(0.0)


def test_an_echo_is_answered(front: Callable[..., Front]) -> None:
    with front().sending() as association:
        assert association.send_c_echo().Status == 0


@pytest.mark.parametrize(("title", "called"), [("STRANGER", "DEMUR"), ("PACS", "OTHER")])
def test_an_unknown_title_gets_no_association(front: Callable[..., Front], title: str, called: str) -> None:
    with front().sending(title, called) as association:
        assert association.is_rejected


def test_a_stored_instance_is_on_the_worklist_of_its_senders_site(service: Any, front: Callable[..., Front]) -> None:
    listening = front()
    data = make_dicom()
    assert listening.store(data).Status == 0
    assert listening.store(make_dicom(seed=1), title="VAN").Status == 0
    rows = service.rows(
        "SELECT sites.name, workitems.state FROM workitems JOIN studies ON studies.id = workitems.study_id "
        "JOIN sites ON sites.id = studies.site_id ORDER BY sites.name"
    )
    assert [tuple(row) for row in rows] == [("north", "SCHEDULED"), ("south", "SCHEDULED")]


def test_the_data_set_is_stored_as_it_came(service: Any, front: Callable[..., Front], tmp_path: Path) -> None:
    data = make_dicom()
    assert front().store(data).Status == 0
    ((digest,),) = service.rows("SELECT digest FROM instances")
    stored = (tmp_path / "files" / digest[:2] / digest[2:]).read_bytes()
    begin = lambda file: 132 + 12 + struct.unpack("<I", file[140:144])[0]  # noqa: E731 - after the group length
    assert stored[begin(stored) :] == data[begin(data) :]
    assert pydicom.dcmread(io.BytesIO(stored)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_resend_is_a_success_and_changes_nothing(service: Any, front: Callable[..., Front]) -> None:
    listening, data = front(), make_dicom()
    assert listening.store(data).Status == 0
    before = service.rows("SELECT count(*) FROM ledger")
    assert listening.store(data).Status == 0
    assert service.rows("SELECT count(*) FROM ledger") == before
    assert [tuple(row) for row in service.rows("SELECT count(*) FROM instances")] == [(1,)]


def test_a_resend_after_an_update_of_the_library_gives_the_same_bytes(
    service: Any, front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch
) -> None:
    listening, data = front(), make_dicom()
    listening.store(data)
    monkeypatch.setattr("pynetdicom.PYNETDICOM_IMPLEMENTATION_VERSION", "PYNETDICOM_999")
    assert listening.store(data).Status == 0


def test_other_bytes_under_a_known_uid_are_refused_with_the_reason(service: Any, front: Callable[..., Front]) -> None:
    listening = front()
    listening.store(make_dicom(SOPInstanceUID="1.2.3", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1"))
    answer = listening.store(
        make_dicom(seed=9, SOPInstanceUID="1.2.3", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1")
    )
    assert answer.Status == 0x0110
    assert answer.ErrorComment.startswith("other bytes are stored under this SOP Instance UID")
    assert [tuple(row) for row in service.rows("SELECT conflicts FROM studies")] == [(1,)]


def test_a_data_set_without_a_study_is_not_understood(service: Any, front: Callable[..., Front]) -> None:
    answer = front().store(make_dicom(StudyInstanceUID=None))
    assert answer.Status == 0xC000
    assert "StudyInstanceUID" in answer.ErrorComment
    assert service.rows("SELECT 1 FROM instances") == []


def test_a_data_set_that_is_not_its_request_is_refused(service: Any, front: Callable[..., Front]) -> None:
    listening = front()
    other = pydicom.dcmread(io.BytesIO(make_dicom()))
    for keyword in ("SOPInstanceUID", "SOPClassUID"):
        # The request's UIDs are taken from the data set's head; the data set's own are changed behind it.
        answer = _store_raw(listening, other, **{keyword: CR if keyword == "SOPClassUID" else "1.2.3.4"})
        assert (answer.Status, service.rows("SELECT 1 FROM instances")) == (0xA900, []), keyword


def test_a_full_disk_is_told_and_nothing_is_stored(service: Any, front: Callable[..., Front], tmp_path: Path) -> None:
    listening = front(storage=Folder(tmp_path / "full", reserve_bytes=1 << 60))
    answer = listening.store(make_dicom())
    assert answer.Status == 0xA700
    assert "free where files are stored" in answer.ErrorComment
    assert service.rows("SELECT 1 FROM instances") == []


class BreakingFolder(Folder):
    """A folder whose disk fails at the moment of keeping."""

    fault: BaseException = OSError(28, "No space left on device")

    def keep(self, spool: Spool) -> None:
        raise self.fault


@pytest.mark.parametrize(("fault", "status"), [(OSError(28, "No space left"), 0xA700), (RuntimeError("x"), 0x0110)])
def test_a_fault_while_storing_is_never_a_success(
    service: Any, front: Callable[..., Front], tmp_path: Path, fault: Exception, status: int
) -> None:
    storage = BreakingFolder(tmp_path / "breaking", reserve_bytes=0)
    storage.fault = fault
    assert front(storage=storage).store(make_dicom()).Status == status
    assert service.rows("SELECT 1 FROM instances") == []
    assert list((tmp_path / "breaking" / "incoming").iterdir()) == []


def test_a_database_that_is_away_is_told(service: Any, front: Callable[..., Front]) -> None:
    listening = front()
    with service.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE instances RENAME TO elsewhere")
    assert listening.store(make_dicom()).Status == 0xA700
    with service.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO instances")
    assert listening.store(make_dicom()).Status == 0


def test_a_site_that_sends_too_much_is_told_to_wait(front: Callable[..., Front]) -> None:
    listening = front(per_minute=1)
    assert listening.store(make_dicom()).Status == 0
    answer = listening.store(make_dicom())
    assert (answer.Status, "in a minute" in answer.ErrorComment) == (0xA700, True)
    assert listening.store(make_dicom(), title="VAN").Status == 0


def test_a_site_that_sends_too_many_bytes_is_told_to_wait(front: Callable[..., Front]) -> None:
    listening = front(bytes_per_minute=5000)
    assert listening.store(make_dicom()).Status == 0
    assert listening.store(make_dicom()).Status == 0xA700
    assert listening.store(make_dicom(), title="VAN").Status == 0


def test_a_message_that_is_too_large_ends_its_connection(service: Any, front: Callable[..., Front]) -> None:
    listening = front(message_bytes=100_000)
    with listening.sending() as association:
        answer = association.send_c_store(pydicom.dcmread(io.BytesIO(make_dicom(side=300))))
        assert "Status" not in answer
    assert listening.store(make_dicom()).Status == 0
    assert [tuple(row) for row in service.rows("SELECT count(*) FROM instances")] == [(1,)]


def test_many_messages_of_one_association_do_not_add_up(front: Callable[..., Front]) -> None:
    with front(message_bytes=40_000, total_bytes=50_000).sending() as association:
        for seed in range(8):
            assert association.send_c_store(pydicom.dcmread(io.BytesIO(make_dicom(seed=seed)))).Status == 0


def test_a_pdu_that_claims_four_gigabytes_ends_its_connection(front: Callable[..., Front]) -> None:
    listening = front(message_bytes=100_000)
    with socket.create_connection(("127.0.0.1", listening.port), timeout=30) as peer:
        peer.sendall(struct.pack(">BBI", 1, 0, 0xFFFFFFFF))
        assert _is_cut_off(peer, bytes(10_000))
    assert listening.store(make_dicom()).Status == 0


def test_a_peer_that_trickles_is_cut_off(front: Callable[..., Front]) -> None:
    listening = front(pdu_s=0.3)
    with socket.create_connection(("127.0.0.1", listening.port), timeout=30) as peer:
        peer.sendall(struct.pack(">BBI", 1, 0, 1000))
        assert _is_cut_off(peer, b"\0", pause_s=0.05)


def test_too_many_connections_are_cut_off_and_leave_room_when_they_end(front: Callable[..., Front]) -> None:
    listening = front(connections=2)
    idle = [socket.create_connection(("127.0.0.1", listening.port), timeout=30) for _ in range(2)]
    wait_until(lambda: len(listening.receiver._ae.active_associations) == 2)
    with listening.sending() as association:
        assert not association.is_established
    for connection in idle:
        connection.close()
    wait_until(lambda: not listening.receiver._ae.active_associations)
    assert listening.store(make_dicom()).Status == 0


def test_too_many_associations_are_rejected_for_the_moment(front: Callable[..., Front]) -> None:
    listening = front(associations_max=1)
    with listening.sending() as first, listening.sending("VAN") as second:
        assert first.is_established
        assert second.is_rejected


def test_one_site_leaves_associations_to_the_others(front: Callable[..., Front]) -> None:
    listening = front(associations_max=4)
    with listening.sending() as first, listening.sending() as second, listening.sending() as third:
        assert (first.is_established, second.is_established, third.is_rejected) == (True, True, True)
        with listening.sending("VAN") as other:
            assert other.is_established
    with listening.sending() as again:
        assert again.is_established


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BBI", 1, 0, 4) + b"\xff\xff\xff\xff",
        struct.pack(">BBI", 4, 0, 6) + struct.pack(">IBB", 2, 1, 3),
        bytes(6),
    ],
    ids=["http", "broken request", "data before an association", "zeros"],
)
def test_noise_ends_its_connection_and_nothing_else(front: Callable[..., Front], noise: bytes) -> None:
    listening = front()
    with listening.sending() as held:
        with socket.create_connection(("127.0.0.1", listening.port), timeout=30) as peer:
            peer.sendall(noise)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(4096):
                pass
        assert held.send_c_echo().Status == 0
    wait_until(lambda: not listening.receiver._ae.active_associations)


def test_stopping_lets_an_association_end_and_takes_no_more(front: Callable[..., Front]) -> None:
    listening = front()
    with listening.sending() as association:
        stopping = threading.Thread(target=listening.receiver.stop, args=(30.0,))
        stopping.start()
        wait_until(lambda: not _listens(listening.port))
        assert association.send_c_store(pydicom.dcmread(io.BytesIO(make_dicom()))).Status == 0
    stopping.join(20)
    assert not stopping.is_alive()


def test_stopping_ends_an_association_that_does_not_end(front: Callable[..., Front]) -> None:
    listening = front()
    with listening.sending() as association:
        listening.receiver.stop(0.2)
        wait_until(lambda: not association.is_established)
        assert association.is_aborted


def test_the_meta_information_has_the_negotiated_syntax_and_the_uids_of_the_request() -> None:
    request = Dataset()
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CR, "1.2.3"
    head = dimse._head(request, str(ExplicitVRLittleEndian))  # pyright: ignore[reportArgumentType]
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CR, "1.2.3")
    assert (meta.TransferSyntaxUID, meta.FileMetaInformationVersion) == (ExplicitVRLittleEndian, b"\0\1")
    assert len(head) == 144 + meta.FileMetaInformationGroupLength


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _is_cut_off(peer: socket.socket, data: bytes, pause_s: float = 0.0) -> bool:
    """Send the same again and again, as far as it is taken."""
    for _ in range(900):
        try:
            peer.sendall(data)
        except OSError:
            return True
        threading.Event().wait(pause_s)
    return False


def _store_raw(listening: Front, dataset: Dataset, **others: str) -> Dataset:
    """Send a data set under a request with other UIDs than its own."""
    from pynetdicom.dimse_primitives import C_STORE
    from pynetdicom.dsutils import encode

    with listening.sending() as association:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPInstanceUID = others.get("SOPInstanceUID", dataset.SOPInstanceUID)
        request.AffectedSOPClassUID = dataset.SOPClassUID
        request.Priority = 2
        sent = pydicom.Dataset(dataset)
        if "SOPClassUID" in others:
            sent.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        encoded = encode(sent, False, True)
        assert encoded is not None
        request.DataSet = io.BytesIO(encoded)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        status = Dataset()
        status.Status = answer.Status
        return status
