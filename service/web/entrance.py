"""The way in: the files that every page needs, and the sign-in of people, at a provider or with a token."""

import logging
import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service.access.provider import Attempt, Provider
from service.access.routes import COOKIE
from service.access.workflow import (
    LOCAL_READER,
    PROVIDED,
    Principal,
    Role,
    authenticate,
    digest_of,
    sign_in,
    sign_out,
)
from service.errors import ForbiddenError, OverloadedError, UnauthenticatedError
from service.runtime import Running, Runtime
from service.web.pages import ASSETS, OURS, PageRoute, go, page

#: What a browser keeps while it is at the provider, and for how long.
ATTEMPT_COOKIE = "demur_sign_in"
_ATTEMPT_S = 900
#: The longest name that somebody who signs in with the shared token may give.
_CALLED_MAX = 40

logger = logging.getLogger(__name__)

router = APIRouter(route_class=PageRoute, include_in_schema=False)
#: It goes into a cookie, and browsers drop long ones.
_PATH_MAX = 500


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
    """Offer the ways to sign in."""
    return _entrance(request, wanted=_ours(next))


@router.post("/sign-in", dependencies=OURS)
def do_sign_in(
    request: Request,
    runtime: Running,
    token: Annotated[str, Form()] = "",
    called: Annotated[str, Form()] = "",
    wanted: Annotated[str, Form()] = "",
) -> Response:
    """Begin a session with a token."""
    if not token.strip():
        return _entrance(request, wanted=_ours(wanted), status=422, failure="The token is missing.")
    try:
        found = _who(request, runtime, token.strip(), " ".join(called.split()))
    except (UnauthenticatedError, ForbiddenError):
        failure = "This token is not known, has ended, or is not a reader’s."
        return _entrance(request, wanted=_ours(wanted), status=403, failure=failure)
    return _begin(request, runtime, found, _ours(wanted))


@router.get("/sign-in/provider")
async def go_to_provider(request: Request, runtime: Running, next: str = "/worklist") -> Response:  # noqa: A002
    """Send the browser to the provider of sign-ins."""
    provider: Provider | None = request.app.state.provider
    if provider is None:
        return go("/sign-in")
    attempt = Attempt.begin(_ours(next))
    try:
        address = await provider.address(attempt)
    except OverloadedError:
        return _silent(request, attempt.wanted)
    answer = RedirectResponse(address, status_code=303)
    _set_cookie(answer, request, runtime, ATTEMPT_COOKIE, attempt.cookie, _ATTEMPT_S)
    return answer


@router.get("/sign-in/callback")
async def come_from_provider(request: Request, runtime: Running) -> Response:
    """Begin a session of whom the provider has signed in; only in the browser that went there, and once."""
    provider: Provider | None = request.app.state.provider
    if provider is None:
        return go("/sign-in")
    attempt = Attempt.parse(request.cookies.get(ATTEMPT_COOKIE, ""))
    wanted = _ours(attempt.wanted)
    try:
        person = await provider.person(attempt, request.query_params)
    except OverloadedError:
        answer = _silent(request, wanted)
    except UnauthenticatedError as error:
        logger.warning("sign-in refused", extra={"action": "sign_in_refused", "reason": str(error)})
        failure = "This sign-in did not come to its end, or was begun in another window. Sign in again."
        answer = _entrance(request, wanted=wanted, status=403, provider_failure=failure)
    except ForbiddenError:
        logger.warning("sign-in refused", extra={"action": "sign_in_refused", "reason": "no role"})
        failure = "Your account is known, but none of its groups may use Demur. Ask whoever runs Demur for a role."
        answer = _entrance(request, wanted=wanted, status=403, provider_failure=failure)
    else:
        found = Principal(name=person.name, roles=person.roles, label=person.label)
        answer = await run_in_threadpool(_begin, request, runtime, found, wanted)
    _set_cookie(answer, request, runtime, ATTEMPT_COOKIE, "", 0)
    return answer


