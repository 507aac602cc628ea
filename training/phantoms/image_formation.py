"""From line integrals to the stored picture of a site."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from training.phantoms.anatomy import Anatomy
from training.phantoms.canvas import Canvas, Map, blur, clouds, ramp
from training.phantoms.sites import Formation


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What varies from film to film at one site."""

    #: Quanta per pixel where the line integral equals ``reference``.
    quanta: float
    reference: float
    electronic: float
    #: Relative beam intensity (heel effect); 0 to 1 inside the collimation.
    beam: Map
    field: Map
    blur_px: float
    scatter: float
    scatter_px: float


def draw_exposure(rng: np.random.Generator, formation: Formation, anatomy: Anatomy, integral: Map) -> Exposure:
    """Draw dose, beam and collimation; the diaphragm blades stay clear of the lungs."""
    plane, patient = anatomy.plane, anatomy.patient
    half = plane.field_mm / 2
    edges = rng.uniform(0, formation.collimation_mm, 4)
    free = half - patient.half_width - abs(patient.offset) - 14
    left, right = (min(float(e), max(free, 0)) for e in edges[:2])
    top = min(float(edges[2]), max(patient.apex - 22, 0))
    lowest = max(patient.dome_left, patient.dome_right) + patient.angle_depth + 12
    bottom = min(float(edges[3]), max(plane.field_mm - lowest, 0))
    across = ramp(plane.x + np.float32(half - left), 3) * ramp(np.float32(half - right) - plane.x, 3)
    down = ramp(plane.y - np.float32(top), 3) * ramp(np.float32(plane.field_mm - bottom) - plane.y, 3)
    heel = formation.heel * float(rng.uniform(0.6, 1.4))
    beam = 1 + np.float32(heel) * (plane.y / np.float32(plane.field_mm) - np.float32(0.5))
    dose = float(np.exp(rng.normal(0, 0.2)))
    return Exposure(
        quanta=formation.quanta_mm2 * dose * plane.pixel_mm**2,
        reference=float(np.percentile(integral[::4, ::4][anatomy.cavity_mm[::4, ::4] > 0.6 * patient.depth], 20)),
        electronic=formation.electronic * plane.pixel_mm,
        beam=beam,
        field=np.maximum(across * down, np.float32(0.004)),
        blur_px=formation.blur_mm / plane.pixel_mm,
        scatter=formation.scatter * float(rng.uniform(0.85, 1.15)),
        scatter_px=42 / plane.pixel_mm,
    )


def expose(integral: Map, exposure: Exposure) -> Map:
    """Return the expected quanta per pixel: primary and scattered, blurred by the detector."""
    primary = np.exp(np.float32(exposure.reference) - integral)
    np.minimum(primary, np.float32(12), out=primary)
    primary *= exposure.beam * exposure.field
    # Air scatters nothing: what passes beside the patient is left out.
    source = np.minimum(primary, np.float32(1.5)) * (integral > np.float32(0.2))
    total = primary + np.float32(exposure.scatter) * blur(source, exposure.scatter_px)
    return blur(total, exposure.blur_px) * np.float32(exposure.quanta)


def add_noise(rng: np.random.Generator, expected: Map, exposure: Exposure) -> Map:
    """Return detected quanta: Poisson (its normal limit) and electronic noise."""
    sigma = np.sqrt(expected + np.float32(exposure.electronic**2))
    return expected + sigma * rng.standard_normal(expected.shape, dtype=np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """How one film's densities become grey: set from the film as automatic ranging does."""

    low: float
    high: float


def range_of(density: Map, formation: Formation) -> Display:
    """Return the densities that become black and white, from the middle of the film."""
    n = density.shape[0]
    crop = density[n // 7 : n - n // 5 : 3, n // 6 : n - n // 6 : 3]
    low, high = np.percentile(crop, (2.0, 97.5))
    spread = (high - low) * formation.latitude
    return Display(low=float(low - 0.3 * spread), high=float(low + 1.1 * spread))


def density_of(counts: Map, exposure: Exposure) -> Map:
    """Return the negative logarithm of the counts."""
    return -np.log(np.maximum(counts, np.float32(exposure.quanta * 2e-4)) * np.float32(1 / exposure.quanta))


def develop(density: Map, display: Display, formation: Formation, plane: Canvas) -> Map:
    """Return the processed picture in [0, 1], bright where dense."""
    if formation.equalise:
        broad = blur(density, 24 / plane.pixel_mm)
        middle = np.float32((display.low + display.high) / 2)
        density = density - np.float32(formation.equalise) * (np.clip(broad, display.low, display.high) - middle)
        gain = 1 / (1 - 0.55 * formation.equalise)
        density = middle + (density - middle) * np.float32(gain)
    picture = (density - np.float32(display.low)) * np.float32(1 / (display.high - display.low))
    if formation.unsharp:
        picture = picture + np.float32(formation.unsharp) * (
            picture - blur(picture, formation.unsharp_mm / plane.pixel_mm)
        )
    np.clip(picture, 0, 1, out=picture)
    if formation.sigmoid:
        edge = 1 / (1 + np.exp(formation.sigmoid / 2))
        curve = 1 / (1 + np.exp(np.float32(-formation.sigmoid) * (picture - np.float32(0.5))))
        picture = (curve - np.float32(edge)) * np.float32(1 / (1 - 2 * edge))
    if formation.gamma != 1.0:
        picture = picture ** np.float32(formation.gamma)
    return picture.astype(np.float32, copy=False)


def digitise(rng: np.random.Generator, picture: Map, plane: Canvas) -> Map:
    """Return the picture as a film scanner sees it: film curve, uneven lamp, grain, dust and a scratch."""
    film = np.float32(0.04) + np.float32(0.92) * (picture - np.float32(0.06) * np.sin(np.float32(2 * np.pi) * picture))
    film = film + np.float32(0.02) * clouds(rng, plane.size, cells=4)
    film += np.float32(0.012) * rng.standard_normal(film.shape, dtype=np.float32)
    overlay = Image.new("L", (plane.size, plane.size))
    draw = ImageDraw.Draw(overlay)
    for _ in range(int(rng.integers(4, 12))):
        at = rng.integers(0, plane.size, 2)
        draw.point((int(at[0]), int(at[1])), fill=90)
    if rng.random() < 0.4:
        column = int(rng.integers(0, plane.size))
        draw.line((column, 0, column + int(rng.integers(-6, 6)), plane.size), fill=14)
    return np.clip(film + np.asarray(overlay, np.float32) / 255, 0, 1)


def add_marker(rng: np.random.Generator, picture: Map, plane: Canvas, top_mm: float) -> None:
    """Put a lead letter beside the shoulder, in place."""
    size = max(round(14 / plane.pixel_mm), 6)
    letter, left = ("L", True) if rng.random() < 0.6 else ("R", False)
    stamp = Image.new("L", (size, size))
    ImageDraw.Draw(stamp).text((size // 4, -size // 8), letter, fill=255, font_size=size)
    ink = np.asarray(stamp, np.float32) / 255
    row = int((top_mm + float(rng.uniform(0, 10))) / plane.pixel_mm)
    inset = int((22 + float(rng.uniform(0, 12))) / plane.pixel_mm)
    column = plane.size - inset - size if left else inset
    place = picture[row : row + size, column : column + size]
    np.maximum(place, ink, out=place)
