"""Running the service: one process, uvicorn with httptools and uvloop, no access log."""

import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from models.errors import DataError
from service import logs
from service.access.workflow import new_secret
from service.app import create_app, utc_now
from service.connections import PatientProtocol
from service.settings import Settings
from service.triage.judge import Judge
from service.worklist.channel import Channels

logger = logging.getLogger(__name__)

#: How long a client may be silent between requests of a connection.
_KEEP_ALIVE_S = 30
#: Event channels only speak; the largest message that is taken to say so.
_HEARD_BYTES = 4096
_ONLY_FAULTS = logging.getLogger("uvicorn.error.socket")
_ONLY_FAULTS.addFilter(lambda record: record.exc_info is not None)


def run(settings: Settings, announce: Callable[[str, str | None, Judge], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` gets the address, a generated reader's token, and what decides."""
    logs.configure(settings.log_level)
    judge = Judge.open(settings.bundle, settings.trust)
    if judge.is_over(utc_now()):
        logger.error("certificate expired, every study is IDK", extra={"action": "certificate_expired"})
    is_local = settings.reader_token is None and settings.oidc_issuer is None
    generated = new_secret() if is_local else None
    given = settings.reader_token.get_secret_value() if settings.reader_token is not None else None
    app = create_app(settings, judge=judge, reader_token=generated or given)
    listener = _listen(settings)
    scheme = "https" if settings.tls_certificate is not None else "http"
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(PatientProtocol, header_s=settings.header_s),  # pyright: ignore[reportArgumentType]
        ws=_Socket,
        ws_max_size=_HEARD_BYTES,
        ws_per_message_deflate=False,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    server = _Server(config, app.state.channels)

    def end(_number: int, _frame: object) -> None:
        server.should_exit = True

    # Before uvicorn takes signals this one is kept for it; when it has drained, it raises again what ended it.
    for ended_by in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ended_by, end)
    announce(f"{scheme}://{host}:{port}", generated, judge)
    server.run(sockets=[listener])


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket of whose lines in the log only faults are left: the others tell paths, at DEBUG even tokens."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = self.conn.logger = _ONLY_FAULTS
        self.conn.debug = False


class _Server(uvicorn.Server):
    """A server whose event channels say that it goes down before their connections are closed."""

    def __init__(self, config: uvicorn.Config, channels: Channels) -> None:
        super().__init__(config)
        self._channels = channels

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain."""
        await self._channels.end()
        await super().shutdown(sockets)


def _listen(settings: Settings) -> socket.socket:
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=512)
    except OSError as fault:
        raise DataError(
            f"cannot listen at {settings.host}:{settings.port} ({fault.strerror}); choose another --port"
        ) from None
    listener.set_inheritable(True)
    return listener
