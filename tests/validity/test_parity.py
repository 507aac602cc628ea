"""The same numbers as others compute: scipy, statsmodels, crepes and MAPIE."""

import numpy as np
import pytest
from crepes.base import p_values_batch
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from calibration.bounds import binomial_cdf, lower_bound, misses_allowed, trials_needed, upper_bound
from calibration.shift import conformal_p_values

GRID = [
    (count, trials, level)
    for trials in (1, 2, 10, 299, 1429, 5514, 12_868, 250_000)
    for count in sorted({0, 1, 2, trials // 1000, trials // 10, trials // 2, trials - 1, trials})
    if count <= trials
    for level in (0.5, 0.05, 0.04, 0.01, 1e-4)
]
RATES = [1e-6, 0.0005, 0.002251, 0.1, 0.5, 0.9]


@pytest.mark.parametrize(("count", "trials", "delta"), GRID)
def test_bounds_are_those_of_scipy_and_statsmodels(count: int, trials: int, delta: float) -> None:
    upper = 1.0 if count == trials else stats.beta.isf(delta, count + 1, trials - count)
    lower = 0.0 if count == 0 else stats.beta.ppf(delta, count, trials - count + 1)
    assert upper_bound(count, trials, delta) == pytest.approx(upper, rel=1e-9, abs=1e-300)
    assert lower_bound(count, trials, delta) == pytest.approx(lower, rel=1e-9, abs=1e-300)
    low, high = proportion_confint(count, trials, alpha=2 * min(delta, 0.4), method="beta")
    assert lower_bound(count, trials, min(delta, 0.4)) == pytest.approx(low, rel=1e-9, abs=1e-300)
    assert upper_bound(count, trials, min(delta, 0.4)) == pytest.approx(high, rel=1e-9, abs=1e-300)
    # scipy's own test finds its bound by a root search that stops at 2e-12
    test = stats.binomtest(count, trials, alternative="less").proportion_ci(1 - delta, "exact")
    assert upper_bound(count, trials, delta) == pytest.approx(test.high, rel=1e-9, abs=4e-12)


@pytest.mark.parametrize("rate", RATES)
def test_tails_are_those_of_scipy(rate: float) -> None:
    for count, trials, _ in GRID:
        theirs = stats.binom.cdf(count, trials, rate)
        assert binomial_cdf(count, trials, rate) == pytest.approx(theirs, rel=1e-9, abs=1e-290)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("delta", [0.05, 0.04, 0.01])
def test_allowed_misses_are_scipys_quantile(rate: float, delta: float) -> None:
    for trials in (1, 10, 299, 1429, 5514, 12_868, 250_000):
        quantile = int(stats.binom.ppf(delta, trials, rate))  # the least k with P(X <= k) >= delta
        below = quantile if stats.binom.cdf(quantile, trials, rate) <= delta else quantile - 1
        assert misses_allowed(trials, rate, delta) == (below if below >= 0 else None)


def test_p_values_are_those_of_crepes_exactly() -> None:
    generator = np.random.default_rng(3)
    for digits in (1, 6):  # with ties and without
        reference, fresh = generator.normal(size=500).round(digits), generator.normal(size=300).round(digits)
        theirs = p_values_batch(reference, fresh, smoothing=False)
        assert np.array_equal(conformal_p_values(reference, fresh), theirs)


@pytest.mark.parametrize("alpha", [0.0005, 0.01, 0.1])
def test_mapie_accepts_a_risk_without_errors_from_the_same_size_on(alpha: float) -> None:
    # without errors its Hoeffding–Bentkus p-value is (1 - alpha)^n, the binomial tail itself
    for trials in (10, 299, 5990):
        theirs = float(compute_hoeffding_bentkus_p_value(np.array([0.0]), trials, alpha)[0, 0])
        assert binomial_cdf(0, trials, alpha) == pytest.approx(theirs, rel=1e-9)
    needed = trials_needed(0, alpha, 0.05)
    p_values = [compute_hoeffding_bentkus_p_value(np.array([0.0]), n, alpha)[0, 0] for n in (needed - 1, needed)]
    assert p_values[0] > 0.05 >= p_values[1]


def test_mapie_is_never_less_cautious_with_errors() -> None:
    # with errors it bounds any risk in [0, 1], by e times the binomial tail at most: ours is the exact one for errors
    for errors, trials in ((1, 9486), (3, 15_505), (20, 60_000)):
        theirs = float(compute_hoeffding_bentkus_p_value(np.array([errors / trials]), trials, 0.0005)[0, 0])
        ours = binomial_cdf(errors, trials, 0.0005)
        assert ours <= theirs <= np.e * binomial_cdf(errors + 1, trials, 0.0005)
