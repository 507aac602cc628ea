"""Exact bounds: known numbers, edges, and counts that must be integers."""

import math

import numpy as np
import pytest

from calibration.bounds import (
    binomial_cdf,
    false_omission_upper_bound,
    lower_bound,
    miss_rate_limit,
    misses_allowed,
    trials_needed,
    upper_bound,
)


def exact_cdf(count: int, trials: int, rate: float) -> float:
    return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1))


@pytest.mark.parametrize("trials", [1, 2, 7, 40])
@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.5, 0.99, 1.0])
def test_the_binomial_tail_is_the_sum_of_its_terms(trials: int, rate: float) -> None:
    for count in range(trials + 1):
        assert binomial_cdf(count, trials, rate) == pytest.approx(min(exact_cdf(count, trials, rate), 1.0), rel=1e-12)


@pytest.mark.parametrize(("count", "trials"), [(0, 1), (3, 10), (1, 5000), (9, 10)])
def test_the_upper_bound_is_where_the_tail_is_delta(count: int, trials: int) -> None:
    assert binomial_cdf(count, trials, upper_bound(count, trials, 0.04)) == pytest.approx(0.04, rel=1e-9)


@pytest.mark.parametrize(("count", "trials"), [(1, 1), (3, 10), (4999, 5000), (9, 10)])
def test_the_lower_bound_is_where_the_other_tail_is_delta(count: int, trials: int) -> None:
    rate = lower_bound(count, trials, 0.04)
    assert 1 - binomial_cdf(count - 1, trials, rate) == pytest.approx(0.04, rel=1e-6)


def test_bounds_at_the_edges_are_zero_and_one() -> None:
    assert upper_bound(5, 5, 0.05) == 1.0
    assert lower_bound(0, 5, 0.05) == 0.0
    assert lower_bound(0, 0, 0.05) == 0.0
    assert upper_bound(0, 0, 0.05) == 1.0


def test_a_threshold_that_clears_nobody_has_the_bound_one_and_not_zero_errors() -> None:
    assert false_omission_upper_bound(misses=0, cleared=0, delta=0.05) == 1.0


def test_counts_are_integers_since_int_of_rate_times_n_loses_errors() -> None:
    lost = sum(int(k / n * n) != k for n in range(1, 300) for k in range(n + 1))
    assert lost > 100  # what counting by rates would do
    with pytest.raises(TypeError):
        upper_bound(0.29 * 100, 100, 0.05)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        binomial_cdf(1.0, 2, 0.5)  # type: ignore[arg-type]
    assert upper_bound(np.int64(3), np.int32(10), 0.05) == upper_bound(3, 10, 0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: binomial_cdf(-1, 2, 0.5),
        lambda: binomial_cdf(1, -2, 0.5),
        lambda: binomial_cdf(1, 2, 1.5),
        lambda: binomial_cdf(1, 2, math.nan),
        lambda: upper_bound(3, 2, 0.05),
        lambda: upper_bound(-1, 2, 0.05),
        lambda: upper_bound(1, 2, 0.0),
        lambda: lower_bound(1, 2, 1.0),
        lambda: lower_bound(1, 2, math.nan),
        lambda: miss_rate_limit(0.0, 0.1, 0.5),
        lambda: miss_rate_limit(0.0005, 1.0, 0.5),
        lambda: miss_rate_limit(0.0005, 0.1, 0.0),
        lambda: miss_rate_limit(0.0005, 0.1, math.nan),
        lambda: misses_allowed(10, 0.0, 0.05),
        lambda: misses_allowed(10, 0.1, 2.0),
        lambda: trials_needed(0, 0.0, 0.05),
        lambda: trials_needed(0, 0.1, 0.0),
        lambda: trials_needed(-1, 0.1, 0.05),
    ],
)
def test_values_out_of_range_are_the_callers_mistake(call) -> None:
    with pytest.raises(ValueError, match=r"."):
        call()


def test_the_limit_puts_the_false_omission_rate_at_alpha_exactly() -> None:
    alpha, prevalence, acceptance = 0.0005, 0.3, 0.5
    misses = prevalence * miss_rate_limit(alpha, prevalence, acceptance)
    assert misses / (misses + (1 - prevalence) * acceptance) == pytest.approx(alpha, rel=1e-12)


def test_the_limit_is_at_most_one() -> None:
    assert miss_rate_limit(0.5, 0.01, 1.0) == 1.0


@pytest.mark.parametrize(("prevalence", "patients"), [(0.05, 676), (0.1, 1429), (0.2, 3216), (0.3, 5514), (0.5, 12868)])
def test_one_patient_less_than_needed_is_refused(prevalence: float, patients: int) -> None:
    limit = miss_rate_limit(0.0005, prevalence, 0.5)
    assert trials_needed(0, limit, 0.04) == patients
    assert misses_allowed(patients, limit, 0.04) == 0
    assert misses_allowed(patients - 1, limit, 0.04) is None
    assert misses_allowed(0, limit, 0.04) is None


@pytest.mark.parametrize(("allowed", "patients"), [(1, 8587), (2, 11305), (3, 13852)])
def test_more_misses_are_allowed_from_the_known_sizes_on(allowed: int, patients: int) -> None:
    limit = miss_rate_limit(0.0005, 0.3, 0.5)
    assert trials_needed(allowed, limit, 0.04) == patients
    assert misses_allowed(patients, limit, 0.04) == allowed
    assert misses_allowed(patients - 1, limit, 0.04) == allowed - 1


@pytest.mark.parametrize(("delta", "sizes"), [(0.05, [5990, 9486, 12590, 15505]), (0.01, [9209, 13274, 16809, 20087])])
def test_the_direct_check_needs_the_known_sizes(delta: float, sizes: list[int]) -> None:
    assert [trials_needed(errors, 0.0005, delta) for errors in range(4)] == sizes
    for errors, size in enumerate(sizes):
        assert upper_bound(errors, size, delta) <= 0.0005 < upper_bound(errors, size - 1, delta)


@pytest.mark.parametrize("trials", [1, 5, 60, 61])
@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("delta", [0.02, 0.3, 0.9])
def test_the_allowed_misses_are_the_largest_that_pass(trials: int, rate: float, delta: float) -> None:
    passing = [r for r in range(trials) if binomial_cdf(r, trials, rate) <= delta]
    assert misses_allowed(trials, rate, delta) == (max(passing) if passing else None)
