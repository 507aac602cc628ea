"""Erasing a study or one of its images, and saying that it is another patient's.

Invariants:

- What nobody has read is erased only by who says so; its workitem is cancelled with the reason. Retention never does.
- Rows first, files after: a file goes when nothing refers to it, as ``storage.erasing`` has it.
- The ledger says who, when and why, and holds digests; a reason that names the patient is refused.
- A study whose patient is corrected, or that loses an image, is on the worklist from the same transaction and is read by a
  human whatever is decided: the certificate speaks of patients, and the stored files still name the other one.
"""

import hashlib
import logging
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection

from models.errors import DemurError
from service import metrics
from service.access.workflow import new_secret
from service.database import Database
from service.errors import ConflictError, MissingError, RequestError
from service.ledger.workflow import Kind, append, canonical
from service.records import store
from service.records.store import Image, Patient
from service.sites.store import get as get_site
from service.storage import store as file_store
from service.storage.erasing import sweep
from service.storage.workflow import Storage
from service.triage import store as triage_store
from service.triage import workflow as triage
from service.triage.store import Study
from service.worklist import workflow as worklist

logger = logging.getLogger(__name__)

#: On the ledger, the name of who erases what has outlived its time.
RETENTION = "retention"
_NAME_MIN = 3
_AT_ONCE = 100


class UnreadError(ConflictError):
    """Nobody has read this study"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks for something to be done to a record, why, and when."""

    by: str
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was erased; nothing of a study that was erased before."""

    study_id: str
    images: int


def erase_study(connection: Connection, study_id: str, request: Request, *, is_unread_too: bool = False) -> Erased:
    """Erase a study's pixels and identity; UnreadError if somebody has yet to read it."""
    study = _locked(connection, study_id)
    if study.state == "erased":
        return Erased(study_id=study_id, images=0)
    if request.by != RETENTION:
        _refuse_names(connection, study_id, request)
    was_unread = _refuse_unread(connection, study, is_unread_too=is_unread_too)
    if study.state == "deciding":
        raise ConflictError("the study is being decided at this moment; ask again in a few seconds")
    site = get_site(connection, study.site_id)
    patient = store.patient_of(connection, study_id)
    gone = store.images(connection, study_id)
    _remove(connection, study, gone, now=request.now)
    counts = bool(patient.patient_id) and (study.state == "decided" or study.is_reopened)
    former = triage_store.former_patient(study.site_id, patient.patient_id) if counts else None
    store.blank(connection, study_id, former_patient=former, now=request.now)
    triage_store.change(connection, study_id, revision=study.revision + 1)
    worklist.recall(connection, study_id=study_id, reason="the study was erased", by=request.by, now=request.now)
    body = {
        "what": "study",
        "by": request.by,
        "reason": request.reason,
        "was_unread": was_unread,
        "digests": [image.digest for image in gone],
    }
    append(connection, Kind.ERASED, body, at=request.now, site_id=study.site_id, study_id=study_id)
    metrics.ERASED.labels(site.name, RETENTION if request.by == RETENTION else "request").inc()
    logger.info("study erased", extra={"action": "study_erased", "study": study_id})
    return Erased(study_id=study_id, images=len(gone))


def erase_image(
    connection: Connection, study_id: str, image_id: str, request: Request, *, is_unread_too: bool = False
) -> Erased:
    """Erase one image of a study, say another patient's; the study goes back to be read without it."""
    study = _locked(connection, study_id)
    present = store.images(connection, study_id)
    gone = [image for image in present if image.id == image_id]
    if not gone:
        raise MissingError("the study has no such image")
    if len(present) == 1:
        raise ConflictError("it is the study's only image; erase the study")
    _refuse_names(connection, study_id, request)
    was_unread = _refuse_unread(connection, study, is_unread_too=is_unread_too)
    _remove(connection, study, gone, now=request.now)
    workitem = _send_back(connection, study, request, why="image_erased")
    body = {
        "what": "image",
        "by": request.by,
        "reason": request.reason,
        "was_unread": was_unread,
        "digests": [image.digest for image in gone],
        "workitem": workitem,
    }
    append(connection, Kind.ERASED, body, at=request.now, site_id=study.site_id, study_id=study_id)
    logger.info("image erased", extra={"action": "image_erased", "study": study_id})
    return Erased(study_id=study_id, images=1)


