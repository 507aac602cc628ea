"""d′ against values found in other ways."""

import numpy as np
import pytest

from training.phantoms.detectability import BANDS, Visibility, band, contrast_to_clutter, ideal_observer


def test_a_flat_disc_has_the_textbook_value():
    # d′ = contrast · sqrt(quanta in the disc) for a small contrast on a flat background.
    y, x = np.mgrid[:64, :64]
    disc = (x - 32) ** 2 + (y - 32) ** 2 < 100
    healthy = np.full((64, 64), 10_000, np.float32)
    abnormal = np.where(disc, np.float32(10_000 * 0.99), healthy)
    expected = 0.01 * np.sqrt(10_000 * disc.sum())
    assert ideal_observer(healthy, abnormal, 0.0) == pytest.approx(expected, rel=0.01)


def test_a_matched_filter_on_simulated_noise_reaches_it():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:48, :48]
    healthy = (2000 + 10 * x).astype(np.float32)
    signal = 60 * np.exp(-((x - 20) ** 2 + (y - 25) ** 2) / 40)
    abnormal = (healthy - signal).astype(np.float32)
    electronic = 20.0
    # Poisson counts and electronic noise, decided by the likelihood ratio's linear statistic.
    weights = signal / (healthy + electronic**2)
    statistic = [
        [
            float((weights * (rng.poisson(mean) + electronic * rng.standard_normal(mean.shape))).sum())
            for _ in range(1500)
        ]
        for mean in (healthy, abnormal)
    ]
    apart = abs(np.mean(statistic[0]) - np.mean(statistic[1]))
    measured = apart / np.sqrt((np.var(statistic[0]) + np.var(statistic[1])) / 2)
    assert ideal_observer(healthy, abnormal, electronic) == pytest.approx(measured, rel=0.07)


def test_half_the_dose_is_a_root_half_of_it():
    rng = np.random.default_rng(1)
    healthy = rng.uniform(500, 900, (32, 32)).astype(np.float32)
    abnormal = healthy * np.float32(0.9)
    full = ideal_observer(healthy, abnormal, 0.0)
    assert ideal_observer(healthy / 2, abnormal / 2, 0.0) == pytest.approx(full / np.sqrt(2), rel=1e-3)


def test_contrast_falls_with_the_clutter_around():
    rng = np.random.default_rng(2)
    texture = rng.standard_normal((128, 128)).astype(np.float32)
    change = np.zeros((128, 128), np.float32)
    change[50:70, 50:70] = 1
    faint, strong = (
        contrast_to_clutter(gain * texture, gain * texture + change) for gain in (np.float32(0.1), np.float32(0.2))
    )
    assert faint[0] == pytest.approx(1, rel=1e-5)
    assert faint[1] == pytest.approx(2 * strong[1], rel=1e-3)
    # White noise of a tenth, less its own broad part.
    assert faint[1] == pytest.approx(10, rel=0.1)


def test_lacking_is_the_worst_of_the_floors():
    assert Visibility(detectability=2.5, contrast=100, shade=1).lacking == pytest.approx(2)
    assert Visibility(detectability=50, contrast=100, shade=1).lacking < 1


def test_bands_of_severity():
    assert [band(5), band(BANDS[0]), band(BANDS[1] - 1), band(BANDS[1])] == [0, 1, 1, 2]
