"""From stored values to grey values in [0, 1], bright is dense: DICOM's greyscale pipeline as one lookup table.

The standard's order (PS3.3 C.11, PS3.4 N.2): stored value → modality LUT or rescale → VOI LUT or window → polarity. All of it
is a function of the stored value alone, so it is computed once for every value that the pixels' bits can hold, in float64,
and looked up. Three rules:

- Polarity is inverted over the nominal range of the VOI transformation, never over the film's own maximum.
- Padding is masked before any statistic, and is black at the end whatever the polarity.
- A film without a usable window gets one from percentiles of its own values; the same file always gets the same.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError

#: Percentiles of a film's own values that stand in for a window that is missing or unusable.
WINDOW_PERCENTILES = (0.5, 99.5)
#: A window that shows fewer than this share of the film between black and white is unusable.
SHOWN_MIN = 0.02
#: No detector's values are rescaled by more, or by less.
RESCALE_MAX, SLOPE_MIN = 1e9, 1e-9
#: Statistics look at a regular grid of about this many pixels.
SAMPLED_PIXELS = 1 << 17


class VoiFunction(StrEnum):
    """(0028,1056) *VOI LUT Function*: the shape of a window."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """(0028,1050) *Window Center* and (0028,1051) *Window Width*, in units of the modality transformation's output."""

    center: float
    width: float
    function: VoiFunction = VoiFunction.LINEAR

    def is_usable(self) -> bool:
        """Say whether the window can be applied at all."""
        is_wide_enough = self.width >= 1.0 if self.function is VoiFunction.LINEAR else self.width > 0.0
        return is_wide_enough and math.isfinite(self.center) and math.isfinite(self.width)

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values in [0, 1], as the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3 with y from 0 to 1."""
        is_linear = self.function is VoiFunction.LINEAR
        center = self.center - 0.5 if is_linear else self.center
        width = self.width - 1.0 if is_linear else self.width
        if width == 0.0:  # linear and one grey level wide: a step
            return (values > center).astype(np.float64)
        with np.errstate(over="ignore"):  # absurdly narrow: infinite, and then black or white
            position = (values - center) / width
        if self.function is VoiFunction.SIGMOID:
            # exp overflows beyond 709; at 60 the result is 0 or 1 to the last bit of a float32.
            return 1.0 / (1.0 + np.exp(-4.0 * np.clip(position, -15.0, 15.0)))
        return np.clip(position + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lut:
    """A lookup table of the file: (0028,3002) *LUT Descriptor* and (0028,3006) *LUT Data*.

    Attributes
    ----------
    first : int
        The value that is mapped to the first entry; what is below it is too.
    bits : int
        Bits of an entry: the nominal range is 0 to ``2**bits - 1``.
    data : ndarray of uint16
        The entries.
    """

    first: int
    bits: int
    data: NDArray[np.uint16]

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the entry of each value; values beyond the table get its first or last."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.data) - 1).astype(np.intp)
        return self.data[index].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greyscale:
    """Everything in a header that turns stored bits into grey.

    Attributes
    ----------
    bits_allocated : int
        8 or 16.
    bits_stored, high_bit : int
        Where in the allocated bits the value is.
    is_signed : bool
        Two's complement.
    slope, intercept : float
        Rescale; not looked at beside ``modality_lut``.
    modality_lut, voi_lut : Lut or None
        ``voi_lut`` goes before ``window``.
    window : Window or None
        The first of several.
    is_inverted : bool
        The greatest values are black.
    padding : tuple of int or None
        Stored values, both inclusive, that stand for "no film here".
    """

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: Lut | None = None
    voi_lut: Lut | None = None
    window: Window | None = None
    is_inverted: bool = False
    padding: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise InputError for bits that cannot be."""
        fits = 0 < self.bits_stored <= self.high_bit + 1 <= self.bits_allocated
        if self.bits_allocated not in (8, 16) or not fits:
            raise InputError(
                f"pixels of {self.bits_allocated} bits with {self.bits_stored} stored up to bit {self.high_bit};"
                " 8 or 16 bits can be read"
            )
        if not (SLOPE_MIN <= abs(self.slope) <= RESCALE_MAX and abs(self.intercept) <= RESCALE_MAX):
            raise InputError("rescale slope or intercept is not a usable number")

    def stored_values(self) -> NDArray[np.int64]:
        """Return the stored value that each pattern of the allocated bits stands for."""
        patterns = np.arange(1 << self.bits_allocated, dtype=np.int64)
        values = (patterns >> (self.high_bit + 1 - self.bits_stored)) & ((1 << self.bits_stored) - 1)
        if self.is_signed:
            sign = 1 << (self.bits_stored - 1)
            values = (values ^ sign) - sign
        return values


