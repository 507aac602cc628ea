"""How many patients it takes, allowing how many errors, before any is scored."""

from dataclasses import dataclass
from typing import SupportsIndex

from calibration.bounds import binomial_cdf, trials_needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """A size of a test of "the rate is at most so much".

    Attributes
    ----------
    trials : int
        Patients.
    events_allowed : int
        Events (misses, or rejected healthy) among them that still pass.
    power : float
        Probability to pass at the rate that is assumed to be true.
    """

    trials: int
    events_allowed: int
    power: float


def sizes(rate: float, delta: float, events: SupportsIndex) -> tuple[Sizing, ...]:
    """Return the least size for each number of events from 0 to ``events``, with the power at a tenth of the rate.

    Examples
    --------
    >>> from calibration.bounds import miss_rate_limit
    >>> [size.trials for size in sizes(miss_rate_limit(0.0005, 0.3, 0.5), 0.04, 3)]
    [5514, 8587, 11305, 13852]
    """
    return tuple(_sizing(count, rate, delta, rate / 10) for count in range(int(events) + 1))


def size_for_power(rate: float, true_rate: float, delta: float, power: float) -> Sizing:
    """Return the least size whose test passes with a wanted power.

    For every number of events the fewest trials give the most power, so the answer is the first number whose fewest trials have
    enough. (Power is not monotone in the trials: one patient more may cost an allowed event.)

    Parameters
    ----------
    rate : float
        The limit to be shown, in (0, 1].
    true_rate : float
        The rate that is assumed to be true, below ``rate``.
    delta : float
        Probability to pass at ``rate``, in (0, 1).
    power : float
        Wanted probability to pass at ``true_rate``, in (0, 1).

    References
    ----------
    Chernick & Liu (2002), The American Statistician 56(2):149-155, doi:10.1198/000313002317572835 (the sawtooth of power).

    Examples
    --------
    >>> size_for_power(0.01, 0.001, 0.05, 0.8)
    Sizing(trials=473, events_allowed=1, power=0.9179483650693319)
    """
    if not 0.0 <= true_rate < rate:
        raise ValueError(f"the true rate {true_rate} is not below the limit {rate}: no size would do")
    if not 0.0 < power < 1.0:
        raise ValueError(f"power lies in (0, 1), not {power}")
    count = 0
    while (size := _sizing(count, rate, delta, true_rate)).power < power:
        count += 1
    return size


def spent(delta: float, attempt: SupportsIndex) -> float:
    """Return what the j-th attempt may spend of delta: delta / (j·(j+1)), so that all attempts together spend delta.

    Examples
    --------
    >>> spent(0.04, 1), spent(0.06, 2)
    (0.02, 0.01)
    """
    j = int(attempt)
    if j < 1:
        raise ValueError(f"attempts are counted from 1, not {j}")
    return delta / (j * (j + 1))


def _sizing(count: int, rate: float, delta: float, true_rate: float) -> Sizing:
    trials = trials_needed(count, rate, delta)
    return Sizing(trials=trials, events_allowed=count, power=binomial_cdf(count, trials, true_rate))
