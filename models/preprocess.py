"""From a picture to the numbers that the network sees: one geometry, one scaling, for training and serving.

The picture keeps its aspect ratio, is resized with antialiasing, stretched between two percentiles of its own, padded with
black to the network's size, and normalised. Everything is deterministic; the parameters travel in the artefact.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.canonical import from_canonical_json, to_canonical_json

#: Grey values this near to 0 or 1 were clipped: resizing leaves its rounding on them.
_CLIPPED = 1 / 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What the network's input is.

    Attributes
    ----------
    rows, columns : int
        Size of the network's input in pixels, at least 8.
    mean, std : float
        What is subtracted from, and what divides, grey values in [0, 1]; ``std`` > 0.
    percentile_low, percentile_high : float
        Percentiles of the film's pixels, black and white ones apart, that become 0 and 1, ``0 <= low < high <= 100``. A site's window
        settings move and stretch all grey values alike; this takes that out. 0 and 100 stretch between the extremes.
    """

    rows: int
    columns: int
    mean: float = 0.5
    std: float = 0.25
    percentile_low: float = 1.0
    percentile_high: float = 99.0

    def __post_init__(self) -> None:
        """Raise ValueError for parameters that cannot be meant."""
        if not (8 <= self.rows <= 4096 and 8 <= self.columns <= 4096):
            raise ValueError(f"an input of {self.rows} x {self.columns} is not between 8 and 4096 pixels wide and high")
        if not self.std > 0:
            raise ValueError(f"std is {self.std}; it divides, and must be above 0")
        if not 0 <= self.percentile_low < self.percentile_high <= 100:
            raise ValueError(
                f"percentiles {self.percentile_low} and {self.percentile_high} are not 0 <= low < high <= 100"
            )

    def to_json(self) -> str:
        """Return the specification as canonical JSON."""
        return to_canonical_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the specification that a JSON text holds; DataError if it does not hold one."""
        return from_canonical_json(cls, text)


def preprocess(pixels: NDArray[np.floating], spec: InputSpec) -> NDArray[np.float32]:
    """Return the network's input for one picture.

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        Grey values in [0, 1], bright is dense, 0 where there is no film.
    spec : InputSpec
        Size and scaling.

    Returns
    -------
    ndarray of float32, shape (1, spec.rows, spec.columns)
        ``(grey - mean) / std`` with grey in [0, 1]; a flat picture is black all over.

    Raises
    ------
    ValueError
        If the picture is not two-dimensional and non-empty, or holds NaN or infinity.
    """
    film = _resize(pixels, spec)
    if not np.isfinite(film).all():
        raise ValueError("the picture holds NaN or infinity")
    grey = _pad(_stretch(film, spec), spec)
    return ((grey - np.float32(spec.mean)) / np.float32(spec.std))[np.newaxis]


def preprocess_mask(mask: NDArray[np.generic], spec: InputSpec) -> NDArray[np.float32]:
    """Return the share of each input pixel that a mask covers, in the geometry of ``preprocess``.

    Parameters
    ----------
    mask : ndarray, shape (rows, columns)
        Non-zero where the finding is; of the picture's own size.
    spec : InputSpec
        Size of the network's input.

    Returns
    -------
    ndarray of float32, shape (1, spec.rows, spec.columns)
        In [0, 1]; 0 in the padding.
    """
    covered = np.clip(_resize((mask != 0).astype(np.float32), spec), 0, 1)
    return _pad(covered, spec)[np.newaxis]


def fitted_size(rows: int, columns: int, spec: InputSpec) -> tuple[int, int]:
    """Return the rows and columns that a picture of this size takes up inside the network's input."""
    scale = min(spec.rows / rows, spec.columns / columns)
    return (
        min(spec.rows, max(1, round(rows * scale))),
        min(spec.columns, max(1, round(columns * scale))),
    )


def _resize(pixels: NDArray[np.generic], spec: InputSpec) -> NDArray[np.float32]:
    """Shrink (each output pixel a weighted mean of all that it covers) or enlarge to the fitted size."""
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise ValueError(f"a picture has rows and columns, not the shape {pixels.shape}")
    rows, columns = fitted_size(pixels.shape[0], pixels.shape[1], spec)
    image = Image.fromarray(np.asarray(pixels, dtype=np.float32, order="C"))
    # reducing_gap averages whole blocks first where the film is many times larger: faster, and no aliasing.
    resized = image.resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.array(resized, dtype=np.float32)


def _stretch(film: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Map the two percentiles of the pixels that are neither black nor white to 0 and 1; clip.

    Black is padding or clipped by the window, white is collimation or clipped: their share says nothing of the patient.
    """
    shown = film[(film > _CLIPPED) & (film < 1 - _CLIPPED)]
    if shown.size == 0:
        return np.zeros_like(film)
    low, high = map(float, np.percentile(shown, (spec.percentile_low, spec.percentile_high)))
    if not high - low > 1e-6:
        return np.zeros_like(film)
    return np.clip((film - np.float32(low)) / np.float32(high - low), 0, 1)


def _pad(film: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Put the film in the middle of a black square."""
    rows, columns = film.shape
    top, left = (spec.rows - rows) // 2, (spec.columns - columns) // 2
    padded = np.zeros((spec.rows, spec.columns), dtype=np.float32)
    padded[top : top + rows, left : left + columns] = film
    return padded
