"""Patients, not films, are the units; and drawn studies are drawn fairly."""

from collections import Counter

import numpy as np
import pytest

from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN
from calibration.terms import Group
from calibration.threshold import count_accepted
from calibration.units import abnormal_scores, decided_patients, draw_studies, healthy_scores, studies_per_patient
from models.errors import DataError

SICK = {"label": "abnormal"}


def test_an_abnormal_patient_scores_the_least_of_his_studies_and_a_healthy_one_the_greatest(table) -> None:
    built = table(
        {**SICK, "patient": "p", "score": 3.0},
        {**SICK, "patient": "p", "score": 1.0},
        {"patient": "q", "score": 3.0},
        {"patient": "q", "score": 1.0},
    )
    assert abnormal_scores(built, Group()).tolist() == [1.0]
    assert healthy_scores(built, None).tolist() == [3.0]


def test_a_nan_study_does_not_make_a_patient_look_safe(table) -> None:
    built = table(
        {**SICK, "patient": "p", "score": np.nan},
        {**SICK, "patient": "p", "score": 0.5},
        {**SICK, "patient": "q", "score": -np.inf},
        {"patient": "h", "score": np.nan},
        {"patient": "h", "score": 0.1},
    )
    scores = abnormal_scores(built, Group())
    assert sorted(scores) == [0.5, np.inf]
    assert count_accepted(scores, 1.0) == 1  # p is missed through his other study
    assert healthy_scores(built, None).tolist() == [np.inf]


def test_four_films_of_one_patient_are_one_patient(table) -> None:
    built = table(*({**SICK, "patient": "p", "score": float(i)} for i in range(4)))
    assert len(abnormal_scores(built, Group(site="A"))) == 1
    assert studies_per_patient(built) == 4


def test_a_group_has_its_own_patients_and_no_others(table) -> None:
    built = table(
        {**SICK, "patient": "p", "site": "A", "stratum": "mass", "score": 5.0},
        {**SICK, "patient": "p", "site": "A", "stratum": "effusion", "score": 4.0},
        {**SICK, "patient": "p", "site": "B", "stratum": "effusion", "score": 1.0},
        {**SICK, "patient": "q", "site": "B", "stratum": "mass", "score": 7.0},
        {"site": "A", "score": 2.0},
        {"site": "B", "score": 3.0},
    )
    assert abnormal_scores(built, Group(site="A")).tolist() == [4.0]
    assert sorted(abnormal_scores(built, Group(site="B"))) == [1.0, 7.0]
    assert sorted(abnormal_scores(built, Group(stratum="mass"))) == [1.0, 7.0]  # p is missed through his effusion too
    assert abnormal_scores(built, Group(site="A", stratum="mass")).tolist() == [4.0]
    assert abnormal_scores(built, Group(site="C")).tolist() == []
    assert abnormal_scores(built, Group(stratum="hernia")).tolist() == []
    assert healthy_scores(built, "A").tolist() == [2.0]
    assert healthy_scores(built, "C").tolist() == []


def test_a_patient_is_called_healthy_by_any_study_if_abnormal_and_by_all_if_not(table) -> None:
    built = table(
        {**SICK, "patient": "a", "score": 0.0},
        {**SICK, "patient": "a", "score": 9.0},
        {"patient": "b", "score": 0.0},
        {"patient": "b", "score": 9.0},
        {"patient": "c", "score": 0.0},
        {"patient": "d", "label": "", "score": 0.0},
    )
    label, cleared = decided_patients(built, 1.0)
    assert label.tolist() == [ABNORMAL, HEALTHY, HEALTHY, UNKNOWN]
    assert cleared.tolist() == [True, False, True, True]
    _, cleared = decided_patients(built.where(built.label != HEALTHY), 1.0)
    assert cleared.tolist() == [True, False, False, True]  # patients without a row are not called anything


def test_a_tie_with_the_threshold_is_not_called_healthy(table) -> None:
    built = table(
        {**SICK, "patient": "a", "score": 1.0}, {"patient": "b", "score": 1.0}, {"patient": "c", "score": 0.5}
    )
    assert decided_patients(built, 1.0)[1].tolist() == [False, False, True]


def test_every_study_is_drawn_with_the_same_probability(table) -> None:
    rows = [{"patient": f"p{p}", "study": f"p{p}-{s}"} for p in range(3) for s in range(p + 1)]
    built = table(*rows)
    drawn: Counter[str] = Counter()
    for salt in range(6000):
        sample = draw_studies(built, 3, str(salt))
        assert studies_per_patient(sample) <= 1
        drawn.update(sample.study.to_pylist())
    for row in rows:
        assert drawn[row["study"]] == pytest.approx(2000, abs=4 * 36.6)  # 1/3 each, four standard deviations


def test_the_same_salt_draws_the_same_studies_in_any_order_of_rows(columns, generator) -> None:
    from calibration.scores import score_table

    rows = columns(*({"patient": f"p{i % 7}", "score": float(i)} for i in range(28)))
    one = draw_studies(score_table(rows), 4, "salt")
    other = draw_studies(score_table(rows.take(generator.permutation(28))), 4, "salt")
    assert one.digest() == other.digest()
    assert one.digest() != draw_studies(score_table(rows), 4, "pepper").digest()


def test_with_one_study_each_and_a_maximum_of_one_everything_is_drawn(table) -> None:
    built = table(*({} for _ in range(20)))
    assert draw_studies(built, 1, "").digest() == built.digest()


def test_more_studies_than_fixed_beforehand_are_an_error(table) -> None:
    with pytest.raises(DataError, match="patient 'p' has 3 studies, more than the 2"):
        draw_studies(table(*({"patient": "p"} for _ in range(3)), {}), 2, "")
