"""A site certified from its own readings in autonomous mode: flags and thinning hold, whatever was read does not.

The cleared are audited with probability 0.2, all IDKs are read. Abnormal patients score uniformly, so that the true miss rate
at the threshold is known; it is just above the limit, so that every certificate is a false one.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.bounds import misses_allowed
from calibration.planning import spent
from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN
from calibration.site_certificate import Attempt, Readings, certify_site

OPENS = datetime(2026, 3, 1, tzinfo=UTC)
ATTEMPT = Attempt(site="A", number=1, opens=OPENS, closes=OPENS + timedelta(days=90))
SICK, WELL, AUDITED = 14_000, 2500, 0.2


def draw_readings(generator, threshold: float) -> Readings:
    size = SICK + WELL
    abnormal = np.arange(size) < SICK
    score = np.where(abnormal, generator.random(size), generator.random(size) * threshold * 1.1)
    probability = np.where(score < threshold, AUDITED, 1.0)
    draw = generator.random(size)
    label = np.where(abnormal, ABNORMAL, HEALTHY).astype(np.int8)
    return Readings(
        patient=np.arange(size),
        accessioned=np.full(size, OPENS.timestamp()),
        score=score,
        probability=probability,
        draw=draw,
        label=np.where(draw < probability, label, UNKNOWN).astype(np.int8),
    )


def passes_by_whatever_was_read(readings: Readings, threshold: float, limit: float, delta: float) -> bool:
    read = readings.label == ABNORMAL
    allowed = misses_allowed(int(read.sum()), limit, delta)
    return allowed is not None and int((read & (readings.score < threshold)).sum()) <= allowed


def check_readings(generator, limits, terms, draws: int) -> None:
    limit = terms().miss_rate_limit
    delta = spent(terms().delta_miss_rate, 1)
    allowed = np.array([misses_allowed(int(size), limit, terms().delta_miss_rate) for size in LOOKS])
    false = twice = whatever = looked = 0
    for _ in range(draws):
        readings = draw_readings(generator, limit * 1.001)
        false += certify_site(readings, ATTEMPT, threshold=limit * 1.001, terms=terms()).certified
        readings = draw_readings(generator, 2 * limit)
        twice += certify_site(readings, ATTEMPT, threshold=2 * limit, terms=terms()).certified
        whatever += passes_by_whatever_was_read(readings, 2 * limit, limit, delta)
        looked += sum(any_look_passes(generator, allowed, limit) for _ in range(5))
    limits.at_most(false, draws, delta)
    assert twice <= false
    limits.breaks(whatever, draws, 0.05)
    limits.breaks(looked, 5 * draws, 0.05)


#: When one may look, and how many misses pass there: from the first size that can be tested on.
LOOKS = np.arange(1429, SICK, 50)


def any_look_passes(generator, allowed: np.ndarray, limit: float) -> bool:
    """Say whether a site at the limit passes at any look, all read, without counting attempts."""
    misses = np.cumsum(generator.random(SICK) < limit * 1.001)
    return bool((misses[LOOKS - 1] <= allowed).any())


def test_flags_and_thinning_hold_and_whatever_was_read_does_not(generator, limits, terms) -> None:
    check_readings(generator, limits, terms, 200)


@pytest.mark.slow
def test_site_readings_at_full_size(generator, limits, terms) -> None:
    check_readings(generator, limits, terms, 3000)
