"""Review lists that prove something, and the bounds from their result."""

from collections import Counter

import numpy as np
import pytest

from calibration.bounds import upper_bound
from calibration.labels import (
    Role,
    Verdict,
    adjudicated_bounds,
    plan_review,
    relative_to_reference,
    review_bounds,
    review_from_json,
)
from models.errors import DataError

SICK = {"label": "abnormal"}


@pytest.fixture
def decided(table):
    rows = [{**SICK, "patient": f"missed{i}", "score": 1.0} for i in range(3)]
    rows += [{**SICK, "patient": "missed0", "score": 9.0, "study": "later"}]
    rows += [{**SICK, "patient": f"caught{i}", "score": 9.0} for i in range(20)]
    rows += [{"patient": f"well{i}", "score": 1.0} for i in range(50)]
    rows += [{"patient": "read", "score": 1.0}, {"patient": "read", "score": 9.0}]
    rows += [{"patient": "unknown", "label": "", "score": 1.0}]
    return table(*rows)


@pytest.fixture
def review(decided, generator):
    return plan_review(decided, 5.0, sample=10, decoys=5, generator=generator)


def test_the_list_has_all_apparent_misses_a_sample_of_the_cleared_and_decoys(review) -> None:
    assert Counter(case.role for case in review.cases) == {
        Role.APPARENT_MISS: 3,
        Role.CLEARED: 10,
        Role.DECOY: 5,
    }
    assert (review.labelled_abnormal, review.labelled_healthy) == (3, 50)
    assert [case.number for case in review.cases] == list(range(1, 19))


def test_the_order_tells_nothing_and_the_seed_tells_the_order(decided, review) -> None:
    roles = [case.role for case in review.cases]
    assert roles != sorted(roles)
    again = plan_review(decided, 5.0, sample=10, decoys=5, generator=np.random.default_rng(20261121))
    assert again == review
    other = plan_review(decided, 5.0, sample=10, decoys=5, generator=np.random.default_rng(1))
    assert other != review


def test_a_case_shows_the_cleared_studies_and_a_decoy_all_of_its_own(decided, generator) -> None:
    review = plan_review(decided, 5.0, sample=99, decoys=99, generator=generator)
    shown = {study for case in review.cases for study in case.studies}
    assert "later" not in shown  # it was not cleared
    assert len(review.cases) == 3 + 50 + 20
    assert all(case.site == "A" for case in review.cases)


def test_a_study_that_ties_with_the_threshold_is_not_shown_as_cleared(table, generator) -> None:
    built = table({**SICK, "patient": "p", "score": 1.0, "study": "cleared"}, {**SICK, "patient": "p", "score": 5.0})
    (case,) = plan_review(built, 5.0, sample=9, decoys=9, generator=generator).cases
    assert (case.studies, case.role) == (("cleared",), Role.APPARENT_MISS)


def test_a_review_comes_back_from_its_json(review) -> None:
    assert review_from_json(review.to_json()) == review
    with pytest.raises(DataError):
        review_from_json(review.to_json().replace("decoy", "bait"))


def test_the_bounds_count_confirmed_misses_and_those_found_in_the_sample(review) -> None:
    verdicts = {case.number: Verdict.HEALTHY for case in review.cases}
    for role, count in ((Role.APPARENT_MISS, 2), (Role.CLEARED, 1), (Role.DECOY, 5)):
        for case in [case for case in review.cases if case.role is role][:count]:
            verdicts[case.number] = Verdict.ABNORMAL
    bounds = review_bounds(review, verdicts, 0.05)
    assert (bounds.confirmed, bounds.found, bounds.sampled, bounds.cleared) == (2, 1, 10, 53)
    assert bounds.false_omission_upper == upper_bound(2, 53, 0.025) + upper_bound(1, 10, 0.025)


def test_every_case_must_be_read_and_no_other(review) -> None:
    verdicts = {case.number: Verdict.HEALTHY for case in review.cases}
    with pytest.raises(DataError, match="case 7 has no verdict"):
        review_bounds(review, {n: v for n, v in verdicts.items() if n != 7}, 0.05)
    with pytest.raises(DataError, match="case 99 is not on"):
        review_bounds(review, {**verdicts, 99: Verdict.HEALTHY}, 0.05)


def test_clearing_away_the_apparent_misses_alone_proves_nothing() -> None:
    refuted = adjudicated_bounds(
        confirmed=0, labelled_abnormal=4, found=0, sampled=0, labelled_healthy=20_000, delta=0.05
    )
    assert refuted.false_omission_upper == 1.0
    assert refuted.share_upper == 20_000 / 20_004


def test_reading_everything_leaves_no_doubt_about_these() -> None:
    bounds = adjudicated_bounds(
        confirmed=1, labelled_abnormal=2, found=3, sampled=100, labelled_healthy=100, delta=0.05
    )
    assert bounds.share_upper == 4 / 102


def test_nothing_cleared_has_the_bound_one() -> None:
    bounds = adjudicated_bounds(confirmed=0, labelled_abnormal=0, found=0, sampled=0, labelled_healthy=0, delta=0.05)
    assert (bounds.false_omission_upper, bounds.share_upper) == (1.0, 1.0)


@pytest.mark.parametrize("population", [5, 30, 200])
def test_the_share_is_bounded_exactly_and_never_above_the_binomial_bound(population: int) -> None:
    from scipy import stats

    for sampled in (1, population // 3, population):
        for found in range(min(sampled, 4) + 1):
            bounds = adjudicated_bounds(
                confirmed=0,
                labelled_abnormal=0,
                found=found,
                sampled=sampled,
                labelled_healthy=population,
                delta=0.05,
            )
            worst = round(bounds.share_upper * population)
            assert found <= worst <= population
            assert stats.hypergeom.cdf(found, population, worst, sampled) > 0.05
            if worst < population - (sampled - found):
                assert stats.hypergeom.cdf(found, population, worst + 1, sampled) <= 0.05
            assert worst <= population * upper_bound(found, sampled, 0.05)


@pytest.mark.parametrize(
    "counts",
    [(2, 1, 0, 1, 1), (-1, 1, 0, 1, 1), (0, 1, 2, 1, 1), (0, 1, 0, 2, 1)],
)
def test_counts_that_do_not_nest_are_the_callers_mistake(counts) -> None:
    names = ("confirmed", "labelled_abnormal", "found", "sampled", "labelled_healthy")
    with pytest.raises(ValueError, match="must nest"):
        adjudicated_bounds(**dict(zip(names, counts, strict=True)), delta=0.05)


def test_an_imperfect_reference_widens_the_bound() -> None:
    assert relative_to_reference(0.0005, 0.8) == 0.000625
    assert relative_to_reference(0.9, 0.5) == 1.0
    with pytest.raises(ValueError, match="sensitivity"):
        relative_to_reference(0.1, 0.0)
