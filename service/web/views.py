"""From what is stored to what a page says: pure, with the time as an argument.

Nothing here knows a study's decision. What a reader sees of a case that was called healthy, and of any other, is made of the
same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from service.web.store import Case, Image
from service.web.words import CONFIDENCES, FINDINGS, STATES, Words, words_of
from service.worklist.readings import Confidence, Finding
from service.worklist.states import State
from service.worklist.store import Priority, Workitem

#: A target nearer than this is pressing.
SOON_S = 1800.0
_SEXES = {"M": "M", "F": "F", "O": "other"}
_VIEWS = {"LL": "lateral", "RL": "lateral", "LATERAL": "lateral", "LAT": "lateral"}
_SHORT_ID = 6


class Urgency(StrEnum):
    """How near the time is at which a case ought to be read."""

    #: There is time.
    CALM = "calm"
    #: It is pressing.
    SOON = "soon"
    #: It has passed.
    LATE = "late"
    #: The case is read.
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """One line of the worklist."""

    id: str
    name: str
    is_urgent: bool
    urgency: Urgency
    waited: str
    target: str
    site: str
    patient: str
    views: str
    reasons: tuple[Words, ...]
    state: str
    owner: str
    is_mine: bool
    is_waiting: bool
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmView:
    """One film on the case page."""

    id: str
    label: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A case and what its reader may do with it."""

    id: str
    name: str
    site: str
    patient: str
    patient_name: str
    patient_id: str
    study_date: str
    urgency: Urgency
    waited: str
    target: str
    state: str
    owner: str
    is_waiting: bool
    #: The reader holds it and has given no result: this is the time to read.
    is_reading: bool
    #: Another reader holds it.
    is_taken: bool
    #: The reader's own result, which can still be undone.
    is_undoable: bool
    is_final: bool
    is_withdrawn: bool
    finding: str
    confidence: str
    note: str
    lease_s: int
    undo_s: int
    films: tuple[FilmView, ...]
    reasons: tuple[Words, ...]


def row_view(case: Case, images: Sequence[Image], *, reader: str, now: datetime) -> RowView:
    """Return a case as the worklist shows it."""
    urgency, target = target_of(case.state, case.read_by, now)
    return RowView(
        id=case.id,
        name=short(case.id),
        is_urgent=case.priority == Priority.HIGH,
        urgency=urgency,
        waited=duration(now - case.received_at),
        target=target,
        site=case.site,
        patient=patient_words(case.patient_birth_date, case.patient_sex, case.study_date, case.age_years),
        views=", ".join(dict.fromkeys(_view(image) for image in images)) or "–",
        reasons=words_of(case.reasons),
        state=_state_words(case.state, case.verdict),
        owner="you" if case.reader == reader and case.reader else case.reader or "",
        is_mine=case.reader == reader,
        is_waiting=case.state is State.SCHEDULED,
        finding=_finding(case.verdict),
    )


def case_view(
    workitem: Workitem,
    images: Sequence[Image],
    *,
    received_at: datetime,
    age_years: float | None,
    reader: str,
    now: datetime,
) -> CaseView:
    """Return a case as its own page shows it."""
    urgency, target = target_of(workitem.state, workitem.read_by, now)
    is_mine = workitem.state is State.IN_PROGRESS and workitem.reader == reader
    return CaseView(
        id=workitem.id,
        name=short(workitem.id),
        site=workitem.site,
        patient=patient_words(workitem.patient_birth_date, workitem.patient_sex, workitem.study_date, age_years),
        patient_name=" ".join(part for part in workitem.patient_name.replace("^", " ").split() if part) or "no name",
        patient_id=workitem.patient_id or "no number",
        study_date=_date_words(workitem.study_date),
        urgency=urgency,
        waited=duration(now - received_at),
        target=target,
        state=_state_words(workitem.state, workitem.verdict),
        owner="you" if workitem.reader == reader and workitem.reader else workitem.reader or "",
        is_waiting=workitem.state is State.SCHEDULED,
        is_reading=is_mine and workitem.verdict is None,
        is_taken=workitem.state is State.IN_PROGRESS and not is_mine,
        is_undoable=is_mine and workitem.final_at is not None and workitem.final_at > now,
        is_final=workitem.state is State.COMPLETED,
        is_withdrawn=workitem.state is State.CANCELED,
        finding=_finding(workitem.verdict),
        confidence=CONFIDENCES[Confidence(workitem.confidence)] if workitem.confidence else "",
        note=workitem.note or "",
        lease_s=_seconds_left(workitem.lease_until, now),
        undo_s=_seconds_left(workitem.final_at, now),
        films=tuple(_film(image, number, len(images)) for number, image in enumerate(images, 1)),
        reasons=words_of(workitem.reasons),
    )


def target_of(state: State, read_by: datetime, now: datetime) -> tuple[Urgency, str]:
    """Return how near a case's target is, and in words."""
    if state not in (State.SCHEDULED, State.IN_PROGRESS):
        return Urgency.DONE, "–"
    left = read_by - now
    if left.total_seconds() < 0:
        return Urgency.LATE, f"{duration(-left)} late"
    urgency = Urgency.SOON if left.total_seconds() < SOON_S else Urgency.CALM
    return urgency, f"{duration(left)} left"


def duration(span: timedelta) -> str:
    """Return a length of time in the two units that matter."""
    minutes = max(0, int(span.total_seconds() // 60))
    if minutes < 1:
        return "under 1 min"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d}"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def patient_words(birth_date: str, sex: str, study_date: str, age_years: float | None) -> str:
    """Return age at the study, as told or counted, and sex, as far as they are known."""
    born, seen = _date(birth_date), _date(study_date)
    years = None if age_years is None else int(age_years)
    if years is None and born is not None and seen is not None and seen >= born:
        years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return (
        " ".join(filter(None, [f"{years} y" if years is not None else "", _SEXES.get(sex.strip().upper(), "")])) or "–"
    )


def short(case_id: str) -> str:
    """Return the part of an id that people tell cases apart by."""
    return case_id[:_SHORT_ID]


def _state_words(state: State, verdict: str | None) -> str:
    if state is State.IN_PROGRESS and verdict is not None:
        return "Result given"
    return STATES.get(state, "Withdrawn")


def _finding(verdict: str | None) -> str:
    return FINDINGS[Finding(verdict)] if verdict else ""


def _seconds_left(until: datetime | None, now: datetime) -> int:
    return 0 if until is None else max(0, round((until - now).total_seconds()))


def _film(image: Image, number: int, count: int) -> FilmView:
    parts = [image.modality.upper() or "unknown modality", _view(image)]
    label = " ".join(part for part in parts if part != "–")
    note = f"first of {image.frames} frames" if image.frames > 1 else ""
    return FilmView(id=image.id, label=f"{label} · {number} of {count}" if count > 1 else label, note=note)


def _view(image: Image) -> str:
    view = image.view.strip().upper()
    return _VIEWS.get(view, view) or "–"


def _date(text: str) -> date | None:
    digits = text.replace(".", "").replace("-", "")
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8]))
    except ValueError:
        return None


def _date_words(text: str) -> str:
    found = _date(text)
    return found.isoformat() if found is not None else ""
