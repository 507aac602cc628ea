"""How much a DIMSE peer can make the process hold: pynetdicom itself reads whatever length a PDU claims.

Invariants:

- What all associations hold together of messages not yet answered stays within the allowance, from a connection's first
  byte on. A peer that goes beyond loses its connection, and nothing of that message was acknowledged.
- A PDU comes whole within a time, so that no connection is kept open by a byte now and then.
"""

import logging
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from queue import Queue
from typing import cast

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16


class _RefusedError(OSError):
    """A peer asked for too much; to pynetdicom the connection is lost."""


@dataclass(slots=True)
class _Held:
    """What one association holds: bytes of the message that is coming, and of each that is not answered yet."""

    coming: int = 0
    whole: deque[int] = field(default_factory=deque)

    @property
    def bytes(self) -> int:
        return self.coming + sum(self.whole)


class Allowance:
    """What may be under way: connections, bytes of one message, bytes of all messages together."""

    def __init__(self, *, connections: int, message_bytes: int, total_bytes: int, pdu_s: float) -> None:
        self.pdu_s = pdu_s
        self._connections, self._message_bytes, self._total_bytes = connections, message_bytes, total_bytes
        self._lock = threading.Lock()
        self._held: dict[Association, _Held] = {}

    def begin_connection(self, association: Association) -> None:
        """Count a connection, as far as there is room for it."""
        with self._lock:
            for ended in [one for one in self._held if one.ident is not None and not one.is_alive()]:
                del self._held[ended]
            if len(self._held) < self._connections:
                self._held[association] = _Held()

    def take(self, association: Association, count: int) -> None:
        """Count bytes before they are read; OSError, which ends the connection, if they are too many."""
        with self._lock:
            held = self._held.get(association)
            if held is None:
                raise _RefusedError("there are too many connections")
            if held.bytes + count > self._message_bytes:
                raise _RefusedError("the message is too large")
            if sum(one.bytes for one in self._held.values()) + count > self._total_bytes:
                raise _RefusedError("too much is under way")
            held.coming += count

    def give_back(self, association: Association, count: int) -> None:
        """Count bytes no more that did not come."""
        with self._lock:
            if held := self._held.get(association):
                held.coming -= count

    def end_message(self, association: Association) -> None:
        """Count anew: a message has come whole. It is held until it is answered."""
        with self._lock:
            if held := self._held.get(association):
                held.whole.append(held.coming)
                held.coming = 0

    def answer_message(self, association: Association) -> None:
        """Count the oldest whole message no more: it is answered."""
        with self._lock:
            held = self._held.get(association)
            if held is not None and held.whole:
                held.whole.popleft()


def guard(association: Association, allowance: Allowance) -> None:
    """Let an association read only what is allowed, and each PDU only for so long; see that its socket is closed."""
    transport = cast("AssociationSocket", association.dul.socket)
    connection = cast("socket.socket", transport.socket)
    allowance.begin_connection(association)

    def receive(nr_bytes: int) -> bytearray:
        deadline = time.monotonic() + allowance.pdu_s
        data = bytearray()
        try:
            while len(data) < nr_bytes:
                wanted = min(nr_bytes - len(data), _CHUNK)
                allowance.take(association, wanted)
                part = connection.recv(wanted)
                if not part:
                    break
                data += part
                if len(part) < wanted:
                    allowance.give_back(association, wanted - len(part))
                _check_time(deadline)
        except _RefusedError as fault:
            logger.warning("connection ended", extra={"action": "connection_ended", "reason": str(fault)})
            transport.close()
            raise
        return data

    def close() -> None:
        shut()
        connection.close()  # pynetdicom leaves it open where shutting it down fails

    shut, transport.close, transport.recv = transport.close, close, receive


def end(association: Association) -> None:
    """Let an association whose connection has ended wait no longer for a request that cannot come."""
    cast("Queue[object]", association.dul.to_user_queue).put(None)


def _check_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _RefusedError("the peer is too slow")
