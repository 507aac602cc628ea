"""What was decided, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from service.access.routes import Inquirer
from service.errors import MissingError
from service.runtime import Running
from service.triage import store
from service.triage.decider import Decider
from service.triage.schemas import StudyAnswer, answer_of

router = APIRouter(tags=["studies"])


def decider_of(request: Request) -> Decider:
    """Return the decider of the application that a request came to."""
    return request.app.state.decider


Deciding = Annotated[Decider, Depends(decider_of)]


@router.get("/v1/studies/{study_id}")
def get_study(study_id: str, principal: Inquirer, runtime: Running) -> StudyAnswer:
    """Say what was decided of a study, why, and with what."""
    with runtime.database.reading() as connection:
        study = store.get(connection, study_id, site_id=principal.site_id)
    if study is None:
        raise MissingError("there is no such study")
    return answer_of(study)
