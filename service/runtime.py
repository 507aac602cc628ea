"""What every request of a running process needs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from service.database import Database
from service.settings import Settings
from service.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One process's database, settings, clock and tracing."""

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    tracing: Tracing


def runtime_of(connection: HTTPConnection) -> Runtime:
    """Return the runtime of the application that a request or a socket came to."""
    return connection.app.state.runtime


def root_of(request: Request) -> str:
    """Return the address at which the asker reaches the service, without a slash at its end."""
    return (runtime_of(request).settings.public_url or str(request.base_url)).rstrip("/")


Running = Annotated[Runtime, Depends(runtime_of)]
