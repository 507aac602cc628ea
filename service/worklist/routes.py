"""The worklist over UPS-RS (PS3.18 chapter 11), and its change feed for those who poll."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.access.routes import Reader
from service.access.workflow import Principal, saw
from service.errors import RequestError, TooLargeError
from service.runtime import Running, Runtime, root_of
from service.worklist import feed, store, workflow
from service.worklist.readings import Confidence, Finding, Result, amend, give_result
from service.worklist.schemas import (
    cancel_request_of,
    dataset_of,
    parse,
    result_of,
    search_of,
    state_request_of,
    warnings_of,
)
from service.worklist.states import Outcome

router = APIRouter(tags=["worklist"])

_JSON = "application/dicom+json"
_BODY_MAX = 1 << 20
#: PS3.18 sections 11.7.3.2 and 11.8.3.2: what a request that changes nothing is told.
_ALREADY = {
    Outcome.ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED.",
    Outcome.ALREADY_COMPLETED: "The UPS is already in the requested state of COMPLETED.",
}


class Amendment(BaseModel):
    """What a reader adds to a completed reading."""

    finding: Finding
    note: str = ""
    confidence: Confidence = Confidence.MEDIUM


@router.get("/dicom-web/workitems")
def search_workitems(request: Request, principal: Reader, runtime: Running) -> Response:
    """Search workitems (section 11.9), in the order in which they ought to be read."""
    query = request.query_params.multi_items()
    wanted, warnings = search_of(query, site_id=principal.site_id), warnings_of(query)
    with runtime.database.reading() as connection:
        found = store.search(connection, wanted)
        is_full = len(found) == wanted.limit
        remaining = store.count(connection, wanted) - wanted.offset - len(found) if is_full else 0
    if remaining > 0:
        warnings.append(f"There are {remaining} additional results that can be requested")
    headers = {"Warning": ", ".join(f'299 demur: "{words}"' for words in warnings)} if warnings else {}
    if not found:
        return Response(status_code=204, headers=headers)
    body = [dataset_of(workitem, root=_root(request)) for workitem in found]
    return JSONResponse(body, media_type=_JSON, headers=headers)


@router.get("/dicom-web/workitems/{uid}")
def get_workitem(uid: str, request: Request, principal: Reader, runtime: Running) -> Response:
    """Retrieve a workitem (section 11.5)."""
    with runtime.database.reading() as connection:
        workitem = workflow.find(connection, principal, uid=uid)
    with runtime.database.writing() as connection:
        seen = [(workitem.study_id, workitem.site_id)]
        saw(connection, principal, studies=seen, action="looked at workitem", now=runtime.clock())
    return _json([dataset_of(workitem, root=_root(request))])


@router.post("/dicom-web/workitems/{uid}")
async def update_workitem(uid: str, request: Request, principal: Reader, runtime: Running) -> Response:
    """Update a workitem that is in progress (section 11.6): a reader's result. Any update renews the claim."""
    body = await _body(request)
    query = request.query_params
    transaction_uid = query.get("transaction-uid") or query.get("transactionUID") or query.get("transaction")
    await asyncio.to_thread(_update, runtime, principal, uid, parse(body), transaction_uid)
    return Response(status_code=200)


@router.put("/dicom-web/workitems/{uid}/state")
async def change_workitem_state(uid: str, request: Request, principal: Reader, runtime: Running) -> Response:
    """Claim, complete or give back a workitem (section 11.7)."""
    wanted = state_request_of(await _body(request))

    def change() -> Outcome:
        with runtime.database.writing() as connection:
            return workflow.change_state(
                connection,
                principal,
                uid,
                requested=wanted.state,
                transaction_uid=wanted.transaction_uid,
                lease=_lease(runtime),
                now=runtime.clock(),
            ).outcome

    return _told(await asyncio.to_thread(change), 200)


@router.post("/dicom-web/workitems/{uid}/cancelrequest")
async def request_cancellation(uid: str, request: Request, principal: Reader, runtime: Running) -> Response:
    """Ask for a workitem to be cancelled (section 11.8); the study stays on the worklist as a new one."""
    reason, asked = cancel_request_of(await _body(request), by=principal.name)

    def ask() -> Outcome:
        with runtime.database.writing() as connection:
            return workflow.cancel_request(
                connection, principal, uid, reason=reason, asked=asked, now=runtime.clock()
            ).outcome

    return _told(await asyncio.to_thread(ask), 202)


@router.post("/v1/workitems/{workitem_id}/addenda", status_code=201)
def amend_workitem(workitem_id: str, amendment: Amendment, principal: Reader, runtime: Running) -> Response:
    """Add to a completed reading."""
    result = Result(finding=amendment.finding, note=amendment.note, confidence=amendment.confidence)
    with runtime.database.writing() as connection:
        amend(connection, principal, workitem_id, result, now=runtime.clock())
    return Response(status_code=201)


@router.get("/v1/workitems/changes")
def list_changes(
    principal: Reader,
    runtime: Running,
    after: Annotated[int, Query(ge=0, description="The last sequence number seen.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[feed.Event]:
    """List what has happened on the worklist after a place in its history, oldest first; nothing is left out."""
    with runtime.database.reading() as connection:
        return feed.events_after(connection, site_id=principal.site_id, after=after, limit=limit)


def _update(
    runtime: Runtime, principal: Principal, uid: str, dataset: dict[str, Any], transaction_uid: str | None
) -> None:
    result = result_of(dataset)
    now = runtime.clock()
    with runtime.database.writing() as connection:
        workflow.renew(connection, principal, uid, transaction_uid=transaction_uid, lease=_lease(runtime), now=now)
        if result is not None:
            give_result(connection, principal, uid, result, transaction_uid=transaction_uid, final_at=None, now=now)


def _lease(runtime: Runtime) -> timedelta:
    return timedelta(seconds=runtime.settings.lease_s)


def _root(request: Request) -> str:
    return f"{root_of(request)}/dicom-web"


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_MAX:
            raise TooLargeError("the body is too large for a workitem")
    if request.headers.get("content-type", _JSON).partition(";")[0].strip() not in (_JSON, "application/json"):
        raise RequestError(f"send the dataset as {_JSON}")
    return body


def _told(outcome: Outcome, status: int) -> Response:
    headers = {"Warning": f'299 demur: "{_ALREADY[outcome]}"'} if outcome in _ALREADY else {}
    return Response(status_code=status, headers=headers)


def _json(body: list[dict[str, Any]]) -> Response:
    return JSONResponse(body, media_type=_JSON)
