"""A site's own certificate: its own readings, at the release's fixed threshold.

Nothing is promised where nothing is certified: a new site, scanner or protocol is in shadow until its own readings pass the
release's test, at the threshold that the release fixed. Rules that make the readings evidence:

- every evaluation is an *attempt*: its window is fixed beforehand, by accession dates, and the j-th may spend δ1/(j(j+1)) and
  δ0/(j(j+1)). Looking after every reading instead certified falsely in 17 %;
- each study, IDKs too, is *flagged* before its label, with a draw of its own probability; only flagged ones count. Counting
  what happens to be read certified sites at twice the limit in 62 % of draws, since in autonomous mode the IDKs are
  always read and the cleared seldom. In shadow everyone is read unmarked: the probability is 1;
- flagged ones are *thinned* to a common probability: kept with q_min / q_i. With the logged draw U, flagged as U < q_i, that is U <
  q_min, since U is uniform below q_i given the flag;
- a flagged study that nobody read counts against the site: as a miss, and as a healthy one that was not cleared;
- a reading is an error only when adjudicated.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from calibration.bounds import lower_bound, misses_allowed, upper_bound
from calibration.canonical import canonical, format_time
from calibration.planning import spent
from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN
from calibration.terms import Terms

FORMAT = "demur-site-certificate/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An evaluation of a site, announced before its readings are looked at.

    Attributes
    ----------
    site : str
        Which.
    number : int
        j, from 1; all attempts count, those that failed and those given up.
    opens, closes : datetime
        Accession dates of its window, from and until before, with a time zone.
    sensitivity_ratio : float
        Lower bound on the readers' sensitivity on accepted abnormal, relative to that on rejected ones, in (0, 1]: the limit on
        the miss rate is multiplied by it. 1: the labels are taken as they are.
    """

    site: str
    number: int
    opens: datetime
    closes: datetime
    sensitivity_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for an attempt that contradicts itself."""
        if self.number < 1:
            raise ValueError(f"attempts are counted from 1, not {self.number}")
        if self.opens.tzinfo is None or self.closes.tzinfo is None or not self.opens < self.closes:
            raise ValueError("a window opens before it closes, both with a time zone")
        if not 0.0 < self.sensitivity_ratio <= 1.0:
            raise ValueError(f"a ratio of sensitivities lies in (0, 1], not {self.sensitivity_ratio}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readings:
    """The studies of a site in a window, read or not: one row per study.

    Attributes
    ----------
    patient : ndarray of int64, shape (N,)
        Code of the patient.
    accessioned : ndarray of float64, shape (N,)
        POSIX time of the accession.
    score : ndarray of float64, shape (N,)
        As decided, under the release.
    probability : ndarray of float64, shape (N,)
        q of the flag, logged with the decision, in (0, 1].
    draw : ndarray of float64, shape (N,)
        U of the flag, logged with the decision, in [0, 1); the same for all studies of a patient. Flagged is ``draw <
        probability``.
    label : ndarray of int8, shape (N,)
        ``HEALTHY``, ``ABNORMAL``, or ``UNKNOWN`` where nobody read it.
    """

    patient: NDArray[np.int64]
    accessioned: NDArray[np.float64]
    score: NDArray[np.float64]
    probability: NDArray[np.float64]
    draw: NDArray[np.float64]
    label: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Raise ValueError for columns that do not belong together."""
        columns = (self.patient, self.accessioned, self.score, self.probability, self.draw, self.label)
        if len({len(column) for column in columns}) != 1:
            raise ValueError("all columns of readings have one row per study")
        if not np.all((self.probability > 0.0) & (self.probability <= 1.0) & (self.draw >= 0.0) & (self.draw < 1.0)):
            raise ValueError("probabilities lie in (0, 1], draws in [0, 1)")
        order = np.argsort(self.patient, kind="stable")
        same = self.patient[order][1:] == self.patient[order][:-1]
        if np.any(same & (self.draw[order][1:] != self.draw[order][:-1])):
            raise ValueError("all studies of a patient share one draw, so that he is flagged as a whole")

    def where(self, keep: NDArray[np.bool_]) -> "Readings":
        """Return the rows that a mask keeps."""
        return Readings(
            patient=self.patient[keep],
            accessioned=self.accessioned[keep],
            score=self.score[keep],
            probability=self.probability[keep],
            draw=self.draw[keep],
            label=self.label[keep],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCertificate:
    """The result of an attempt; it promises something only if ``certified``.

    Attributes
    ----------
    attempt : Attempt
        Which.
    threshold : float
        The release's, fixed before.
    miss_rate_limit : float
        a_max, with the ratio of sensitivities.
    delta_miss_rate, delta_acceptance : float
        What this attempt spends.
    abnormal_patients, misses, misses_allowed : int, int, int or None
        n1, k and r*: ``misses`` has the unread too.
    miss_rate_upper : float
        Bound on the miss rate from ``misses``: the threshold was fixed before, so it holds.
    healthy_patients, healthy_accepted : int
        n0 and c0: ``healthy_patients`` has the unread too.
    acceptance_lower : float
        L0.
    unread : int
        Patients counted against the site.
    certified : bool
        Both tests pass.
    """

    attempt: Attempt
    threshold: float
    miss_rate_limit: float
    delta_miss_rate: float
    delta_acceptance: float
    abnormal_patients: int
    misses: int
    misses_allowed: int | None
    miss_rate_upper: float
    healthy_patients: int
    healthy_accepted: int
    acceptance_lower: float
    unread: int
    certified: bool

    def to_json(self) -> str:
        """Return the result as canonical JSON."""
        attempt = {
            **asdict(self.attempt),
            "opens": format_time(self.attempt.opens),
            "closes": format_time(self.attempt.closes),
        }
        return canonical({"format": FORMAT, **asdict(self), "attempt": attempt})


def certify_site(readings: Readings, attempt: Attempt, *, threshold: float, terms: Terms) -> SiteCertificate:
    """Evaluate an attempt of a site.

    Parameters
    ----------
    readings : Readings
        All studies of the site in the window, read or not, flagged or not; others are set aside.
    attempt : Attempt
        Announced beforehand.
    threshold : float
        The release's.
    terms : Terms
        The release's; the unit is the patient.

    Notes
    -----
    Given the number n1 of abnormal patients among those kept, the misses are binomial, since flags are drawn before labels and
    thinned to one probability. So the window may fix dates and n1 may fall as it does.
    """
    if terms.studies_max is not None and len(readings.patient):
        most = int(np.unique(readings.patient, return_counts=True)[1].max())
        if most > terms.studies_max:
            raise ValueError(f"a patient has {most} studies, more than the {terms.studies_max} of the terms")
    limit = terms.miss_rate_limit * attempt.sensitivity_ratio
    delta_miss_rate = spent(terms.delta_miss_rate, attempt.number)
    delta_acceptance = spent(terms.delta_acceptance, attempt.number)
    abnormal, misses, healthy, accepted, unread = _count(_counted(readings, attempt), threshold)
    allowed = misses_allowed(abnormal, limit, delta_miss_rate)
    lower = lower_bound(accepted, healthy, delta_acceptance)
    return SiteCertificate(
        attempt=attempt,
        threshold=threshold,
        miss_rate_limit=limit,
        delta_miss_rate=delta_miss_rate,
        delta_acceptance=delta_acceptance,
        abnormal_patients=abnormal,
        misses=misses,
        misses_allowed=allowed,
        miss_rate_upper=upper_bound(misses, abnormal, delta_miss_rate),
        healthy_patients=healthy,
        healthy_accepted=accepted,
        acceptance_lower=lower,
        unread=unread,
        certified=allowed is not None and misses <= allowed and lower >= terms.min_healthy_acceptance,
    )


def _counted(readings: Readings, attempt: Attempt) -> Readings:
    """Return the rows of the window, thinned to its least flag probability."""
    opens, closes = attempt.opens.timestamp(), attempt.closes.timestamp()
    window = readings.where((readings.accessioned >= opens) & (readings.accessioned < closes))
    return window.where(window.draw < window.probability.min(initial=1.0))


def _count(readings: Readings, threshold: float) -> tuple[int, int, int, int, int]:
    """Return n1, k, n0, c0 of patients, and how many of them nobody read."""
    patients, place = np.unique(readings.patient, return_inverse=True)
    size = len(patients)
    accepted = (readings.score < threshold) & (readings.score > -np.inf)

    def any_of(rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.bincount(place[rows], minlength=size) > 0

    abnormal = any_of(readings.label == ABNORMAL)
    unread = ~abnormal & any_of(readings.label == UNKNOWN)
    healthy = ~abnormal & ~unread
    missed = abnormal & any_of((readings.label != HEALTHY) & accepted)
    cleared = healthy & ~any_of(~accepted)
    n_unread = int(unread.sum())
    return (
        int(abnormal.sum()) + n_unread,
        int(missed.sum()) + n_unread,
        int(healthy.sum()) + n_unread,
        int(cleared.sum()),
        n_unread,
    )