@router.post("/sign-out", dependencies=OURS)
def do_sign_out(request: Request, runtime: Running) -> Response:
    """End the session."""
    cookie, is_provided = request.cookies.get(COOKIE, ""), False
    with runtime.database.writing() as connection:
        try:
            found = authenticate(connection, authorization="", cookie=cookie, now=runtime.clock())
            is_provided = found.name.startswith(PROVIDED)
        except UnauthenticatedError:
            pass
        sign_out(connection, cookie)
    answer = go("/sign-out/provider") if is_provided else go("/sign-in", "signed-out")
    _set_cookie(answer, request, runtime, COOKIE, "", 0)
    return answer


@router.get("/sign-out/provider")
async def leave_provider(request: Request) -> Response:
    """Send the browser on to end its sign-in at the provider too, by a page: a form may not lead to another site."""
    provider: Provider | None = request.app.state.provider
    try:
        address = await provider.farewell() if provider is not None else ""
    except OverloadedError:
        address = ""
    return page("sign_out.html", request, address=address) if address else go("/sign-in", "signed-out")


def _entrance(
    request: Request, *, wanted: str, status: int = 200, failure: str = "", provider_failure: str = ""
) -> Response:
    """Return the page that offers the ways to sign in."""
    has_provider = request.app.state.provider is not None
    return page(
        "sign_in.html",
        request,
        status=status,
        failure=failure,
        provider_failure=provider_failure,
        has_provider=has_provider,
        wanted=wanted,
        called_max=_CALLED_MAX,
    )


def _silent(request: Request, wanted: str) -> Response:
    failure = "The place where you sign in does not answer. Try again in a moment; everything else in Demur goes on."
    return _entrance(request, wanted=wanted, status=503, provider_failure=failure)


def _begin(request: Request, runtime: Runtime, found: Principal, wanted: str) -> Response:
    """Begin a session under a new cookie, end the one that this browser had, and go on."""
    lifetime = timedelta(seconds=runtime.settings.session_s)
    with runtime.database.writing() as connection:
        sign_out(connection, request.cookies.get(COOKIE, ""))
        cookie = sign_in(
            connection,
            name=found.name,
            label=found.label,
            roles=found.roles,
            now=runtime.clock(),
            lifetime=lifetime,
        )
    logger.info("person signed in", extra={"action": "signed_in"})
    answer = go(wanted)
    _set_cookie(answer, request, runtime, COOKIE, cookie, int(runtime.settings.session_s))
    return answer


def _set_cookie(answer: Response, request: Request, runtime: Runtime, name: str, value: str, age_s: int) -> None:
    """Set a cookie that no script reads; Lax, since the provider's answer comes from another site."""
    is_secure = request.url.scheme == "https" or (runtime.settings.public_url or "").startswith("https:")
    answer.set_cookie(name, value, max_age=age_s, httponly=True, samesite="lax", secure=is_secure)


def _who(request: Request, runtime: Runtime, token: str, called: str) -> Principal:
    """Return the reader that a token is of; who uses the local one may say what to be called."""
    if token and secrets.compare_digest(digest_of(token), request.app.state.reader_token_digest):
        is_named = bool(called) and called.isprintable()
        name = f"{LOCAL_READER}:{called[:_CALLED_MAX]}" if is_named else LOCAL_READER
        return Principal(name=name, roles=frozenset({Role.READER}), label=called[:_CALLED_MAX] if is_named else "")
    with runtime.database.reading() as connection:
        found = authenticate(connection, authorization=f"Bearer {token}", cookie="", now=runtime.clock())
    found.require(Role.READER)
    if found.site_id is not None:
        raise ForbiddenError("a sign-in is for every site, and this token is for one")
    return found


def _ours(path: str) -> str:
    """Return a path of our own to go to after signing in; a worklist for anything else."""
    is_plain = path.isascii() and path.isprintable() and "\\" not in path and len(path) <= _PATH_MAX
    is_ours = is_plain and path.startswith(("/worklist", "/cases/"))
    return path if is_ours and not path.endswith(".png") else "/worklist"
