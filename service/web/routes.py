"""The pages: worklist, and one page per case; ``entrance`` has the sign-in. A thin face of ``worklist.workflow``: every rule is there.

Invariants:

- An address holds internal ids only; a title holds no more than part of one.
- A page never says what Demur decided, nor its score: that of a healthy call that is read unmarked would tell it. Why a case
  is here is shown when asked for.
- Films of a case are shown to who holds it, and of a finished reading to every reader.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, FastAPI, Form, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.background import BackgroundTask

from models.decoding import DecoderKilledError
from models.errors import DataError, InputError
from models.vocabulary import Reason
from service.access.routes import Reader
from service.access.workflow import Principal, saw
from service.errors import MissingError
from service.runtime import Running, Runtime
from service.storage.workflow import Storage
from service.web import entrance, store
from service.web.films import Films
from service.web.pages import OURS, SCRIPT_HEADER, PageRoute, go, page
from service.web.views import case_view, row_view
from service.web.words import CONFIDENCES, FINDINGS, REASONS, STATES
from service.worklist import readings
from service.worklist import workflow as worklist
from service.worklist.readings import Confidence, Finding, Result
from service.worklist.states import State
from service.worklist.store import Workitem
from service.worklist.workflow import RefusedError, uid_of

logger = logging.getLogger(__name__)

#: So many rows are shown; the rest is counted.
ROWS_MAX = 200
#: Readings older than this are not listed.
READ_SHOWN = timedelta(hours=24)
NOTE_MAX = 4000


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep what shows films while the service runs."""
    films = Films()
    app.state.films = films
    try:
        yield
    finally:
        films.close()


router = APIRouter(route_class=PageRoute, include_in_schema=False, lifespan=lifespan)
router.include_router(entrance.router)
Note = Annotated[str, Form(max_length=NOTE_MAX)]


@router.get("/worklist")
def worklist_page(
    request: Request,
    principal: Reader,
    runtime: Running,
    state: str = "",
    site: str = "",
    reason: str = "",
) -> Response:
    """Show the cases of one state; the page's script asks for it again and again."""
    now = runtime.clock()
    wanted = store.Filter(
        state=next((known for known in STATES if known == state), State.SCHEDULED),
        site=site or None,
        reason=Reason(reason) if reason in tuple(Reason) else None,
        read_since=now - READ_SHOWN,
    )
    with runtime.database.reading() as connection:
        counts = store.counts(connection, principal, wanted)
        found = store.cases(connection, principal, wanted, limit=ROWS_MAX)
        images = store.images(connection, [case.study_id for case in found])
        site_names = store.site_names(connection, principal)
        undoable = store.undoable(connection, principal, now)
        held = store.held(connection, principal)
    rows = [row_view(case, images[case.study_id], reader=principal.name, now=now) for case in found]
    return page(
        "worklist.html",
        request,
        reader=principal.label or principal.name,
        states=[(str(known), words, counts[known]) for known, words in STATES.items()],
        chosen=wanted,
        sites=site_names,
        reasons={str(known): words.short for known, words in REASONS.items()},
        rows=rows,
        more=max(0, counts[wanted.state or State.SCHEDULED] - len(rows)),
        undoable=row_view(undoable, (), reader=principal.name, now=now) if undoable is not None else None,
        held=held,
    )


@router.post("/cases/next", dependencies=OURS)
def open_next(principal: Reader, runtime: Running) -> Response:
    """Claim the case that ought to be read next and go to it; who holds one already is sent to that."""
    now, lease = runtime.clock(), _lease(runtime)
    with runtime.database.writing() as connection:
        present = store.held(connection, principal)
        if present is not None:
            return go(f"/cases/{present}", "held")
        workitem = worklist.claim_next(connection, principal, transaction_uid=uid_of(uuid4()), lease=lease, now=now)
    return go("/worklist", "empty") if workitem is None else go(f"/cases/{workitem.id}")


@router.post("/cases/{case_id}/claim", dependencies=OURS)
def claim(case_id: str, principal: Reader, runtime: Running) -> Response:
    """Claim a case and go to it; its page says so where another reader was quicker."""
    now, lease = runtime.clock(), _lease(runtime)
    with runtime.database.writing() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        present = store.held(connection, principal)
        if present is not None and present != case_id:
            return go(f"/cases/{present}", "held")
        if _is_held_by(workitem, principal):
            return go(f"/cases/{case_id}")
        try:
            worklist.change_state(
                connection,
                principal,
                workitem.uid,
                requested=State.IN_PROGRESS,
                transaction_uid=uid_of(uuid4()),
                lease=lease,
                now=now,
            )
        except RefusedError:
            return go(f"/cases/{case_id}", "taken")
    return go(f"/cases/{case_id}")


