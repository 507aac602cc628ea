"""One HTTP connection, which waits for its client only so long.

uvicorn ends a connection that is silent after an answer, and waits for ever for one that is silent before its first
request, stops in the middle of a header, or goes on with a body that was answered already. Nor does it limit a header.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEADER_BYTES_MAX = 64 << 10


class PatientProtocol(HttpToolsProtocol):
    """Closes its connection unless the next request's header comes whole in time, counted from its first byte."""

    def __init__(self, *arguments: Any, header_s: float, **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._header_s = header_s
        self._waiting: asyncio.TimerHandle | None = None
        self._has_progressed = False
        self._idle_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first header."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take in bytes: so many at most that are no body and end no header, and only for so long if none is answered."""
        self._has_progressed = False
        super().data_received(data)
        self._idle_bytes = 0 if self._has_progressed else self._idle_bytes + len(data)
        if self._idle_bytes > _HEADER_BYTES_MAX:
            self.transport.close()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        has_become_another = self.transport.get_protocol() is not self  # a WebSocket
        if not is_answering and not has_become_another:
            self._wait()

    def on_headers_complete(self) -> None:
        """Wait no more: a header is whole."""
        self._has_progressed = True
        self._wait_no_more()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body."""
        self._has_progressed = True
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(self._header_s, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
