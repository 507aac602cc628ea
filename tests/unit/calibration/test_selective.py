"""Coverage, selective risk, and the curve between them."""

import numpy as np
import pytest

from calibration.bounds import lower_bound, upper_bound
from calibration.selective import areas, operating_point, rate, risk_coverage, zero_misses


def test_a_rate_has_its_exact_interval() -> None:
    interval = rate(3, 50, 0.05)
    assert (interval.lower, interval.upper) == (lower_bound(3, 50, 0.025), upper_bound(3, 50, 0.025))
    assert interval.value == 3 / 50


def test_nothing_has_no_rate_and_the_interval_says_so() -> None:
    empty = rate(0, 0, 0.05)
    assert empty.value is None
    assert (empty.lower, empty.upper) == (0.0, 1.0)


def test_a_threshold_that_clears_nobody_has_no_false_omission_rate() -> None:
    point = operating_point(np.array([5.0]), np.array([6.0]), 1.0, 0.05)
    assert point.false_omission_rate.value is None
    assert point.false_omission_rate.upper == 1.0
    assert point.coverage.value == 0.0


def test_an_operating_point_counts_strictly_below_and_nothing_without_a_score() -> None:
    point = operating_point(np.array([1.0, 2.0, np.inf]), np.array([0.0, 2.0, 2.0, np.inf]), 2.0, 0.05)
    assert (point.miss_rate.count, point.miss_rate.trials) == (1, 3)
    assert (point.healthy_acceptance.count, point.healthy_acceptance.trials) == (1, 4)
    assert (point.coverage.count, point.coverage.trials) == (2, 7)
    assert (point.false_omission_rate.count, point.false_omission_rate.trials) == (1, 2)


def test_zero_misses_lies_below_the_least_abnormal() -> None:
    point = zero_misses(np.array([3.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0]), 0.05)
    assert point is not None
    assert (point.threshold, point.coverage.count, point.healthy_acceptance.count) == (3.0, 2, 2)
    assert point.miss_rate_upper == pytest.approx(1 - 0.05 ** (1 / 2))
    assert zero_misses(np.array([]), np.array([1.0]), 0.05) is None


def test_the_curve_counts_misses_in_the_order_of_scores_and_averages_over_ties() -> None:
    curve = risk_coverage(np.array([2.0, 3.0, np.inf]), np.array([1.0, 3.0, 3.0]))
    assert curve.misses.tolist() == pytest.approx([0, 0, 1, 1 + 1 / 3, 1 + 2 / 3, 2, 3])
    assert curve.selective_risk.tolist() == pytest.approx([0, 1 / 2, 4 / 9, 5 / 12, 2 / 5, 1 / 2])
    assert curve.coverage.tolist() == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert curve.reachable == 5
    with pytest.raises(ValueError, match="at least one"):
        risk_coverage(np.array([]), np.array([]))


def test_the_areas_are_the_means_over_all_coverages() -> None:
    curve = risk_coverage(np.array([2.0, 4.0]), np.array([1.0, 3.0]))
    aurc, augrc = areas(curve, 0.05)
    assert aurc.value == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert augrc.value == pytest.approx((0 + 1 / 4 + 1 / 4 + 2 / 4) / 4)
    assert 0 <= aurc.lower <= aurc.value <= aurc.upper <= 1
    assert 0 <= augrc.lower <= augrc.value <= augrc.upper <= 1


def test_a_perfect_score_has_the_least_area_and_a_reversed_one_the_greatest() -> None:
    low, high = np.arange(50.0), np.arange(50.0) + 100
    best, worst = (areas(risk_coverage(a, h), 0.05)[0].value for a, h in ((high, low), (low, high)))
    assert best < worst
    assert best == pytest.approx(np.mean([max(0, i - 50) / i for i in range(1, 101)]))


def test_the_interval_of_an_area_narrows_with_the_sample_and_holds_the_truth(generator) -> None:
    # a score without any information: the selective risk is the prevalence at every coverage
    widths = []
    for size in (200, 20_000):
        curve = risk_coverage(generator.random(size), generator.random(size))
        aurc, augrc = areas(curve, 0.05)
        assert aurc.lower <= 0.5 <= aurc.upper
        assert augrc.lower <= 0.25 <= augrc.upper
        widths.append(augrc.upper - augrc.lower)
    assert widths[1] < widths[0] / 5
