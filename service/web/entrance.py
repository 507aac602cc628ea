"""The way in: the files that every page needs, and the sign-in of readers with a token."""

import logging
import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from service.access.routes import COOKIE
from service.access.workflow import LOCAL_READER, Principal, Role, authenticate, digest_of, sign_in, sign_out
from service.errors import ForbiddenError, UnauthenticatedError
from service.runtime import Running, Runtime
from service.web.pages import ASSETS, OURS, PageRoute, go, page

logger = logging.getLogger(__name__)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/")
def home() -> RedirectResponse:
    """Go to the worklist."""
    return go("/worklist")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Give a file that pages need; its address changes with its content."""
    if name not in ASSETS:
        return Response(status_code=404)
    content, media_type, _ = ASSETS[name]
    return Response(content, media_type=media_type, headers={"cache-control": "public, max-age=31536000, immutable"})


@router.get("/sign-in")
def sign_in_page(request: Request, next: str = "/worklist") -> Response:  # noqa: A002
    """Ask for a token."""
    return page("sign_in.html", request, failure="", wanted=_ours(next))


@router.post("/sign-in", dependencies=OURS)
def do_sign_in(
    request: Request, runtime: Running, token: Annotated[str, Form()] = "", wanted: Annotated[str, Form()] = ""
) -> Response:
    """Begin a session."""
    if not token.strip():
        failure = "The token is missing."
        return page("sign_in.html", request, status=422, failure=failure, wanted=_ours(wanted))
    now, lifetime = runtime.clock(), timedelta(seconds=runtime.settings.session_s)
    try:
        found = _who(request, runtime, token.strip())
    except (UnauthenticatedError, ForbiddenError):
        failure = "This token is not known, has ended, or is not a reader’s."
        return page("sign_in.html", request, status=403, failure=failure, wanted=_ours(wanted))
    with runtime.database.writing() as connection:
        cookie = sign_in(connection, name=found.name, roles=found.roles, now=now, lifetime=lifetime)
    logger.info("reader signed in", extra={"action": "signed_in"})
    answer = go(_ours(wanted))
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(runtime.settings.session_s),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out", dependencies=OURS)
def do_sign_out(request: Request, runtime: Running) -> Response:
    """End the session."""
    with runtime.database.writing() as connection:
        sign_out(connection, request.cookies.get(COOKIE, ""))
    answer = go("/sign-in", "signed-out")
    answer.set_cookie(COOKIE, "", max_age=0, httponly=True, samesite="strict")
    return answer


def _who(request: Request, runtime: Runtime, token: str) -> Principal:
    """Return the reader that a token is of."""
    if token and secrets.compare_digest(digest_of(token), request.app.state.reader_token_digest):
        return Principal(name=LOCAL_READER, roles=frozenset({Role.READER}))
    with runtime.database.reading() as connection:
        found = authenticate(connection, authorization=f"Bearer {token}", cookie="", now=runtime.clock())
    found.require(Role.READER)
    if found.site_id is not None:
        raise ForbiddenError("a sign-in is for every site, and this token is for one")
    return found


def _ours(path: str) -> str:
    """Return a path of our own to go to after signing in; a worklist for anything else."""
    is_ours = path.startswith(("/worklist", "/cases/")) and not path.startswith("//") and "\\" not in path
    return path if is_ours and not path.endswith(".png") else "/worklist"
