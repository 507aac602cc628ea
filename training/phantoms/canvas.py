"""The film's plane in millimetres, and the few cheap drawing operations that everything is made of.

x runs from the patient's right (left of the picture) to the left, y from the top downwards, 0 at the upper edge of the
film. Maps are float32 ``(size, size)`` line integrals (dimensionless, mu times millimetres) unless a name ends in ``_mm``.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: A map over the film; float32 at run time, though the type checker cannot follow a Python float into it.
Map = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """The pixel centres of a square film."""

    size: int
    field_mm: float
    #: (size,), 0 in the middle of the film.
    x: Map
    #: (size, 1), 0 at the upper edge.
    y: Map

    @property
    def pixel_mm(self) -> float:
        """Return the distance of two pixel centres."""
        return self.field_mm / self.size

    def zeros(self) -> Map:
        """Return an empty map."""
        return np.zeros((self.size, self.size), np.float32)


def canvas(size: int, field_mm: float) -> Canvas:
    """Return the canvas of a square film of that many pixels and millimetres."""
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(field_mm / size)
    return Canvas(size=size, field_mm=field_mm, x=centres - np.float32(field_mm / 2), y=centres[:, None])


def ramp(distance: Map, width: float) -> Map:
    """Return 0 outside, 1 inside, linear over ``width`` around ``distance`` 0 (positive is inside)."""
    return np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)


def dome(q: Map) -> Map:
    """Return the chord of a unit ellipsoid whose squared radius is ``q``."""
    return np.sqrt(np.maximum(np.float32(1) - q, 0))


def ellipse(plane: Canvas, *, x: float, y: float, a: float, b: float, turn: float = 0.0) -> tuple[slice, slice, Map]:
    """Return a window and the squared ellipse radius in it (1 on the contour); ``turn`` in radians, a along it."""
    reach = max(a, b) * 1.05 + plane.pixel_mm
    rows = window(plane, y - reach, y + reach)
    cols = window(plane, x - reach + plane.field_mm / 2, x + reach + plane.field_mm / 2)
    dx, dy = plane.x[cols] - np.float32(x), plane.y[rows] - np.float32(y)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return rows, cols, ((c * dx + s * dy) / np.float32(a)) ** 2 + ((c * dy - s * dx) / np.float32(b)) ** 2


def window(plane: Canvas, low_mm: float, high_mm: float) -> slice:
    """Return the rows (or columns, from the left edge) between two positions."""
    low = int(np.clip(np.floor(low_mm / plane.pixel_mm), 0, plane.size))
    high = int(np.clip(np.ceil(high_mm / plane.pixel_mm) + 1, low, plane.size))
    return slice(low, high)


def add_strip(target: Map, plane: Canvas, centre: Map, *, half_mm: float, peak: Map) -> None:
    """Add a tube that follows ``centre`` (y in mm per column), in place.

    The profile is that of a solid rod of half-width ``half_mm``; ``peak`` is its line integral on the axis per column,
    0 where there is no tube.
    """
    columns = np.flatnonzero(peak)
    if not columns.size:
        return
    slope = np.empty_like(centre)
    slope[1:-1] = (centre[2:] - centre[:-2]) * np.float32(0.5 / plane.pixel_mm)
    slope[0], slope[-1] = slope[1], slope[-2]
    narrow = np.float32(1 / half_mm) / np.sqrt(1 + np.clip(slope, -5, 5) ** 2)
    cols = slice(int(columns[0]), int(columns[-1]) + 1)
    line = centre[columns]
    rows = window(plane, float(line.min()) - half_mm * 2.5, float(line.max()) + half_mm * 2.5)
    d = (plane.y[rows] - centre[cols]) * narrow[cols]
    d *= d
    np.subtract(1, d, out=d)
    np.maximum(d, 0, out=d)
    np.sqrt(d, out=d)
    d *= peak[cols]
    target[rows, cols] += d


def splat(plane: Canvas, x: Map, y: Map, mass: Map) -> Map:
    """Return a map with each point's mass (line integral times mm²) spread bilinearly over four pixels."""
    scale = np.float32(1 / plane.pixel_mm)
    column, row = (x + np.float32(plane.field_mm / 2)) * scale - np.float32(0.5), y * scale - np.float32(0.5)
    inside = (column >= 0) & (column < plane.size - 1) & (row >= 0) & (row < plane.size - 1)
    column, row, mass = column[inside], row[inside], mass[inside] * scale * scale
    left, top = column.astype(np.int32), row.astype(np.int32)
    fx, fy = column - left, row - top
    at = top * plane.size + left
    places = np.concatenate([at, at + 1, at + plane.size, at + plane.size + 1])
    weights = np.concatenate([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy]) * np.tile(mass, 4)
    flat = np.bincount(places, weights=weights, minlength=plane.size**2)
    return flat.astype(np.float32).reshape(plane.size, plane.size)


def blur(image: Map, sigma: float) -> Map:
    """Return the image under a Gaussian of ``sigma`` pixels; wide ones are made on a coarser grid."""
    if sigma < 0.25:
        return image
    factor = 1
    while sigma / (factor * 2) >= 1.5 and image.shape[0] % (factor * 2) == 0:
        factor *= 2
    if factor == 1:
        return ndimage.gaussian_filter(image, sigma, truncate=3.0, mode="nearest")
    n = image.shape[0] // factor
    small = image.reshape(n, factor, n, factor).mean(axis=(1, 3), dtype=np.float32)
    small = ndimage.gaussian_filter(small, sigma / factor, truncate=3.0, mode="nearest")
    return enlarge(small, image.shape[0])


@lru_cache(maxsize=32)
def between(n: int, size: int) -> tuple[NDArray[np.int32], Map]:
    """Return for each of ``size`` centres the lower of its two neighbours among ``n``, and the weight of the upper."""
    at = np.clip(
        (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(n / size) - np.float32(0.5), 0, n - 1
    )
    low = np.minimum(at.astype(np.int32), n - 2)
    return low, at - low.astype(np.float32)


def enlarge(small: Map, size: int) -> Map:
    """Return a square map enlarged bilinearly to ``size``, pixel areas aligned."""
    low, w = between(small.shape[0], size)
    wide = np.take(small, low, axis=1)
    wide += (np.take(small, low + 1, axis=1) - wide) * w
    tall = np.take(wide, low, axis=0)
    tall += (np.take(wide, low + 1, axis=0) - tall) * w[:, None]
    return tall


def clouds(rng: np.random.Generator, size: int, *, cells: int) -> Map:
    """Return smooth random structure of unit standard deviation whose grain is ``size / cells`` pixels."""
    small = ndimage.gaussian_filter(rng.standard_normal((cells, cells), dtype=np.float32), 0.8, mode="wrap")
    small /= small.std()
    return enlarge(small, size)
