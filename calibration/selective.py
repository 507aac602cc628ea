"""What a score with an option to abstain is worth: coverage, selective risk, and the curve between them.

Vocabulary: *cleared* is called healthy; *coverage* the share cleared; *misses* the abnormal among the cleared; *selective risk*
misses / cleared, here the false omission rate; *miss rate* misses / abnormal. A score of +∞ is never cleared.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.bounds import lower_bound, upper_bound
from calibration.threshold import count_accepted, group_threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate with its exact two-sided interval.

    Attributes
    ----------
    count, trials : int
        Seen, out of how many.
    lower, upper : float
        Clopper–Pearson, δ/2 on either side; 0 and 1 without trials.
    """

    count: int
    trials: int
    lower: float
    upper: float

    @property
    def value(self) -> float | None:
        """Return the rate; None without trials: nothing has no rate."""
        return None if self.trials == 0 else self.count / self.trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """An area under a curve over all coverages, with an interval that is valid at every size.

    Attributes
    ----------
    value : float
        Of this sample.
    lower, upper : float
        For the population, from the Dvoretzky–Kiefer–Wolfowitz band; conservative.
    """

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What one threshold does. Valid intervals need a threshold fixed before these scores were seen."""

    threshold: float
    coverage: Rate
    healthy_acceptance: Rate
    miss_rate: Rate
    false_omission_rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroMisses:
    """The largest threshold without a miss in this sample, and what it is worth beyond.

    Attributes
    ----------
    threshold : float
        The least abnormal score.
    coverage : Rate
        Share cleared below it. Its interval, like the next, holds given the threshold for the prevalence of the sample.
    healthy_acceptance : Rate
        Of the healthy; the interval is exact given the threshold, since it was chosen from the abnormal alone.
    miss_rate_upper : float
        Bound on the miss rate at this very threshold: its law is Beta(1, n1), so 1 − δ^(1/n1).
    """

    threshold: float
    coverage: Rate
    healthy_acceptance: Rate
    miss_rate_upper: float


def rate(count: int, trials: int, delta: float) -> Rate:
    """Return a rate with its exact interval at confidence 1 − delta.

    Examples
    --------
    >>> interval = rate(0, 100, 0.05)
    >>> interval.lower, round(interval.upper, 4)
    (0.0, 0.0362)
    """
    half = delta / 2
    return Rate(
        count=count, trials=trials, lower=lower_bound(count, trials, half), upper=upper_bound(count, trials, half)
    )


def operating_point(
    abnormal: NDArray[np.float64], healthy: NDArray[np.float64], threshold: float, delta: float
) -> OperatingPoint:
    """Return what a threshold does to the abnormal and the healthy.

    Parameters
    ----------
    abnormal, healthy : ndarray of float64, shape (n1,) and (n0,)
        Scores of the units, finite or +∞.
    threshold : float
        Fixed before these scores were seen.
    delta : float
        Each interval fails with at most this probability.

    Examples
    --------
    >>> point = operating_point(np.array([2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]), 2.5, 0.05)
    >>> point.coverage.value, point.miss_rate.value, point.false_omission_rate.value, point.healthy_acceptance.value
    (0.6666666666666666, 0.5, 0.25, 0.75)
    """
    misses, accepted = count_accepted(abnormal, threshold), count_accepted(healthy, threshold)
    cleared = misses + accepted
    return OperatingPoint(
        threshold=threshold,
        coverage=rate(cleared, len(abnormal) + len(healthy), delta),
        healthy_acceptance=rate(accepted, len(healthy), delta),
        miss_rate=rate(misses, len(abnormal), delta),
        false_omission_rate=rate(misses, cleared, delta),
    )


def zero_misses(abnormal: NDArray[np.float64], healthy: NDArray[np.float64], delta: float) -> ZeroMisses | None:
    """Return the operating point below the least abnormal score; None without abnormal.

    Examples
    --------
    >>> point = zero_misses(np.array([2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0]), 0.05)
    >>> point.threshold, point.coverage.value, point.healthy_acceptance.value, round(point.miss_rate_upper, 4)
    (2.0, 0.3333333333333333, 0.5, 0.7764)
    """
    if len(abnormal) == 0:
        return None
    threshold = group_threshold(abnormal, 0)
    accepted = count_accepted(healthy, threshold)
    return ZeroMisses(
        threshold=threshold,
        coverage=rate(accepted, len(abnormal) + len(healthy), delta),
        healthy_acceptance=rate(accepted, len(healthy), delta),
        miss_rate_upper=upper_bound(0, len(abnormal), delta),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiskCoverage:
    """The risk–coverage curve: one point for every number of units cleared, from none to all.

    Units with equal scores are cleared in random order, of which this is the mean; those with +∞ come last.

    Attributes
    ----------
    coverage : ndarray of float64, shape (n + 1,)
        i / n.
    misses : ndarray of float64, shape (n + 1,)
        Expected misses among the first i.
    reachable : int
        How many have a finite score, so that a threshold could clear them.
    """

    coverage: NDArray[np.float64]
    misses: NDArray[np.float64]
    reachable: int

    @property
    def selective_risk(self) -> NDArray[np.float64]:
        """Return misses / cleared for i = 1 … n."""
        return self.misses[1:] / np.arange(1, len(self.misses))


def risk_coverage(abnormal: NDArray[np.float64], healthy: NDArray[np.float64]) -> RiskCoverage:
    """Return the risk–coverage curve of a score.

    Parameters
    ----------
    abnormal, healthy : ndarray of float64, shape (n1,) and (n0,)
        Scores of the units, finite or +∞; at least one in all.

    References
    ----------
    El-Yaniv & Wiener (2010), JMLR 11:1605-1641; Geifman & El-Yaniv (2017), arXiv:1705.08500.

    Examples
    --------
    >>> risk_coverage(np.array([2.0]), np.array([1.0, 2.0])).misses.tolist()
    [0.0, 0.0, 0.5, 1.0]
    """
    scores = np.concatenate([abnormal, healthy])
    if len(scores) == 0:
        raise ValueError("a curve needs at least one unit")
    wrong = np.concatenate([np.ones(len(abnormal)), np.zeros(len(healthy))])
    _, place, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    misses = np.concatenate([[0.0], np.cumsum(np.bincount(place, wrong))])
    cleared = np.arange(len(scores) + 1)
    return RiskCoverage(
        coverage=cleared / len(scores),
        misses=np.interp(cleared, ends, misses),
        reachable=int(np.count_nonzero(scores < np.inf)),
    )


def areas(curve: RiskCoverage, delta: float) -> tuple[Area, Area]:
    """Return the areas AURC and AUGRC of a curve, each with an interval at confidence 1 − delta.

    AURC is the mean, over i = 1 … n, of misses / i; AUGRC of misses / n, which does not overweight the first few. Both run over
    all coverages, +∞ last.

    Notes
    -----
    With ε = sqrt(ln(4/δ) / 2n), by the Dvoretzky–Kiefer–Wolfowitz inequality both the share cleared C(s) and the share cleared
    and missed G(s) are within ε of the sample's at every score s, with probability 1 − δ. So at a coverage u the true G lies
    between the sample's at u − ε, less ε, and at u + ε, plus ε, and the areas between the integrals of these.

    References
    ----------
    Geifman, Uziel & El-Yaniv (2019), arXiv:1805.08206 (AURC); Traub et al. (2024), arXiv:2407.01032 (AUGRC);
    Massart (1990), Ann. Probab. 18(3):1269-1283, doi:10.1214/aop/1176990746 (the constant of the inequality).

    Examples
    --------
    >>> aurc, augrc = areas(risk_coverage(np.array([3.0]), np.array([1.0, 2.0])), 0.05)
    >>> round(aurc.value, 4), round(augrc.value, 4)
    (0.1111, 0.1111)
    """
    n = len(curve.misses) - 1
    joint = curve.misses / n
    slack = math.sqrt(math.log(4 / delta) / (2 * n))
    shift = math.ceil(slack * n)
    steps = np.arange(n)  # the coverages between steps/n and (steps + 1)/n
    upper = np.minimum(joint[np.minimum(steps + 1 + shift, n)] + slack, (steps + 1) / n)
    lower = np.maximum(joint[np.maximum(steps - shift, 0)] - slack, 0.0)
    risk_upper = np.minimum(upper / np.maximum(steps, 1) * n, 1.0)
    risk_upper[0] = 1.0
    risk_lower = lower / (steps + 1) * n
    aurc = Area(
        value=float(curve.selective_risk.mean()), lower=float(risk_lower.mean()), upper=float(risk_upper.mean())
    )
    augrc = Area(value=float(joint[1:].mean()), lower=float(lower.mean()), upper=float(upper.mean()))
    return aurc, augrc
