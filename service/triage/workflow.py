"""From stored instances to a decision.

Invariants:

- An attempt is committed before anything is decoded. One that never ends is IDK ``attempt_lost``, and is not retried.
- A decision holds for the revision that was looked at; if instances came meanwhile, the study is decided again.
- Only the policy's placement CLEARED takes a study off the worklist, and never one that a reader has claimed.
- A site's mode is that under the open bundle, and stays what it is until the decision is committed.
- A patient's decisions are made one after the other, so that the policy knows how many there were before.
- Whether a healthy call is read all the same is drawn from what is known before it is read, and logged with its
  probability; readers cannot tell such a case from others.
"""

import logging
import math
import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Connection

from calibration.policy import Placement, Ruling, decide
from models.vocabulary import Decision, Mode, Reason
from service import metrics
from service.ledger.workflow import Kind, append
from service.sites.store import Site
from service.sites.store import get as get_site
from service.storage.workflow import Storage
from service.triage import store
from service.triage.judge import Judge
from service.triage.store import Attempt, Stored, Study
from service.worklist import workflow as worklist
from service.worklist.store import Priority
from service.worklist.workflow import Place

if TYPE_CHECKING:
    from deploy.runtime import Assessment

logger = logging.getLogger(__name__)

#: A study decided healthy at a site that reads these last waits so many service levels: last, but not for ever.
LAST_SERVICE_LEVELS = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an attempt found: the images it looked at and what the engine says of them."""

    images: tuple[Stored, ...]
    assessment: "Assessment | None"
    gates: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Whether a healthy call is read all the same."""

    probability: float
    is_drawn: bool


def begin(connection: Connection, study: Study, *, worker_id: str, now: datetime) -> Attempt:
    """Begin to decide a study that this transaction has locked."""
    attempt = Attempt(id=uuid4().hex, study_id=study.id, revision=study.revision, worker_id=worker_id, begun_at=now)
    store.begin(connection, attempt)
    store.change(connection, study.id, state="deciding")
    return attempt


def look(judge: Judge, storage: Storage, images: Sequence[Stored]) -> Evidence:
    """Decode and score a study's images; whatever fails is a reason."""
    try:
        assessment = judge.assess([storage.view(image.digest) for image in images])
    except Exception as fault:  # noqa: BLE001 - the edge of a study: a fault of ours is a reason to read it
        logger.error("study not assessed", extra={"action": "study_not_assessed", "fault": type(fault).__name__})  # noqa: TRY400
        return Evidence(images=tuple(images), assessment=None, gates=(Reason.FAULT,))
    return Evidence(images=tuple(images), assessment=assessment, gates=() if assessment is None else assessment.gates)


def finish(
    connection: Connection, attempt: Attempt, evidence: Evidence, judge: Judge, *, rng: random.Random, now: datetime
) -> Study | None:
    """Decide a study on what an attempt found; None if the attempt no longer counts."""
    study = store.get(connection, attempt.study_id, lock=True)
    assert study is not None
    is_current = study.revision == attempt.revision
    if not store.end(connection, attempt.id, outcome="decided" if is_current else "superseded", now=now):
        return None
    if not is_current:
        store.change(connection, study.id, state="waiting")
        return None
    return _settle(connection, study, evidence, attempt, judge=judge, rng=rng, now=now)


def lose(
    connection: Connection,
    *,
    silent_since: datetime,
    worker_id: str,
    active: AbstractSet[str],
    judge: Judge,
    rng: random.Random,
    now: datetime,
) -> int:
    """Decide studies whose attempt will never end: IDK, read by a human; return how many."""
    found = store.lost(connection, silent_since, worker_id=worker_id, active=active)
    for attempt in found:
        study = store.get(connection, attempt.study_id, lock=True)
        if study is None or not store.end(connection, attempt.id, outcome="lost", now=now):
            continue
        images = tuple(store.images(connection, study.id))
        evidence = Evidence(images=images, assessment=None, gates=(Reason.ATTEMPT_LOST,))
        _settle(connection, study, evidence, attempt, judge=judge, rng=rng, now=now)
        logger.warning("attempt lost", extra={"action": "attempt_lost", "study": study.id})
    return len(found)


