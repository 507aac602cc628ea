"""Which calls are audited, and when they count."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from calibration.audits import Audited, AuditPlan, Call, look_ahead, process_due, uniform
from calibration.monitor import Watch, evidence_against, new_monitor

START = datetime(2026, 1, 1, tzinfo=UTC)
AGE = timedelta(days=30)
FRESH = Audited(monitor=new_monitor(Watch(alpha=0.0005, delta=0.05, q_min=0.5)))


def calls(*errors: bool | None) -> list[Call]:
    return [
        Call(
            key=f"{i:04}",
            accessioned=START + timedelta(hours=i // 2),
            probability=0.5,
            audited=i % 3 != 1,
            error=error,
        )
        for i, error in enumerate(errors)
    ]


def test_a_uniform_plan_is_the_same_everywhere() -> None:
    plan = uniform(0.2)
    assert {plan.probability(score, 3.0) for score in (-1e300, 0.0, 3.0)} == {0.2}


def test_a_weighted_plan_falls_from_the_threshold_down_to_its_least() -> None:
    plan = AuditPlan(q_min=0.05, q_max=0.8, reach=0.5)
    scores = [-100.0, 0.0, 1.0, 2.0, 2.9, 3.0, 4.0]
    found = [plan.probability(score, 3.0) for score in scores]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.05)
    assert found[-2] == found[-1] == pytest.approx(0.8)


@pytest.mark.parametrize("plan", [(0.0, 0.5, 1.0), (0.5, 0.4, 1.0), (0.5, 1.1, 1.0), (0.5, 0.6, 0.0)])
def test_a_plan_out_of_range_is_the_callers_mistake(plan: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="a plan needs"):
        AuditPlan(q_min=plan[0], q_max=plan[1], reach=plan[2])


def test_calls_count_at_their_age_and_not_before() -> None:
    known = calls(True, False, True)
    nothing, escalated = process_due(FRESH, known, now=START + AGE - timedelta(seconds=1), age=AGE)
    assert (nothing, escalated) == (FRESH, ())
    first, _ = process_due(FRESH, known, now=START + AGE, age=AGE)
    assert first.monitor.calls == 2
    assert first.monitor.errors == (2.0,)
    everything, _ = process_due(first, known, now=START + 2 * AGE, age=AGE)
    assert everything.monitor.calls == 3
    assert everything.monitor.errors == (2.0, 2.0)


def test_the_order_in_which_labels_arrive_changes_nothing(generator) -> None:
    known = calls(*(bool(generator.random() < 0.1) for _ in range(200)))
    at_once, _ = process_due(FRESH, known, now=START + 9 * AGE, age=AGE)
    # errors are known first, the rest comes later: each call is only looked at when it is due
    step = FRESH
    for hours in range(0, 24 * 40, 7):
        now = START + timedelta(hours=hours)
        shown = [known[int(i)] for i in generator.permutation(len(known))]
        step, _ = process_due(step, [c for c in shown if c.error or c.accessioned + AGE <= now], now=now, age=AGE)
    assert step == at_once


def test_a_call_is_processed_once_and_ties_in_time_are_ordered_by_key() -> None:
    known = calls(False, True, False, False)
    half, _ = process_due(FRESH, known[:1], now=START + AGE, age=AGE)
    assert half.through == (START, "0000")
    after, _ = process_due(half, known, now=START + 2 * AGE, age=AGE)
    assert after.monitor.calls == 4
    assert process_due(after, known, now=START + 2 * AGE, age=AGE) == (after, ())


def test_what_is_unresolved_at_its_age_is_an_error_for_the_bound_and_escalated_for_the_alarm() -> None:
    known = calls(None, None, False)  # the first is audited, the second is not
    after, escalated = process_due(FRESH, known, now=START + 2 * AGE, age=AGE)
    assert escalated == (known[0],)
    assert after.monitor.errors == (2.0,)
    clean, _ = process_due(FRESH, calls(False, False, False), now=START + 2 * AGE, age=AGE)
    assert after.monitor.wealth == clean.monitor.wealth


def test_what_is_learned_of_an_unaudited_call_changes_nothing() -> None:
    learned = calls(False, True, False)
    plain = calls(False, None, False)
    results = [process_due(FRESH, known, now=START + 2 * AGE, age=AGE)[0] for known in (learned, plain)]
    assert results[0] == results[1]


def test_looking_ahead_counts_known_errors_before_their_age_and_what_was_processed_once() -> None:
    known = calls(True, False, None, True)
    first, _ = process_due(FRESH, known, now=START + AGE, age=AGE)
    assert first.monitor.calls == 2
    ahead = look_ahead(first, reversed(known))
    everything, _ = process_due(FRESH, known, now=START + 2 * AGE, age=AGE)
    assert (ahead.calls, ahead.wealth) == (4, everything.monitor.wealth)
    assert len(everything.monitor.errors) == len(ahead.errors) + 1  # the bound waits for what is not resolved
    assert look_ahead(FRESH, []) == FRESH.monitor


def test_labels_that_come_late_never_raise_an_alarm_that_all_labels_would_not_have_raised(generator) -> None:
    alarms = 0
    for _ in range(40):
        errors = generator.random(600) < 0.004
        arrival = generator.integers(0, 900, size=600)
        made = [
            Call(
                key=f"{n:04}", accessioned=START, probability=0.5, audited=bool(generator.random() < 0.5), error=bool(e)
            )
            for n, e in enumerate(errors)
        ]
        final = look_ahead(FRESH, made)
        for at in (100, 300, 600, 900):
            seen = [
                call if arrival[n] <= at else replace(call, error=None) for n, call in enumerate(made[: min(at, 600)])
            ]
            found = look_ahead(FRESH, seen)
            alarms += found.alarm_at is not None
            assert found.alarm_at is None or final.alarm_at is not None
        assert evidence_against(look_ahead(FRESH, seen)) <= evidence_against(final) * (1 + 1e-9)
    assert 0 < alarms < 160
