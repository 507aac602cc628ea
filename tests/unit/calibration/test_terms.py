"""Terms that contradict themselves do not exist."""

from datetime import datetime

import pytest

from calibration.terms import Group, Unit


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.0},
        {"max_prevalence": 1.0},
        {"min_healthy_acceptance": 0.0},
        {"delta_miss_rate": 0.0},
        {"delta_acceptance": 1.0},
        {"delta_miss_rate": 0.6, "delta_acceptance": 0.4},
        {"issued": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"expires": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"expires": None},
        {"unit": Unit.STUDY},
        {"studies_max": 0},
        {"sites": ()},
        {"sites": ("A", "A")},
        {"strata": ("",)},
    ],
)
def test_terms_that_contradict_themselves_are_refused(terms, changes: dict) -> None:
    if changes.get("expires", "") is None:
        changes = {"expires": terms().issued}
    with pytest.raises(ValueError, match=r"."):
        terms(**changes)


def test_delta_is_the_sum_of_its_parts(terms) -> None:
    assert terms().delta == 0.05


def test_a_group_is_called_by_its_site_and_stratum() -> None:
    assert Group(site="A").name == "A"
    assert Group(stratum="mass").name == "mass"
    assert Group(site="A", stratum="mass").name == "A × mass"
    assert Group().name == "all"