def reopen(connection: Connection, study: Study, *, why: str, now: datetime) -> None:
    """Withdraw the decision of a study that this transaction has locked, if it has one; who asks puts it on the worklist."""
    if study.state != "decided":
        return
    store.change(
        connection,
        study.id,
        state="waiting",
        is_reopened=True,
        decision=None,
        reasons=None,
        score=None,
        threshold=None,
        placement=None,
        decided_at=None,
    )
    body = {"why": why, "withdrawn": study.decision, "was_healthy": study.decision == Decision.HEALTHY}
    append(connection, Kind.REOPENED, body, at=now, site_id=study.site_id, study_id=study.id)
    logger.info("study reopened", extra={"action": "study_reopened", "study": study.id})


def arrival_place(site: Site, *, received_at: datetime, reasons: tuple[str, ...] = ()) -> Place:
    """Return where a study stands before it is decided: by age alone."""
    read_by = received_at + timedelta(seconds=site.service_level_s)
    return Place(priority=Priority.MEDIUM, read_by=read_by, reasons=reasons)


def place_of(
    site: Site, ruling: Ruling, draw: Draw, score: float, *, received_at: datetime, rng: random.Random
) -> Place:
    """Return where a decided study stands on the worklist.

    The order is by the time at which a case ought to be read, so nothing starves: the site's service level, less for a
    score further above the threshold, more for healthy calls of a site that reads these last. In shadow the order is by
    age, since the decision is silent there. A healthy call that is read unmarked, in shadow or by the audit draw, looks
    like an abstention with a score drawn from those that are near the threshold.
    """
    level = site.service_level_s
    if ruling.placement is Placement.END_OF_WORKLIST and not draw.is_drawn:
        read_by = received_at + timedelta(seconds=LAST_SERVICE_LEVELS * level)
        return Place(priority=Priority.LOW, read_by=read_by, reasons=())
    reasons = ruling.reasons
    if ruling.decision is Decision.HEALTHY:
        reasons = (Reason.SCORE,)
        score = (ruling.threshold or 0.0) + rng.expovariate(1.0)
    urgency = 0.0
    if site.mode is not Mode.SHADOW and math.isfinite(score) and ruling.threshold is not None:
        urgency = math.tanh(max(0.0, score - ruling.threshold) / 4.0)
    read_by = received_at + timedelta(seconds=level * (1.0 - 0.75 * urgency))
    priority = Priority.HIGH if urgency > 0.75 else Priority.MEDIUM
    return Place(priority=priority, read_by=read_by, reasons=tuple(map(str, reasons)))


def _gates_of(study: Study) -> tuple[Reason, ...]:
    gates = (Reason.REOPENED,) if study.is_reopened else ()
    return (*gates, Reason.CONFLICT) if study.conflicts else gates


def _settle(
    connection: Connection,
    study: Study,
    evidence: Evidence,
    attempt: Attempt,
    *,
    judge: Judge,
    rng: random.Random,
    now: datetime,
) -> Study:
    """Decide, and write it down: study, worklist, ledger."""
    site = get_site(connection, study.site_id, hold=True).under(judge.bundle)
    score = evidence.assessment.score if evidence.assessment is not None else math.nan
    gates = (*evidence.gates, *_gates_of(study))
    studies_before = store.lock_patient(connection, study.id)
    ruling = decide(
        score=score,
        gates=gates,
        certificate=judge.certificate,
        site=site.name,
        studies_before=studies_before,
        mode=site.mode,
        now=now,
    )
    draw = _draw(site, ruling, rng)
    values: dict[str, Any] = {
        "state": "decided",
        "decision": str(ruling.decision),
        "reasons": " ".join(map(str, ruling.reasons)),
        "score": score if math.isfinite(score) else None,
        "threshold": ruling.threshold,
        "placement": str(ruling.placement),
        "mode": str(site.mode),
        "bundle": judge.bundle or None,
        "decided_at": now,
        "elapsed_ms": (now - attempt.begun_at) / timedelta(milliseconds=1),
    }
    store.change(connection, study.id, **values)
    if ruling.placement is Placement.CLEARED and not draw.is_drawn:
        worklist.withdraw(connection, study_id=study.id, reason="decided healthy; nobody needs to read it", now=now)
    else:
        place = place_of(site, ruling, draw, score, received_at=study.received_at, rng=rng)
        worklist.move(connection, study_id=study.id, place=place, now=now)
    append(
        connection,
        Kind.DECIDED,
        _record(study, site, ruling, evidence, attempt, draw, judge, now, gates=gates, studies_before=studies_before),
        at=now,
        site_id=site.id,
        study_id=study.id,
    )
    _count(evidence)
    metrics.DECISIONS.labels(site.name, ruling.decision, (*ruling.reasons, "")[0]).inc()
    logger.info("study decided", extra={"action": "study_decided", "study": study.id})
    decided = store.get(connection, study.id)
    assert decided is not None
    return decided


