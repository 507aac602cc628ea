"""From member logits and strangeness to one number per image, and from images to one per study.

The score is nonconformity with "healthy": higher is stranger, and only a score below the certified threshold can be healthy.
Whatever is not a number, or not finite, or stranger than the limit, is +inf, which is below nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from models.canonical import from_canonical_json, to_canonical_json
from models.vocabulary import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """How the members' logits become a score.

    Attributes
    ----------
    centre, scale : tuple of float
        One per member: its logit is read as ``(logit - centre) / scale``; ``scale`` > 0.
    disagreement_weight : float
        How many standard deviations between the members are added to their mean; at least 0.
    strangeness_limit : float
        A picture stranger than this has no score.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    disagreement_weight: float
    strangeness_limit: float

    def __post_init__(self) -> None:
        """Raise ValueError for parameters that cannot be meant."""
        if not self.centre or len(self.centre) != len(self.scale):
            raise ValueError(f"{len(self.centre)} centres and {len(self.scale)} scales; one each per member is needed")
        if not all(map(math.isfinite, (*self.centre, *self.scale))) or min(self.scale) <= 0:
            raise ValueError("centres must be finite, scales finite and above 0")
        if not 0 <= self.disagreement_weight < math.inf:
            raise ValueError(f"disagreement_weight is {self.disagreement_weight}; it is at least 0 and finite")
        if not math.isfinite(self.strangeness_limit):
            raise ValueError(f"strangeness_limit is {self.strangeness_limit}; it must be finite")

    def to_json(self) -> str:
        """Return the rule as canonical JSON."""
        return to_canonical_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the rule that a JSON text holds; DataError if it does not hold one."""
        return from_canonical_json(cls, text)


def is_strange(strangeness: float, rule: ScoreRule) -> bool:
    """Say whether a picture is too unlike the training films to be scored; what is no finite number is strange."""
    return not (math.isfinite(strangeness) and strangeness <= rule.strangeness_limit)


def score_image(logits: ArrayLike, strangeness: float, rule: ScoreRule) -> float:
    """Return the score of one image.

    Parameters
    ----------
    logits : array_like, shape (members,)
        What each member says; higher is more abnormal.
    strangeness : float
        Distance of the picture from the training films.
    rule : ScoreRule
        The parameters.

    Returns
    -------
    float
        ``mean(z) + disagreement_weight * std(z)`` with ``z = (logit - centre) / scale`` in float64, or +inf where a logit is
        not finite or the picture is strange. Never NaN, never -inf.

    Raises
    ------
    ValueError
        If the number of logits is not that of the rule's members.

    Examples
    --------
    >>> rule = ScoreRule(centre=(0.0, 1.0), scale=(1.0, 2.0), disagreement_weight=1.0, strangeness_limit=10.0)
    >>> score_image([1.0, 3.0], 5.0, rule)
    1.0
    >>> score_image([1.0, 3.0], 11.0, rule)
    inf
    """
    values = np.asarray(logits, dtype=np.float64)
    if values.shape != (len(rule.centre),):
        raise ValueError(f"logits of shape {values.shape} for a rule of {len(rule.centre)} members")
    if is_strange(strangeness, rule) or not np.isfinite(values).all():
        return math.inf
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no score
        z = (values - np.array(rule.centre)) / np.array(rule.scale)
        score = float(z.mean() + rule.disagreement_weight * z.std())
    return score if math.isfinite(score) else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutcome:
    """What came of one image of a study.

    Attributes
    ----------
    score : float
        As ``score_image`` gives it; anything where there are gates.
    gates : tuple of Reason
        Why it could not be read or is out of scope; empty: nothing against it.
    is_companion : bool
        The scope sets such an image aside beside one that is scored (see ``models.scope.is_companion``).
    """

    score: float
    gates: tuple[Reason, ...] = ()
    is_companion: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOutcome:
    """What comes of a study: its score, +inf where a gate failed, and the gates."""

    score: float
    gates: tuple[Reason, ...]


def join_images(images: Sequence[ImageOutcome], images_max: int) -> StudyOutcome:
    """Return what a study of these images scores; doubt in one is doubt in all.

    Parameters
    ----------
    images : sequence of ImageOutcome
        All images that the study has, in any order.
    images_max : int
        From the scope: the most images that a study may have, companions included.

    Returns
    -------
    StudyOutcome
        Gates in the order of ``Reason``, each once.

    Notes
    -----
    ==============================================  ===========================================================
    the study has                                   outcome
    ==============================================  ===========================================================
    no image                                        gate ``no_image``, +inf
    one image, nothing against it                   its score
    several, nothing against any                    the greatest score
    an image in scope and companions                the score of the image in scope; companions are set aside
    companions only                                 their gates, +inf
    an image that is unreadable or out of scope     its gates, +inf, whatever the other images are
    more than ``images_max`` images                 gate ``out_of_scope_number_of_images``, +inf, beside the others
    no image that could be scored                   the gates of all, +inf
    a score that is NaN or -inf                     +inf (no number is below a threshold)
    ==============================================  ===========================================================
    """
    scored = [image for image in images if not image.gates]
    asked = [image for image in images if not (image.is_companion and scored)]
    found = {gate for image in asked for gate in image.gates}
    if not images:
        found.add(Reason.NO_IMAGE)
    if len(images) > images_max:
        found.add(Reason.IMAGES)
    gates = tuple(reason for reason in Reason if reason in found)
    if gates:
        return StudyOutcome(score=math.inf, gates=gates)
    # A maximum over NaN would depend on the order of the images; -inf would pass every threshold.
    numbers = [image.score if image.score > -math.inf else math.inf for image in scored]
    return StudyOutcome(score=max(numbers), gates=())
