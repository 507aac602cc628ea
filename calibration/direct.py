"""The direct check: is the false omission rate of what was cleared at most α, at the prevalence that was there?

A diagnostic, never a ground for autonomy: it holds at the prevalence observed and at no other. A rate of 1e-4 at a prevalence of
0.05 is 8e-4 at 0.3. One attempt, with the number of cleared units fixed beforehand.
"""

from dataclasses import dataclass

from calibration.bounds import false_omission_upper_bound


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectCheck:
    """The result of a direct check.

    Attributes
    ----------
    misses, cleared : int
        Abnormal among the cleared that were checked.
    prevalence : float
        Of abnormal among all that were checked: it holds there only.
    false_omission_upper : float
        Bound on the false omission rate; 1 where nothing was cleared.
    passed : bool
        The bound is at most α.
    """

    misses: int
    cleared: int
    prevalence: float
    false_omission_upper: float
    passed: bool


def direct_check(
    *, misses: int, cleared: int, planned: int, prevalence: float, alpha: float, delta: float
) -> DirectCheck:
    """Check the false omission rate at the observed prevalence, once.

    Parameters
    ----------
    misses, cleared : int
        Among the first ``planned`` cleared units.
    planned : int
        How many cleared units were to be checked, fixed beforehand; ``bounds.trials_needed`` says how many it takes.
    prevalence : float
        Of abnormal among the units of the check.
    alpha, delta : float
        Tolerated rate; probability that the bound fails.

    Raises
    ------
    ValueError
        If ``cleared`` is not what was planned: a check that ends when it looks good proves nothing.

    Examples
    --------
    >>> direct_check(misses=0, cleared=5990, planned=5990, prevalence=0.05, alpha=0.0005, delta=0.05).passed
    True
    >>> direct_check(misses=0, cleared=5989, planned=5989, prevalence=0.05, alpha=0.0005, delta=0.05).passed
    False
    """
    if cleared != planned:
        raise ValueError(f"{planned} cleared units were to be checked, not {cleared}")
    upper = false_omission_upper_bound(misses, cleared, delta)
    return DirectCheck(
        misses=misses,
        cleared=cleared,
        prevalence=prevalence,
        false_omission_upper=upper,
        passed=upper <= alpha,
    )
