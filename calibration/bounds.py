"""Exact binomial tails and one-sided Clopper–Pearson bounds, on integer counts.

Counts are integers and stay so: ``int(rate * n)`` loses an error to rounding in 9 % of all (n, k), so a float count is a
TypeError here. Every tail is one regularised incomplete beta function, exact to about 1e-13.
"""

import math
import operator
from typing import SupportsIndex

from scipy import special  # pyright: ignore[reportMissingTypeStubs]


def binomial_cdf(count: SupportsIndex, trials: SupportsIndex, rate: float) -> float:
    """Return P(X <= count) of X ~ Binomial(trials, rate).

    Parameters
    ----------
    count : int
        At least 0; at ``trials`` and above the answer is 1.
    trials : int
        At least 0.
    rate : float
        In [0, 1].

    References
    ----------
    Abramowitz & Stegun (1964), 26.5.24: the binomial tail is an incomplete beta function.

    Examples
    --------
    >>> binomial_cdf(0, 2, 0.5)
    0.25
    >>> binomial_cdf(1, 2, 0.5)
    0.75
    """
    k, n = operator.index(count), operator.index(trials)
    if k < 0 or n < 0:
        raise ValueError(f"counts are at least 0, not {k} of {n}")
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"a rate lies in [0, 1], not {rate}")
    if k >= n:
        return 1.0
    return float(special.betaincc(k + 1, n - k, rate))


def upper_bound(count: SupportsIndex, trials: SupportsIndex, delta: float) -> float:
    """Return the exact upper confidence bound on a rate: the p with P(X <= count; p) = delta.

    Parameters
    ----------
    count : int
        Events seen, ``0 <= count <= trials``.
    trials : int
        Out of how many; with none nothing is known and the bound is 1.
    delta : float
        Probability that the bound fails, in (0, 1).

    Returns
    -------
    float
        Rate in [0, 1].

    References
    ----------
    Clopper & Pearson (1934), Biometrika 26(4):404-413, doi:10.1093/biomet/26.4.404.

    Examples
    --------
    >>> round(upper_bound(0, 299, 0.05), 4)  # the rule of three: 3 / 299
    0.01
    >>> upper_bound(0, 0, 0.05)
    1.0
    """
    k, n = _counts(count, trials, delta)
    if k == n:
        return 1.0
    return float(special.betainccinv(k + 1, n - k, delta))


def lower_bound(count: SupportsIndex, trials: SupportsIndex, delta: float) -> float:
    """Return the exact lower confidence bound on a rate: the p with P(X >= count; p) = delta; 0 for a count of 0.

    Parameters
    ----------
    count, trials, delta : int, int, float
        As for ``upper_bound``.

    References
    ----------
    Clopper & Pearson (1934), Biometrika 26(4):404-413, doi:10.1093/biomet/26.4.404.

    Examples
    --------
    >>> lower_bound(0, 10, 0.05)
    0.0
    >>> round(lower_bound(10, 10, 0.05), 4)  # 0.05 ** (1 / 10)
    0.7411
    """
    k, n = _counts(count, trials, delta)
    if k == 0:
        return 0.0
    return float(special.betaincinv(k, n - k + 1, delta))


def false_omission_upper_bound(misses: SupportsIndex, cleared: SupportsIndex, delta: float) -> float:
    """Return the exact upper confidence bound on the false omission rate at one threshold, fixed beforehand.

    Parameters
    ----------
    misses : int
        Abnormal patients called healthy.
    cleared : int
        Patients called healthy.
    delta : float
        Probability that the bound fails over draws of the patients, in (0, 1).

    Returns
    -------
    float
        Rate in [0, 1]; 1.0 when nothing was cleared, since a threshold that clears nobody has no error rate.

    References
    ----------
    Clopper & Pearson (1934), Biometrika 26(4):404-413, doi:10.1093/biomet/26.4.404.

    Examples
    --------
    >>> round(false_omission_upper_bound(misses=0, cleared=5990, delta=0.05), 6)
    0.0005
    >>> false_omission_upper_bound(misses=0, cleared=0, delta=0.05)
    1.0
    """
    return upper_bound(misses, cleared, delta)


