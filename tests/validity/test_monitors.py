"""Monitors alarm falsely at most δ of the time however long one looks, and find what they must find in time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.audits import Audited, AuditPlan, Call, process_due
from calibration.monitor import Watch, average_upper_bound, evidence_for, new_monitor, observe

ALPHA, DELTA, LOOKS = 0.0005, 0.05, 40_000
PERFECT = Watch(alpha=ALPHA, delta=DELTA, q_min=1.0)
BETS = PERFECT.bets


def alarm_call(z: np.ndarray, watch: Watch = PERFECT) -> float:
    """Return the call of the alarm; infinite if there is none."""
    state = observe(new_monitor(watch), z)
    return np.inf if state.alarm_at is None else state.alarm_at


def weighted_audits(generator, rate: float, plan: AuditPlan) -> np.ndarray:
    """Return Z of calls whose errors all lie near the threshold, audited by a plan."""
    score = generator.exponential(scale=2.0, size=LOOKS)  # below the threshold
    near = score < np.quantile(score, 0.25)
    error = generator.random(LOOKS) < np.where(near, 4 * rate, 0.0)
    q = np.array([plan.probability(-value, 0.0) for value in score])
    return np.where(generator.random(LOOKS) < q, error / q, 0.0)


def check_false_alarms(generator, limits, runs: int) -> None:
    plans = {
        "everything": None,
        "a quarter": AuditPlan(q_min=0.25, q_max=0.25),
        "weighted": AuditPlan(q_min=0.1, q_max=0.8),
    }
    for plan in plans.values():
        watch = PERFECT if plan is None else Watch(alpha=ALPHA, delta=DELTA, q_min=plan.q_min)
        alarms = 0
        for _ in range(runs):
            z = generator.random(LOOKS) < ALPHA if plan is None else weighted_audits(generator, ALPHA, plan)
            alarms += alarm_call(z.astype(float), watch) <= LOOKS
        limits.at_most(alarms, runs, DELTA)


def cusum_alarms(z: np.ndarray) -> bool:
    """Say whether a CUSUM at the level 1/δ alarms: the process that starts again whenever it falls below 1."""
    gain = np.log1p(BETS[3] * (z - ALPHA))
    path = np.concatenate([[0.0], np.cumsum(gain)])
    return bool((path - np.minimum.accumulate(path)).max() >= -np.log(DELTA))


def test_false_alarms_stay_below_delta_over_forty_thousand_looks(generator, limits) -> None:
    check_false_alarms(generator, limits, 40)


@pytest.mark.slow
def test_false_alarms_at_full_size(generator, limits) -> None:
    check_false_alarms(generator, limits, 1000)


def test_a_cusum_at_the_same_level_alarms_falsely_almost_always(generator, limits) -> None:
    runs = 200
    alarms = sum(cusum_alarms((generator.random(LOOKS) < ALPHA).astype(float)) for _ in range(runs))
    limits.breaks(alarms, runs, 0.5)


def test_a_perfect_site_never_alarms() -> None:
    assert alarm_call(np.zeros(LOOKS)) == np.inf


def check_delays(generator, runs: int, good: int, most: dict[float, int]) -> None:
    for rate, latest in most.items():
        delays = []
        for _ in range(runs):
            bad = (generator.random(4 * latest) < rate).astype(float)
            delays.append(alarm_call(np.concatenate([np.zeros(good), bad])) - good)
        assert min(delays) > 0
        assert np.median(delays) <= latest, f"rate {rate}: median delay {np.median(delays)}"


def test_faults_are_found_from_the_first_call_in_time(generator) -> None:
    check_delays(generator, 200, 0, {0.002: 2700, 0.005: 650, 0.01: 300})


def test_faults_are_found_after_twenty_thousand_good_calls_in_time(generator) -> None:
    check_delays(generator, 60, 20_000, {0.002: 8000, 0.005: 1800, 0.01: 600})


@pytest.mark.slow
def test_delays_at_full_size(generator) -> None:
    check_delays(generator, 1000, 0, {0.002: 2700, 0.005: 650, 0.01: 300})
    check_delays(generator, 300, 20_000, {0.002: 8000, 0.005: 1800, 0.01: 600})


@pytest.fixture
def late_labels(generator):
    """Return a function that draws 40,000 calls, and when the label of each arrives: errors after days, the rest later."""
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def draw(size: int = LOOKS):
        error = generator.random(size) < ALPHA
        accessioned = np.arange(size) / 100.0  # days
        arrives = accessioned + np.where(error, generator.uniform(1, 5, size), generator.uniform(5, 30, size))
        calls = [
            Call(
                key=f"{i:06}",
                accessioned=start + timedelta(days=float(accessioned[i])),
                probability=1.0,
                audited=True,
                error=bool(error[i]),
            )
            for i in range(size)
        ]
        return calls, arrives, start

    return draw


def test_whatever_order_labels_arrive_in_a_call_counts_at_its_age(late_labels) -> None:
    calls, arrives, start = late_labels(4000)
    age = timedelta(days=30)
    fresh = Audited(monitor=new_monitor(PERFECT))
    at_once, _ = process_due(fresh, calls, now=start + timedelta(days=99), age=age)
    step = fresh
    for day in range(80):
        now = start + timedelta(days=day)
        known = [calls[i] for i in np.argsort(arrives) if arrives[i] <= day]
        step, escalated = process_due(step, known, now=now, age=age)
        assert escalated == ()
    assert step == at_once
    in_order = observe(new_monitor(PERFECT), np.array([float(bool(call.error)) for call in calls]))
    assert np.allclose(step.monitor.wealth, in_order.wealth)


def test_counting_labels_as_they_arrive_alarms_falsely(generator, limits) -> None:
    runs, alarms = 60, 0
    for _ in range(runs):
        error = generator.random(LOOKS) < ALPHA
        days = np.arange(LOOKS) / 100.0
        arrives = days + np.where(error, generator.uniform(1, 5, LOOKS), generator.uniform(30, 60, LOOKS))
        alarms += alarm_call(error[np.argsort(arrives)].astype(float)) <= LOOKS
    limits.breaks(alarms, runs, DELTA)


def check_bound(generator, limits, runs: int) -> None:
    """Look every 100 calls, while the rate rises: the bound covers the average so far, its running minimum does not."""
    size = 12_000
    rate = np.where(np.arange(size) < 6000, 0.0, 0.003)
    average = np.cumsum(rate) / np.arange(1, size + 1)
    failed = minimum_failed = 0
    for _ in range(runs):
        z = (generator.random(size) < rate).astype(float)
        state, fails, least, least_fails = new_monitor(PERFECT), False, 1.0, False
        for end in range(100, size + 1, 100):
            state = observe(state, z[end - 100 : end])
            fails |= evidence_for(state, average[end - 1]) >= 1 / DELTA
            if end % 2000 == 0:
                least = min(least, average_upper_bound(state))
                least_fails |= least < average[end - 1]
        failed += fails
        minimum_failed += least_fails
    limits.at_most(failed, runs, DELTA)
    limits.breaks(minimum_failed, runs, 0.5)


def test_the_bound_covers_an_average_that_changes_at_every_look(generator, limits) -> None:
    check_bound(generator, limits, 60)


@pytest.mark.slow
def test_the_bound_at_full_size(generator, limits) -> None:
    check_bound(generator, limits, 400)


def test_averaging_z_over_the_audited_only_would_alarm_at_a_good_site(generator, limits) -> None:
    runs, right, wrong = 60, 0, 0
    watch = Watch(alpha=ALPHA, delta=DELTA, q_min=0.25)
    for _ in range(runs):
        audited = generator.random(LOOKS) < 0.25
        z = np.where(audited & (generator.random(LOOKS) < ALPHA), 4.0, 0.0)
        right += alarm_call(z, watch) <= LOOKS
        wrong += alarm_call(z[audited], watch) <= LOOKS
    limits.at_most(right, runs, DELTA)
    limits.breaks(wrong, runs, DELTA)
