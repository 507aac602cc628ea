"""The front door over DIMSE: a C-STORE SCP (PS3.4 Annex B) with C-ECHO, for what does not speak DICOMweb.

Invariants:

- Success is answered only after the commit that put the study on the worklist, as over HTTP: the same workflow.
- A sender is known by its AE title, each of which belongs to one site; an unknown one gets no association. An AE title is
  no proof of anything: what the network does not protect, TLS with client certificates does.
- What a sender writes names no file, and nothing that it writes is logged.
- A peer can make the process hold only so much: see ``dimse_limits``.
"""

import logging
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from io import BytesIO
from ssl import SSLContext
from typing import cast

from pydicom import config, uid
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.transport import ThreadedAssociationServer
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from models.errors import DemurError
from service.database import Database
from service.errors import OverloadedError, RateError
from service.ingest import workflow
from service.ingest.dimse_limits import Allowance, end, guard
from service.ingest.gate import Gate, has_room
from service.ingest.identify import Identity
from service.ingest.schemas import FAILURE_REASONS
from service.ingest.workflow import Receipt
from service.sites.store import get as get_site
from service.storage.workflow import Storage

logger = logging.getLogger(__name__)

#: What is negotiated. What of these cannot be decoded is stored all the same, and its study is read by a human.
TRANSFER_SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
]
#: Who wrote the file's meta information: the same for ever, since a resend must give the same bytes.
IMPLEMENTATION_CLASS_UID = "2.25.212395421926087614935216358846279814701"
#: (0000,0900) *Status* (PS3.4 Table B.2-1, PS3.7 Annex C).
SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, FAULT = 0x0000, 0xA700, 0xA900, 0x0110
#: (0000,0902) *Error Comment* is an LO.
_COMMENT_MAX = 64
#: Rejected for now by the service provider (PS3.8 Table 9-21).
_LOCAL_LIMIT_EXCEEDED = 0x02, 0x03, 0x02
_IDLE_S = 60
_VERIFICATION = "1.2.840.10008.1.1"
_UID = re.compile(r"[0-9.]{1,64}")
#: Larger PDUs spare work; one that is larger than this is refused.
_PDU_BYTES = 1 << 18
_POLL_S = 0.05