def stages_of(evidence: Evidence) -> list[tuple[str, float]]:
    """Return where the time of looking went, in seconds, image by image; what an image did not come to is left out."""
    images = evidence.assessment.images if evidence.assessment is not None else ()
    return [
        (stage, seconds)
        for timings in (image.timings for image in images)
        for stage, seconds in (("decode", timings.decode_s), ("wait", timings.wait_s), ("infer", timings.infer_s))
        if seconds
    ]


def _count(evidence: Evidence) -> None:
    """Count what decoded the images."""
    if evidence.assessment is None:
        return
    for image, decoder in zip(evidence.images, evidence.assessment.decoders, strict=False):
        metrics.DECODED.labels(image.transfer_syntax_uid, decoder or "none").inc()


def _draw(site: Site, ruling: Ruling, rng: random.Random) -> Draw:
    """Draw whether a call is read unmarked; where everyone is read anyway the probability is one."""
    if ruling.placement is Placement.WORKLIST:
        return Draw(probability=1.0, is_drawn=True)
    return Draw(probability=site.audit_probability, is_drawn=rng.random() < site.audit_probability)


def _record(
    study: Study,
    site: Site,
    ruling: Ruling,
    evidence: Evidence,
    attempt: Attempt,
    draw: Draw,
    judge: Judge,
    now: datetime,
    *,
    gates: tuple[Reason, ...],
    studies_before: int | None,
) -> dict[str, Any]:
    """Return everything that a decision rests on, as the ledger keeps it and replay needs it."""
    assessment = evidence.assessment
    found = assessment.images if assessment is not None else ()
    images: list[dict[str, Any]] = []
    for position, image in enumerate(evidence.images):
        entry: dict[str, Any] = {
            "digest": image.digest,
            "sent_digest": image.sent_digest,
            "bytes": image.bytes,
            "transfer_syntax": image.transfer_syntax_uid,
            "received_at": image.received_at,
        }
        if position < len(found):
            result = found[position]
            entry |= {
                "decoder": result.decoder,
                "logits": list(result.logits),
                "strangeness": result.strangeness,
                "score": result.outcome.score,
                "gates": list(result.outcome.gates),
            }
        images.append(entry)
    return {
        "decision": ruling.decision,
        "reasons": list(ruling.reasons),
        "placement": ruling.placement,
        "threshold": ruling.threshold,
        "score": assessment.score if assessment is not None else math.nan,
        "strangeness": assessment.strangeness if assessment is not None else math.nan,
        "logits": list(assessment.logits) if assessment is not None else [],
        "gates": list(gates),
        "studies_before": studies_before,
        "runtime": assessment.runtime if assessment is not None else "",
        "bundle": judge.bundle,
        "site": site.name,
        "mode": site.mode,
        "audit": {"probability": draw.probability, "is_drawn": draw.is_drawn},
        "revision": study.revision,
        "images": images,
        "received_at": study.received_at,
        "begun_at": attempt.begun_at,
        "decided_at": now,
    }
