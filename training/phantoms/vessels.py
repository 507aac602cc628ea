"""The branching vessels of both lungs."""

import numpy as np

from training.phantoms.anatomy import Anatomy
from training.phantoms.canvas import Map, blur, splat

#: Points along a branch.
STEPS = 14


def add_vessels(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Grow two trees from the hila and add their blood, in place."""
    patient = anatomy.patient
    parts: list[tuple[Map, Map, Map, Map]] = []
    for side in (-1, 1):
        root_y = patient.apex + patient.height * (0.44 if side < 0 else 0.4)
        parts += grow(rng, anatomy, side, patient.offset + patient.rotation * 0.6 + side * 27, root_y)
    x, y, radius, length = (np.concatenate([part[k] for part in parts]) for k in range(4))
    mass = np.float32(1.5 * np.pi) * radius**2 * length
    # Three calibres, each drawn with a Gaussian as wide as the tube.
    for low, high in ((0.0, 1.7), (1.7, 3.0), (3.0, 99.0)):
        chosen = (radius >= low) & (radius < high)
        sigma = float(np.clip(radius[chosen].mean() * 0.55, 0.4, 9)) if chosen.any() else 1.0
        anatomy.vessels_mm += blur(
            splat(anatomy.plane, x[chosen], y[chosen], mass[chosen]), sigma / anatomy.plane.pixel_mm
        )


def grow(
    rng: np.random.Generator, anatomy: Anatomy, side: int, x0: float, y0: float
) -> list[tuple[Map, Map, Map, Map]]:
    """Return x, y, radius and step length of the points of one lung's tree, generation by generation."""
    patient = anatomy.patient
    scale = patient.half_width / 132
    # Trunks: the artery that descends behind the heart's border, and the fan of lobar branches.
    angles = np.concatenate([[1.32, 1.12], np.linspace(-1.35, 1.5, 9) + rng.normal(0, 0.09, 9)]).astype(np.float32)
    radius = np.concatenate([[5.2, 4.4], rng.uniform(2.6, 3.4, 9)]).astype(np.float32) * np.float32(scale)
    length = np.concatenate([[46, 40], rng.uniform(22, 34, 9)]).astype(np.float32) * np.float32(scale)
    x = np.full(angles.shape, x0, np.float32) + side * rng.uniform(-3, 3, angles.shape).astype(np.float32)
    y = np.full(angles.shape, y0, np.float32) + rng.uniform(-6, 6, angles.shape).astype(np.float32)
    step = np.linspace(0, 1, STEPS, dtype=np.float32)
    parts: list[tuple[Map, Map, Map, Map]] = []
    for _ in range(5):
        bend = rng.normal(0, 0.16, angles.shape).astype(np.float32)
        heading = angles[:, None] + bend[:, None] * step
        points_x = x[:, None] + np.float32(side) * length[:, None] * step * np.cos(heading)
        points_y = y[:, None] + length[:, None] * step * np.sin(heading)
        taper = radius[:, None] * (1 - np.float32(0.22) * step)
        ds = np.broadcast_to(length[:, None] / STEPS, points_x.shape)
        parts.append((points_x.ravel(), points_y.ravel(), taper.ravel(), ds.ravel().astype(np.float32)))
        spread = rng.uniform(0.22, 0.5, angles.shape).astype(np.float32)
        angles = np.concatenate([angles + bend + spread, angles + bend - spread * np.float32(0.8)])
        x, y = np.tile(points_x[:, -1], 2), np.tile(points_y[:, -1], 2)
        radius = np.concatenate([radius * np.float32(0.74), radius * np.float32(0.66)])
        length = np.concatenate([length, length]) * rng.uniform(0.68, 0.86, angles.shape).astype(np.float32)
    return parts
