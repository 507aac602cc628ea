"""Have a site's inputs drifted? An exact test of a batch of fresh scores, or strangeness, against those of its calibration.

Exchangeable with the reference, a fresh value has a conformal p-value that is uniform or larger; a batch of them shares its
reference, so how many are small follows a beta-binomial law, exactly. Both tails are tested: a site may send stranger films,
or ones that look suspiciously plain. The j-th batch may spend δ/(j(j+1)), so that one can go on testing.

References
----------
Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, ch. 2 (conformal p-values); Bates et al. (2023), Ann. Stat.
51(1):149-178, arXiv:2104.08279 (their joint law); Wilks (1942), Ann. Math. Stat. 13(4):400-409 (counts beyond an order statistic).
"""

from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from calibration.planning import spent


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftTest:
    """The test of a batch.

    Attributes
    ----------
    above, below : int
        Fresh values beyond the reference's upper and lower tail.
    batch : int
        Fresh values in all.
    p_value : float
        Probability of counts as great as these, without drift, in either tail; at most 1.
    drifted : bool
        The p-value is at most what this batch may spend.
    """

    above: int
    below: int
    batch: int
    p_value: float
    drifted: bool


def conformal_p_values(reference: NDArray[np.float64], fresh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return of each fresh value the share of values, itself and the reference, that are at least as great.

    Parameters
    ----------
    reference, fresh : ndarray of float64, shape (n,) and (m,)
        Without NaN.

    Returns
    -------
    ndarray of float64, shape (m,)
        In [1 / (n + 1), 1]; at most u with probability at most u, where fresh and reference are exchangeable.

    Examples
    --------
    >>> conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 9.0])).tolist()
    [1.0, 0.75, 0.25]
    """
    below = np.searchsorted(np.sort(reference), fresh, side="left")
    return (len(reference) - below + 1) / (len(reference) + 1)


def drift_test(
    reference: NDArray[np.float64], fresh: NDArray[np.float64], *, tail: float, delta: float, batch: SupportsIndex
) -> DriftTest:
    """Test a batch, whose size was fixed beforehand, against the reference.

    Parameters
    ----------
    reference, fresh : ndarray of float64, shape (n,) and (m,)
        Values at calibration, and now. +∞ is a value; NaN stands for it.
    tail : float
        Share of the reference that counts as its tail on either side, in (0, 0.5).
    delta : float
        Probability of a false alarm, over all batches.
    batch : int
        Which batch this is, from 1.

    Examples
    --------
    >>> values = np.arange(1000.0)
    >>> drift_test(values, values[::10], tail=0.05, delta=0.05, batch=1).drifted
    False
    >>> drift_test(values, values[::10] + 200, tail=0.05, delta=0.05, batch=1).drifted
    True
    """
    if not 0.0 < tail < 0.5:
        raise ValueError(f"a tail lies in (0, 0.5), not {tail}")
    known, new = (np.where(np.isnan(values), np.inf, values) for values in (reference, fresh))
    rank = int(tail * (len(known) + 1))
    above = int(np.count_nonzero(conformal_p_values(known, new) * (len(known) + 1) <= rank))
    below = int(np.count_nonzero(conformal_p_values(-known, -new) * (len(known) + 1) <= rank))
    p_value = 1.0
    if rank and len(new):
        law = stats.betabinom(len(new), rank, len(known) + 1 - rank)
        p_value = min(1.0, 2 * float(law.sf(max(above, below) - 1)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return DriftTest(above=above, below=below, batch=len(new), p_value=p_value, drifted=p_value <= spent(delta, batch))
