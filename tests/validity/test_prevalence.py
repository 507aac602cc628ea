"""Calibrated where a fifth is abnormal and used where half is: the certificate holds, a pooled one does not.

Healthy scores are N(0, 1) and abnormal ones N(d, 1) at each of two sites, so that every true rate is known.
"""

import numpy as np
import pytest
from scipy import special

from calibration.certificate import Certificate, certify

ALPHA, USED_AT = 0.0005, 0.5
ABNORMAL, SITES = 13_000, 2
SHIFT = np.array([4.6, 4.8])


def false_omission_rates(threshold: float) -> np.ndarray:
    missed, accepted = special.ndtr(threshold - SHIFT), special.ndtr(threshold)
    return USED_AT * missed / (USED_AT * missed + (1 - USED_AT) * accepted)


@pytest.fixture
def calibrate(generator, score_table_of, terms):
    """Return a function that draws a calibration set with prevalence 0.2 and gives its scores and its certificate."""
    per_site = 5 * ABNORMAL
    abnormal = np.tile(np.arange(per_site) < ABNORMAL, SITES)
    site = np.repeat(np.arange(SITES), per_site)
    table = score_table_of(
        patient=np.arange(SITES * per_site), site=site, abnormal=abnormal, score=np.zeros(SITES * per_site)
    )

    def draw():
        table.score[:] = generator.normal(size=SITES * per_site) + np.where(abnormal, SHIFT[site], 0.0)
        return table.score, abnormal, certify(table, terms(max_prevalence=USED_AT))

    return draw


def pooled_threshold(score: np.ndarray, abnormal: np.ndarray) -> float:
    """Return the largest threshold whose pooled false omission rate passes Clopper–Pearson, where it was measured."""
    order = np.argsort(score)
    misses, sizes = np.cumsum(abnormal[order]), np.arange(1, len(score) + 1)
    passing = special.betaincc(misses + 1, np.maximum(sizes - misses, 0.5), ALPHA) <= 0.05
    return float(score[order[np.flatnonzero(passing)[-1] + 1]])


def check_promise(calibrate, limits, draws: int) -> None:
    certified = broken = pooled = 0
    for _ in range(draws):
        score, abnormal, result = calibrate()
        if isinstance(result, Certificate):
            certified += 1
            listed = [site.certified for site in result.sites]
            broken += bool((false_omission_rates(result.threshold)[listed] > ALPHA).any())
        pooled += bool((false_omission_rates(pooled_threshold(score, abnormal)) > ALPHA).any())
    assert certified >= draws / 2
    limits.at_most(broken, draws, 0.05)
    limits.breaks(pooled, draws, 0.05)


def test_the_promise_holds_at_another_prevalence_and_a_pooled_one_does_not(calibrate, limits) -> None:
    check_promise(calibrate, limits, 10)


@pytest.mark.slow
def test_the_promise_at_another_prevalence_at_full_size(calibrate, limits) -> None:
    check_promise(calibrate, limits, 200)
