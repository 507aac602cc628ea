"""Sizes and power."""

import pytest

from calibration.bounds import binomial_cdf, misses_allowed, trials_needed
from calibration.planning import size_for_power, sizes, spent


def test_sizes_are_the_least_for_each_number_of_events() -> None:
    for events, size in enumerate(sizes(0.01, 0.05, 4)):
        assert size.events_allowed == events
        assert size.trials == trials_needed(events, 0.01, 0.05)
        assert size.power == binomial_cdf(events, size.trials, 0.001)


@pytest.mark.parametrize(("rate", "true_rate", "power"), [(0.01, 0.002, 0.9), (0.3, 0.1, 0.8), (0.5, 0.3, 0.95)])
def test_no_smaller_size_has_the_wanted_power(rate: float, true_rate: float, power: float) -> None:
    size = size_for_power(rate, true_rate, 0.05, power)
    assert size.power >= power
    assert misses_allowed(size.trials, rate, 0.05) == size.events_allowed
    for trials in range(1, size.trials):
        allowed = misses_allowed(trials, rate, 0.05)
        assert allowed is None or binomial_cdf(allowed, trials, true_rate) < power


def test_a_true_rate_at_the_limit_or_a_certain_pass_cannot_be_planned() -> None:
    with pytest.raises(ValueError, match="not below the limit"):
        size_for_power(0.01, 0.01, 0.05, 0.9)
    with pytest.raises(ValueError, match="power lies"):
        size_for_power(0.01, 0.001, 0.05, 1.0)


def test_all_attempts_together_spend_delta_and_the_first_half_of_it() -> None:
    assert spent(0.04, 1) == 0.02
    assert sum(spent(0.04, j) for j in range(1, 100_000)) == pytest.approx(0.04, rel=1e-4)
    assert sum(spent(0.04, j) for j in range(1, 100_000)) < 0.04
    with pytest.raises(ValueError, match="counted from 1"):
        spent(0.04, 0)


def test_the_first_attempt_of_a_site_needs_6702_abnormal_patients_at_a_prevalence_of_three_tenths() -> None:
    from calibration.bounds import miss_rate_limit

    assert trials_needed(0, miss_rate_limit(0.0005, 0.3, 0.5), spent(0.04, 1)) == 6702
