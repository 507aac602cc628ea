"""What is said of a study over HTTP."""

from datetime import datetime

from pydantic import BaseModel

from service.triage.store import Study


class StudyAnswer(BaseModel):
    """A study's decision, its reasons, and what it was decided with."""

    #: Internal, not the Study Instance UID.
    id: str
    #: waiting, deciding or decided. Until it is decided the study is on the worklist.
    state: str
    #: healthy or IDK; none until it is decided.
    decision: str | None
    #: Why not healthy.
    reasons: list[str]
    #: The decision is acted on: nobody needs to read the study on its account.
    is_cleared: bool
    mode: str | None
    score: float | None
    threshold: float | None
    #: Digest of the release.
    bundle: str | None
    received_at: datetime
    decided_at: datetime | None
    elapsed_ms: float | None


def answer_of(study: Study) -> StudyAnswer:
    """Return what is said of a study."""
    return StudyAnswer(
        id=study.id,
        state=study.state,
        decision=study.decision,
        reasons=list(study.reasons),
        is_cleared=study.placement == "cleared",
        mode=study.mode,
        score=study.score,
        threshold=study.threshold,
        bundle=study.bundle,
        received_at=study.received_at,
        decided_at=study.decided_at,
        elapsed_ms=None if study.elapsed_ms is None else round(study.elapsed_ms, 3),
    )