@router.get("/cases/{case_id}")
def case_page(
    request: Request, case_id: str, principal: Reader, runtime: Running, demur: Annotated[bool, Query()] = False
) -> Response:
    """Show a case: its films, and what its reader may do. With ``demur``, why the case is here as well."""
    now = runtime.clock()
    storage: Storage = request.app.state.decider.storage
    with runtime.database.reading() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        may_look = _may_look(workitem, principal)
        images = store.images(connection, [workitem.study_id])[workitem.study_id] if may_look else []
        received_at = store.received_at(connection, workitem.study_id)
        age_years = store.age_years(connection, workitem.study_id)
        undoable = store.undoable(connection, principal, now)
        replaced_by = store.open_case_of(connection, workitem.study_id)
    with runtime.database.writing() as connection:
        action = "looked at reasons" if demur else "looked at case"
        saw(connection, principal, studies=[(workitem.study_id, workitem.site_id)], action=action, now=now)
    if demur:
        logger.info("reasons shown", extra={"action": "reasons_shown", "study": workitem.study_id})
    elif may_look:
        logger.info("case shown", extra={"action": "case_shown", "study": workitem.study_id})
    case = case_view(
        workitem,
        images,
        received_at=received_at,
        age_years=age_years,
        reader=principal.name,
        now=now,
    )
    previous = undoable if undoable is not None and undoable.id != case_id else None
    shown = page(
        "case.html",
        request,
        reader=principal.label or principal.name,
        case=case,
        may_look=may_look,
        demur=demur,
        findings={str(finding): words for finding, words in FINDINGS.items()},
        confidences={str(confidence): words for confidence, words in CONFIDENCES.items()},
        note_max=NOTE_MAX,
        previous=row_view(previous, (), reader=principal.name, now=now) if previous is not None else None,
        previous_s=round((previous.final_at - now).total_seconds()) if previous and previous.final_at else 0,
        replaced_by=replaced_by if replaced_by != case_id else None,
    )
    if case.is_reading:
        shown.background = BackgroundTask(_prepare_next, request.app.state.films, storage, runtime, principal)
    return shown


@router.get("/cases/{case_id}/films/{image_id}.png")
def film(request: Request, case_id: str, image_id: str, principal: Reader, runtime: Running) -> Response:
    """Give a film as the page shows it, or a sentence that says why not and what to do."""
    with runtime.database.reading() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        images = store.images(connection, [workitem.study_id])[workitem.study_id]
    image = next((image for image in images if image.id == image_id), None)
    if image is None or not _may_look(workitem, principal):
        raise MissingError("there is no such film")
    films: Films = request.app.state.films
    try:
        data = request.app.state.decider.storage.view(image.digest)
        png = films.show(image.digest, data)
    except DataError:
        return _no_film("The stored file is gone; it may have been erased. Look for it in your PACS.")
    except DecoderKilledError:
        return _no_film(
            "Decoding this picture took too long or too much memory, and was stopped. Look at it in your PACS; "
            "if you cannot read the study, the result is “not assessable”."
        )
    except InputError:
        return _no_film(
            "This picture cannot be decoded. Look at it in your PACS, or ask the sender for it again; "
            "if you cannot read the study, the result is “not assessable”."
        )
    return Response(png, media_type="image/png")


@router.post("/cases/{case_id}/verdict", dependencies=OURS)
def give_verdict(
    request: Request,
    case_id: str,
    principal: Reader,
    runtime: Running,
    finding: Annotated[Finding, Form()],
    confidence: Annotated[Confidence, Form()] = Confidence.MEDIUM,
    note: Note = "",
) -> Response:
    """Keep a result; it becomes final by itself when it can no longer be undone."""
    now = runtime.clock()
    with runtime.database.writing() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        if workitem.verdict is not None and workitem.reader == principal.name:
            return go(f"/cases/{case_id}")  # a key pressed twice
        try:
            readings.give_result(
                connection,
                principal,
                workitem.uid,
                Result(finding=finding, note=note.strip(), confidence=confidence),
                transaction_uid=_key(workitem, principal),
                final_at=now + timedelta(seconds=runtime.settings.undo_s),
                now=now,
            )
        except RefusedError:
            return _lost(request, workitem, store.open_case_of(connection, workitem.study_id), note)
    return go(f"/cases/{case_id}")


