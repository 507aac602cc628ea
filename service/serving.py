"""Running the service: one process, uvicorn with httptools and uvloop, no access log."""

import logging
import signal
import socket
from collections.abc import Callable
from functools import partial

import uvicorn

from models.errors import DataError
from service import logs
from service.access.workflow import new_secret
from service.app import create_app, utc_now
from service.connections import PatientProtocol
from service.settings import Settings
from service.triage.judge import Judge

logger = logging.getLogger(__name__)

#: How long a client may be silent between requests of a connection.
_KEEP_ALIVE_S = 30


def run(settings: Settings, announce: Callable[[str, str | None, Judge], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``announce`` gets the address, a generated reader's token, and what decides."""
    logs.configure(settings.log_level)
    judge = Judge.open(settings.bundle, settings.trust)
    if judge.is_over(utc_now()):
        logger.error("certificate expired, every study is IDK", extra={"action": "certificate_expired"})
    generated = new_secret() if settings.reader_token is None else None
    given = settings.reader_token.get_secret_value() if settings.reader_token is not None else None
    app = create_app(settings, judge=judge, reader_token=generated or given)
    listener = _listen(settings)
    scheme = "https" if settings.tls_certificate is not None else "http"
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(PatientProtocol, header_s=settings.header_s),  # pyright: ignore[reportArgumentType]
        ws="none",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    announce(f"{scheme}://{host}:{port}", generated, judge)
    # uvicorn drains, and then raises the signal again that ended it: by now everything is done.
    for ended_by in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ended_by, lambda _number, _frame: None)
    uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=512)
    except OSError as fault:
        raise DataError(
            f"cannot listen at {settings.host}:{settings.port} ({fault.strerror}); choose another --port"
        ) from None
    listener.set_inheritable(True)
    return listener
