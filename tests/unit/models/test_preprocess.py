import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.errors import DataError
from models.preprocess import InputSpec, fitted_size, preprocess, preprocess_mask

SPEC = InputSpec(rows=32, columns=32)
sides = st.integers(1, 200)


def film(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """Smooth grey in (0, 1): the same picture at any size."""
    y, x = np.mgrid[0:rows, 0:columns]
    y, x = (y + 0.5) / rows, (x + 0.5) / columns
    rng = np.random.default_rng(seed)
    a, b, c = rng.uniform(1, 4, 3)
    return (0.5 + 0.2 * np.sin(a * x + b * y) + 0.2 * np.cos(c * x - y)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(8, 64), st.integers(8, 64))
def test_any_film_has_the_network_s_shape_type_and_range(rows, columns, high, wide):
    spec = InputSpec(rows=high, columns=wide, mean=0.4, std=0.2)
    tensor = preprocess(film(rows, columns), spec)
    assert tensor.shape == (1, high, wide)
    assert tensor.dtype == np.float32
    assert tensor.min() >= np.float32(-0.4 / 0.2) - 1e-6
    assert tensor.max() <= np.float32(0.6 / 0.2) + 1e-6


@settings(max_examples=60, deadline=None)
@given(sides, sides)
def test_the_aspect_ratio_is_kept_and_the_longer_side_fills(rows, columns):
    high, wide = fitted_size(rows, columns, SPEC)
    assert max(high, wide) == 32
    assert abs(high - max(1, rows * wide / columns)) <= 1 or abs(wide - max(1, columns * high / rows)) <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 160), st.integers(40, 160), st.integers(2, 4), st.integers(0, 99))
def test_the_same_picture_in_more_pixels_gives_nearly_the_same_input(rows, columns, times, seed):
    if fitted_size(rows, columns, SPEC) != fitted_size(rows * times, columns * times, SPEC):
        return
    once, more = (
        preprocess(film(rows, columns, seed), SPEC),
        preprocess(film(rows * times, columns * times, seed), SPEC),
    )
    assert np.abs(once - more).max() < 0.25  # of 4, the whole range


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 0.9), st.floats(0.0, 0.1), st.integers(0, 99))
def test_a_site_s_contrast_and_brightness_do_not_matter(slope, offset, seed):
    picture = film(60, 50, seed)
    assert np.allclose(preprocess(picture, SPEC), preprocess(picture * slope + offset, SPEC), atol=2e-2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_brighter_stays_brighter(seed):
    picture = film(60, 50, seed)
    darker, brighter = preprocess(picture, SPEC), preprocess(np.where(picture > 0.5, picture + 0.05, picture), SPEC)
    order = np.argsort(darker.ravel(), kind="stable")
    assert np.corrcoef(order, np.argsort(brighter.ravel(), kind="stable"))[0, 1] > 0.5
    assert brighter.argmax() in np.flatnonzero(darker.ravel() >= np.percentile(darker, 90))


def test_the_same_film_gives_the_same_bytes():
    picture = film(300, 211)
    assert preprocess(picture, SPEC).tobytes() == preprocess(picture.copy(order="F"), SPEC).tobytes()


def test_shrinking_averages_instead_of_picking():
    checkered = np.indices((256, 256)).sum(axis=0) % 2 * 0.5 + 0.25
    tensor = preprocess(
        checkered.astype(np.float32), InputSpec(rows=32, columns=32, percentile_low=0, percentile_high=100)
    )
    assert np.ptp(tensor[0, 2:-2, 2:-2]) == 0.0  # the mean of the checks is everywhere the same: flat


def test_padding_is_black_and_the_film_is_in_the_middle():
    tensor = preprocess(film(64, 32) + 0.1, InputSpec(rows=32, columns=32, mean=0.5, std=0.25))[0]
    assert (tensor[:, :8] == -2.0).all()
    assert (tensor[:, 24:] == -2.0).all()
    assert (tensor[:, 8:24] > -2.0).mean() > 0.9


def test_black_borders_and_white_collimation_do_not_move_the_percentiles():
    picture = film(120, 120)
    framed = np.zeros((120, 160), np.float32)
    framed[:, :20] = 1.0
    framed[:, 20:140] = picture
    spec = InputSpec(rows=120, columns=160)
    inside = preprocess(framed, spec)[0, :, 22:138]
    alone = preprocess(picture, InputSpec(rows=120, columns=120))[0, :, 2:118]
    assert np.abs(inside - alone).max() < 0.05


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_flat_picture_is_black_all_over(value):
    assert (preprocess(np.full((50, 40), value, np.float32), SPEC) == -2.0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_picture_with_what_is_no_number_is_refused(bad):
    picture = film(50, 40)
    picture[3, 4] = bad
    with pytest.raises(ValueError, match="NaN"):
        preprocess(picture, SPEC)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 4, 4)])
def test_what_has_no_rows_and_columns_is_refused(shape):
    with pytest.raises(ValueError, match="rows and columns"):
        preprocess(np.zeros(shape, np.float32), SPEC)


def test_a_mask_lies_where_its_finding_lies():
    picture = np.full((400, 300), 0.4, np.float32)
    picture[:20] = 0.2
    mask = np.zeros((400, 300), np.uint8)
    mask[100:160, 60:120] = 255
    picture[mask > 0] = 0.8
    covered = preprocess_mask(mask, SPEC)
    assert covered.shape == (1, 32, 32)
    assert covered.min() == 0.0
    assert covered.max() == 1.0
    tensor = preprocess(picture, SPEC)
    assert (tensor[covered == 1.0] > 1.9).all()
    assert (tensor[covered == 0.0] < 1.9).all()
    assert covered.sum() == pytest.approx(60 * 60 * (32 / 400) ** 2, rel=0.05)


def test_resizing_agrees_with_a_plain_antialiased_one():
    picture = film(2000, 1500)
    plain = np.asarray(Image.fromarray(picture).resize((24, 32), Image.Resampling.BILINEAR))
    spec = InputSpec(rows=32, columns=24, mean=0.0, std=1.0, percentile_low=0, percentile_high=100)
    stretched = (plain - plain.min()) / np.ptp(plain)
    assert np.abs(preprocess(picture, spec)[0] - stretched).max() < 0.02


@pytest.mark.parametrize(
    "changed",
    [
        {"rows": 7},
        {"columns": 5000},
        {"std": 0.0},
        {"std": float("nan")},
        {"percentile_low": 50.0, "percentile_high": 50.0},
    ],
)
def test_a_specification_that_cannot_be_meant_does_not_exist(changed):
    with pytest.raises(ValueError, match=r"."):
        InputSpec(**{"rows": 32, "columns": 32, **changed})


def test_a_specification_survives_json_and_a_broken_one_is_told():
    assert InputSpec.from_json(SPEC.to_json()) == SPEC
    with pytest.raises(DataError, match="std"):
        InputSpec.from_json(SPEC.to_json().replace('"std":0.25', '"std":0'))
