"""How a page is made: templates, the files beside them, and the answer when something is refused."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import DBAPIError

from models.errors import DemurError
from service.errors import ForbiddenError, MissingError, UnauthenticatedError
from service.problems import status_of
from service.web.words import NOTICES

_HERE = Path(__file__).parent
#: name: (content, media type, digest). What the pages may ask for beside themselves.
ASSETS: dict[str, tuple[bytes, str, str]] = {
    path.name: (path.read_bytes(), kind, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    for suffix, kind in ((".css", "text/css"), (".js", "text/javascript"), (".svg", "image/svg+xml"))
    for path in sorted((_HERE / "static").glob(f"*{suffix}"))
}
#: A form's Origin header is withheld by browsers under the stricter "no-referrer", and it is what tells our forms from others'.
_HEADERS = {"referrer-policy": "same-origin"}
#: Sent by the page's script, which wants parts of a page or plain statuses and no redirections to a sign-in.
SCRIPT_HEADER = "x-demur-script"

templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.globals["asset"] = lambda name: f"/static/{name}?v={ASSETS[name][2]}"


def page(name: str, request: Request, *, status: int = 200, **values: object) -> HTMLResponse:
    """Return a page."""
    notice = NOTICES.get(request.query_params.get("notice", ""), "")
    html = templates.get_template(name).render(notice=notice, **values)
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def go(path: str, notice: str = "") -> RedirectResponse:
    """Send the browser to another page of ours."""
    return RedirectResponse(f"{path}?notice={notice}" if notice else path, status_code=303, headers=_HEADERS)


def same_origin(request: Request) -> None:
    """Refuse a form that another site's page sends; the cookie's SameSite=Lax is the first lock, this the second."""
    fetch_site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    is_ours = (
        urlsplit(origin).netloc == request.headers.get("host") if origin is not None else fetch_site == "same-origin"
    )
    if not is_ours or fetch_site not in (None, "same-origin"):
        raise ForbiddenError("this came from another site's page, and was not done; open the worklist and do it there")


#: What every form that changes something depends on.
OURS = [Depends(same_origin)]


class PageRoute(APIRoute):
    """A route that tells what is refused as a page: what happened, and what to do next."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the handler."""
        handle = super().get_route_handler()

        async def handle_told(request: Request) -> Response:
            try:
                return await handle(request)
            except UnauthenticatedError:
                if SCRIPT_HEADER in request.headers:
                    return Response(status_code=401)
                wanted = request.url.path if request.method == "GET" else "/worklist"
                return go(f"/sign-in?next={quote(wanted)}")
            except (DemurError, DBAPIError, RequestValidationError) as error:
                title, detail, status = _told(error)
                return page("error.html", request, status=status, title=title, detail=detail, note="", claim_id=None)

        return handle_told


def _told(error: Exception) -> tuple[str, str, int]:
    """Return what a page says of an error: a title, what to do, and the status."""
    if isinstance(error, MissingError):
        return (
            "There is no such case",
            "It may have been erased, or the address is not whole. Go on from the worklist.",
            404,
        )
    if isinstance(error, ForbiddenError):
        return "You may not do this", f"{error}. If you ought to, ask whoever runs Demur for a reader's sign-in.", 403
    if isinstance(error, RequestValidationError):
        return "The form was not complete", "Nothing was kept. Go back and try again.", 422
    if isinstance(error, DBAPIError):
        return "The service cannot do this now", "Nothing was kept. Go back and try again in a moment.", 503
    return str(error.__doc__), f"{error}. Go on from the worklist.", status_of(error)
