"""The front door over HTTP: STOW-RS, and one body with its decision for scripts."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from models.errors import InputError
from service.access.routes import Sender
from service.access.workflow import Principal
from service.errors import (
    ConflictError,
    MediaTypeError,
    MissingError,
    RequestError,
    TooLargeError,
)
from service.ingest import answers, workflow
from service.ingest.gate import Passage
from service.ingest.multipart import RelatedReader, boundary_of
from service.ingest.schemas import status_of, store_response, warning_of
from service.ingest.workflow import Outcome, Receipt
from service.runtime import Running, Runtime, root_of
from service.settings import Settings
from service.sites.store import get as get_site
from service.storage.workflow import Spool
from service.triage import store as triage_store
from service.triage.decider import Decider
from service.triage.routes import Deciding
from service.triage.schemas import StudyAnswer, answer_of
from service.triage.store import Attempt, Study

router = APIRouter()
_UID = re.compile(r"[0-9.]{1,64}")
_WAIT_STEP_S = 0.05
#: Slower than any line between a hospital's machines.
_BODY_BYTES_PER_S = 64 << 10


@router.post("/dicom-web/studies", tags=["DICOMweb"], status_code=200)
async def store_instances(request: Request, principal: Sender, runtime: Running, decider: Deciding) -> Response:
    """Store instances (STOW-RS, PS3.18 section 10.5)."""
    return await _store(request, principal, runtime, decider, None)


@router.post("/dicom-web/studies/{study_instance_uid}", tags=["DICOMweb"], status_code=200)
async def store_instances_of_study(
    study_instance_uid: str, request: Request, principal: Sender, runtime: Running, decider: Deciding
) -> Response:
    """Store instances of one study (STOW-RS)."""
    if not _UID.fullmatch(study_instance_uid):
        raise RequestError("the path does not name a Study Instance UID")
    return await _store(request, principal, runtime, decider, study_instance_uid)


@router.post("/v1/studies", tags=["studies"], responses={201: {"model": StudyAnswer}, 202: {"model": StudyAnswer}})
async def post_study(
    request: Request,
    principal: Sender,
    runtime: Running,
    decider: Deciding,
    more: Annotated[bool, Query(description="Further images of this study follow; do not decide it yet.")] = False,
) -> Response:
    """Store one DICOM instance and decide its study at once.

    201: stored and decided. 200: these bytes were stored before; what was decided then. 202: stored and on the worklist,
    not decided yet.
    """
    if _media_type(request) not in ("application/dicom", "application/octet-stream"):
        raise MediaTypeError("send one DICOM instance as application/dicom")
    with request.app.state.gate.pass_through(principal.site_id or "") as passage:
        async with _spooled(request, runtime, decider, passage) as spools:
            receipt, attempt = await asyncio.to_thread(_take_in_one, runtime, decider, principal, spools[0], more)
        study = await _decided(runtime, decider, receipt.study_id, attempt, is_wanted=not more)
    status = 202 if study.state != "decided" else 201 if receipt.outcome is Outcome.STORED else 200
    return JSONResponse(
        answer_of(study).model_dump(mode="json"), status_code=status, headers={"Location": f"/v1/studies/{study.id}"}
    )


@router.post("/v1/studies/{study_id}/complete", tags=["studies"], responses={202: {"model": StudyAnswer}})
async def complete_study(
    request: Request, study_id: str, principal: Sender, runtime: Running, decider: Deciding
) -> Response:
    """Decide a study now: its sender says that it is whole."""

    def begin() -> tuple[Study | None, Attempt | None]:
        with runtime.database.writing() as connection:
            return workflow.declare_complete(
                connection,
                study_id,
                site_id=principal.site_id,
                worker_id=decider.worker_id,
                now=runtime.clock(),
            )

    with request.app.state.gate.pass_through(principal.site_id or ""):
        found, attempt = await asyncio.to_thread(begin)
        if found is None:
            raise MissingError("there is no such study")
        study = await _decided(runtime, decider, study_id, attempt, is_wanted=True)
    return JSONResponse(answer_of(study).model_dump(mode="json"), status_code=200 if study.state == "decided" else 202)


async def _store(
    request: Request, principal: Principal, runtime: Runtime, decider: Decider, study_instance_uid: str | None
) -> Response:
    media_type = answers.wanted(",".join(request.headers.getlist("accept")))
    with request.app.state.gate.pass_through(principal.site_id or "") as passage:
        async with _spooled(request, runtime, decider, passage) as spools:
            receipts = await asyncio.to_thread(_take_in_all, runtime, decider, principal, spools, study_instance_uid)
    root = f"{root_of(request)}/dicom-web"
    headers = {"Warning": f'299 demur: "{warning}"'} if (warning := warning_of(receipts)) else {}
    body, status = store_response(receipts, root=root), status_of(receipts)
    if media_type == answers.XML:
        return Response(answers.native_xml(body), status_code=status, headers=headers, media_type=media_type)
    return JSONResponse(body, status_code=status, headers=headers, media_type=media_type)


@contextlib.asynccontextmanager
async def _spooled(
    request: Request, runtime: Runtime, decider: Decider, passage: Passage
) -> AsyncIterator[list[Spool]]:
    """Give the instances of a request's body, in files on their way into storage; they are forgotten if not kept."""
    settings = runtime.settings
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise MediaTypeError("a compressed body is not taken in; send it as it is")
    with contextlib.suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > settings.request_bytes_max:
            raise TooLargeError(f"a request may have {settings.request_bytes_max >> 20} MiB")
    with contextlib.ExitStack() as stack:
        spools: list[Spool] = []

        def begin(content_type: str) -> "_Measured":
            if content_type.partition(";")[0].strip().lower() not in ("", "application/dicom"):
                raise MediaTypeError("a part is not application/dicom")
            if spools:
                spools[-1].rest()
            spools.append(stack.enter_context(decider.storage.spool()))
            return _Measured(spools[-1], settings.instance_bytes_max)

        if _media_type(request) in ("application/dicom", "application/octet-stream"):
            await _feed(request, begin("application/dicom").write, settings, passage)
            if not spools[0].bytes:
                raise RequestError("the body is empty")
        else:
            reader = RelatedReader(
                boundary_of(request.headers.get("content-type", "")), begin, parts_max=settings.request_parts_max
            )
            await _feed(request, reader.write, settings, passage)
            reader.finish()
            if not spools:
                raise RequestError("the body has no parts")
        yield spools