def to_grey(raw: NDArray[np.unsignedinteger], greyscale: Greyscale) -> NDArray[np.float32]:
    """Return grey values in [0, 1], bright is dense.

    Parameters
    ----------
    raw : ndarray of uint8 or uint16, shape (rows, columns)
        The allocated bits of each pixel.
    greyscale : Greyscale
        What they mean.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
    """
    stored = greyscale.stored_values()
    is_padding = np.zeros(stored.shape, dtype=bool)
    if greyscale.padding is not None:
        low, high = greyscale.padding
        is_padding = (stored >= low) & (stored <= high)
    counts = np.where(is_padding, 0, _count(raw, len(stored)))
    values = stored.astype(np.float64)
    if greyscale.modality_lut is not None:
        values = greyscale.modality_lut(values)
    else:
        values = values * greyscale.slope + greyscale.intercept
    grey = _voi(values, counts, greyscale)
    if greyscale.is_inverted:
        grey = 1.0 - grey
    grey[is_padding] = 0.0
    return _look_up(raw, grey.astype(np.float32))


def _voi(values: NDArray[np.float64], counts: NDArray[np.int64], greyscale: Greyscale) -> NDArray[np.float64]:
    """Apply the file's VOI transformation if it is usable on this film, else a window of its percentiles."""
    candidates: list[NDArray[np.float64]] = []
    if greyscale.voi_lut is not None:
        candidates.append(greyscale.voi_lut(values) / float((1 << greyscale.voi_lut.bits) - 1))
    elif greyscale.window is not None and greyscale.window.is_usable():
        candidates.append(greyscale.window(values))
    for grey in candidates:
        shown = counts[(grey > 0.0) & (grey < 1.0)].sum()
        if shown > SHOWN_MIN * counts.sum():
            return grey
    if not counts.any():
        return np.zeros_like(values)
    low, high = _percentiles(values, counts)
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def _percentiles(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the values below which the shares of ``WINDOW_PERCENTILES`` of the counted pixels are."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(counts[order])
    wanted = np.array(WINDOW_PERCENTILES) / 100.0 * float(cumulated[-1])
    low, high = values[order[np.searchsorted(cumulated, wanted, side="left").clip(0, len(values) - 1)]]
    return float(low), float(high)


def _count(raw: NDArray[np.unsignedinteger], patterns: int) -> NDArray[np.int64]:
    """Return how often each pattern occurs on a regular grid of the film."""
    step = max(1, math.isqrt(raw.size // SAMPLED_PIXELS))
    return np.bincount(raw[::step, ::step].ravel(), minlength=patterns)


def _look_up(raw: NDArray[np.unsignedinteger], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``table[raw]``, a few rows at a time: the index that numpy widens to 64 bits then stays in the cache."""
    grey = np.empty(raw.shape, dtype=np.float32)
    rows = max(1, (1 << 16) // max(1, raw.shape[1]))
    for top in range(0, raw.shape[0], rows):
        block = raw[top : top + rows].astype(np.intp)
        np.take(table, block, out=grey[top : top + rows], mode="clip")
    return grey