class Receiver:
    """Listens for associations and takes in what they store."""

    def __init__(
        self,
        database: Database,
        storage: Storage,
        sites: Mapping[str, str],
        *,
        ae_title: str,
        quiet_s: float,
        associations_max: int,
        allowance: Allowance,
        gate: Gate,
        clock: Callable[[], datetime],
    ) -> None:
        """Begin with the ids of the sites by calling AE title."""
        self._database, self._storage, self._sites = database, storage, dict(sites)
        self._quiet_s, self._allowance, self._gate, self._clock = quiet_s, allowance, gate, clock
        self._storing = 0
        self._lock = threading.Lock()
        self._ae = AE(ae_title=ae_title)
        self._ae.maximum_pdu_size = _PDU_BYTES
        self._ae.maximum_associations = associations_max
        self._ae.require_called_aet = True
        self._ae.require_calling_aet = sorted(self._sites)
        self._ae.network_timeout = self._ae.acse_timeout = self._ae.dimse_timeout = _IDLE_S
        self._ae.add_supported_context(_VERIFICATION)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(cast("str", context.abstract_syntax), TRANSFER_SYNTAXES)

    def start(self, host: str, port: int, tls: SSLContext | None = None) -> int:
        """Begin to listen and return the port; OSError if it is taken."""
        handlers = [
            (evt.EVT_CONN_OPEN, lambda event: guard(event.assoc, self._allowance)),
            (evt.EVT_CONN_CLOSE, lambda event: end(event.assoc)),
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_DIMSE_RECV, lambda event: self._allowance.end_message(event.assoc)),
            (evt.EVT_DIMSE_SENT, lambda event: self._allowance.answer_message(event.assoc)),
            (evt.EVT_C_STORE, self._store),
        ]
        server = self._ae.make_server((host, port), ssl_context=tls, evt_handlers=handlers, server_class=_Server)
        self._server = cast("_Server", server)
        threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="accept", daemon=True).start()
        return self._server.server_address[1]

    def stop(self, drain_s: float) -> None:
        """Listen no more, let the associations under way end by themselves for a time, then end them.

        What is being stored at the end of that time is stored; its sender may not hear of it and sends it again.
        """
        self._server.finish()
        deadline = time.monotonic() + drain_s
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for association in self._ae.active_associations:
            association.abort()
        while self._is_storing():
            time.sleep(_POLL_S)

    def _admit(self, event: Event) -> None:
        """Turn an association away whose site has its share of them; who may send at all, pynetdicom checks after this."""
        holders = [self._site_of(one) for one in self._ae.active_associations if one is not event.assoc]
        others = [site for site in holders if site is not None]
        mine = others.count(self._site_of(event.assoc) or "")
        if not has_room(mine=mine, taken=len(others), places=self._ae.maximum_associations):
            event.assoc.acse.send_reject(*_LOCAL_LIMIT_EXCEEDED)
            event.assoc.kill()

    def _site_of(self, association: Association) -> str | None:
        request = association.requestor.primitive
        return None if request is None else self._sites.get(str(request.calling_ae_title).strip())

    def _is_storing(self) -> bool:
        with self._lock:
            return self._storing > 0

    def _store(self, event: Event) -> Dataset:
        with self._lock:
            self._storing += 1
        try:
            receipt = self._take_in(cast("C_STORE", event.request), event)
        except (OverloadedError, RateError) as fault:
            return _status(OUT_OF_RESOURCES, str(fault))
        except (DBAPIError, PoolTimeoutError, OSError, MemoryError) as fault:
            logger.warning("instance not stored", extra={"action": "not_stored", "fault": type(fault).__name__})
            return _status(OUT_OF_RESOURCES, "database or storage is not reached; send again later")
        except _MismatchError as fault:
            return _status(DOES_NOT_MATCH, str(fault))
        except Exception as fault:  # the process's edge: the sender is told that it was not stored
            logger.exception("instance not stored", extra={"action": "not_stored", "fault": type(fault).__name__})
            return _status(FAULT, "a fault of the receiver; nothing was stored")
        finally:
            with self._lock:
                self._storing -= 1
        return _status(SUCCESS) if receipt.is_stored else _status(FAILURE_REASONS[receipt.outcome], receipt.explanation)

    def _take_in(self, request: C_STORE, event: Event) -> Receipt:
        site_id = self._sites[str(event.assoc.requestor.ae_title).strip()]
        with self._gate.pass_through(site_id) as passage, self._storage.spool() as spool:
            passage.bytes = cast("BytesIO", request.DataSet).getbuffer().nbytes
            spool.write(_head(request, str(event.context.transfer_syntax)))
            spool.write(cast("BytesIO", request.DataSet).getbuffer())
            arrival = workflow.receive(spool)
            if arrival.identity is not None:
                _check(request, arrival.identity)
            workflow.keep(self._storage, [arrival])
            now = self._clock()
            with self._database.writing() as connection:
                (receipt,) = workflow.take_in(
                    connection,
                    self._storage,
                    get_site(connection, site_id),
                    [arrival],
                    due_at=workflow.due_after(now, self._quiet_s),
                    now=now,
                )
        return receipt


class _MismatchError(DemurError):
    """The data set is not what its request says"""


class _Server(ThreadedAssociationServer):
    """Accepts connections without waiting for anything that a peer does."""

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection; its TLS handshake comes with its first read, in its own thread."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(_IDLE_S)
        if self.ssl_context is not None:
            connection = self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def finish(self) -> None:
        """Accept no more."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


def quieten() -> None:
    """Let nothing out of what peers send: pynetdicom's logs and pydicom's warnings quote names and UIDs."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL = "none"
    config.settings.reading_validation_mode = config.IGNORE


def _check(request: C_STORE, identity: Identity) -> None:
    if identity.sop_instance_uid != request.AffectedSOPInstanceUID:
        raise _MismatchError("request and data set differ in SOP Instance UID")
    if identity.sop_class_uid != request.AffectedSOPClassUID:
        raise _MismatchError("request and data set differ in SOP Class UID")


def _head(request: C_STORE, transfer_syntax: str) -> bytes:
    """Return preamble and meta information of the file that a data set becomes (PS3.10 section 7.1).

    It holds nothing but what the sender sends again with a resend, since the same instance must give the same bytes.
    """
    uids = (request.AffectedSOPClassUID or "", request.AffectedSOPInstanceUID or "")
    if not all(_UID.fullmatch(value) for value in uids):
        raise _MismatchError("the request names no usable UIDs")
    meta = struct.pack("<HH2sHI2s", 2, 0x0001, b"OB", 0, 2, b"\0\1")
    elements = ((0x0002, uids[0]), (0x0003, uids[1]), (0x0010, transfer_syntax), (0x0012, IMPLEMENTATION_CLASS_UID))
    for element, value in elements:
        text = value.encode("ascii")
        text += b"\0" * (len(text) % 2)
        meta += struct.pack("<HH2sH", 2, element, b"UI", len(text)) + text
    return bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0x0000, b"UL", 4, len(meta)) + meta


def _status(code: int, comment: str = "") -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment[:_COMMENT_MAX]
    return status
