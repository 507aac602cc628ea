"""The order statistic: counted from 1, strict at ties, finite."""

import sys

import numpy as np
import pytest

from calibration.threshold import count_accepted, group_threshold


def test_the_allowed_misses_lie_strictly_below_the_threshold_and_no_more() -> None:
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    for allowed in range(5):
        assert group_threshold(scores, allowed) == allowed + 1
        assert count_accepted(scores, group_threshold(scores, allowed)) == allowed


def test_ties_at_the_threshold_abstain() -> None:
    scores = np.array([1.0, 2.0, 2.0, 2.0, 3.0])
    assert group_threshold(scores, 2) == 2.0
    assert count_accepted(scores, 2.0) == 1  # with <= it would be four, and two are allowed


def test_scores_quantised_to_ties_are_never_accepted_beyond_the_allowed() -> None:
    generator = np.random.default_rng(1)
    for steps in (2, 5, 50):
        scores = np.floor(generator.random(400) * steps) / steps
        for allowed in (0, 1, 7, 150):
            assert count_accepted(scores, group_threshold(scores, allowed)) <= allowed


def test_a_threshold_is_finite_where_almost_nobody_has_a_score() -> None:
    scores = np.array([1.0, np.inf, np.inf])
    assert group_threshold(scores, 1) == sys.float_info.max
    assert count_accepted(scores, group_threshold(scores, 1)) == 1


def test_nothing_that_is_no_number_is_accepted() -> None:
    assert count_accepted(np.array([np.nan, np.inf, -np.inf]), sys.float_info.max) == 0


@pytest.mark.parametrize("allowed", [-1, 3])
def test_more_misses_than_patients_cannot_be_allowed(allowed: int) -> None:
    with pytest.raises(ValueError, match="cannot be allowed"):
        group_threshold(np.zeros(3), allowed)
