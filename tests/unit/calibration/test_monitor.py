"""The e-processes: products first, zero where nobody looked, whatever the pieces."""

import math

import numpy as np
import pytest

from calibration.monitor import (
    RESTART_EVERY,
    Watch,
    audited_error,
    average_upper_bound,
    evidence_against,
    evidence_for,
    is_certified,
    monitor_from_json,
    new_monitor,
    observe,
)
from models.errors import DataError

WATCH = Watch(alpha=0.0005, delta=0.05, q_min=1.0)


def errors_at(*calls: int, length: int) -> np.ndarray:
    z = np.zeros(length)
    z[list(calls)] = 1.0
    return z


def test_before_the_first_call_nothing_is_known() -> None:
    state = new_monitor(WATCH)
    assert evidence_against(state) == pytest.approx(1.0, rel=1e-12)
    assert evidence_for(state, 0.0005) == pytest.approx(1.0, rel=1e-12)
    assert average_upper_bound(state) == 1.0
    assert not is_certified(state)
    assert state.alarm_at is None


def test_the_alarm_is_the_weighted_mean_of_products_over_bets_and_starts() -> None:
    z = errors_at(3, 700, 900, length=1200)
    state = observe(new_monitor(WATCH), z)
    bets = np.geomspace(2.0, 40.0, 8)

    def product(start: int) -> float:
        return float(np.mean([np.prod(1 + bet * (z[start:] - 0.0005)) for bet in bets]))

    expected = 0.4 * product(0) + 0.6 / 2 * product(500) + 0.6 / 6 * product(1000) + 0.6 / 3
    assert evidence_against(state) == pytest.approx(expected, rel=1e-9)


def test_averaging_logarithms_would_be_another_number() -> None:
    z = errors_at(10, 20, length=100)
    state = observe(new_monitor(WATCH), z)
    bets = np.geomspace(2.0, 40.0, 8)
    logs = np.mean([np.log1p(bet * (z - 0.0005)).sum() for bet in bets])
    assert evidence_against(state) > 1.5 * (0.4 * math.exp(logs) + 0.6)


def test_the_bound_is_where_the_mean_of_products_reaches_one_over_delta() -> None:
    z = errors_at(100, 2000, length=9000)
    state = observe(new_monitor(WATCH), z)
    bound = average_upper_bound(state)
    bets = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 0.99]
    evidence = np.mean([np.prod(1 - bet * z) * math.exp(bet * bound * 9000) for bet in bets])
    assert evidence == pytest.approx(20.0, rel=1e-6)
    assert evidence_for(state, bound) == pytest.approx(20.0, rel=1e-6)
    assert 2 / 9000 < bound < 0.002


def test_a_perfect_site_is_certified_after_some_ten_thousand_calls_and_never_alarms() -> None:
    state = new_monitor(WATCH)
    for certified in (False, True):
        state = observe(state, np.zeros(5500))
        assert is_certified(state) == certified
        assert (average_upper_bound(state) <= 0.0005) == certified
        assert evidence_against(state) <= 1.0 + 1e-12
    assert state.alarm_at is None


@pytest.mark.parametrize("q", [1.0, 0.25])
def test_the_pieces_in_which_calls_come_change_nothing(q: float, generator) -> None:
    z = (generator.random(1730) < 0.01) / q
    watch = Watch(alpha=0.0005, delta=0.05, q_min=q)
    whole = observe(new_monitor(watch), z)
    state = new_monitor(watch)
    for piece in np.split(z, [1, 2, 499, 500, 501, 999, 1000, 1500]):
        state = observe(state, piece)
    assert observe(state, np.zeros(0)) == state
    assert state.calls == whole.calls == 1730
    assert state.alarm_at == whole.alarm_at
    assert np.allclose(state.wealth, whole.wealth, rtol=1e-12)
    assert len(state.starts) == 1 + 1730 // RESTART_EVERY
    assert evidence_against(state) == pytest.approx(evidence_against(whole), rel=1e-9)


