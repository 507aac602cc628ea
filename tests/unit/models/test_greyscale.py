from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_voi_lut, apply_windowing

from models.errors import InputError
from models.greyscale import Greyscale, Lut, VoiFunction, Window, to_grey

PLAIN = Greyscale(bits_allocated=16, bits_stored=12, high_bit=11, is_signed=False)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def windowed(function: str, center: float, width: float, *, signed: bool = False) -> Dataset:
    dataset = Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = int(signed)
    dataset.BitsStored = 12
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function
    return dataset


@pytest.mark.parametrize("function", list(VoiFunction))
@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1000, 300), (2000.5, 1500.25), (-100, 5000)])
def test_windows_agree_with_pydicom(function, center, width):
    expected = apply_windowing(RAMP, windowed(function, center, width)) / 4095.0
    grey = to_grey(RAMP, replace(PLAIN, window=Window(center=center, width=width, function=function)))
    assert np.abs(grey - expected).max() < 1e-6


def test_a_linear_window_one_wide_is_a_step():
    grey = Window(center=100.0, width=1.0)(np.array([98.0, 99.0, 99.4, 100.0, 101.0]))
    assert grey.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("window", "usable"),
    [
        (Window(center=1.0, width=1.0), True),
        (Window(center=1.0, width=0.9), False),
        (Window(center=1.0, width=0.0), False),
        (Window(center=1.0, width=0.5, function=VoiFunction.LINEAR_EXACT), True),
        (Window(center=1.0, width=0.0, function=VoiFunction.LINEAR_EXACT), False),
        (Window(center=1.0, width=-3.0, function=VoiFunction.SIGMOID), False),
        (Window(center=float("inf"), width=10.0), False),
        (Window(center=0.0, width=float("nan")), False),
    ],
)
def test_a_window_without_width_is_not_usable(window, usable):
    assert window.is_usable() is usable


def test_rescale_comes_before_the_window():
    greyscale = replace(PLAIN, slope=2.0, intercept=-1000.0, window=Window(center=1000.5, width=1001.0))
    grey = to_grey(RAMP, greyscale).ravel()
    assert (grey[:750] == 0).all()
    assert grey[1000] == pytest.approx(0.5)
    assert (grey[1251:] == 1).all()


def test_a_modality_table_replaces_rescale():
    table = Lut(first=0, bits=12, data=np.arange(4095, -1, -1).astype(np.uint16))
    greyscale = replace(PLAIN, slope=7.0, modality_lut=table, window=Window(center=2048, width=4096))
    assert np.allclose(to_grey(RAMP, greyscale), 1 - np.arange(4096).reshape(64, 64) / 4095)


def test_a_voi_table_goes_before_a_window_and_agrees_with_pydicom():
    data = (np.sqrt(np.arange(1000) / 999) * 1023).astype(np.uint16)
    dataset = Dataset()
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [1000, 500, 10])
    item.add_new("LUTData", "US", data.tolist())
    dataset.VOILUTSequence = [item]
    dataset.PixelRepresentation = 0
    expected = apply_voi_lut(RAMP, dataset) / 1023.0
    table = Lut(first=500, bits=10, data=data)
    grey = to_grey(RAMP, replace(PLAIN, voi_lut=table, window=Window(center=1, width=1)))
    assert np.abs(grey - expected).max() < 1e-6


def test_polarity_is_inverted_over_the_nominal_range_not_the_film_s_own():
    dim = RAMP // 4  # never brighter than a quarter
    window = Window(center=2048, width=4096)
    upright, inverted = (to_grey(dim, replace(PLAIN, window=window, is_inverted=turn)) for turn in (False, True))
    assert np.allclose(inverted, 1 - upright)
    assert inverted.min() > 0.7


