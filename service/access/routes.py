"""Who is asking, as a dependency of every route."""

import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends
from starlette.requests import HTTPConnection

from service.access.workflow import LOCAL_READER, Principal, Role, authenticate, digest_of, secret_in
from service.errors import ForbiddenError
from service.runtime import Running

COOKIE = "demur_session"


def principal(request: HTTPConnection, runtime: Running) -> Principal:
    """Return who sent the request or opens the socket; a cookie counts only from our own pages."""
    authorization = request.headers.get("authorization", "")
    cookie = "" if authorization else request.cookies.get(COOKIE, "")
    # Browsers send cookies by themselves, and Basic credentials once they were given. Of a socket a program says no Origin.
    is_from_browser = cookie or (authorization[:6].lower() == "basic " and _says_where_from(request))
    if is_from_browser and not _is_ours(request):
        raise ForbiddenError("a request of another page is not taken")
    secret = secret_in(authorization)
    if secret and secrets.compare_digest(digest_of(secret), request.app.state.reader_token_digest):
        return Principal(name=LOCAL_READER, roles=frozenset({Role.READER}))
    with runtime.database.reading() as connection:
        return authenticate(connection, authorization=authorization, cookie=cookie, now=runtime.clock())


def _says_where_from(request: HTTPConnection) -> bool:
    return "origin" in request.headers or "sec-fetch-site" in request.headers


def _is_ours(request: HTTPConnection) -> bool:
    """Say whether a browser was sent here by a page of ours; of a socket only its Origin tells, so that is demanded."""
    if request.scope["type"] == "websocket":
        return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host")
    is_harmless = request.scope["method"] in ("GET", "HEAD")
    return is_harmless or request.headers.get("sec-fetch-site", "same-origin") == "same-origin"


def sender(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may store studies."""
    found.require(Role.SENDER)
    return found


def reader(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may work through the worklist."""
    found.require(Role.READER)
    return found


def auditor(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may read decisions and the ledger."""
    found.require(Role.AUDITOR, Role.ADMIN)
    return found


def admin(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may correct and erase."""
    found.require(Role.ADMIN)
    return found


def inquirer(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may ask what was decided; a reader may not, who is to read unswayed."""
    found.require(Role.SENDER, Role.AUDITOR, Role.ADMIN)
    return found


def viewer(found: Annotated[Principal, Depends(principal)]) -> Principal:
    """Return a principal that may look at studies: a sender its own site's, people every site's."""
    found.require(Role.SENDER, Role.READER, Role.AUDITOR)
    return found


Sender = Annotated[Principal, Depends(sender)]
Reader = Annotated[Principal, Depends(reader)]
Auditor = Annotated[Principal, Depends(auditor)]
Admin = Annotated[Principal, Depends(admin)]
Inquirer = Annotated[Principal, Depends(inquirer)]
Viewer = Annotated[Principal, Depends(viewer)]
