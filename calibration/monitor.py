"""Watching the promise by random audits, call after call, valid whenever one looks.

For every healthy call i an audit probability q_i in [q_min, 1] is fixed from what is known *before* its label, and a draw
decides: A_i. Then Z_i = A_i·err_i / q_i, zero where there was no audit, has the false omission rate F_i as its mean. Bets on Z give
processes that start at 1 and, where the hypothesis holds, never grow in the mean; by Ville's inequality one reaches 1/δ
with probability at most δ, over all times at once.

    alarm     E⁺ = mean over λ of ∏ (1 + λ(Z_i − α)),       0 < λ < 1/α       hypothesis: every F_i is at most α
    certify   E⁻(m) = mean over λ of ∏ (1 − λZ_i) · e^{λm}, 0 < λ < q_min     hypothesis: the F_i are at least m on average

Products first, then the mean over λ: the mean of logarithms is no such process. The bound on the average is the largest m with
E⁻(m) < 1/δ. Since E[1 − λZ_i] = 1 − λF_i <= e^{−λF_i}, it holds for *rates that change*, whatever they depend on, at every
time at once; the product of 1 + λ(m − Z_i) would do so only for a rate that stays the same.

For a change that comes late, E⁺ is started again every 500 calls. The start at the first call has two fifths of the weight, the j-th
restart 1/(j(j+1)) of the rest.
What is not yet started counts with its weight. (A CUSUM with the level 1/δ alarms falsely in nine of ten.)

References
----------
Waudby-Smith & Ramdas (2023), JRSS-B 86(1):1-27, arXiv:2010.09686 (betting); Xu, Karampatziakis & Mineiro (2024),
arXiv:2406.10490 (active audits); Ville (1939); Shin, Ramdas & Rinaldo (2022), arXiv:2203.03532 (restarts).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.canonical import Fields, canonical

#: Bets of the alarm per q_min: spaced evenly in logarithm over what detects 2 to 40 times α.
_ALARM_BETS = np.geomspace(2.0, 40.0, 8)
#: Bets of the bound, as shares of q_min: near 1 where no error is seen, less where some are.
_BOUND_BETS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 0.99])
#: Calls between restarts.
RESTART_EVERY = 500
#: Weight of the start at the first call; the rest is shared by the restarts.
_FIRST_WEIGHT = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is watched for; fixed before the first call.

    Attributes
    ----------
    alpha : float
        Tolerated false omission rate, in (0, 1).
    delta : float
        Probability of a false alarm, ever; and of a bound that ever fails.
    q_min : float
        The least audit probability, in (0, 1].
    """

    alpha: float
    delta: float
    q_min: float

    def __post_init__(self) -> None:
        """Raise ValueError for rates out of range."""
        if not 0.0 < self.alpha < 1.0 or not 0.0 < self.delta < 1.0 or not 0.0 < self.q_min <= 1.0:
            raise ValueError(f"alpha and delta lie in (0, 1), q_min in (0, 1]: {self}")

    @property
    def bets(self) -> NDArray[np.float64]:
        """Return the λ of the alarm; below 1/α."""
        return np.minimum(_ALARM_BETS * self.q_min, 0.9 / self.alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """All that a monitor remembers: plain numbers, to be stored and taken up again.

    Attributes
    ----------
    watch : Watch
        Fixed.
    calls : int
        Healthy calls processed.
    wealth : tuple of float
        Per λ of the alarm the sum of log(1 + λ(Z_i − α)).
    starts : tuple of tuple of float
        ``wealth`` as it was at each restart so far.
    errors : tuple of float
        The Z_i of the bound that are not zero.
    alarm_at : int or None
        The call at which the alarm went off; it stays.
    """

    watch: Watch
    calls: int
    wealth: tuple[float, ...]
    starts: tuple[tuple[float, ...], ...]
    errors: tuple[float, ...]
    alarm_at: int | None

    def to_json(self) -> str:
        """Return the state as canonical JSON."""
        watch = {"alpha": self.watch.alpha, "delta": self.watch.delta, "q_min": self.watch.q_min}
        fields = {name: getattr(self, name) for name in ("calls", "wealth", "starts", "errors", "alarm_at")}
        return canonical({"watch": watch, **fields})


def new_monitor(watch: Watch) -> MonitorState:
    """Return the state before the first call."""
    flat = (0.0,) * len(_ALARM_BETS)
    return MonitorState(watch=watch, calls=0, wealth=flat, starts=(flat,), errors=(), alarm_at=None)


def monitor_from_json(text: str) -> MonitorState:
    """Return the state that a JSON text holds; DataError if it holds none."""
    fields = Fields.of_text(text, "monitor")
    watch = fields.object("watch")
    state = MonitorState(
        watch=Watch(alpha=watch.number("alpha"), delta=watch.number("delta"), q_min=watch.number("q_min")),
        calls=fields.count("calls"),
        wealth=fields.numbers("wealth"),
        starts=fields.rows("starts"),
        errors=fields.numbers("errors"),
        alarm_at=fields.count_or_none("alarm_at"),
    )
    watch.end()
    fields.end()
    return state


def audited_error(*, audited: bool, error: bool, probability: float) -> float:
    """Return Z = A·err / q of one call: zero if it was not audited, whatever is known of it otherwise.

    Examples
    --------
    >>> audited_error(audited=True, error=True, probability=0.25), audited_error(audited=False, error=True, probability=0.25)
    (4.0, 0.0)
    """
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"an audit probability lies in (0, 1], not {probability}")
    return 1.0 / probability if audited and error else 0.0


