"""QIDO-RS and WADO-RS (PS3.18 sections 10.4 and 10.6) for what was stored; each site sees its own."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import ColumnElement, Connection

from models.errors import InputError
from service.access.routes import Viewer
from service.access.workflow import Principal, saw
from service.errors import MissingError, NotAcceptableError, RequestError
from service.retrieve import store
from service.retrieve.schemas import conditions_of, dataset_of
from service.retrieve.store import Page, Path, Stored
from service.retrieve.workflow import Renderer, file_of, frames_of, metadata_of
from service.runtime import Running, Runtime, root_of
from service.triage.routes import Deciding

router = APIRouter(prefix="/dicom-web", tags=["DICOMweb"])

_JSON = "application/dicom+json"
_STUDY = "/studies/{study_instance_uid}"
_SERIES = _STUDY + "/series/{series_instance_uid}"
_INSTANCE = _SERIES + "/instances/{sop_instance_uid}"
_T = TypeVar("_T")
_Find = Callable[[Connection, Path, list[ColumnElement[bool]], Page], list[dict[str, Any]]]


def _path_of(request: Request, principal: Principal) -> Path:
    """Return what the request's path names, limited to what the asker may see."""
    names = request.path_params
    return Path(
        site_id=principal.site_id,
        study=names.get("study_instance_uid"),
        series=names.get("series_instance_uid"),
        instance=names.get("sop_instance_uid"),
    )


def _search(find: _Find) -> Callable[[Request, Viewer, Running], Response]:
    def search(request: Request, principal: Viewer, runtime: Running) -> Response:
        conditions, page = conditions_of(request.query_params.multi_items())
        with runtime.database.reading() as connection:
            found = find(connection, _path_of(request, principal), conditions, page)
        if not found:
            return Response(status_code=204)
        return JSONResponse([dataset_of(row, root=_root(request)) for row in found], media_type=_JSON)

    return search


for _find, _paths in (
    (store.find_studies, ("/studies",)),
    (store.find_series, ("/series", f"{_STUDY}/series")),
    (store.find_instances, ("/instances", f"{_STUDY}/instances", f"{_SERIES}/instances")),
):
    for _place in _paths:
        router.add_api_route(
            _place,
            _search(_find),
            methods=["GET"],
            name=f"Search for {_place.rpartition('/')[2]} (QIDO-RS)",
            response_class=Response,
        )


@router.get(_STUDY, response_class=Response)
@router.get(_SERIES, response_class=Response)
@router.get(_INSTANCE, response_class=Response)
def retrieve(request: Request, principal: Viewer, runtime: Running, decider: Deciding) -> Response:
    """Retrieve instances as they are stored (WADO-RS)."""
    found = _stored(request, principal, runtime)
    accept = _accept(request)
    if not any(wanted in accept for wanted in ("*/*", "multipart/related", "multipart/*", "application/dicom")):
        raise NotAcceptableError("instances are given as application/dicom in multipart/related")
    if "application/dicom" in accept and "multipart/related" not in accept and len(found) == 1:
        data = file_of(decider.storage.view(found[0].digest), found[0])
        return Response(data, media_type="application/dicom", headers={"Content-Disposition": "attachment"})
    parts = (("application/dicom", file_of(decider.storage.view(item.digest), item)) for item in found)
    return _multipart("application/dicom", parts)


@router.get(f"{_STUDY}/metadata", response_class=Response)
@router.get(f"{_SERIES}/metadata", response_class=Response)
@router.get(f"{_INSTANCE}/metadata", response_class=Response)
def retrieve_metadata(request: Request, principal: Viewer, runtime: Running, decider: Deciding) -> Response:
    """Retrieve instances without their pixels, in DICOM JSON (WADO-RS)."""
    body = [
        metadata_of(decider.storage.view(item.digest), item, bulk_url=f"{_url(request, item)}/frames/1")
        for item in _stored(request, principal, runtime)
    ]
    return JSONResponse(body, media_type=_JSON)


@router.get(f"{_INSTANCE}/frames/{{frames}}", response_class=Response)
def retrieve_frames(frames: str, request: Request, principal: Viewer, runtime: Running, decider: Deciding) -> Response:
    """Retrieve frames as they are stored (WADO-RS)."""
    if not all(number.isdecimal() and len(number) < 10 for number in frames.split(",")):
        raise RequestError("frames are named by their numbers, from one, with commas between")
    item = _stored(request, principal, runtime)[0]
    found = _readable(
        lambda: frames_of(decider.storage.view(item.digest), [int(number) for number in frames.split(",")])
    )
    kind = "application/octet-stream"
    labelled = f"{kind}; transfer-syntax={item.transfer_syntax_uid}"
    return _multipart(kind, ((labelled, frame) for frame in found))


@router.get(f"{_INSTANCE}/rendered", response_class=Response)
@router.get(f"{_INSTANCE}/frames/{{frames}}/rendered", response_class=Response)
def retrieve_rendered(request: Request, principal: Viewer, runtime: Running, decider: Deciding) -> Response:
    """Retrieve an instance as a picture (WADO-RS): PNG, windowed as the network's pictures are."""
    accept = _accept(request)
    if not any(wanted in accept for wanted in ("*/*", "image/*", "image/png")):
        raise NotAcceptableError("pictures are given as image/png")
    renderer: Renderer = request.app.state.renderer
    item = _stored(request, principal, runtime)[0]
    return Response(_readable(lambda: renderer.png_of(decider.storage.view(item.digest))), media_type="image/png")


def _readable(read: Callable[[], _T]) -> _T:
    try:
        return read()
    except InputError as fault:
        raise NotAcceptableError(f"this instance has no pixels that can be given ({fault})") from None


def _stored(request: Request, principal: Principal, runtime: Runtime) -> list[Stored]:
    with runtime.database.reading() as connection:
        found = store.stored(connection, _path_of(request, principal))
    if not found:
        raise MissingError("there is no such instance")
    with runtime.database.writing() as connection:
        studies = {(item.study_id, item.site_id) for item in found}
        saw(connection, principal, studies=studies, action="retrieved", now=runtime.clock())
    return found


def _accept(request: Request) -> set[str]:
    """Return the media types that are wanted."""
    text = request.headers.get("accept", "*/*").lower()
    return {part.partition(";")[0].strip() for part in text.split(",")}


def _multipart(kind: str, parts: Iterable[tuple[str, bytes]]) -> Response:
    boundary = uuid4().hex

    def body() -> Iterator[bytes]:
        for label, data in parts:
            yield f"--{boundary}\r\nContent-Type: {label}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            yield data
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return StreamingResponse(body(), media_type=f'multipart/related; type="{kind}"; boundary={boundary}')


def _root(request: Request) -> str:
    return f"{root_of(request)}/dicom-web"


def _url(request: Request, item: Stored) -> str:
    place = f"{item.study_instance_uid}/series/{item.series_instance_uid}/instances/{item.sop_instance_uid}"
    return f"{_root(request)}/studies/{place}"
