"""A film depends on seed, site and index alone, and its truth is known."""

from collections import Counter

import numpy as np
import pytest

from models.vocabulary import Label
from training.phantoms.anatomy import ENLARGED_RATIO, HEALTHY_RATIO, heart_borders, line_integral
from training.phantoms.detectability import CONTRAST_FLOOR, DETECTABILITY_FLOOR
from training.phantoms.film import build, generator, least_area_mm2, make, phantom, truth
from training.phantoms.findings import draw_finding
from training.phantoms.sites import SITES, Kind

SIZE = 128


def test_a_film_does_not_depend_on_the_films_before_it():
    alone = phantom(7, "site-02", 5, SIZE, prevalence=0.5)
    for index in (0, 9, 3):
        phantom(7, "site-02", index, SIZE, prevalence=0.5)
    again = phantom(7, "site-02", 5, SIZE, prevalence=0.5)
    assert np.array_equal(alone.stored, again.stored)
    assert np.array_equal(alone.mask, again.mask)
    assert alone.severity == again.severity


@pytest.mark.parametrize("other", [(8, "site-02", 5), (7, "site-03", 5), (7, "site-02", 6)])
def test_seed_site_and_index_each_make_another_patient(other):
    first, second = build(7, SITES["site-02"], 5, SIZE), build(other[0], SITES[other[1]], other[2], SIZE)
    assert first.patient != second.patient


@pytest.mark.parametrize("site", SITES)
def test_every_site_makes_a_film_within_its_bits_that_uses_them(site):
    film = make(7, SITES[site], 1, SIZE, None)
    assert film.bits == SITES[site].formation.bits
    assert film.stored.max() <= 2**film.bits - 1
    assert np.ptp(film.pixels) > 0.7
    assert film.pixels.min() >= 0
    assert film.pixels.max() <= 1


@pytest.mark.parametrize("site", SITES)
def test_lungs_are_darker_than_heart_whatever_the_polarity(site):
    film = make(7, SITES[site], 2, SIZE, None)
    anatomy = build(7, SITES[site], 2, SIZE)
    lung = (anatomy.cavity_mm > 0.7 * anatomy.patient.depth) & (anatomy.silhouette == 0)
    lung &= anatomy.plane.y < anatomy.diaphragm_y - 10
    heart = (anatomy.silhouette > 0.8) & (anatomy.plane.y > anatomy.patient.apex + 0.6 * anatomy.patient.height)
    assert film.pixels[lung].mean() + 0.15 < film.pixels[heart].mean()


def test_a_healthy_film_has_no_finding():
    film = make(7, SITES["site-01"], 3, SIZE, None)
    assert film.label is Label.HEALTHY
    assert film.stratum == ""
    assert film.severity is None
    assert not film.mask.any()


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("site", ["site-01", "site-06", "site-13", "site-16"])
def test_every_finding_clears_the_floors(kind, site):
    film = make(7, SITES[site], 4, SIZE, kind)
    assert film.label is Label.ABNORMAL
    assert film.stratum == kind
    assert film.severity is not None
    assert film.severity >= DETECTABILITY_FLOOR
    assert film.contrast is not None
    assert film.contrast >= CONTRAST_FLOOR
    assert film.mask.sum() * (film.field_mm / SIZE) ** 2 >= least_area_mm2(kind)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("index", range(4))
def test_the_mask_is_where_the_finding_changed_the_patient(kind, index):
    anatomy = build(7, SITES["site-01"], index, SIZE)
    healthy = line_integral(anatomy)
    finding = draw_finding(generator(7, "site-01", index, "finding 0"), kind, anatomy, grade=1)
    change = np.abs(finding.integral - healthy)
    assert change[finding.mask].sum() > 0.6 * change.sum()
    assert change[finding.mask].mean() > 4 * change[~finding.mask].mean()
    # Drawing a finding leaves the patient healthy.
    assert np.array_equal(line_integral(anatomy), healthy)


@pytest.mark.parametrize("kind", [Kind.NODULE, Kind.MASS, Kind.CONSOLIDATION, Kind.EFFUSION, Kind.HILAR_ENLARGEMENT])
def test_opacities_are_brighter_and_a_pneumothorax_is_darker(kind):
    site = SITES["site-01"]
    healthy, film = make(7, site, 4, SIZE, None), make(7, site, 4, SIZE, kind)
    assert (film.pixels - healthy.pixels)[film.mask].mean() > 0.05
    air = make(7, site, 4, SIZE, Kind.PNEUMOTHORAX)
    assert (air.pixels - healthy.pixels)[air.mask].mean() < -0.05


def test_no_heart_lies_between_healthy_and_enlarged():
    ratios = []
    for index in range(60):
        anatomy = build(7, SITES["site-02"], index, 64)
        patient = anatomy.patient
        right, left = heart_borders(patient, anatomy.plane.y, ratio=patient.heart_ratio)
        drawn = float((left + right).max()) / (2 * patient.half_width)
        assert drawn == pytest.approx(patient.heart_ratio, rel=0.02)
        assert patient.heart_ratio <= HEALTHY_RATIO[patient.view]
        ratios.append(patient.heart_ratio)
    assert max(ratios) + 0.08 <= ENLARGED_RATIO


@pytest.mark.parametrize("prevalence", [0.0, 0.1, 0.5, 1.0])
def test_prevalence_is_honoured_in_every_stretch_of_films(prevalence):
    for start in (0, 137):
        kinds = [
            truth(7, SITES["site-03"], i, prevalence=prevalence, balanced=False) for i in range(start, start + 200)
        ]
        assert abs(sum(kind is not None for kind in kinds) - 200 * prevalence) <= 1


def test_balanced_kinds_take_turns():
    kinds = [truth(7, SITES["site-04"], i, prevalence=0.5, balanced=True) for i in range(400)]
    counts = Counter(kind for kind in kinds if kind is not None)
    assert set(counts) == set(Kind)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_sites_own_mix_is_followed():
    kinds = [truth(7, SITES["site-04"], i, prevalence=1, balanced=False) for i in range(3000)]
    counts = Counter(kinds)
    # Cardiomegaly and effusion twice as often as the other eight: 2 of 12 against 1 of 12.
    assert counts[Kind.EFFUSION] / 3000 == pytest.approx(2 / 12, abs=0.03)
    assert counts[Kind.NODULE] / 3000 == pytest.approx(1 / 12, abs=0.03)


def test_ages_are_adult_and_views_frontal():
    for name in SITES:
        patients = [build(3, SITES[name], i, 64).patient for i in range(6)]
        assert all(18 <= patient.age <= 95 for patient in patients)
        assert {patient.view for patient in patients} <= {"PA", "AP"}


def test_sizes_that_do_not_fit_are_refused():
    for size in (100, 48):
        with pytest.raises(ValueError, match="multiple of 16"):
            phantom(7, "site-01", 0, size)


def test_streams_of_one_film_are_independent():
    first, second = (generator(7, "site-01", 0, stream).random(500) for stream in ("anatomy", "exposure"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
