"""A site's own certificate: attempts, flags, thinning, and what nobody read."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from calibration.bounds import misses_allowed, upper_bound
from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN
from calibration.site_certificate import Attempt, Readings, certify_site

OPENS = datetime(2026, 3, 1, tzinfo=UTC)
ATTEMPT = Attempt(site="A", number=1, opens=OPENS, closes=OPENS + timedelta(days=90))


def readings(abnormal: int, healthy: int, **changes) -> Readings:
    """Return patients of one study each, all flagged, abnormal with the score 20 and healthy with 1."""
    size = abnormal + healthy
    columns = {
        "patient": np.arange(size),
        "accessioned": np.full(size, OPENS.timestamp()),
        "score": np.where(np.arange(size) < abnormal, 20.0, 1.0),
        "probability": np.ones(size),
        "draw": np.linspace(0.0, 0.999, size),
        "label": np.where(np.arange(size) < abnormal, ABNORMAL, HEALTHY).astype(np.int8),
    }
    return Readings(**{**columns, **changes})


def certified(evidence: Readings, terms, attempt: Attempt = ATTEMPT, **changes):
    return certify_site(evidence, attempt, threshold=10.0, terms=terms(**changes))


def test_the_first_attempt_spends_half_and_needs_more_patients_than_a_release(terms) -> None:
    needed = 1736  # at a prevalence of 0.1 and δ1/2; a release needs 1,429
    assert misses_allowed(needed, terms().miss_rate_limit, 0.02) == 0
    assert misses_allowed(needed - 1, terms().miss_rate_limit, 0.02) is None
    assert certified(readings(needed, 500), terms).certified
    assert not certified(readings(needed - 1, 500), terms).certified


def test_later_attempts_spend_less(terms) -> None:
    evidence = readings(1800, 500)
    first, second = (certified(evidence, terms, replace(ATTEMPT, number=number)) for number in (1, 2))
    assert (first.delta_miss_rate, first.delta_acceptance) == (0.02, 0.005)
    assert (second.delta_miss_rate, second.delta_acceptance) == (0.04 / 6, 0.01 / 6)
    assert first.certified
    assert not second.certified


def test_misses_beyond_the_allowed_fail_the_site(terms) -> None:
    score = np.full(3700, 20.0)
    score[2700:] = 1.0
    score[:2] = 9.0
    one_more = score.copy()
    one_more[2] = np.nextafter(10.0, 0.0)
    tied = score.copy()
    tied[2] = 10.0
    allowed = misses_allowed(2700, terms().miss_rate_limit, 0.02)
    assert allowed == 1
    for values, misses in ((score, 2), (one_more, 3), (tied, 2)):
        result = certified(readings(2700, 1000, score=values), terms)
        assert (result.misses, result.misses_allowed, result.certified) == (misses, 1, False)
        assert result.miss_rate_upper == upper_bound(misses, 2700, 0.02)
    score[1] = 10.0
    assert certified(readings(2700, 1000, score=score), terms).certified


def test_a_site_that_clears_too_few_of_its_healthy_fails(terms) -> None:
    score = np.full(2300, 20.0)
    score[2050:] = 1.0
    result = certified(readings(1800, 500, score=score), terms)
    assert (result.healthy_accepted, result.healthy_patients) == (250, 500)
    assert not result.certified


def test_a_flagged_patient_that_nobody_read_counts_as_a_miss_and_as_one_not_cleared(terms) -> None:
    label = readings(1800, 500).label.copy()
    label[[0, 2299]] = UNKNOWN
    result = certified(readings(1800, 500, label=label), terms)
    assert (result.abnormal_patients, result.misses) == (1801, 2)
    assert (result.healthy_patients, result.healthy_accepted) == (501, 499)
    assert result.unread == 2
    assert not result.certified


def test_whatever_was_read_without_a_flag_does_not_count(terms) -> None:
    # half of the patients were not flagged; among them all misses
    probability = np.where(np.arange(4600) % 2 == 0, 1.0, 0.2)
    draw = np.where(np.arange(4600) % 2 == 0, 0.1, 0.9)
    score = np.where(np.arange(4600) < 3600, 20.0, 1.0)
    score[1:100:2] = 1.0
    result = certified(readings(3600, 1000, probability=probability, draw=draw, score=score), terms)
    assert (result.abnormal_patients, result.misses, result.healthy_patients) == (1800, 0, 500)
    assert result.certified


def test_flagged_ones_are_thinned_to_the_least_probability() -> None:
    # q is 1 for IDKs and 0.25 for the cleared; a draw below 0.25 keeps either
    from calibration.site_certificate import _counted

    draw = (np.arange(1000) + 0.5) / 1000
    probability = np.where(np.arange(1000) % 2 == 0, 1.0, 0.25)
    kept = _counted(readings(500, 500, draw=draw, probability=probability), ATTEMPT)
    assert len(kept.patient) == 250
    assert kept.draw.max() < 0.25
    assert np.count_nonzero(kept.probability == 1.0) == 125


def test_the_window_is_by_accession_and_closed_at_its_start_only() -> None:
    from calibration.site_certificate import _counted

    times = np.array(
        [OPENS.timestamp() - 1, OPENS.timestamp(), ATTEMPT.closes.timestamp() - 1, ATTEMPT.closes.timestamp()]
    )
    assert _counted(readings(2, 2, accessioned=times), ATTEMPT).patient.tolist() == [1, 2]
    assert _counted(readings(0, 0), ATTEMPT).patient.tolist() == []


def test_a_patient_is_missed_through_any_study_and_cleared_by_all(terms) -> None:
    evidence = Readings(
        patient=np.array([1, 1, 2, 2, 3, 3, 4, 4, 5]),
        accessioned=np.full(9, OPENS.timestamp()),
        score=np.array([20.0, 1.0, 1.0, 20.0, 1.0, 1.0, 20.0, 1.0, np.nan]),
        probability=np.ones(9),
        draw=np.zeros(9),
        label=np.array([ABNORMAL, ABNORMAL, HEALTHY, HEALTHY, HEALTHY, HEALTHY, ABNORMAL, HEALTHY, ABNORMAL], np.int8),
    )
    result = certified(evidence, terms)
    assert (result.abnormal_patients, result.misses) == (3, 1)  # patient 4 was healthy when he was cleared
    assert (result.healthy_patients, result.healthy_accepted) == (2, 1)


def test_an_unread_study_of_an_abnormal_patient_is_taken_as_abnormal(terms) -> None:
    evidence = readings(2, 0, patient=np.array([7, 7]), draw=np.zeros(2), score=np.array([20.0, 1.0]))
    label = np.array([ABNORMAL, UNKNOWN], np.int8)
    result = certified(replace(evidence, label=label), terms)
    assert (result.abnormal_patients, result.misses, result.unread) == (1, 1, 0)


def test_readers_that_miss_what_is_accepted_tighten_the_limit(terms) -> None:
    evidence = readings(1800, 500)
    assert not certified(evidence, terms, replace(ATTEMPT, sensitivity_ratio=0.8)).certified
    result = certified(evidence, terms, replace(ATTEMPT, sensitivity_ratio=0.8))
    assert result.miss_rate_limit == pytest.approx(0.8 * terms().miss_rate_limit)


def test_no_readings_certify_nothing(terms) -> None:
    result = certified(readings(0, 0), terms, studies_max=1)
    assert not result.certified
    assert (result.miss_rate_upper, result.acceptance_lower) == (1.0, 0.0)


def test_more_studies_than_the_terms_allow_are_the_callers_mistake(terms) -> None:
    evidence = readings(2, 0, patient=np.array([7, 7]), draw=np.zeros(2))
    with pytest.raises(ValueError, match="a patient has 2 studies"):
        certified(evidence, terms, studies_max=1)
    assert certified(evidence, terms, studies_max=2).abnormal_patients == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"draw": np.array([1.0, 0.0])},
        {"draw": np.array([-0.1, 0.0])},
        {"probability": np.array([0.0, 1.0])},
        {"probability": np.array([1.1, 1.0])},
        {"score": np.zeros(3)},
        {"patient": np.array([1, 1]), "draw": np.array([0.1, 0.2])},
    ],
)
def test_readings_that_contradict_themselves_are_the_callers_mistake(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"."):
        readings(1, 1, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 0},
        {"closes": OPENS},
        {"opens": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"closes": datetime(2027, 1, 1)},  # noqa: DTZ001
        {"sensitivity_ratio": 0.0},
        {"sensitivity_ratio": 1.1},
    ],
)
def test_attempts_that_contradict_themselves_are_the_callers_mistake(changes: dict) -> None:
    with pytest.raises(ValueError, match=r"."):
        replace(ATTEMPT, **changes)


def test_a_result_is_canonical_json(terms) -> None:
    fields = json.loads(certified(readings(10, 10), terms).to_json())
    assert fields["attempt"]["opens"] == "2026-03-01T00:00:00Z"
    assert fields["certified"] is False