class _Measured:
    """A spool that takes only so much."""

    def __init__(self, spool: Spool, bytes_max: int) -> None:
        self._spool, self._bytes_max = spool, bytes_max

    def write(self, data: bytes | memoryview) -> None:
        if self._spool.bytes + len(data) > self._bytes_max:
            raise TooLargeError(f"an instance may have {self._bytes_max >> 20} MiB")
        self._spool.write(data)


async def _feed(request: Request, write: Callable[[bytes], None], settings: Settings, passage: Passage) -> None:
    """Pass a body on as it comes; who drips it would hold a place at the gate for ever, and is let go."""
    left = settings.request_bytes_max
    ends_at = asyncio.get_running_loop().time() + settings.body_s
    try:
        async with asyncio.timeout_at(ends_at) as allowed:
            async for chunk in request.stream():
                left -= len(chunk)
                passage.bytes += len(chunk)
                if left < 0:
                    raise TooLargeError(f"a request may have {settings.request_bytes_max >> 20} MiB")
                if chunk:
                    write(chunk)
                    ends_at += len(chunk) / _BODY_BYTES_PER_S
                    allowed.reschedule(ends_at)
    except ClientDisconnect:
        raise RequestError("the sender went away before the body's end") from None
    except TimeoutError:
        raise RequestError("the body came too slowly; nothing of it was stored, send it again") from None


def _take_in_all(
    runtime: Runtime, decider: Decider, principal: Principal, spools: list[Spool], study_instance_uid: str | None
) -> list[Receipt]:
    with runtime.tracing.stage("store"):
        arrivals = [workflow.receive(spool) for spool in spools]
        workflow.keep(decider.storage, arrivals)
        now = runtime.clock()
        with runtime.database.writing() as connection:
            return workflow.take_in(
                connection,
                decider.storage,
                get_site(connection, principal.site_id or ""),
                arrivals,
                due_at=workflow.due_after(now, runtime.settings.quiet_s),
                now=now,
                study_instance_uid=study_instance_uid,
            )


def _take_in_one(
    runtime: Runtime, decider: Decider, principal: Principal, spool: Spool, more: bool
) -> tuple[Receipt, Attempt | None]:
    attempt: Attempt | None = None
    with runtime.tracing.stage("store") as about:
        arrival = workflow.receive(spool)
        workflow.keep(decider.storage, [arrival])
        now = runtime.clock()
        with runtime.database.writing() as connection:
            site = get_site(connection, principal.site_id or "")
            due_at = workflow.due_after(now, runtime.settings.quiet_s)
            (receipt,) = workflow.take_in(connection, decider.storage, site, [arrival], due_at=due_at, now=now)
            if receipt.is_stored and not more:
                attempt = workflow.begin_at_once(connection, receipt.study_id, worker_id=decider.worker_id, now=now)
        about(receipt.study_id)
    if receipt.outcome is Outcome.UNREADABLE:
        raise InputError(receipt.explanation)
    if not receipt.is_stored:
        raise ConflictError(receipt.explanation)
    return receipt, attempt


async def _decided(
    runtime: Runtime, decider: Decider, study_id: str, attempt: Attempt | None, *, is_wanted: bool
) -> Study:
    """Return a study once it is decided, or as it stands when the time to wait is over."""
    if attempt is not None:
        with contextlib.suppress(Exception):  # it is on the worklist whatever became of the attempt
            study = await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(decider.decide(attempt))), runtime.settings.decide_wait_s
            )
            if study is not None:
                return study
    deadline = time.monotonic() + (runtime.settings.decide_wait_s if is_wanted else 0.0)
    while True:
        study = await asyncio.to_thread(_get, runtime, study_id)
        if study.state in ("decided", "erased") or time.monotonic() >= deadline:
            return study
        await asyncio.sleep(_WAIT_STEP_S)


def _get(runtime: Runtime, study_id: str) -> Study:
    with runtime.database.reading() as connection:
        study = triage_store.get(connection, study_id)
    assert study is not None
    return study


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
