"""What auditors may ask of the sites: whether they keep the promise, and which healthy calls were made."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from models.vocabulary import Mode
from service.access.routes import Auditor
from service.runtime import Running
from service.sites.workflow import find_site
from service.watch import store
from service.watch.workflow import standings

router = APIRouter(tags=["audit"])


class WatchAnswer(BaseModel):
    """A site under a release: how far it is raised there, and what is known of its healthy calls and of its inputs."""

    site: str
    #: Digest of the release.
    bundle: str
    mode: Mode
    #: Healthy calls that were acted on, those drawn to be read, those of them read, and with an error.
    made: int
    drawn: int
    read: int
    errors: int
    #: Calls that have reached the age at which their readings are due; the bound is on these.
    counted: int
    #: Evidence against the promise, 1 at the beginning; none if the site was never raised under this release.
    evidence: float | None
    #: At this evidence the alarm is raised.
    alarm_evidence: float | None
    #: Upper bound on the average false omission rate, valid whenever one looks.
    false_omission_rate_upper: float | None
    #: Studies in the reference of the inputs, batches tested against it, and the last one's p-value.
    reference: int
    batches: int
    drift_p_value: float | None
    #: What was cleared lately is being put back on the worklist.
    is_recalling: bool


class WatchesAnswer(BaseModel):
    """Every site under every release that it has sent to."""

    watches: list[WatchAnswer]


class CallAnswer(BaseModel):
    """A healthy call that was acted on."""

    #: Internal, not the Study Instance UID.
    study: str
    bundle: str
    decided_at: datetime
    audit_probability: float
    is_drawn: bool
    #: Of a drawn one: whether readers found an error; none while it is not read.
    error: bool | None
    #: Where the study is now: cleared, end_of_worklist, worklist; none while it is decided again.
    placement: str | None


class CallsAnswer(BaseModel):
    """Healthy calls of a site, the newest first."""

    calls: list[CallAnswer]


@router.get("/v1/watches")
def list_watches(_principal: Auditor, runtime: Running) -> WatchesAnswer:
    """Say of every site whether it keeps the promise, as far as that is known."""
    with runtime.database.reading() as connection:
        found = standings(connection)
    return WatchesAnswer(
        watches=[WatchAnswer(**{name: getattr(item, name) for name in WatchAnswer.model_fields}) for item in found]
    )


@router.get("/v1/watches/{site}/calls")
def list_calls(
    site: str,
    _principal: Auditor,
    runtime: Running,
    since: Annotated[AwareDatetime | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> CallsAnswer:
    """List a site's healthy calls that were acted on: what to look at again after an alarm."""
    with runtime.database.reading() as connection:
        found = store.calls_since(connection, find_site(connection, site).id, since, limit)
    return CallsAnswer(
        calls=[
            CallAnswer(
                study=row.study_id,
                bundle=row.bundle,
                decided_at=row.decided_at,
                audit_probability=row.probability,
                is_drawn=row.is_drawn,
                error=row.error,
                placement=row.placement,
            )
            for row in found
        ]
    )