def test_the_alarm_goes_off_at_the_call_that_reaches_the_level_and_stays() -> None:
    z = errors_at(5, 9, 12, length=40)
    state = observe(new_monitor(WATCH), z)
    assert state.alarm_at is not None
    before, at = (observe(new_monitor(WATCH), z[: state.alarm_at - back]) for back in (1, 0))
    assert evidence_against(before) < 20 <= evidence_against(at)
    later = observe(state, np.zeros(30_000))
    assert later.alarm_at == state.alarm_at
    assert evidence_against(later) < 20


def test_a_call_that_was_not_audited_counts_as_zero_whatever_is_known_of_it() -> None:
    assert audited_error(audited=False, error=True, probability=0.1) == 0.0
    assert audited_error(audited=True, error=False, probability=0.1) == 0.0
    assert audited_error(audited=True, error=True, probability=0.1) == 10.0
    with pytest.raises(ValueError, match="audit probability"):
        audited_error(audited=True, error=True, probability=0.0)


def test_averaging_over_the_audited_calls_only_would_multiply_the_rate() -> None:
    # 10,000 calls, a tenth audited, of which 3 are errors: the mean of Z is the rate, 0.003
    z = np.zeros(10_000)
    z[:3] = audited_error(audited=True, error=True, probability=0.1)
    assert z.mean() == pytest.approx(0.003)
    state = observe(new_monitor(Watch(alpha=0.0005, delta=0.05, q_min=0.1)), z)
    assert 0.003 < average_upper_bound(state) < 0.02
    assert z[:1000].mean() == pytest.approx(0.03)  # over the audited only: ten times as many


def test_unresolved_calls_may_count_for_the_bound_and_not_for_the_alarm() -> None:
    quiet, strict = np.zeros(3000), errors_at(1, 2, 3, length=3000)
    state = observe(new_monitor(WATCH), quiet, strict)
    assert state.alarm_at is None
    assert evidence_against(state) == pytest.approx(evidence_against(observe(new_monitor(WATCH), quiet)))
    assert average_upper_bound(state) == average_upper_bound(observe(new_monitor(WATCH), strict))


def test_a_state_comes_back_from_its_json_and_goes_on() -> None:
    z = errors_at(3, 700, length=1100)
    state = observe(new_monitor(Watch(alpha=0.0005, delta=0.05, q_min=0.5)), 2 * z)
    back = monitor_from_json(state.to_json())
    assert back == state
    assert observe(back, z) == observe(state, z)
    with pytest.raises(DataError):
        monitor_from_json(state.to_json().replace('"calls"', '"kalls"'))


def test_bets_stay_within_what_keeps_the_process_positive() -> None:
    assert Watch(alpha=0.1, delta=0.05, q_min=1.0).bets.max() < 10.0
    state = observe(new_monitor(Watch(alpha=0.1, delta=0.05, q_min=1.0)), np.zeros(100))
    assert all(math.isfinite(value) for value in state.wealth)


@pytest.mark.parametrize("z", [np.array([-0.1]), np.array([2.5]), np.array([np.nan])])
def test_a_z_out_of_range_is_the_callers_mistake(z: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Z must lie"):
        observe(new_monitor(Watch(alpha=0.0005, delta=0.05, q_min=0.5)), z)
    with pytest.raises(ValueError, match="one error for the alarm"):
        observe(new_monitor(WATCH), np.zeros(2), np.zeros(1))


@pytest.mark.parametrize("values", [(0.0, 0.05, 1.0), (0.1, 1.0, 1.0), (0.1, 0.05, 0.0), (0.1, 0.05, 1.1)])
def test_a_watch_out_of_range_is_the_callers_mistake(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="alpha and delta"):
        Watch(alpha=values[0], delta=values[1], q_min=values[2])


def test_overwhelming_evidence_is_still_a_number() -> None:
    state = observe(new_monitor(WATCH), np.zeros(10_000))
    assert math.isfinite(evidence_for(state, 1.0))
