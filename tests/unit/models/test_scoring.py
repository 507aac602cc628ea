import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.scoring import ImageOutcome, ScoreRule, StudyOutcome, is_strange, join_images, score_image
from models.vocabulary import Reason

RULE = ScoreRule(centre=(0.0, 1.0, -2.0), scale=(1.0, 2.0, 0.5), disagreement_weight=1.5, strangeness_limit=10.0)
numbers = st.floats(-1e6, 1e6)


@settings(max_examples=50)
@given(st.lists(numbers, min_size=3, max_size=3))
def test_the_score_is_the_mean_of_the_scaled_logits_and_their_disagreement(logits):
    z = [(logit - c) / s for logit, c, s in zip(logits, RULE.centre, RULE.scale, strict=True)]
    mean = math.fsum(z) / 3
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in z) / 3)
    assert score_image(logits, 0.0, RULE) == pytest.approx(mean + 1.5 * spread, rel=1e-9, abs=1e-6)


@settings(max_examples=50)
@given(st.lists(numbers, min_size=3, max_size=3), st.floats(0, 1e5))
def test_moving_all_members_up_never_lowers_the_score(logits, step):
    moved = [logit + step * scale for logit, scale in zip(logits, RULE.scale, strict=True)]
    assert score_image(moved, 0.0, RULE) >= score_image(logits, 0.0, RULE) - 1e-6


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_logit_that_is_not_finite_is_no_score(bad):
    assert score_image([0.0, bad, 0.0], 0.0, RULE) == math.inf


@pytest.mark.parametrize("strangeness", [10.000001, math.inf, -math.inf, math.nan])
def test_a_strange_picture_has_no_score(strangeness):
    assert is_strange(strangeness, RULE)
    assert score_image([-9.0, -9.0, -9.0], strangeness, RULE) == math.inf


def test_strangeness_at_the_limit_is_not_strange():
    assert not is_strange(10.0, RULE)
    assert score_image([0.0, 1.0, -2.0], 10.0, RULE) == 0.0


def test_float32_logits_are_joined_in_float64():
    assert score_image(np.float32([0.1, 0.1, 0.1]), 0.0, RULE) == score_image([float(np.float32(0.1))] * 3, 0.0, RULE)


def test_an_overflow_is_no_score():
    rule = ScoreRule(centre=(0.0,), scale=(1e-300,), disagreement_weight=0.0, strangeness_limit=1.0)
    assert score_image([-1e300], 0.0, rule) == math.inf


def test_another_number_of_logits_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="3 members"):
        score_image([1.0], 0.0, RULE)


@pytest.mark.parametrize(
    "changed",
    [
        {"centre": ()},
        {"scale": (1.0,)},
        {"scale": (1.0, 0.0, 1.0)},
        {"centre": (0.0, math.nan, 0.0)},
        {"disagreement_weight": -0.1},
        {"disagreement_weight": math.nan},
        {"strangeness_limit": math.inf},
        {"strangeness_limit": math.nan},
    ],
)
def test_a_rule_that_cannot_be_meant_does_not_exist(changed):
    values = {"centre": RULE.centre, "scale": RULE.scale, "disagreement_weight": 1.0, "strangeness_limit": 1.0}
    with pytest.raises(ValueError, match=r"."):
        ScoreRule(**{**values, **changed})


def test_a_rule_survives_json_and_a_broken_one_is_told():
    assert ScoreRule.from_json(RULE.to_json()) == RULE
    with pytest.raises(DataError):
        ScoreRule.from_json(RULE.to_json().replace("0.5", "-0.5"))


def image(score: float = 0.0, *gates: Reason, companion: bool = False) -> ImageOutcome:
    return ImageOutcome(score=score, gates=gates, is_companion=companion)


LATERAL = image(math.nan, Reason.VIEW, companion=True)
REFUSED_LATERAL = image(math.nan, Reason.VIEW)
UNREADABLE = image(math.nan, Reason.UNREADABLE)
INF = math.inf


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param([], StudyOutcome(score=INF, gates=(Reason.NO_IMAGE,)), id="no image"),
        pytest.param([image(1.5)], StudyOutcome(score=1.5, gates=()), id="one frontal"),
        pytest.param([image(1.5), image(-3.0)], StudyOutcome(score=1.5, gates=()), id="two frontals: the greatest"),
        pytest.param([image(-3.0), LATERAL], StudyOutcome(score=-3.0, gates=()), id="frontal and companion"),
        pytest.param([LATERAL, image(-3.0)], StudyOutcome(score=-3.0, gates=()), id="order does not matter"),
        pytest.param([LATERAL], StudyOutcome(score=INF, gates=(Reason.VIEW,)), id="companion alone"),
        pytest.param(
            [image(-3.0), REFUSED_LATERAL],
            StudyOutcome(score=INF, gates=(Reason.VIEW,)),
            id="lateral that the scope refuses",
        ),
        pytest.param(
            [image(-3.0), UNREADABLE], StudyOutcome(score=INF, gates=(Reason.UNREADABLE,)), id="unreadable extra"
        ),
        pytest.param([UNREADABLE, UNREADABLE], StudyOutcome(score=INF, gates=(Reason.UNREADABLE,)), id="none readable"),
        pytest.param(
            [UNREADABLE, LATERAL],
            StudyOutcome(score=INF, gates=(Reason.UNREADABLE, Reason.VIEW)),
            id="companion of nothing",
        ),
        pytest.param(
            [image(0.0), image(0.0), image(0.0)], StudyOutcome(score=INF, gates=(Reason.IMAGES,)), id="more than may be"
        ),
        pytest.param(
            [image(0.0), LATERAL, LATERAL], StudyOutcome(score=INF, gates=(Reason.IMAGES,)), id="companions count"
        ),
        pytest.param([image(0.0), image(math.nan)], StudyOutcome(score=INF, gates=()), id="NaN"),
        pytest.param([image(math.nan), image(0.0)], StudyOutcome(score=INF, gates=()), id="NaN first"),
        pytest.param([image(-INF)], StudyOutcome(score=INF, gates=()), id="-inf"),
        pytest.param([image(-INF), image(1.0)], StudyOutcome(score=INF, gates=()), id="-inf beside a number"),
        pytest.param(
            [image(INF, Reason.STRANGE), image(1.0)], StudyOutcome(score=INF, gates=(Reason.STRANGE,)), id="strange"
        ),
    ],
)
def test_every_combination_of_images_has_its_outcome(images, expected):
    assert join_images(images, images_max=2) == expected


outcomes = st.builds(
    ImageOutcome,
    score=st.floats(),
    gates=st.lists(st.sampled_from(list(Reason)), max_size=2).map(tuple),
    is_companion=st.booleans(),
)


@settings(max_examples=100)
@given(st.lists(outcomes, max_size=5), outcomes, st.integers(1, 4))
def test_one_more_image_never_makes_a_study_look_healthier(images, extra, images_max):
    before, after = join_images(images, images_max), join_images([*images, extra], images_max)
    has_scored = any(not each.gates for each in images)
    if has_scored:
        assert after.score >= before.score
    assert not math.isnan(after.score)
    assert after.score > -math.inf
    assert (after.score == math.inf) or not after.gates
