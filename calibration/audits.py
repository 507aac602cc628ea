"""Which healthy calls are read all the same, and when a call counts: at a fixed age, whatever order labels come in.

The audit probability of a call is fixed from what is known before its label. A call is counted when it has reached a fixed
age since its accession, never when its label arrives: abnormal follow-up comes first, so counting on arrival would alarm
falsely, and certify falsely as the rest comes in. What is unresolved by then is an error for the bound, and escalated: a person
must find out. For the alarm it is no error, so that slow reading is no false alarm.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from calibration.monitor import MonitorState, audited_error, observe


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """With what probability a healthy call is audited.

    Attributes
    ----------
    q_min : float
        The least, for scores far below the threshold, in (0, 1].
    q_max : float
        At the threshold; equal to ``q_min``: uniform. Near the threshold a fault is found with fewer readings; it certifies
        no cheaper, since bets shrink with ``q_min``.
    reach : float
        How far below the threshold the extra probability falls to 1/e, in units of the score; above 0.
    """

    q_min: float
    q_max: float
    reach: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a plan out of range."""
        if not 0.0 < self.q_min <= self.q_max <= 1.0 or not self.reach > 0.0:
            raise ValueError(f"a plan needs 0 < q_min <= q_max <= 1 and a reach above 0: {self}")

    def probability(self, score: float, threshold: float) -> float:
        """Return the audit probability of a healthy call.

        Examples
        --------
        >>> plan = AuditPlan(q_min=0.1, q_max=0.5, reach=2.0)
        >>> plan.probability(3.0, 3.0), round(plan.probability(1.0, 3.0), 4), plan.probability(-1e9, 3.0)
        (0.5, 0.2472, 0.1)
        """
        return self.q_min + (self.q_max - self.q_min) * math.exp(min(0.0, (score - threshold) / self.reach))


def uniform(probability: float) -> AuditPlan:
    """Return the plan that audits every healthy call with the same probability."""
    return AuditPlan(q_min=probability, q_max=probability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A healthy call, as the ledger has it.

    Attributes
    ----------
    key : str
        Orders calls of one accession time; unique.
    accessioned : datetime
        When the study came.
    probability : float
        q, logged at the decision.
    audited : bool
        A, drawn at the decision.
    error : bool or None
        What the audit found, adjudicated; None: not resolved yet.
    """

    key: str
    accessioned: datetime
    probability: float
    audited: bool
    error: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A monitor and how far it has come.

    Attributes
    ----------
    monitor : MonitorState
        After all calls that were due.
    through : tuple of datetime and str, or None
        Accession and key of the last call processed; None: none yet.
    """

    monitor: MonitorState
    through: tuple[datetime, str] | None = None


def process_due(
    audited: Audited, calls: Iterable[Call], *, now: datetime, age: timedelta
) -> tuple[Audited, tuple[Call, ...]]:
    """Process every call that has reached its age and was not processed yet, in the order of accession.

    Parameters
    ----------
    audited : Audited
        Before.
    calls : iterable of Call
        At least all that are due, in any order; what was processed before, or is too young, is passed over.
    now : datetime
        With a time zone.
    age : timedelta
        Fixed beforehand; all labels are due by then.

    Returns
    -------
    Audited
        After.
    tuple of Call
        Audited calls that were unresolved at their age: escalate them.
    """
    due = sorted(
        (call for call in calls if call.accessioned + age <= now and _is_new(call, audited.through)),
        key=lambda call: (call.accessioned, call.key),
    )
    if not due:
        return audited, ()
    found = np.array([_z(call, unresolved=False) for call in due])
    strict = np.array([_z(call, unresolved=True) for call in due])
    after = replace(
        audited, monitor=observe(audited.monitor, found, strict), through=(due[-1].accessioned, due[-1].key)
    )
    return after, tuple(call for call in due if call.audited and call.error is None)


def look_ahead(audited: Audited, calls: Iterable[Call]) -> MonitorState:
    """Return the monitor as it is with all calls made so far, for the alarm alone.

    The alarm need not wait until calls have reached their age. With the errors that are known by now, its evidence is at no time
    greater than it would be had every label been known at the call, and for that one Ville's inequality holds. The bound is another
    matter: what is not known yet speaks for the site there.

    Parameters
    ----------
    audited : Audited
        What was processed.
    calls : iterable of Call
        At least all that were not, in any order; one without a label counts as none.
    """
    waiting = sorted(
        (call for call in calls if _is_new(call, audited.through)), key=lambda call: (call.accessioned, call.key)
    )
    return observe(audited.monitor, np.array([_z(call, unresolved=False) for call in waiting], np.float64))


def _is_new(call: Call, through: tuple[datetime, str] | None) -> bool:
    return through is None or (call.accessioned, call.key) > through


def _z(call: Call, *, unresolved: bool) -> float:
    error = unresolved if call.error is None else call.error
    return audited_error(audited=call.audited, error=error, probability=call.probability)
