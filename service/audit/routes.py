"""What auditors may ask: who saw which study, and whether the ledger holds."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BaseModel

from service.access import store
from service.access.routes import Auditor
from service.audit.schemas import bundle_of
from service.ledger.workflow import verify
from service.runtime import Running

router = APIRouter(tags=["audit"])


class LedgerAnswer(BaseModel):
    """Whether the ledger's chain holds."""

    entries: int
    head: str
    flaw: str | None


@router.get("/v1/audit/events", response_class=Response)
def list_events(
    _principal: Auditor,
    runtime: Running,
    study: Annotated[str | None, Query(description="Internal id.")] = None,
    since: Annotated[AwareDatetime | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """List who saw which study, newest first, as FHIR AuditEvents."""
    after: datetime | None = since
    with runtime.database.reading() as connection:
        found = store.events(connection, study_id=study, since=after, limit=limit)
    return JSONResponse(bundle_of(found), media_type="application/fhir+json")


@router.get("/v1/ledger/verification")
def verify_ledger(_principal: Auditor, runtime: Running) -> LedgerAnswer:
    """Walk the ledger's chain from its beginning."""
    with runtime.database.reading() as connection:
        found = verify(connection)
    return LedgerAnswer(entries=found.entries, head=found.head, flaw=found.flaw or None)
