"""A site nobody has seen: the least threshold over exchangeable sites is safe there as often as promised, shortcuts are not."""

import pytest
from scipy import special

from calibration.bounds import miss_rate_limit, misses_allowed
from calibration.threshold import group_threshold

SITES, PATIENTS, DELTA = 9, 1500, 0.04
PROMISED = 1 / (SITES + 1) + DELTA
LIMIT = miss_rate_limit(0.0005, 0.1, 0.5)


def check_new_sites(generator, limits, draws: int, spread: float) -> tuple[int, int]:
    """Assert that the least threshold is safe at a new site; return how often two shortcuts are not."""
    allowed, pooled_allowed = (misses_allowed(n, LIMIT, DELTA) for n in (PATIENTS, SITES * PATIENTS))
    assert allowed is not None
    assert pooled_allowed is not None
    least = dropped = pooled = 0
    for _ in range(draws):
        ease = generator.normal(scale=spread, size=SITES + 1)  # how high the abnormal of a site score; the last is new
        scores = generator.normal(size=(SITES, PATIENTS)) + ease[:SITES, None]
        found = sorted(group_threshold(site, allowed) for site in scores)

        def is_unsafe(threshold: float, new: float = ease[-1]) -> bool:
            return bool(special.ndtr(threshold - new) > LIMIT)

        least += is_unsafe(found[0])
        dropped += is_unsafe(found[1])
        pooled += is_unsafe(group_threshold(scores.ravel(), pooled_allowed))
    limits.at_most(least, draws, PROMISED)
    return dropped, pooled


def test_among_like_sites_a_pooled_threshold_is_unsafe_at_a_new_one_far_too_often(generator, limits) -> None:
    _, pooled = check_new_sites(generator, limits, 800, spread=0.4)
    limits.breaks(pooled, 800, PROMISED)


def test_among_unlike_sites_dropping_the_lowest_breaks_the_promise_to_a_new_one(generator, limits) -> None:
    dropped, _ = check_new_sites(generator, limits, 2500, spread=10.0)
    limits.breaks(dropped, 2500, PROMISED)


@pytest.mark.slow
def test_new_sites_at_full_size(generator, limits) -> None:
    _, pooled = check_new_sites(generator, limits, 8000, spread=0.4)
    dropped, _ = check_new_sites(generator, limits, 8000, spread=10.0)
    limits.breaks(pooled, 8000, PROMISED)
    limits.breaks(dropped, 8000, PROMISED)
