"""The certified threshold's miss rate has the law that the certificate says, and shortcuts do not.

Abnormal scores are uniform, so that the true miss rate at a threshold is the threshold itself.
"""

import numpy as np
import pytest
from scipy import stats

from calibration.bounds import binomial_cdf, miss_rate_limit, misses_allowed, trials_needed
from calibration.certificate import Certificate, Refusal, certify
from calibration.threshold import group_threshold

DELTA = 0.04
#: Prevalence and abnormal patients: r* = 0, 1, 3, and a group of more than it needs.
SETTINGS = [(0.3, 5514), (0.3, 8587), (0.3, 13852), (0.1, 1429), (0.1, 2000), (0.05, 676)]


def thresholds(generator, draws: int, patients: int, allowed: int) -> np.ndarray:
    return np.array([group_threshold(generator.random(patients), allowed) for _ in range(draws)])


def check_law(generator, limits, prevalence: float, patients: int, draws: int) -> None:
    limit = miss_rate_limit(0.0005, prevalence, 0.5)
    allowed = misses_allowed(patients, limit, DELTA)
    assert allowed is not None
    found = thresholds(generator, draws, patients, allowed)
    unsafe = int(np.count_nonzero(found > limit))
    limits.agree(unsafe, draws, binomial_cdf(allowed, patients, limit))
    limits.at_most(unsafe, draws, DELTA)
    law = stats.beta(allowed + 1, patients - allowed)
    assert stats.kstest(found, law.cdf).pvalue > 1e-6


@pytest.mark.parametrize(("prevalence", "patients"), SETTINGS)
def test_the_miss_rate_at_the_threshold_follows_its_beta_law(
    generator, limits, prevalence: float, patients: int
) -> None:
    check_law(generator, limits, prevalence, patients, 2000)


@pytest.mark.slow
@pytest.mark.parametrize(("prevalence", "patients"), SETTINGS)
def test_the_beta_law_at_full_size(generator, limits, prevalence: float, patients: int) -> None:
    check_law(generator, limits, prevalence, patients, 40_000)


def test_an_index_counted_from_zero_or_one_miss_more_breaks_it(generator, limits) -> None:
    limit = miss_rate_limit(0.0005, 0.1, 0.5)
    found = thresholds(generator, 2000, 1429, 1)  # the second smallest, where r* = 0 wants the first
    limits.breaks(int(np.count_nonzero(found > limit)), 2000, DELTA)


def test_with_ties_strictly_below_holds_and_at_most_breaks_it(generator, limits) -> None:
    draws, patients = 2000, 1429
    limit = miss_rate_limit(0.0005, 0.1, 0.5)
    step = 0.51 * limit  # coarse scores, as quantised networks leave them
    strict = inclusive = 0
    for _ in range(draws):
        threshold = group_threshold(np.floor(generator.random(patients) / step) * step, 0)
        strict += threshold > limit  # P(score < τ) = τ
        inclusive += threshold + step > limit  # P(score <= τ)
    limits.at_most(strict, draws, DELTA)
    limits.breaks(inclusive, draws, DELTA)


def test_scanning_thresholds_for_one_that_passes_breaks_the_direct_check(generator, limits) -> None:
    # whatever the threshold, a hair more than α of the cleared are abnormal: every certificate is a false one
    alpha, delta, draws, cleared = 0.0005, 0.05, 4000, 40_000
    needed = np.array([trials_needed(misses, alpha, delta) for misses in range(80)])
    # when each miss comes, counted in cleared patients
    when = np.cumsum(generator.geometric(alpha * 1.0001, size=(draws, 81)), axis=1)
    seen = np.count_nonzero(when <= cleared, axis=1)
    at_end = int(np.count_nonzero(needed[seen] <= cleared))
    # with k misses the check passes from needed[k] on: is there a k whose next miss comes later?
    scanned = int(np.count_nonzero(((when[:, :80] > needed) & (needed <= cleared)).any(axis=1)))
    limits.at_most(at_end, draws, delta)
    limits.breaks(scanned, draws, delta)


def test_5513_abnormal_patients_at_a_prevalence_of_three_tenths_are_refused_and_5514_are_not(
    generator, score_table_of, terms
) -> None:
    for patients, kind in ((5513, Refusal), (5514, Certificate)):
        size = patients + 1000
        table = score_table_of(
            patient=np.arange(size),
            site=np.zeros(size, int),
            abnormal=np.arange(size) < patients,
            score=np.where(np.arange(size) < patients, 10 + generator.random(size), generator.random(size)),
        )
        assert isinstance(certify(table, terms(max_prevalence=0.3)), kind)