def test_a_bright_marker_does_not_change_the_rest_of_an_inverted_film():
    greyscale = replace(PLAIN, window=Window(center=1000, width=1500), is_inverted=True)
    marked = RAMP // 2
    marked[0, 0] = 4095
    assert (to_grey(marked, greyscale)[1:] == to_grey(RAMP // 2, greyscale)[1:]).all()


@pytest.mark.parametrize("is_inverted", [False, True])
def test_padding_is_black_whatever_the_polarity_and_moves_no_statistic(is_inverted):
    padded = RAMP.copy() % 1000 + 500
    padded[:32] = 4000
    greyscale = replace(PLAIN, is_inverted=is_inverted, padding=(3990, 4010))
    grey = to_grey(padded, greyscale)
    assert (grey[:32] == 0).all()
    alone = to_grey(padded[32:], greyscale)
    assert np.abs(grey[32:] - alone).max() < 0.02
    assert np.ptp(grey[32:]) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3000), st.integers(200, 1000))
def test_a_film_without_a_window_fills_the_range_by_its_own_percentiles(offset, spread):
    rng = np.random.default_rng(offset)
    raw = (offset + spread * rng.random((100, 100))).astype(np.uint16)
    grey = to_grey(raw, PLAIN)
    assert grey.min() == 0.0
    assert grey.max() == 1.0
    assert 0.4 < np.median(grey) < 0.6


def test_an_unusable_window_gives_way_to_percentiles():
    by_percentiles = to_grey(RAMP, PLAIN)
    for window in (Window(center=9000, width=10), Window(center=100, width=0), Window(center=-9000, width=500)):
        assert (to_grey(RAMP, replace(PLAIN, window=window)) == by_percentiles).all()
    empty = Lut(first=0, bits=16, data=np.zeros(10, np.uint16))
    assert (to_grey(RAMP, replace(PLAIN, voi_lut=empty)) == by_percentiles).all()


def test_a_flat_film_and_one_of_padding_alone_are_black():
    assert (to_grey(np.full((20, 20), 77, np.uint16), PLAIN) == 0).all()
    assert (to_grey(np.full((20, 20), 77, np.uint16), replace(PLAIN, padding=(70, 80))) == 0).all()


def test_signed_values_are_told_from_their_sign_bit_and_garbage_above_is_left_out():
    values = np.arange(-2048, 2048)
    raw = (values & 0xFFF).astype(np.uint16) | 0xA000  # an overlay in the unused bits
    greyscale = replace(PLAIN, is_signed=True, window=Window(center=0, width=4096))
    assert np.allclose(to_grey(raw.reshape(64, 64), greyscale).ravel(), np.arange(4096) / 4095)


def test_the_high_bit_says_where_the_value_is():
    shifted = Greyscale(bits_allocated=16, bits_stored=12, high_bit=15, is_signed=False)
    window = Window(center=2048, width=4096)
    expected = to_grey(RAMP, replace(PLAIN, window=window))
    assert (to_grey(RAMP << 4, replace(shifted, window=window)) == expected).all()


def test_eight_bits_are_read_too():
    raw = np.arange(256, dtype=np.uint8).reshape(16, 16)
    eight = Greyscale(
        bits_allocated=8, bits_stored=8, high_bit=7, is_signed=False, window=Window(center=128, width=256)
    )
    assert np.allclose(to_grey(raw, eight).ravel(), np.arange(256) / 255)


@pytest.mark.parametrize(
    "changed",
    [
        {"bits_allocated": 32},
        {"bits_allocated": 1},
        {"bits_stored": 0},
        {"bits_stored": 13},
        {"high_bit": 16},
        {"slope": 0.0},
        {"slope": float("nan")},
        {"slope": 1e300},
        {"slope": 1e-300},
        {"intercept": float("inf")},
    ],
)
def test_bits_and_rescale_that_cannot_be_are_refused(changed):
    with pytest.raises(InputError):
        replace(PLAIN, **changed)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(1e-9, 1e9) | st.floats(-1e9, -1e-9),
    st.floats(-1e9, 1e9),
    st.none() | st.builds(Window, center=st.floats(), width=st.floats(), function=st.sampled_from(VoiFunction)),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_header_says_grey_is_a_number_from_0_to_1(slope, intercept, window, is_signed, is_inverted):
    greyscale = replace(
        PLAIN, slope=slope, intercept=intercept, window=window, is_signed=is_signed, is_inverted=is_inverted
    )
    grey = to_grey(RAMP, greyscale)
    assert ((grey >= 0) & (grey <= 1)).all()
