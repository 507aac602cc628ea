"""The decision. The only place that says healthy.

Invariants: IDK is the default, and healthy needs every one of: a certificate, in date, for this site; fewer studies of the
patient decided before than a patient of its calibration had; no gate against it; a finite score *strictly* below the
threshold. A tie, a NaN and an infinity abstain. The mode of a site changes where a study goes, never what is said of it.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from calibration.certificate import Certificate
from models.vocabulary import Decision, Mode, Reason


class Placement(StrEnum):
    """Where a study goes after the decision."""

    #: Readers see it in its turn.
    WORKLIST = "worklist"
    #: Readers see it last.
    END_OF_WORKLIST = "end_of_worklist"
    #: No reader needs to see it, unless an audit is drawn.
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What was decided, and why.

    Attributes
    ----------
    decision : Decision
        Healthy or IDK.
    reasons : tuple of Reason
        Why not healthy; empty for healthy.
    threshold : float or None
        That the score was held against; None: there is no certificate.
    placement : Placement
        Where the study goes.
    """

    decision: Decision
    reasons: tuple[Reason, ...]
    threshold: float | None
    placement: Placement


def decide(
    *,
    score: float,
    gates: tuple[Reason, ...],
    certificate: Certificate | None,
    site: str,
    studies_before: int | None,
    mode: Mode,
    now: datetime,
) -> Ruling:
    """Decide a study.

    Parameters
    ----------
    score : float
        Of the study; higher is stranger.
    gates : tuple of Reason
        What speaks against it beside the score; any makes it IDK.
    certificate : Certificate or None
        Of the open bundle; None: there is none.
    site : str
        Where the study comes from.
    studies_before : int or None
        Other studies of the patient that were decided, healthy or not: a patient who is looked at once more has one more
        chance to be missed. None: it is not known whose study it is.
    mode : Mode
        How far this site trusts Demur.
    now : datetime
        With a time zone.

    Returns
    -------
    Ruling
        With all reasons, the gates first.
    """
    reasons = list(dict.fromkeys(gates))
    if certificate is None:
        reasons.append(Reason.NO_BUNDLE)
        return Ruling(decision=Decision.IDK, reasons=tuple(reasons), threshold=None, placement=Placement.WORKLIST)
    if site not in certificate.certified_sites:
        reasons.append(Reason.SITE)
    if not certificate.issued <= now < certificate.expires:
        reasons.append(Reason.EXPIRED)
    if studies_before is None:
        reasons.append(Reason.PATIENT)
    elif studies_before >= certificate.evidence.studies_per_patient:
        reasons.append(Reason.STUDIES)
    if math.isfinite(score) and score < certificate.threshold:
        if not reasons:
            return Ruling(
                decision=Decision.HEALTHY, reasons=(), threshold=certificate.threshold, placement=_PLACEMENT[mode]
            )
    elif math.isfinite(score):
        reasons.append(Reason.SCORE)
    elif not gates:  # a gate makes the score infinite: its own reason says more
        reasons.append(Reason.NO_SCORE)
    return Ruling(
        decision=Decision.IDK, reasons=tuple(reasons), threshold=certificate.threshold, placement=Placement.WORKLIST
    )


#: Where a healthy study goes.
_PLACEMENT = {
    Mode.SHADOW: Placement.WORKLIST,
    Mode.PRIORITISE: Placement.END_OF_WORKLIST,
    Mode.AUTONOMOUS: Placement.CLEARED,
}
