"""The auditor's page."""

import pytest

from calibration.evaluation import Kind, check_directly, evaluate
from calibration.terms import Unit
from models.errors import DataError

SICK = {"label": "abnormal"}


@pytest.fixture
def mixed(table):
    return table(
        {**SICK, "site": "A", "stratum": "mass", "score": 2.0},
        {**SICK, "site": "B", "stratum": "", "score": 5.0},
        {"site": "A", "score": 1.0},
        {"site": "A", "score": float("nan")},
        {"site": "B", "score": 3.0},
        {"site": "C", "label": "", "score": 0.0},
    )


def test_there_is_a_row_for_everything_each_site_and_each_named_stratum(mixed) -> None:
    reports = evaluate(mixed, threshold=2.5, delta=0.05)
    assert [(r.kind, r.name, r.abnormal, r.healthy, r.without_score) for r in reports] == [
        (Kind.ALL, "all", 2, 3, 1),
        (Kind.SITE, "A", 1, 2, 1),
        (Kind.SITE, "B", 1, 1, 0),
        (Kind.STRATUM, "mass", 1, 3, 1),
    ]
    assert [r.point.miss_rate.count for r in reports if r.point] == [1, 1, 0, 1]
    assert [r.point.coverage.count for r in reports if r.point] == [2, 2, 0, 2]


def test_without_a_threshold_there_is_no_operating_point(mixed) -> None:
    assert all(report.point is None for report in evaluate(mixed, threshold=None, delta=0.05))


def test_a_site_without_abnormal_has_no_zero_miss_threshold(table) -> None:
    reports = evaluate(table({}, {**SICK, "site": "B"}), threshold=None, delta=0.05)
    assert [report.zero is None for report in reports] == [False, True, False, False]


def test_studies_are_counted_by_one_of_each_drawn_patient(table) -> None:
    built = table(*({"patient": f"p{i // 4}"} for i in range(400)))
    (everything, _) = evaluate(built, threshold=None, delta=0.05, unit=Unit.STUDY)
    assert everything.healthy == 100
    (everything, _) = evaluate(built, threshold=None, delta=0.05, unit=Unit.PATIENT)
    assert everything.healthy == 100


def test_without_labels_there_is_nothing_to_evaluate(table) -> None:
    with pytest.raises(DataError, match="no study of these has a label"):
        evaluate(table({"label": ""}), threshold=None, delta=0.05)


def test_the_direct_check_takes_the_first_cleared_patients_in_the_order_of_their_first_studies(mixed) -> None:
    result = check_directly(mixed, threshold=4.0, planned=2, alpha=0.0005, delta=0.05)
    assert (result.misses, result.cleared, result.prevalence) == (1, 2, 0.4)
    with pytest.raises(DataError, match="3 labelled patients are cleared, fewer than the 4"):
        check_directly(mixed, threshold=4.0, planned=4, alpha=0.0005, delta=0.05)
