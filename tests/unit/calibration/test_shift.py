"""Drift of a site's inputs."""

import numpy as np
import pytest
from scipy import stats

from calibration.shift import conformal_p_values, drift_test


def test_a_p_value_is_the_share_of_values_at_least_as_great_itself_included() -> None:
    reference = np.array([1.0, 1.0, 2.0, 5.0])
    assert conformal_p_values(reference, np.array([0.0, 1.0, 1.5, 5.0, 6.0])).tolist() == [1.0, 1.0, 0.6, 0.4, 0.2]


def test_the_p_value_of_a_batch_is_the_tail_of_its_exact_law() -> None:
    reference = np.arange(99.0)
    fresh = np.array([98.5, 97.5, 96.5, 50.0, 10.0])  # the tail is the ten greatest of a hundred
    result = drift_test(reference, fresh, tail=0.1, delta=0.05, batch=1)
    assert (result.above, result.below, result.batch) == (3, 0, 5)
    assert result.p_value == pytest.approx(2 * stats.betabinom.sf(2, 5, 10, 90), rel=1e-12)


def test_drift_is_found_on_either_side_and_not_where_there_is_none(generator) -> None:
    reference = generator.normal(size=2000)
    for shift, expected in ((0.0, False), (1.0, True), (-1.0, True)):
        assert (
            drift_test(reference, generator.normal(shift, size=200), tail=0.1, delta=0.05, batch=1).drifted == expected
        )


def test_later_batches_may_spend_less() -> None:
    reference, fresh = np.arange(999.0), np.array([950.0, 960.0, 970.0, 500.0])
    first, later = (drift_test(reference, fresh, tail=0.05, delta=0.05, batch=batch) for batch in (1, 40))
    assert first.p_value == later.p_value
    assert first.drifted
    assert not later.drifted


def test_values_without_a_number_are_strange() -> None:
    result = drift_test(np.arange(99.0), np.array([np.nan, np.inf, 3.0]), tail=0.1, delta=0.05, batch=1)
    assert (result.above, result.below) == (2, 1)


@pytest.mark.parametrize(("reference", "fresh"), [([1.0], [5.0]), (list(range(100)), [])])
def test_too_few_values_show_nothing(reference: list[float], fresh: list[float]) -> None:
    result = drift_test(np.array(reference, float), np.array(fresh, float), tail=0.1, delta=0.05, batch=1)
    assert result.p_value == 1.0
    assert not result.drifted


@pytest.mark.parametrize("tail", [0.0, 0.5])
def test_a_tail_out_of_range_is_the_callers_mistake(tail: float) -> None:
    with pytest.raises(ValueError, match="a tail lies"):
        drift_test(np.zeros(5), np.zeros(5), tail=tail, delta=0.05, batch=1)