def miss_rate_limit(alpha: float, max_prevalence: float, min_healthy_acceptance: float) -> float:
    """Return a_max: the miss rate up to which the false omission rate is at most alpha.

    The false omission rate is π·a1 / (π·a1 + (1−π)·a0), which rises with the prevalence π and the miss rate a1 and falls with
    the acceptance of healthy a0. Setting it to α at π = π_max and a0 = a0_min and solving for a1 gives
    a_max = α·(1−π_max)·a0_min / (π_max·(1−α)), at most 1.

    Parameters
    ----------
    alpha : float
        Tolerated false omission rate, in (0, 1).
    max_prevalence : float
        π_max, in (0, 1).
    min_healthy_acceptance : float
        a0_min, in (0, 1].

    Examples
    --------
    >>> round(miss_rate_limit(0.0005, 0.1, 0.5), 6)
    0.002251
    """
    for name, value in (("alpha", alpha), ("max_prevalence", max_prevalence)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} lies in (0, 1), not {value}")
    if not 0.0 < min_healthy_acceptance <= 1.0:
        raise ValueError(f"min_healthy_acceptance lies in (0, 1], not {min_healthy_acceptance}")
    limit = alpha * (1.0 - max_prevalence) * min_healthy_acceptance / (max_prevalence * (1.0 - alpha))
    return min(limit, 1.0)


def misses_allowed(trials: SupportsIndex, rate: float, delta: float) -> int | None:
    """Return r*: the largest r with P(X <= r) <= delta of X ~ Binomial(trials, rate); None if there is none.

    So many misses among so many patients still show, at confidence 1 − delta, that the miss rate is at most ``rate``. None means
    that even no miss at all would not show it: there are too few patients.

    Parameters
    ----------
    trials : int
        Abnormal patients of the group.
    rate : float
        The limit a_max, in (0, 1].
    delta : float
        δ1, in (0, 1).

    Examples
    --------
    >>> limit = miss_rate_limit(0.0005, 0.3, 0.5)
    >>> print(misses_allowed(5513, limit, 0.04), misses_allowed(5514, limit, 0.04), misses_allowed(8587, limit, 0.04))
    None 0 1
    """
    n = operator.index(trials)
    _open_unit(delta)
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"a limit lies in (0, 1], not {rate}")
    if n == 0 or binomial_cdf(0, n, rate) > delta:
        return None
    lowest, highest = 0, n  # P(X <= lowest) <= delta < 1 = P(X <= highest)
    while highest - lowest > 1:
        middle = (lowest + highest) // 2
        if binomial_cdf(middle, n, rate) <= delta:
            lowest = middle
        else:
            highest = middle
    return lowest


def trials_needed(count: SupportsIndex, rate: float, delta: float) -> int:
    """Return the least number of trials that, with ``count`` events, shows a rate of at most ``rate``.

    Parameters
    ----------
    count : int
        Events allowed, at least 0.
    rate : float
        The limit, in (0, 1].
    delta : float
        In (0, 1).

    Examples
    --------
    Accepted calls for a false omission rate of at most 5e-4 with 0 to 3 errors, at 95 %, and abnormal patients without a miss
    at π_max = 0.05, 0.1, 0.2, 0.3 and 0.5:

    >>> [trials_needed(k, 0.0005, 0.05) for k in range(4)]
    [5990, 9486, 12590, 15505]
    >>> [trials_needed(0, miss_rate_limit(0.0005, p, 0.5), 0.04) for p in (0.05, 0.1, 0.2, 0.3, 0.5)]
    [676, 1429, 3216, 5514, 12868]
    """
    k = operator.index(count)
    _open_unit(delta)
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"a limit lies in (0, 1], not {rate}")
    too_few, enough = k, k + 1  # with k trials all k may be events
    while binomial_cdf(k, enough, rate) > delta:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if binomial_cdf(k, middle, rate) <= delta:
            enough = middle
        else:
            too_few = middle
    return enough


def _counts(count: SupportsIndex, trials: SupportsIndex, delta: float) -> tuple[int, int]:
    k, n = operator.index(count), operator.index(trials)
    if not 0 <= k <= n:
        raise ValueError(f"a count lies between 0 and the trials, not {k} of {n}")
    _open_unit(delta)
    return k, n


def _open_unit(delta: float) -> None:
    if not 0.0 < delta < 1.0 or math.isnan(delta):
        raise ValueError(f"delta lies in (0, 1), not {delta}")
