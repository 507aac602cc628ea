"""Patients with different numbers of correlated studies: each promise holds in its own unit, and films are none.

A twentieth of the abnormal patients has ten studies each, and is six times as easily missed. Of each such patient all
studies have the same score, or all are independent, so that every true rate is known.
"""

from dataclasses import replace

import numpy as np
import pytest

from calibration.bounds import miss_rate_limit, misses_allowed
from calibration.terms import Group
from calibration.threshold import group_threshold
from calibration.units import abnormal_scores, draw_studies

PATIENTS, MANY, STUDIES, EASE, ALIKE = 16_000, 0.05, 10, 6.0, 0.8
LIMIT = miss_rate_limit(0.0005, 0.1, 0.5)
DELTA = 0.04


def true_rates(threshold: float) -> tuple[float, float]:
    """Return the miss rates per patient and per study at a threshold."""
    easy = min(1.0, EASE * threshold)
    many = ALIKE * easy + (1 - ALIKE) * (1 - (1 - easy) ** STUDIES)
    per_patient = (1 - MANY) * threshold + MANY * many
    per_study = ((1 - MANY) * threshold + MANY * STUDIES * easy) / (1 - MANY + MANY * STUDIES)
    return per_patient, per_study


@pytest.fixture
def population(generator, score_table_of):
    """Return the table of all studies, with a function that draws its scores anew."""
    many = np.arange(PATIENTS) < MANY * PATIENTS
    patient = np.repeat(np.arange(PATIENTS), np.where(many, STUDIES, 1))
    size = len(patient)
    table = score_table_of(
        patient=patient, site=np.zeros(size, int), abnormal=np.ones(size, bool), score=np.zeros(size)
    )
    first = np.concatenate([[True], patient[1:] != patient[:-1]])
    start = np.flatnonzero(first)[patient]

    def draw() -> np.ndarray:
        own = generator.random(size)
        alike = (generator.random(PATIENTS) < ALIKE)[patient]
        return np.where(alike, own[start], own) / np.where(many[patient], EASE, 1.0)

    return table, draw


def threshold_of(scores: np.ndarray) -> float:
    allowed = misses_allowed(len(scores), LIMIT, DELTA)
    assert allowed is not None
    return group_threshold(scores, allowed)


def check_units(population, limits, draws: int) -> None:
    table, draw = population
    chosen = {study: row for row, study in enumerate(table.study.to_pylist())}
    rows = np.array([chosen[study] for study in draw_studies(table, STUDIES, "salt").study.to_pylist()])
    few = table.patient.codes % 16 == 0  # a thousand patients: too few, but their films seem to be enough
    unsafe = {"patients": [0, 0], "studies": [0, 0], "films": [0, 0]}
    for _ in range(draws):
        score = draw()
        thresholds = {
            "patients": threshold_of(abnormal_scores(replace(table, score=score), Group())),
            "studies": threshold_of(score[rows]),
            "films": threshold_of(score[few]),
        }
        for unit, threshold in thresholds.items():
            for place, rate in enumerate(true_rates(threshold)):
                unsafe[unit][place] += rate > LIMIT
    limits.at_most(unsafe["patients"][0], draws, DELTA)
    limits.at_most(unsafe["studies"][1], draws, DELTA)
    limits.breaks(unsafe["films"][0], draws, DELTA)
    limits.breaks(unsafe["films"][1], draws, DELTA)
    limits.breaks(unsafe["patients"][1], draws, DELTA)  # and a promise per patient is none per study


def test_each_promise_holds_in_its_own_unit_and_films_break_both(population, limits) -> None:
    check_units(population, limits, 1000)


@pytest.mark.slow
def test_the_units_at_full_size(population, limits) -> None:
    check_units(population, limits, 5000)
