"""The bounds from a review cover the planted truth; reviewing the apparent misses alone does not.

Of the cleared, one in a thousand is abnormal; the labels know of a third of these, and call some healthy ones abnormal.
"""

import numpy as np
import pytest

from calibration.bounds import upper_bound
from calibration.labels import Role, Verdict, adjudicated_bounds, plan_review, review_bounds

CLEARED, RATE, KNOWN, FALSE_LABELS, SAMPLE, DELTA = 20_000, 0.001, 1 / 3, 0.002, 3000, 0.05


def check_bounds(generator, limits, draws: int) -> None:
    rate_failed = share_failed = apparent_failed = 0
    for _ in range(draws):
        truth = generator.binomial(CLEARED, RATE)
        confirmed = generator.binomial(truth, KNOWN)
        labelled_abnormal = confirmed + generator.binomial(CLEARED - truth, FALSE_LABELS)
        hidden, labelled_healthy = truth - confirmed, CLEARED - labelled_abnormal
        found = generator.hypergeometric(hidden, labelled_healthy - hidden, SAMPLE)
        bounds = adjudicated_bounds(
            confirmed=confirmed,
            labelled_abnormal=labelled_abnormal,
            found=found,
            sampled=SAMPLE,
            labelled_healthy=labelled_healthy,
            delta=DELTA,
        )
        rate_failed += bounds.false_omission_upper < RATE
        share_failed += bounds.share_upper < truth / CLEARED
        apparent_failed += upper_bound(confirmed, CLEARED, DELTA) < RATE
    limits.at_most(rate_failed, draws, DELTA)
    limits.at_most(share_failed, draws, DELTA)
    limits.breaks(apparent_failed, draws, 0.2)


def test_the_bounds_cover_what_was_planted_and_the_apparent_misses_do_not(generator, limits) -> None:
    check_bounds(generator, limits, 400)


@pytest.mark.slow
def test_the_label_bounds_at_full_size(generator, limits) -> None:
    check_bounds(generator, limits, 10_000)


def test_a_review_drawn_from_a_table_covers_the_share_that_was_planted(generator, limits, score_table_of) -> None:
    size, draws, failed = 4000, 60, 0
    for _ in range(draws):
        truth = generator.random(size) < 0.01
        labelled = truth & (generator.random(size) < KNOWN)
        table = score_table_of(
            patient=np.arange(size), site=np.zeros(size, int), abnormal=labelled, score=generator.random(size)
        )
        review = plan_review(table, 0.5, sample=500, decoys=2, generator=generator)
        verdicts = {
            case.number: Verdict.ABNORMAL if truth[int(case.studies[0][1:])] else Verdict.HEALTHY
            for case in review.cases
        }
        assert sum(case.role is Role.DECOY for case in review.cases) == 2
        bounds = review_bounds(review, verdicts, DELTA)
        failed += bounds.share_upper < float(truth[table.score < 0.5].mean())
    limits.at_most(failed, draws, DELTA)
