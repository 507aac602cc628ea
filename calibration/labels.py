"""Labels are noisy: what to have read again, and what may be said of the cleared after it.

Against labels mined from reports readers agree 65–80 %. Looking only at the apparent errors can only lower their number, so
it proves nothing. The review has every apparent miss *and* a blind random sample of the cleared that are labelled healthy, mixed
with decoys (abnormal that were not cleared), in random order; who reads it does not learn which is which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from calibration.bounds import upper_bound
from calibration.canonical import Fields, canonical
from calibration.scores import ABNORMAL, HEALTHY, ScoreTable
from calibration.units import decided_patients
from models.errors import DataError


class Role(StrEnum):
    """Why a case is on the review list; readers do not see it."""

    #: Cleared, and labelled abnormal: all of them.
    APPARENT_MISS = "apparent_miss"
    #: Cleared, and labelled healthy: a random sample.
    CLEARED = "cleared"
    #: Not cleared, and labelled abnormal: keeps readers from expecting nothing.
    DECOY = "decoy"


class Verdict(StrEnum):
    """What a blind reading says of a case."""

    #: A finding. So is a case that cannot be assessed: doubt counts against us.
    ABNORMAL = "abnormal"
    #: No finding.
    HEALTHY = "healthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A patient on the review list.

    Attributes
    ----------
    number : int
        From 1, in the order of reading: all that a reader sees, beside the studies.
    studies : tuple of str
        His cleared studies, for a decoy all of them.
    site : str
        Of the first of them.
    role : Role
        Kept from the readers.
    """

    number: int
    studies: tuple[str, ...]
    site: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A review list, and how much it stands for.

    Attributes
    ----------
    cases : tuple of Case
        In random order.
    labelled_abnormal, labelled_healthy : int
        n_A and n_B: the cleared patients, by label; n = n_A + n_B.
    """

    cases: tuple[Case, ...]
    labelled_abnormal: int
    labelled_healthy: int

    def to_json(self) -> str:
        """Return the review, roles included, as canonical JSON: the key that readers do not see."""
        cases = [{**asdict(case), "studies": list(case.studies)} for case in self.cases]
        return canonical({**asdict(self), "cases": cases})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewBounds:
    """What a review shows of the cleared.

    Attributes
    ----------
    confirmed, found : int
        k_A of n_A apparent misses, k_B of the m sampled.
    sampled : int
        m.
    cleared : int
        n.
    false_omission_upper : float
        Bound on the rate of abnormal among patients who would be cleared.
    share_upper : float
        Bound on the share of abnormal among just these n.
    """

    confirmed: int
    found: int
    sampled: int
    cleared: int
    false_omission_upper: float
    share_upper: float


def plan_review(
    table: ScoreTable, threshold: float, *, sample: int, decoys: int, generator: np.random.Generator
) -> Review:
    """Draw a review list.

    Parameters
    ----------
    table : ScoreTable
        Of the studies that were decided; unlabelled ones are left out.
    threshold : float
        That they were decided with. A healthy patient is cleared if all his studies are, an abnormal one is missed if any is.
    sample : int
        m: how many of the cleared that are labelled healthy are read; all, if there are fewer.
    decoys : int
        How many abnormal that were not cleared are mixed in; all, if there are fewer.
    generator : numpy.random.Generator
        Draws sample, decoys and order.
    """
    label, cleared = decided_patients(table, threshold)
    missed = np.flatnonzero((label == ABNORMAL) & cleared)
    healthy = np.flatnonzero((label == HEALTHY) & cleared)
    caught = np.flatnonzero((label == ABNORMAL) & ~cleared)
    chosen = [
        *((int(code), Role.APPARENT_MISS) for code in missed),
        *((int(code), Role.CLEARED) for code in generator.choice(healthy, min(sample, len(healthy)), replace=False)),
        *((int(code), Role.DECOY) for code in generator.choice(caught, min(decoys, len(caught)), replace=False)),
    ]
    rows = _rows_of([code for code, _ in chosen], table.patient.codes)
    cases: list[Case] = []
    for number, place in enumerate(generator.permutation(len(chosen)), start=1):
        code, role = chosen[int(place)]
        shown = [row for row in rows[code] if role is Role.DECOY or table.score[row] < threshold]
        names = tuple(table.study_at(row) for row in shown)
        cases.append(
            Case(number=number, studies=names, site=table.site.name_of(int(table.site.codes[shown[0]])), role=role)
        )
    return Review(cases=tuple(cases), labelled_abnormal=len(missed), labelled_healthy=len(healthy))


def review_from_json(text: str) -> Review:
    """Return the review that a JSON text holds; DataError if it holds none."""
    fields = Fields.of_text(text, "review")
    cases: list[Case] = []
    for item in fields.objects("cases"):
        case = Case(
            number=item.count("number"),
            studies=item.texts("studies"),
            site=item.text("site"),
            role=item.choice("role", Role),
        )
        item.end()
        cases.append(case)
    review = Review(
        cases=tuple(cases),
        labelled_abnormal=fields.count("labelled_abnormal"),
        labelled_healthy=fields.count("labelled_healthy"),
    )
    fields.end()
    return review


def review_bounds(review: Review, verdicts: Mapping[int, Verdict], delta: float) -> ReviewBounds:
    """Return what the verdicts on a review list show.

    Parameters
    ----------
    review : Review
        As drawn.
    verdicts : mapping of int to Verdict
        One for each case, by its number.
    delta : float
        Each of the two bounds fails with at most this probability.

    Raises
    ------
    DataError
        If a case has no verdict: all of the apparent misses and all of the sample must be read.

    Notes
    -----
    The rate is the sum of two: cleared, labelled abnormal and truly so (k_A of n), and cleared, labelled healthy and truly
    abnormal (at most k_B of m), each bounded at δ/2. The share among just these n needs one bound only, on how many of the n_B
    are abnormal when k_B of m drawn without replacement are.
    """
    numbers = {case.number for case in review.cases}
    if missing := sorted(numbers - verdicts.keys()):
        raise DataError(f"case {missing[0]} has no verdict; every case of the list must be read")
    if unknown := sorted(verdicts.keys() - numbers):
        raise DataError(f"case {unknown[0]} is not on the review list")
    confirmed = sum(verdicts[c.number] is Verdict.ABNORMAL for c in review.cases if c.role is Role.APPARENT_MISS)
    sampled = [verdicts[c.number] for c in review.cases if c.role is Role.CLEARED]
    found = sum(verdict is Verdict.ABNORMAL for verdict in sampled)
    return adjudicated_bounds(
        confirmed=confirmed,
        labelled_abnormal=review.labelled_abnormal,
        found=found,
        sampled=len(sampled),
        labelled_healthy=review.labelled_healthy,
        delta=delta,
    )


def adjudicated_bounds(
    *, confirmed: int, labelled_abnormal: int, found: int, sampled: int, labelled_healthy: int, delta: float
) -> ReviewBounds:
    """Return the bounds from the counts of a review.

    Parameters
    ----------
    confirmed, labelled_abnormal : int
        k_A of n_A.
    found, sampled, labelled_healthy : int
        k_B of m, drawn from n_B.
    delta : float
        In (0, 1).

    Examples
    --------
    >>> bounds = adjudicated_bounds(
    ...     confirmed=1, labelled_abnormal=4, found=0, sampled=3000, labelled_healthy=20000, delta=0.05
    ... )
    >>> round(bounds.false_omission_upper, 6), round(bounds.share_upper, 6)
    (0.001507, 0.00095)
    """
    if not (0 <= confirmed <= labelled_abnormal and 0 <= found <= sampled <= labelled_healthy):
        raise ValueError(
            "counts must nest: confirmed in labelled_abnormal, found in sampled, sampled in labelled_healthy"
        )
    cleared = labelled_abnormal + labelled_healthy
    of_abnormal = upper_bound(confirmed, cleared, delta / 2)
    of_healthy = upper_bound(found, sampled, delta / 2)
    share = 1.0
    if cleared:
        share = (confirmed + _abnormal_at_most(found, sampled, labelled_healthy, delta)) / cleared
    return ReviewBounds(
        confirmed=confirmed,
        found=found,
        sampled=sampled,
        cleared=cleared,
        false_omission_upper=min(1.0, of_abnormal + of_healthy),
        share_upper=share,
    )


def relative_to_reference(rate_upper: float, sensitivity_lower: float) -> float:
    """Return the bound on the true rate, given one on the rate that an imperfect reference sees.

    Parameters
    ----------
    rate_upper : float
        Bound on the false omission rate as the reference sees it.
    sensitivity_lower : float
        Lower bound on the reference's sensitivity on *accepted* abnormal, in (0, 1]; lower than its overall sensitivity, since
        readers and network miss the same films.

    Examples
    --------
    >>> relative_to_reference(0.0005, 0.5)
    0.001
    """
    if not 0.0 < sensitivity_lower <= 1.0:
        raise ValueError(f"a sensitivity lies in (0, 1], not {sensitivity_lower}")
    return min(1.0, rate_upper / sensitivity_lower)


def _abnormal_at_most(found: int, sampled: int, population: int, delta: float) -> int:
    """Return the largest number D of abnormal in a population with P(X <= found) > delta, X ~ Hypergeometric(D)."""
    lowest, highest = found, population - (sampled - found)  # what was seen to be healthy is not abnormal
    while lowest < highest:
        middle = (lowest + highest + 1) // 2
        if float(stats.hypergeom.cdf(found, population, middle, sampled)) > delta:  # pyright: ignore[reportUnknownMemberType]
            lowest = middle
        else:
            highest = middle - 1
    return lowest


def _rows_of(chosen: Sequence[int], codes: NDArray[np.int64]) -> dict[int, list[int]]:
    rows: dict[int, list[int]] = {code: [] for code in chosen}
    for row in np.flatnonzero(np.isin(codes, list(chosen))):
        rows[int(codes[row])].append(int(row))
    return rows
