"""Harmless variety that must stay healthy: nipples, skin folds, ECG leads, necklaces, calcified cartilage and aorta."""

import numpy as np

from training.phantoms.anatomy import Anatomy
from training.phantoms.canvas import blur, dome, ellipse, ramp, splat


def add_variety(rng: np.random.Generator, anatomy: Anatomy, clutter: float) -> None:
    """Draw each harmless thing by its own chance and add it in place."""
    patient = anatomy.patient
    if rng.random() < clutter:
        add_nipples(rng, anatomy)
    if patient.view == "AP" and rng.random() < clutter:
        add_skin_fold(rng, anatomy)
    if rng.random() < clutter * (1.2 if patient.view == "AP" else 0.3):
        add_ecg_leads(rng, anatomy)
    if rng.random() < clutter * 0.3:
        add_necklace(rng, anatomy)
    if patient.age > 45 and rng.random() < clutter:
        add_cartilage(rng, anatomy)
    if patient.age > 60 and rng.random() < clutter * 1.5:
        add_aortic_calcium(anatomy)


def add_nipples(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add two faint discs of 7 to 9 mm, at the same height."""
    patient = anatomy.patient
    out, down = float(rng.uniform(0.55, 0.68)), float(rng.uniform(0.76, 0.86))
    for side in (-1, 1):
        rows, cols, q = ellipse(
            anatomy.plane,
            x=patient.offset + side * patient.half_width * out,
            y=patient.apex + patient.height * down + float(rng.normal(0, 2)),
            a=float(rng.uniform(3.5, 4.5)),
            b=4.0,
        )
        anatomy.harmless[rows, cols] += np.float32(0.06) * dome(q)


def add_skin_fold(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add an oblique band, sharp on one side only and fading on the other; vessels cross it."""
    patient, plane = anatomy.patient, anatomy.plane
    side = 1 if rng.random() < 0.5 else -1
    u = (plane.x - np.float32(patient.offset)) * side
    line = patient.half_width * float(rng.uniform(0.5, 0.75)) + (plane.y - patient.apex) * float(
        rng.uniform(-0.15, 0.15)
    )
    d = line - u
    fold = ramp(d, 3) * np.exp(-np.maximum(d, 0) / np.float32(16))
    span = ramp(plane.y - np.float32(patient.apex + 40), 50) * ramp(np.float32(patient.dome_left + 20) - plane.y, 50)
    anatomy.harmless += np.float32(0.07) * (fold * span).astype(np.float32)


def wire(anatomy: Anatomy, points: list[tuple[float, float]], *, mm2: float) -> None:
    """Add a thin line through the points (x, y); ``mm2`` is line integral times width in mm."""
    plane = anatomy.plane
    corners = np.asarray(points, np.float32)
    legs = np.hypot(*np.diff(corners, axis=0).T)
    at = np.concatenate([[0], np.cumsum(legs)])
    s = np.arange(0, at[-1], 0.8, dtype=np.float32)
    x, y = np.interp(s, at, corners[:, 0]), np.interp(s, at, corners[:, 1])
    mass = np.full(s.shape, mm2 * 0.8, np.float32)
    anatomy.harmless += blur(splat(plane, x.astype(np.float32), y.astype(np.float32), mass), 0.5)


def add_ecg_leads(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add three or four small snaps with wires that leave the film."""
    patient = anatomy.patient
    places = [(-0.75, 0.12), (0.75, 0.12), (-0.8, 1.02), (0.85, 1.0)]
    for u, v in places[: int(rng.integers(3, 5))]:
        x = patient.offset + patient.half_width * (u + float(rng.normal(0, 0.05)))
        y = patient.apex + patient.height * (v + float(rng.normal(0, 0.04)))
        rows, cols, q = ellipse(anatomy.plane, x=x, y=y, a=4.0, b=4.0)
        anatomy.harmless[rows, cols] += np.float32(0.5) * np.sqrt(dome(q))
        bow = float(rng.uniform(10, 40))
        out = np.sign(u) * anatomy.plane.field_mm / 2
        wire(anatomy, [(x, y), (x + np.sign(u) * bow, y + 30), (out, y + float(rng.uniform(20, 90)))], mm2=0.25)


def add_necklace(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add a thin chain around the neck."""
    patient = anatomy.patient
    t = np.linspace(-1, 1, 25)
    drop = float(rng.uniform(25, 60))
    points = [(patient.offset + 50 * v, patient.apex - 34 + drop * (1 - v * v)) for v in t]
    wire(anatomy, [(float(x), float(y)) for x, y in points], mm2=0.5)


def add_cartilage(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add speckles of calcium where the front ends of the ribs meet the cartilage."""
    patient = anatomy.patient
    count = 90
    side = np.where(rng.random(count) < 0.5, -1, 1)
    rib = rng.integers(2, 8, count)
    x = patient.offset + side * (patient.half_width * 0.42 + rng.normal(0, 5, count) + 2.0 * rib)
    y = patient.apex + patient.height * (0.34 + 0.09 * rib) + rng.normal(0, 4, count)
    mass = rng.uniform(0.2, 0.9, count)
    speckles = splat(anatomy.plane, x.astype(np.float32), y.astype(np.float32), mass.astype(np.float32))
    anatomy.harmless += blur(speckles, 1.3 / anatomy.plane.pixel_mm)


def add_aortic_calcium(anatomy: Anatomy) -> None:
    """Add a thin crescent in the wall of the aortic arch."""
    patient = anatomy.patient
    angles = np.linspace(-0.9, 1.0, 12)
    x, y = patient.offset + patient.rotation + 17, patient.apex + 0.28 * patient.height
    wire(anatomy, [(x + 14 * float(np.cos(a)), y + 14 * float(np.sin(a))) for a in angles], mm2=0.35)