def correct(connection: Connection, study_id: str, patient: Patient, request: Request) -> None:
    """Say that a study is another patient's; ConflictError if it is that patient's already or is no more."""
    study = _locked(connection, study_id)
    if study.state == "erased":
        raise ConflictError("the study was erased")
    before = store.patient_of(connection, study_id)
    if before == patient:
        raise ConflictError("the study is that patient's already")
    _refuse_names(connection, study_id, request)
    store.set_patient(connection, study_id, patient, now=request.now)
    _refuse_names(connection, study_id, request)
    salt = new_secret()
    store.add_correction(connection, correction_id=uuid4().hex, study_id=study_id, salt=salt, now=request.now)
    workitem = _send_back(connection, study, request, why="patient")
    body = {
        "by": request.by,
        "reason": request.reason,
        "from": _digest(salt, before),
        "to": _digest(salt, patient),
        "workitem": workitem,
    }
    append(connection, Kind.CORRECTED, body, at=request.now, site_id=study.site_id, study_id=study_id)
    logger.info("study corrected", extra={"action": "study_corrected", "study": study_id})


def retain(database: Database, *, days: int, now: datetime) -> int:
    """Erase what has outlived its time, a transaction each; return how many studies."""
    with database.reading() as connection:
        found = store.outlived(connection, before=now - timedelta(days=days), limit=_AT_ONCE)
    request = Request(by=RETENTION, reason=f"kept for {days} days", now=now)
    count = 0
    for study_id in found:
        try:
            with database.writing() as connection:
                # Another process may have erased it, or an image come, since it was found.
                if study_id in store.outlived(
                    connection, before=now - timedelta(days=days), limit=1, study_id=study_id
                ):
                    erase_study(connection, study_id, request)
                    count += 1
        except DemurError as fault:  # one study that cannot be erased now holds up no other
            logger.warning("study not erased", extra={"action": "study_not_erased", "fault": type(fault).__name__})
    return count


def delete_files(database: Database, storage: Storage, *, now: datetime) -> int:
    """Delete the files of what was erased, as far as that can be done now; return how many are left for later."""
    try:
        sweep(database, storage, now=now)
    except (DemurError, OSError) as fault:
        logger.warning("files not deleted", extra={"action": "files_not_deleted", "fault": type(fault).__name__})
    with database.reading() as connection:
        return file_store.unswept_since(connection)[0]


def _locked(connection: Connection, study_id: str) -> Study:
    study = triage_store.get(connection, study_id, lock=True)
    if study is None:
        raise MissingError("there is no such study")
    return study


def _refuse_unread(connection: Connection, study: Study, *, is_unread_too: bool) -> bool:
    """Return whether somebody has yet to read a study; UnreadError if that was not reckoned with."""
    is_unread = study.state != "decided" or worklist.is_open(connection, study.id)
    if is_unread and not is_unread_too:
        raise UnreadError("the study is on the worklist; say that it is to be erased unread, or let it be read first")
    return is_unread


def _refuse_names(connection: Connection, study_id: str, request: Request) -> None:
    """Refuse a reason that holds what it would keep for ever."""
    reason = request.reason.casefold()
    for name in store.names_of(connection, study_id):
        for part in (name, *name.replace("=", "^").split("^")):
            if len(part) >= _NAME_MIN and part.casefold() in reason:
                raise RequestError("the reason must not name the patient or the study: it stays on the ledger for ever")


def _remove(connection: Connection, study: Study, gone: list[Image], *, now: datetime) -> None:
    store.delete_images(connection, gone)
    for digest in sorted({image.digest for image in gone}):
        file_store.mark(connection, digest, site_id=study.site_id, now=now)


def _send_back(connection: Connection, study: Study, request: Request, *, why: str) -> str:
    """Put a study back to be decided and read; who holds its case does not know of this, so the case is called back."""
    triage.reopen(connection, study, why=why, now=request.now)
    triage_store.change(
        connection,
        study.id,
        revision=study.revision + 1,
        is_reopened=True,
        due_at=request.now,
        changed_at=request.now,
    )
    called_back = worklist.recall(
        connection, study_id=study.id, reason="the study was changed", by=request.by, now=request.now
    )
    place = triage.arrival_place(get_site(connection, study.site_id), received_at=study.received_at)
    workitem, _ = worklist.ensure_open(
        connection, study_id=study.id, site_id=study.site_id, place=place, now=request.now, replaces=called_back
    )
    return workitem


def _digest(salt: str, patient: Patient) -> str:
    return hashlib.sha256(f"{salt}{canonical(astuple(patient))}".encode()).hexdigest()
