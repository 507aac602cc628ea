"""Ten findings: each exchanges layers of the anatomy and says where it is.

``grade`` (1 and up) makes a finding larger; the strength of its change is raised further by the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.phantoms.anatomy import (
    ENLARGED_RATIO,
    MU_SOFT,
    Anatomy,
    line_integral,
    lungs_mm,
    silhouette,
)
from training.phantoms.canvas import Map, blur, clouds, dome, ellipse, ramp
from training.phantoms.devices import draw_device
from training.phantoms.sites import Kind

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The patient's line integral with the finding, and where it is."""

    integral: Map
    mask: Mask


Draw = Callable[[np.random.Generator, Anatomy, Map, float], Finding]


def side_of(rng: np.random.Generator) -> int:
    """Return −1 (the patient's right) or 1."""
    return 1 if rng.random() < 0.5 else -1


def place_in_lung(rng: np.random.Generator, anatomy: Anatomy, air: Map, radius: float) -> tuple[float, float]:
    """Return a point (x, y) of the lung field whose surroundings are lung and not hilum."""
    patient, plane = anatomy.patient, anatomy.plane
    step = max(plane.size // 64, 1)
    deep = air[::step, ::step] > np.float32(0.5 * patient.depth)
    x, y = plane.x[::step], plane.y[::step]
    u = np.abs(x - np.float32(patient.offset))
    clear = deep & (y < anatomy.diaphragm_y[::step, ::step] - radius * 0.9) & (y > patient.apex + 26 + radius * 0.6)
    clear &= (u < patient.half_width * 0.9 - radius * 0.6) & (u > patient.half_width * 0.36 + radius * 0.5)
    places = np.flatnonzero(clear)
    if places.size == 0:
        places = np.flatnonzero(deep)
    row, column = divmod(int(places[int(rng.integers(places.size))]), clear.shape[1])
    return float(x[column]), float(y[row, 0])


def draw_round(rng: np.random.Generator, anatomy: Anatomy, air: Map, diameter: float) -> Finding:
    """Return one lobulated sphere of soft tissue in the lung."""
    plane = anatomy.plane
    x, y = place_in_lung(rng, anatomy, air, diameter / 2)
    a = diameter / 2 * float(rng.uniform(0.95, 1.1))
    rows, cols, q = ellipse(plane, x=x, y=y, a=a, b=diameter / 2, turn=float(rng.uniform(0, np.pi)))
    if diameter > 30:
        angle = np.arctan2(plane.y[rows] - np.float32(y), plane.x[cols] - np.float32(x))
        q = q * (1 + np.float32(0.12) * np.cos(3 * angle + np.float32(rng.uniform(0, 6))))
    chord = plane.zeros()
    chord[rows, cols] = np.float32(diameter) * dome(q)
    # Small ones are partly calcified, which is what makes them visible.
    calcium = 1.2 + 0.7 * max(36 - diameter, 0) / 18
    tissue = np.float32((1 - anatomy.patient.lung_density) * MU_SOFT * calcium)
    return Finding(integral=line_integral(anatomy, air_mm=air) + chord * tissue, mask=chord > 0)


def draw_nodule(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a nodule of 18 to 30 mm."""
    return draw_round(rng, anatomy, air, min(float(rng.uniform(18, 28)) * grade, 30))


def draw_mass(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a mass of 36 to 75 mm."""
    return draw_round(rng, anatomy, air, min(float(rng.uniform(36, 62)) * grade, 75))


def draw_consolidation(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a patch of filled lung with cloudy borders, often cut off by a fissure, and air bronchograms."""
    plane = anatomy.plane
    radius = float(rng.uniform(30, 46)) * grade
    x, y = place_in_lung(rng, anatomy, air, radius * 0.5)
    turn = float(rng.uniform(0, np.pi))
    rows, cols, q = ellipse(plane, x=x, y=y, a=radius * float(rng.uniform(1.6, 2.1)), b=radius * 1.5, turn=turn)
    cloud = clouds(rng, plane.size, cells=9)[rows, cols] * np.float32(0.24)
    cloud = cloud + clouds(rng, plane.size, cells=28)[rows, cols] * np.float32(0.13)
    fill = np.clip((np.float32(0.72) - q + cloud) * np.float32(1.9), 0, 1)
    if rng.random() < 0.5:
        below = 1 if rng.random() < 0.5 else -1
        fissure = np.float32(y + below * radius * 0.25) + np.float32(rng.uniform(-0.2, 0.2)) * (
            plane.x[cols] - np.float32(x)
        )
        fill = fill * ramp((fissure - plane.y[rows]) * below, 2.5)
    # Bronchi run beside the vessels and stay full of air.
    bronchi = np.clip(anatomy.vessels_mm[rows, cols] / np.float32(7), 0, 1) * np.float32(0.5)
    share = plane.zeros()
    share[rows, cols] = fill * (1 - bronchi) * np.float32(rng.uniform(0.6, 0.8))
    lobe = np.minimum(air, np.float32(110))
    mask = (share > 0.25) & (air > 0.2 * anatomy.patient.depth)
    return Finding(integral=line_integral(anatomy, air_mm=air - share * lobe), mask=mask)


def draw_interstitial(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a reticular network with nodes over both lungs, denser towards the bases."""
    patient, plane = anatomy.patient, anatomy.plane
    fine, coarse = (int(plane.field_mm / float(rng.uniform(*grain))) for grain in ((6, 7.5), (9, 12)))
    first, second = clouds(rng, plane.size, cells=fine), clouds(rng, plane.size, cells=coarse)
    lines = np.exp(-((first / np.float32(0.28)) ** 2)) + np.exp(-((second / np.float32(0.28)) ** 2))
    basal = np.float32(0.6) + np.float32(0.4) * ramp(
        plane.y - np.float32(patient.apex + 0.55 * patient.height), patient.height
    )
    filled = np.minimum(air / np.float32(0.6 * patient.depth), 1) * basal
    strength = np.float32(MU_SOFT * float(rng.uniform(17, 24)) * grade)
    mesh = (lines * np.float32(0.8) + np.float32(0.4) * np.maximum(first + second, 0) + np.float32(0.5)) * filled
    return Finding(integral=line_integral(anatomy, air_mm=air) + strength * mesh, mask=filled > 0.35)


def draw_atelectasis(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a collapsed lobe: a dense wedge at the apex or the base, its diaphragm drawn up."""
    patient, plane = anatomy.patient, anatomy.plane
    side = side_of(rng)
    u = anatomy.x * np.float32(side)
    # On the left the lobe has to stand out from behind the heart.
    share, curve = ((0.82, 0.95), 0.8) if side > 0 else ((0.62, 0.78), 1.3)
    reach = float(rng.uniform(*share)) * patient.half_width * min(grade, 1.25)
    if rng.random() < 0.5:
        # Upper lobe: everything above a line that sweeps from the hilum up and outwards.
        line = patient.apex + patient.height * float(rng.uniform(0.36, 0.44)) * min(grade, 1.3)
        edge = (
            np.float32(line)
            - np.maximum(u - 24, 0) * np.float32(0.34)
            + np.maximum(u - 24, 0) ** 2 * np.float32(0.0012)
        )
        wedge = ramp(edge - plane.y, 3) * ramp(u, 6)
    else:
        # Lower lobe: a triangle beside the spine, its hypotenuse from the hilum to the diaphragm.
        top = patient.apex + 0.4 * patient.height
        base = patient.dome_left if side > 0 else patient.dome_right
        s = np.clip((plane.y - np.float32(top)) / np.float32(base - top), 0, 1.3)
        wedge = (
            ramp(np.float32(18) + s ** np.float32(curve) * np.float32(reach) - u, 3)
            * ramp(u, 6)
            * ramp(plane.y - np.float32(top), 6)
        )
    full = wedge * np.float32(rng.uniform(0.62, 0.8))
    return Finding(
        integral=line_integral(anatomy, air_mm=air * (1 - full)), mask=(wedge > 0.5) & (air > 0.15 * patient.depth)
    )


def draw_effusion(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return fluid in one costophrenic angle, its meniscus rising along the chest wall."""
    patient, plane = anatomy.patient, anatomy.plane
    side = side_of(rng)
    u = anatomy.x * np.float32(side)
    base = patient.dome_left if side > 0 else patient.dome_right
    level = base - float(rng.uniform(16, 70)) * grade
    t = np.clip(u / np.float32(patient.half_width), 0, 1)
    surface = np.float32(level) + np.float32(14) * (1 - t) - np.float32(42) * t**5
    fluid = ramp(plane.y - surface, 9) * ramp(u, 8)
    filled = fluid * np.float32(0.92)
    return Finding(
        integral=line_integral(anatomy, air_mm=air * (1 - filled)), mask=(fluid > 0.5) & (air > 0.08 * patient.depth)
    )


def draw_pneumothorax(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a lung drawn away from apex and chest wall: a pleural line, black beyond it, no vessels there."""
    patient, plane = anatomy.patient, anatomy.plane
    side = side_of(rng)
    u = anatomy.x * np.float32(side)
    gap = float(rng.uniform(24, 42)) * grade
    # The collapsed lung's contour: the chest's own, drawn in by the gap (twice at the apex).
    lowered = np.float32(patient.apex + gap * 1.5)
    v = np.clip(
        (np.float32(patient.apex + 0.85 * patient.height) - plane.y)
        / np.float32(patient.apex + 0.85 * patient.height - lowered),
        0,
        1,
    )
    width = np.float32(max(patient.half_width - gap, 0.4 * patient.half_width))
    contour = width * np.maximum(1 - v**2.7, 0) ** np.float32(0.52) * (plane.y > lowered)
    outside = u - contour
    beyond = ramp(outside, 2.5) * (u > 20) * ramp(anatomy.diaphragm_y + 6 - plane.y, 4)
    line = np.exp(-((outside / np.float32(1.6)) ** 2)) * (u > 20) * ramp(anatomy.diaphragm_y - plane.y, 4)
    own = ramp(u, 4)
    density = np.float32(patient.lung_density) * (1 + np.float32(0.3) * own * (1 - beyond)) * (1 - beyond)
    kept = anatomy.vessels_mm
    anatomy.vessels_mm = kept * (1 - beyond)
    integral = line_integral(anatomy, air_mm=air, density=density)
    anatomy.vessels_mm = kept
    inside = np.minimum(air * np.float32(0.05), 1)
    integral = integral + np.float32(MU_SOFT * 7) * line * inside
    return Finding(integral=integral, mask=(beyond > 0.5) & (air > 0.1 * patient.depth))


def draw_cardiomegaly(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a heart of at least 0.60 of the thorax; the mask is the whole heart."""
    del air
    patient, plane = anatomy.patient, anatomy.plane
    ratio = min(float(rng.uniform(ENLARGED_RATIO + 0.01, 0.7)) * (0.8 + 0.2 * grade), 0.76)
    normal = anatomy.silhouette
    anatomy.silhouette = np.maximum(normal, silhouette(patient, plane, anatomy.x, ratio=ratio))
    integral = line_integral(anatomy)
    heart = (anatomy.silhouette > 0.3) & (plane.y > patient.apex + 0.42 * patient.height)
    heart &= plane.y < anatomy.diaphragm_y + 8
    anatomy.silhouette = normal
    return Finding(integral=integral, mask=heart)


def draw_hilar(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return lobulated masses of 38 mm and more at one or both hila."""
    patient, plane = anatomy.patient, anatomy.plane
    both = rng.random() < 0.6
    sides = (-1, 1) if both else (side_of(rng),)
    mask, extra = np.zeros((plane.size, plane.size), np.bool_), plane.zeros()
    for side in sides:
        for _ in range(3 if both else 4):
            radius = float(rng.uniform(18, 24)) * min(grade, 1.3)
            rows, cols, q = ellipse(
                plane,
                x=patient.offset + patient.rotation + side * (float(rng.uniform(38, 54)) + (0 if both else 6)),
                y=patient.apex + patient.height * (0.42 + float(rng.uniform(-0.07, 0.11))),
                a=radius,
                b=radius * 1.15,
            )
            extra[rows, cols] = np.maximum(extra[rows, cols], np.float32(2 * radius) * dome(q))
            mask[rows, cols] |= q < 1
    extra = blur(extra, 2.5 / plane.pixel_mm)
    tissue = np.float32((1 - patient.lung_density) * MU_SOFT * 1.25)
    inside = np.minimum(air * np.float32(0.05), 1)
    return Finding(integral=line_integral(anatomy, air_mm=air) + extra * tissue * inside, mask=mask & (inside > 0.3))


def draw_foreign(rng: np.random.Generator, anatomy: Anatomy, air: Map, grade: float) -> Finding:
    """Return a metal device."""
    layer = draw_device(rng, anatomy, large=grade > 1.2)
    metal = blur((layer > 0.12).astype(np.float32), 1.0) > 0.25
    return Finding(integral=line_integral(anatomy, air_mm=air) + layer, mask=metal)


DRAW: dict[Kind, Draw] = {
    Kind.NODULE: draw_nodule,
    Kind.MASS: draw_mass,
    Kind.CONSOLIDATION: draw_consolidation,
    Kind.INTERSTITIAL: draw_interstitial,
    Kind.ATELECTASIS: draw_atelectasis,
    Kind.EFFUSION: draw_effusion,
    Kind.PNEUMOTHORAX: draw_pneumothorax,
    Kind.CARDIOMEGALY: draw_cardiomegaly,
    Kind.HILAR_ENLARGEMENT: draw_hilar,
    Kind.FOREIGN_DEVICE: draw_foreign,
}


def draw_finding(rng: np.random.Generator, kind: Kind, anatomy: Anatomy, *, grade: float) -> Finding:
    """Return the finding of that kind in this patient."""
    return DRAW[kind](rng, anatomy, lungs_mm(anatomy), grade)
