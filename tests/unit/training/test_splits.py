"""Patients are divided by a hash: stable, disjoint, and in the shares asked for."""

from collections import Counter

import pytest

from models.vocabulary import Split
from training.splits import SplitPlan, split_of


def test_a_patient_keeps_the_split_for_ever():
    # Written down once; a change of the hash would move patients between training and calibration.
    plan = SplitPlan()
    known = {name: split_of("site-01", name, plan) for name in ("a", "b", "c", "d", "e", "f", "g", "h")}
    assert known == {
        "a": Split.TRAIN,
        "b": Split.TRAIN,
        "c": Split.TEST,
        "d": Split.TRAIN,
        "e": Split.TRAIN,
        "f": Split.CALIBRATION,
        "g": Split.TRAIN,
        "h": Split.TRAIN,
    }


def test_shares_are_those_of_the_plan():
    plan = SplitPlan(train=0.5, tune=0.2, calibration=0.2)
    counts = Counter(split_of("site-01", str(i), plan) for i in range(20_000))
    expected = {Split.TRAIN: 0.5, Split.TUNE: 0.2, Split.CALIBRATION: 0.2, Split.TEST: 0.1}
    for split, share in expected.items():
        # Five standard deviations of a binomial count.
        assert abs(counts[split] / 20_000 - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


def test_another_salt_is_another_division_and_sites_are_divided_apart():
    names = [str(i) for i in range(400)]
    plan, salted = SplitPlan(train=0.5, tune=0, calibration=0), SplitPlan(train=0.5, tune=0, calibration=0, salt="x")
    base = [split_of("site-01", name, plan) for name in names]
    for other in ([split_of("site-01", name, salted) for name in names], [split_of("site-02", n, plan) for n in names]):
        agree = sum(a == b for a, b in zip(base, other, strict=True))
        assert 140 < agree < 260


def test_all_to_one_split_leaves_nothing_over():
    plan = SplitPlan(train=0, tune=0, calibration=1)
    assert {split_of("s", str(i), plan) for i in range(1000)} == {Split.CALIBRATION}


@pytest.mark.parametrize("shares", [(0.7, 0.3, 0.1), (-0.1, 0.5, 0.1)])
def test_shares_that_are_none_are_refused(shares):
    train, tune, calibration = shares
    with pytest.raises(ValueError, match="shares"):
        SplitPlan(train=train, tune=tune, calibration=calibration)