def observe(
    state: MonitorState, alarm_errors: NDArray[np.float64], bound_errors: NDArray[np.float64] | None = None
) -> MonitorState:
    """Return the state after some more calls, in the order in which they must be processed.

    The result is the same however the calls are cut into pieces.

    Parameters
    ----------
    state : MonitorState
        Before.
    alarm_errors : ndarray of float64, shape (n,)
        Z of each call.
    bound_errors : ndarray of float64, shape (n,), or None
        Z of each call with the unresolved counted as errors; None: the same.
    """
    strict = alarm_errors if bound_errors is None else bound_errors
    most = 1.0 / state.watch.q_min
    if len(strict) != len(alarm_errors):
        raise ValueError("each call has one error for the alarm and one for the bound")
    for values in (alarm_errors, strict):
        if len(values) and not (values.min() >= 0.0 and values.max() <= most * (1 + 1e-12)):
            raise ValueError(f"Z must lie between 0 and 1/q_min = {most:g}")
    state = replace(state, errors=(*state.errors, *(float(z) for z in strict[strict > 0.0])))
    bets = state.watch.bets
    done = 0
    while done < len(alarm_errors):
        # up to the next restart
        until = min(len(alarm_errors), done + RESTART_EVERY - state.calls % RESTART_EVERY)
        gains = np.log1p(bets * (alarm_errors[done:until, None] - state.watch.alpha))  # (calls, λ)
        path = np.cumsum(np.vstack([np.array(state.wealth), gains]), axis=0)[1:]
        risen = np.flatnonzero(alarm_errors[done:until])  # only an error can raise the evidence
        alarms = risen[_log_evidence(path[risen], np.array(state.starts)) >= -math.log(state.watch.delta)]
        alarm_at = state.alarm_at
        if alarm_at is None and len(alarms):
            alarm_at = state.calls + int(alarms[0]) + 1
        wealth = tuple(float(value) for value in path[-1])
        calls = state.calls + until - done
        starts = (*state.starts, wealth) if calls % RESTART_EVERY == 0 else state.starts
        state = replace(state, calls=calls, wealth=wealth, starts=starts, alarm_at=alarm_at)
        done = until
    return state


def evidence_against(state: MonitorState) -> float:
    """Return E⁺, the evidence that some F_i is above α: 1 at the beginning, an alarm at 1/δ."""
    # the last start may be at this very call: it has the worth of one, as has all that is not yet started
    return float(np.exp(_log_evidence(np.array([state.wealth]), np.array(state.starts))[0]))


def evidence_for(state: MonitorState, rate: float) -> float:
    """Return E⁻(rate), the evidence that the average F_i so far is below a rate: certified at 1/δ."""
    return math.exp(min(_log_evidence_below(state, rate), 700.0))


def is_certified(state: MonitorState) -> bool:
    """Say whether the average false omission rate so far is shown to be below α."""
    return _log_evidence_below(state, state.watch.alpha) >= -math.log(state.watch.delta)


def average_upper_bound(state: MonitorState) -> float:
    """Return the bound on the average false omission rate over all calls so far: the largest m with E⁻(m) < 1/δ, at most 1.

    Valid at every time at once, for rates that change. The best of several looks is *not* valid for all of them: rates change.
    """
    level = -math.log(state.watch.delta)
    if _log_evidence_below(state, 1.0) < level:
        return 1.0
    low, high = 0.0, 1.0  # the evidence rises with the rate
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _log_evidence_below(state, middle) < level:
            low = middle
        else:
            high = middle
    return high


def _log_evidence(path: NDArray[np.float64], starts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log E⁺ after each call: the weighted sum over starts, plus the weight not yet spent. ``path``: (calls, λ)."""
    count = len(starts) - 1  # restarts after the first start, which is at call 0
    number = np.arange(1, count + 1)
    weights = np.concatenate([[_FIRST_WEIGHT], (1 - _FIRST_WEIGHT) / (number * (number + 1))])
    unspent = (1 - _FIRST_WEIGHT) / (count + 1)
    logs = path[:, None, :] - starts[None, :, :] + np.log(weights / path.shape[1])[None, :, None]
    flat = np.concatenate([logs.reshape(len(path), starts.size), np.full((len(path), 1), math.log(unspent))], axis=1)
    return np.logaddexp.reduce(flat, axis=1)


def _log_evidence_below(state: MonitorState, rate: float) -> float:
    bets = _BOUND_BETS * state.watch.q_min
    errors = np.array(state.errors, np.float64)
    gains = np.log1p(-bets[:, None] * errors[None, :]).sum(axis=1) + bets * rate * state.calls
    return float(np.logaddexp.reduce(gains) - math.log(len(bets)))
