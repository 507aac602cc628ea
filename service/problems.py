"""Errors over HTTP: one table from error to status, told as RFC 9457 ``application/problem+json``."""

import logging
import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from models.errors import BundleError, DataError, DemurError, InputError, WorklistError
from service.errors import (
    ConflictError,
    ForbiddenError,
    MediaTypeError,
    MissingError,
    NotAcceptableError,
    OverloadedError,
    RateError,
    RequestError,
    SiteError,
    TooLargeError,
    UnauthenticatedError,
)
from service.worklist.states import Outcome
from service.worklist.workflow import RefusedError

logger = logging.getLogger(__name__)

#: The first class that an error is an instance of gives the status.
STATUSES: dict[type[Exception], int] = {
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    MissingError: 404,
    NotAcceptableError: 406,
    SiteError: 409,
    ConflictError: 409,
    WorklistError: 409,
    TooLargeError: 413,
    MediaTypeError: 415,
    RateError: 429,
    RequestError: 400,
    InputError: 400,
    OverloadedError: 503,
    BundleError: 503,
    DataError: 500,
    DBAPIError: 503,
    PoolTimeoutError: 503,
    OSError: 503,
}
#: PS3.18 section 11.7.3: a Transaction UID that is missing or wrong is a bad request, the rest conflicts.
BAD_REQUESTS = (Outcome.LOCKED, Outcome.ONLY_CREATED)
RETRY_AFTER_S = 10


def status_of(error: Exception) -> int:
    """Return the status of an error; 500 for one that nobody expected."""
    if isinstance(error, RefusedError):
        return 400 if error.outcome in BAD_REQUESTS else 409
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def problem(status: int, *, kind: str, title: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem."""
    body = {"type": f"/problems/{kind}", "title": title, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Let an application tell every error as a problem."""

    async def tell(_request: Request, error: Exception) -> JSONResponse:
        return _answer(error)

    async def tell_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase
        kind = title.lower().replace(" ", "-")
        return problem(error.status_code, kind=kind, title=title, detail=title, headers=dict(error.headers or {}))

    async def tell_invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        # Where and what kind, never the value: it may be a patient's.
        places = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return problem(422, kind="malformed", title="The request is not well formed", detail=places)

    for kind in (DemurError, DBAPIError, PoolTimeoutError, OSError, Exception):
        app.add_exception_handler(kind, tell)
    app.add_exception_handler(HTTPException, tell_http)
    app.add_exception_handler(RequestValidationError, tell_invalid)


def _answer(error: Exception) -> JSONResponse:
    status = status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, DemurError):
        title, detail = str(error.__doc__), str(error)
    else:
        title = "The service cannot do this now" if status == 503 else "A fault of Demur's own"
        detail = "nothing was acknowledged; try again" if status == 503 else "it is in the log"
        logger.error("request failed", extra={"action": "request_failed", "fault": type(error).__name__})
    if isinstance(error, DataError):
        title = "A fault of Demur's own"
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="demur", Basic realm="demur"'
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, DemurError):
        headers["Warning"] = f'299 demur: "{re.sub(r"[^ -~]", "?", detail)}"'
    name = type(error).__name__.removesuffix("Error") or "fault"
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
    return problem(status, kind=kind, title=title, detail=detail, headers=headers)
