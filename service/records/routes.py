"""Erasure and correction over HTTP, for admins."""

from fastapi import APIRouter

from service.access.routes import Admin
from service.access.workflow import Principal
from service.errors import MissingError
from service.records import store, workflow
from service.records.schemas import CorrectionRequest, ErasedAnswer, ErasureRequest, ImageAnswer
from service.records.workflow import Erased, Request, delete_files
from service.runtime import Running, Runtime
from service.triage import store as triage_store
from service.triage.decider import Decider
from service.triage.routes import Deciding
from service.triage.schemas import StudyAnswer, answer_of

router = APIRouter(tags=["records"])


@router.get("/v1/studies/{study_id}/images")
def list_images(study_id: str, _principal: Admin, runtime: Running) -> list[ImageAnswer]:
    """List a study's images by their internal ids, in the order in which they came."""
    with runtime.database.reading() as connection:
        if triage_store.get(connection, study_id) is None:
            raise MissingError("there is no such study")
        return [ImageAnswer.of(image) for image in store.images(connection, study_id)]


@router.post("/v1/studies/{study_id}/erasure")
def erase_study(
    study_id: str, asked: ErasureRequest, principal: Admin, runtime: Running, decider: Deciding
) -> ErasedAnswer:
    """Erase a study's pixels and identity, for ever. 409 if nobody has read it and ``unread_too`` is not said."""
    request = _request(principal, asked.reason, runtime)
    with runtime.database.writing() as connection:
        erased = workflow.erase_study(connection, study_id, request, is_unread_too=asked.unread_too)
    return _answer(erased, runtime, decider)


@router.post("/v1/studies/{study_id}/images/{image_id}/erasure")
def erase_image(
    study_id: str, image_id: str, asked: ErasureRequest, principal: Admin, runtime: Running, decider: Deciding
) -> ErasedAnswer:
    """Erase one image of a study, say another patient's, for ever; the study goes back to be read without it."""
    request = _request(principal, asked.reason, runtime)
    with runtime.database.writing() as connection:
        erased = workflow.erase_image(connection, study_id, image_id, request, is_unread_too=asked.unread_too)
    return _answer(erased, runtime, decider)


@router.post("/v1/studies/{study_id}/correction")
def correct_study(study_id: str, asked: CorrectionRequest, principal: Admin, runtime: Running) -> StudyAnswer:
    """Say that a study is another patient's; whatever was decided is withdrawn, and it goes back to be read."""
    request = _request(principal, asked.reason, runtime)
    with runtime.database.writing() as connection:
        workflow.correct(connection, study_id, asked.patient(), request)
        study = triage_store.get(connection, study_id)
    assert study is not None
    return answer_of(study)


def _request(principal: Principal, reason: str, runtime: Runtime) -> Request:
    return Request(by=principal.name, reason=reason, now=runtime.clock())


def _answer(erased: Erased, runtime: Runtime, decider: Decider) -> ErasedAnswer:
    left = delete_files(runtime.database, decider.storage, now=runtime.clock())
    return ErasedAnswer(id=erased.study_id, images=erased.images, files_left=left)
