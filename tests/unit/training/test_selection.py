"""A member is judged by what it clears at few misses, where it clears least."""

import math

import numpy as np
import pytest

from training.selection import MISS_RATES, auroc, merit


def test_a_perfect_member_has_merit_one() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    assert merit(scores, np.array([False, False, True, True]), np.zeros(4, int)) == 1.0


def test_merit_is_that_of_the_worst_site() -> None:
    abnormal = np.array([False] * 4 + [True])
    site = np.array([0, 0, 1, 1, 0])
    assert merit(np.array([0.0, 1.0, 2.0, 9.0, 5.0]), abnormal, site) == 0.5


def test_the_lowest_abnormal_film_bounds_what_is_cleared_and_ties_are_not() -> None:
    abnormal = np.array([False, False, True, True])
    assert merit(np.array([1.0, 2.0, 1.0, 5.0]), abnormal, np.zeros(4, int)) == 0.0


def test_few_misses_are_forgiven_as_the_rates_say() -> None:
    healthy, found = np.full(10, 1.0), np.concatenate([[0.0], np.full(499, 2.0)])
    scores = np.concatenate([healthy, found])
    abnormal = np.arange(510) >= 10
    # One of 500 is a rate of 0.002: at no misses nothing is cleared, at one and at five everything.
    assert MISS_RATES == (0.0, 0.002, 0.01)
    assert merit(scores, abnormal, np.zeros(510, int)) == pytest.approx(2 / 3)


def test_scores_that_are_no_number_are_never_cleared() -> None:
    scores = np.array([math.nan, 0.0, math.nan, 3.0])
    assert merit(scores, np.array([False, False, True, True]), np.zeros(4, int)) == 0.5


def test_without_both_labels_there_is_no_merit() -> None:
    assert math.isnan(merit(np.zeros(2), np.array([True, True]), np.zeros(2, int)))
    assert math.isnan(merit(np.zeros(2), np.array([False, False]), np.zeros(2, int)))
    assert math.isnan(auroc(np.zeros(2), np.array([True, True])))


def test_auroc_is_the_share_of_pairs_in_order_with_ties_half() -> None:
    rng = np.random.default_rng(5)
    scores, abnormal = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > h) + 0.5 * (a == h) for a in scores[abnormal] for h in scores[~abnormal]]
    assert auroc(scores, abnormal) == pytest.approx(np.mean(pairs))
