"""The threshold: the least, over all groups, of an order statistic of the group's abnormal scores.

Every group g has n1 abnormal patients and r* allowed misses (``bounds.misses_allowed``). Its threshold τ_g is the (r*+1)-th
smallest abnormal score, counted from 1; the certificate's τ is the least τ_g. Called healthy is what is *strictly* below τ.

Why this is valid. For continuous scores the miss rate at the j-th smallest of n1 abnormal scores follows Beta(j, n1−j+1), so
a1(τ_g) ~ Beta(r*+1, n1−r*) and P(a1(τ_g) > a_max) = P(Binomial(n1, a_max) <= r*) <= δ1: an exact tolerance limit. Nothing is
searched for, so choosing τ on the data it is certified with costs nothing. With ties less is accepted, which only helps. The
least over groups needs no union bound: the group whose largest safe threshold is the least is fixed beforehand, and the
statement fails only if that group's own test does.

References
----------
Wilks (1941), Ann. Math. Stat. 12(1):91-96, doi:10.1214/aoms/1177731788 (tolerance limits from order statistics).
Scheffé & Tukey (1945), Ann. Math. Stat. 16(2):187-192, doi:10.1214/aoms/1177731119 (ties only help).
"""

import sys

import numpy as np
from numpy.typing import NDArray

#: A threshold is finite, so that it can be written down: scores are below it, or abstain.
HIGHEST = sys.float_info.max


def group_threshold(abnormal: NDArray[np.float64], allowed: int) -> float:
    """Return τ_g: the (allowed + 1)-th smallest abnormal score, counted from 1.

    Parameters
    ----------
    abnormal : ndarray of float64, shape (n1,)
        Score of each abnormal patient; finite or +∞.
    allowed : int
        r*, ``0 <= allowed < n1``.

    Returns
    -------
    float
        Finite: where the order statistic is +∞ (almost no abnormal patient has a score at all) the largest float stands for
        it, which accepts no more.

    Examples
    --------
    >>> group_threshold(np.array([4.0, 1.0, 3.0, 2.0]), 0)
    1.0
    >>> group_threshold(np.array([4.0, 1.0, 3.0, 2.0]), 2)
    3.0
    """
    if not 0 <= allowed < len(abnormal):
        raise ValueError(f"{allowed} misses cannot be allowed among {len(abnormal)} patients")
    return min(float(np.partition(abnormal, allowed)[allowed]), HIGHEST)


def count_accepted(scores: NDArray[np.float64], threshold: float) -> int:
    """Return how many scores are called healthy: strictly below the threshold, so that ties, NaN and infinities abstain.

    Examples
    --------
    >>> count_accepted(np.array([0.1, 0.5, 0.5, np.nan, np.inf, -np.inf]), 0.5)
    1
    """
    return int(np.count_nonzero((scores < threshold) & (scores > -np.inf)))
