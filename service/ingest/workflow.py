"""Taking in instances: stored, on the worklist and on the ledger in one transaction, or acknowledged nothing.

Invariants:

- Files are durable before the transaction begins; the acknowledgement comes after its commit.
- The same bytes again change nothing. Other bytes under a known UID are refused and both digests kept on the ledger; the
  study is then read by a human, whatever was decided. So is a study whose instances name different patients.
- Instances that come after a decision withdraw it: the study is back on the worklist from the same transaction.
- Instances that were erased and come again are a new study, which is read by a human.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection

from models.errors import InputError
from models.vocabulary import Reason
from service import metrics
from service.ingest import store
from service.ingest.identify import Identity, Partial, identify, partial
from service.ledger.workflow import Kind, append
from service.sites.store import Site
from service.storage.erasing import hold
from service.storage.workflow import Spool, Storage
from service.triage import store as triage_store
from service.triage import workflow as triage
from service.triage.store import Attempt, Study
from service.worklist import workflow as worklist


class Outcome(StrEnum):
    """What became of one file."""

    #: It is stored.
    STORED = "stored"
    #: The same bytes are stored already.
    KNOWN = "known"
    #: Other bytes are stored under its UID.
    CONFLICT = "conflict"
    #: It belongs to another study than the one that the request names.
    OTHER_STUDY = "other_study"
    #: It cannot be read as DICOM.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One finished file with what it says it is; an unreadable one has a fault instead."""

    spool: Spool
    identity: Identity | None
    uids: Partial
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one file, as its sender is told."""

    outcome: Outcome
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    study_id: str = ""
    explanation: str = ""

    @property
    def is_stored(self) -> bool:
        """Say whether the bytes that were sent are in storage."""
        return self.outcome in (Outcome.STORED, Outcome.KNOWN)


def receive(spool: Spool) -> Arrival:
    """Make a file durable in the spool and read what it is."""
    spool.finish()
    data = spool.view()
    try:
        identity = identify(data)
    except InputError as fault:
        return Arrival(spool=spool, identity=None, uids=partial(data), fault=str(fault))
    uids = Partial(sop_class_uid=identity.sop_class_uid, sop_instance_uid=identity.sop_instance_uid)
    return Arrival(spool=spool, identity=identity, uids=uids)


def keep(storage: Storage, arrivals: Sequence[Arrival]) -> None:
    """Put what can be read into storage."""
    for arrival in arrivals:
        if arrival.identity is not None:
            storage.keep(arrival.spool)


def take_in(
    connection: Connection,
    storage: Storage,
    site: Site,
    arrivals: Sequence[Arrival],
    *,
    due_at: datetime,
    now: datetime,
    study_instance_uid: str | None = None,
) -> list[Receipt]:
    """Write down files that are in storage, in a transaction that has just begun."""
    kept = [arrival.spool for arrival in arrivals if arrival.identity is not None]
    erased = hold(connection, storage, kept, site_id=site.id)
    # In a fixed order, so that two senders of the same studies cannot wait for each other in a circle.
    order = sorted(range(len(arrivals)), key=lambda at: (_uid_of(arrivals[at]), at))
    receipts: dict[int, Receipt] = {}
    for at in order:
        receipts[at] = _take_in(
            connection, site, arrivals[at], due_at=due_at, now=now, study_uid=study_instance_uid, erased=erased
        )
        metrics.INSTANCES.labels(site.name, receipts[at].outcome).inc()
    return [receipts[at] for at in range(len(arrivals))]


def begin_at_once(connection: Connection, study_id: str, *, worker_id: str, now: datetime) -> Attempt | None:
    """Begin to decide a waiting study in the transaction under way; None if it is decided or being decided."""
    study = triage_store.get(connection, study_id, lock=True)
    if study is None or study.state != "waiting":
        return None
    return triage.begin(connection, study, worker_id=worker_id, now=now)


def declare_complete(
    connection: Connection, study_id: str, *, site_id: str | None, worker_id: str, now: datetime
) -> tuple[Study | None, Attempt | None]:
    """Begin to decide a study whose sender says that it is whole; the study is None if there is none to be seen."""
    study = triage_store.get(connection, study_id, site_id=site_id, lock=True)
    if study is None or study.state != "waiting":
        return study, None
    return study, triage.begin(connection, study, worker_id=worker_id, now=now)


def _uid_of(arrival: Arrival) -> tuple[str, str]:
    identity = arrival.identity
    return (identity.study_instance_uid, identity.sop_instance_uid) if identity is not None else ("", "")


def _take_in(
    connection: Connection,
    site: Site,
    arrival: Arrival,
    *,
    due_at: datetime,
    now: datetime,
    study_uid: str | None,
    erased: AbstractSet[str],
) -> Receipt:
    identity = arrival.identity
    if identity is None:
        return Receipt(
            outcome=Outcome.UNREADABLE,
            sop_class_uid=arrival.uids.sop_class_uid,
            sop_instance_uid=arrival.uids.sop_instance_uid,
            explanation=arrival.fault,
        )
    if study_uid is not None and identity.study_instance_uid != study_uid:
        return _receipt(
            Outcome.OTHER_STUDY, identity, "", "the instance belongs to another study than the request names"
        )
    known = store.find_instance(connection, site_id=site.id, sop_instance_uid=identity.sop_instance_uid)
    if known is not None and known.digest != arrival.spool.digest:
        triage_store.get(connection, known.study_id, lock=True)  # it may be erased until this transaction has it
        known = store.find_instance(connection, site_id=site.id, sop_instance_uid=identity.sop_instance_uid)
    if known is None:
        study_id = store.add_study(connection, study_id=uuid4().hex, site_id=site.id, identity=identity, now=now)
        study = triage_store.get(connection, study_id, lock=True)
        assert study is not None
        if store.add_instance(
            connection,
            instance_id=uuid4().hex,
            study_id=study_id,
            site_id=site.id,
            identity=identity,
            digest=arrival.spool.digest,
            sent_digest=arrival.spool.sent_digest,
            size=arrival.spool.bytes,
            now=now,
        ):
            is_other = store.names_other_patient(connection, study_id, identity.patient_id)
            if arrival.spool.digest in erased:  # what the site knew of it is gone, so a human reads it
                triage_store.change(connection, study_id, is_reopened=True)
            _enlist(connection, site, study, arrival, due_at=due_at, now=now, is_other_patients=is_other)
            return _receipt(Outcome.STORED, identity, study_id)
        known = store.find_instance(connection, site_id=site.id, sop_instance_uid=identity.sop_instance_uid)
        assert known is not None
    if known.digest == arrival.spool.digest:
        return _receipt(Outcome.KNOWN, identity, known.study_id)
    _conflict(connection, site, known, arrival, now=now)
    return _receipt(
        Outcome.CONFLICT,
        identity,
        "",
        "other bytes are stored under this SOP Instance UID; they stay, these were refused",
    )


def _enlist(
    connection: Connection,
    site: Site,
    study: Study,
    arrival: Arrival,
    *,
    due_at: datetime,
    now: datetime,
    is_other_patients: bool,
) -> None:
    """Put a study that has a new instance on the worklist, and withdraw what was decided without it."""
    triage.reopen(connection, study, why="instance", now=now)
    conflicts = study.conflicts + is_other_patients
    triage_store.change(
        connection, study.id, revision=study.revision + 1, due_at=due_at, changed_at=now, conflicts=conflicts
    )
    place = triage.arrival_place(site, received_at=study.received_at)
    workitem_id, _ = worklist.ensure_open(connection, study_id=study.id, site_id=site.id, place=place, now=now)
    body = {
        "digest": arrival.spool.digest,
        "sent_digest": arrival.spool.sent_digest,
        "bytes": arrival.spool.bytes,
        "revision": study.revision + 1,
        "workitem": workitem_id,
        "is_other_patients": is_other_patients,
    }
    append(connection, Kind.STORED, body, at=now, site_id=site.id, study_id=study.id)


def _conflict(connection: Connection, site: Site, known: store.Known, arrival: Arrival, *, now: datetime) -> None:
    study = triage_store.get(connection, known.study_id, lock=True)
    assert study is not None
    triage_store.change(connection, study.id, conflicts=study.conflicts + 1)
    if not study.conflicts:  # from the first one on the study is read by a human; a resend adds only to the ledger
        triage.reopen(connection, study, why="conflict", now=now)
        triage_store.change(connection, study.id, revision=study.revision + 1, due_at=now, changed_at=now)
        place = triage.arrival_place(site, received_at=study.received_at, reasons=(str(Reason.CONFLICT),))
        worklist.ensure_open(connection, study_id=study.id, site_id=site.id, place=place, now=now)
    body = {"stored": known.digest, "refused": arrival.spool.digest, "refused_sent": arrival.spool.sent_digest}
    append(connection, Kind.CONFLICT, body, at=now, site_id=site.id, study_id=study.id)


def _receipt(outcome: Outcome, identity: Identity, study_id: str, explanation: str = "") -> Receipt:
    return Receipt(
        outcome=outcome,
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        study_id=study_id,
        explanation=explanation,
    )


def due_after(now: datetime, quiet_s: float) -> datetime:
    """Return when a study is decided if nothing more comes."""
    return now + timedelta(seconds=quiet_s)
