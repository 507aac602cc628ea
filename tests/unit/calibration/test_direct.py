"""The direct check: one attempt, of the planned size."""

import pytest

from calibration.direct import direct_check


def check(**changes):
    arguments = {"misses": 0, "cleared": 5990, "planned": 5990, "prevalence": 0.1, "alpha": 0.0005, "delta": 0.05}
    return direct_check(**{**arguments, **changes})


def test_it_passes_from_the_known_sizes_on() -> None:
    assert check().passed
    assert check(misses=1, cleared=9486, planned=9486).passed
    assert not check(misses=1).passed
    assert not check(cleared=5989, planned=5989).passed


def test_a_check_that_stops_early_or_goes_on_is_refused() -> None:
    with pytest.raises(ValueError, match="were to be checked"):
        check(cleared=6000)


def test_nothing_cleared_is_not_passed() -> None:
    result = check(cleared=0, planned=0)
    assert result.false_omission_upper == 1.0
    assert not result.passed