@router.post("/cases/{case_id}/undo", dependencies=OURS)
def undo(case_id: str, principal: Reader, runtime: Running) -> Response:
    """Take a result back, while that is possible."""
    now = runtime.clock()
    with runtime.database.writing() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        if workitem.final_at is None or workitem.final_at <= now:
            return go(f"/cases/{case_id}", "final" if workitem.verdict is not None else "")
        try:
            readings.undo_result(
                connection,
                principal,
                workitem.uid,
                transaction_uid=_key(workitem, principal),
                lease=_lease(runtime),
                now=now,
            )
        except RefusedError:
            return go(f"/cases/{case_id}", "final")
    return go(f"/cases/{case_id}", "undone")


@router.post("/cases/{case_id}/release", dependencies=OURS)
def release(case_id: str, principal: Reader, runtime: Running) -> Response:
    """Give a case back unread."""
    now = runtime.clock()
    with runtime.database.writing() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        if not _is_held_by(workitem, principal) or workitem.verdict is not None:
            return go(f"/cases/{case_id}")
        worklist.change_state(
            connection,
            principal,
            workitem.uid,
            requested=State.CANCELED,
            transaction_uid=workitem.transaction_uid,
            lease=_lease(runtime),
            now=now,
        )
    return go("/worklist", "released")


@router.post("/cases/{case_id}/addendum", dependencies=OURS)
def add_addendum(
    case_id: str,
    principal: Reader,
    runtime: Running,
    finding: Annotated[Finding, Form()],
    confidence: Annotated[Confidence, Form()] = Confidence.MEDIUM,
    note: Note = "",
) -> Response:
    """Add to a final result; what stood before is kept."""
    with runtime.database.writing() as connection:
        result = Result(finding=finding, note=note.strip(), confidence=confidence)
        try:
            readings.amend(connection, principal, case_id, result, now=runtime.clock())
        except RefusedError:
            return go(f"/cases/{case_id}")
    return go(f"/cases/{case_id}", "amended")


@router.post("/cases/{case_id}/renew", dependencies=OURS)
def renew(request: Request, case_id: str, principal: Reader, runtime: Running) -> Response:
    """Keep a claim while its reader is at work; 409 when it is lost."""
    now, lease = runtime.clock(), _lease(runtime)
    with runtime.database.writing() as connection:
        workitem = worklist.find(connection, principal, workitem_id=case_id)
        key = _key(workitem, principal)
        try:
            worklist.renew(connection, principal, workitem.uid, transaction_uid=key, lease=lease, now=now)
        except RefusedError:
            replacement = store.open_case_of(connection, workitem.study_id)
            return JSONResponse({"lease_s": 0, "claim_id": replacement}, status_code=409)
    if SCRIPT_HEADER not in request.headers:
        return go(f"/cases/{case_id}")
    return JSONResponse({"lease_s": round(runtime.settings.lease_s)})


def _lease(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.lease_s)


def _is_held_by(workitem: Workitem, principal: Principal) -> bool:
    return workitem.state is State.IN_PROGRESS and workitem.reader == principal.name


def _may_look(workitem: Workitem, principal: Principal) -> bool:
    return workitem.state is State.COMPLETED or _is_held_by(workitem, principal)


def _prepare_next(films: Films, storage: Storage, runtime: Runtime, principal: Principal) -> None:
    """Decode the films of the case that is likely to be opened next, while this one is read."""
    wanted = store.Filter(state=State.SCHEDULED, read_since=runtime.clock())
    with runtime.database.reading() as connection:
        upcoming = [case.study_id for case in store.cases(connection, principal, wanted, limit=1)]
        images = [image for found in store.images(connection, upcoming).values() for image in found]
    for image in images:
        with contextlib.suppress(DataError, InputError):  # told when the film is asked for
            films.show(image.digest, storage.view(image.digest))


def _key(workitem: Workitem, principal: Principal) -> str | None:
    """Return the lock of a case for the reader who holds it; the page keeps it on the server."""
    return workitem.transaction_uid if workitem.reader == principal.name else None


def _no_film(sentence: str) -> Response:
    return PlainTextResponse(sentence, status_code=422)


def _lost(request: Request, workitem: Workitem, replacement: str | None, note: str) -> Response:
    """Say that a result came too late, and give the reader's words back."""
    if workitem.state is State.COMPLETED:
        title, detail = (
            "This case has been read",
            "Its result is final, so nothing was changed. Add an addendum on its page.",
        )
    else:
        title = "This case is no longer yours"
        detail = (
            "The claim was not renewed in time, so the case went back to the worklist and your result was not kept. "
            "Claim it again and give the result once more, or open the next case."
        )
    return page("error.html", request, status=409, title=title, detail=detail, note=note.strip(), claim_id=replacement)
