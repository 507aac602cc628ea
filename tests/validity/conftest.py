"""Exact binomial limits: a simulation agrees with a probability, stays below it, or visibly breaks it.

Seeds are fixed, so that a run is the same every time; the limits are such that an honest implementation with another seed
would fail one test in a million.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from calibration.columns import Keys
from calibration.scores import ABNORMAL, HEALTHY, ScoreTable
from calibration.terms import Terms

#: Probability that chance alone breaks a limit.
CHANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Assertions on a count out of a number of draws."""

    def agree(self, count: int, draws: int, probability: float) -> None:
        """Assert that a count is what a probability gives."""
        low, high = stats.binom.ppf([CHANCE / 2, 1 - CHANCE / 2], draws, probability)
        assert low <= count <= high, f"{count} of {draws} is not {probability:.4f}: limits {low:.0f} to {high:.0f}"

    def at_most(self, count: int, draws: int, probability: float) -> None:
        """Assert that a count does not speak against a probability of at most so much."""
        high = stats.binom.ppf(1 - CHANCE, draws, probability)
        assert count <= high, f"{count} of {draws} is more than {probability:.4f}: limit {high:.0f}"

    def breaks(self, count: int, draws: int, probability: float) -> None:
        """Assert that a count shows a probability above so much: the positive control."""
        high = stats.binom.ppf(1 - CHANCE, draws, probability)
        assert count > high, f"the control shows nothing: {count} of {draws} may be {probability:.4f}"


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits()


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20261121)


@pytest.fixture
def terms():
    def build(**changes) -> Terms:
        dates = {"issued": datetime(2026, 1, 1, tzinfo=UTC), "expires": datetime(2027, 1, 1, tzinfo=UTC)}
        return Terms(**{"max_prevalence": 0.1, "min_healthy_acceptance": 0.5, **dates, **changes})

    return build


def name_keys(prefix: str, codes: np.ndarray) -> Keys:
    """Return keys of coded names, padded so that their order is that of the codes."""
    names = [f"{prefix}{code:07}" for code in range(int(codes.max(initial=-1)) + 1)]
    return Keys(names=pa.array(names, pa.large_string()), codes=codes.astype(np.int64))


@pytest.fixture
def score_table_of():
    """Return a function that makes a score table from arrays: patient and site codes, labels and scores."""

    def build(*, patient: np.ndarray, site: np.ndarray, abnormal: np.ndarray, score: np.ndarray) -> ScoreTable:
        size = len(score)
        return ScoreTable(
            study=pa.array([f"s{i:07}" for i in range(size)], pa.large_string()),
            patient=name_keys("p", patient),
            site=name_keys("h", site),
            stratum=Keys(names=pa.array([""], pa.large_string()), codes=np.zeros(size, np.int64)),
            label=np.where(abnormal, ABNORMAL, HEALTHY).astype(np.int8),
            score=score.astype(np.float64),
            split=None,
            candidate=None,
            scope=None,
        )

    return build
