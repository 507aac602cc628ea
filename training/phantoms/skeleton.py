"""Ribs, spine, clavicles and scapulae as line integrals."""

import numpy as np

from training.phantoms.anatomy import Anatomy
from training.phantoms.canvas import Map, add_strip, dome, ellipse, ramp, window

#: Ribs seen on a frontal film.
RIBS = 10


def add_skeleton(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Add all bones to the anatomy's bone layer, in place."""
    calcium = float(rng.uniform(0.85, 1.15)) * (1 - 0.003 * max(anatomy.patient.age - 50, 0))
    add_ribs(rng, anatomy, calcium)
    add_spine(anatomy, calcium)
    add_shoulders(rng, anatomy, calcium)


def add_ribs(rng: np.random.Generator, anatomy: Anatomy, calcium: float) -> None:
    """Add ten pairs of ribs: the arch behind, the steeper and fainter arch in front."""
    patient, plane = anatomy.patient, anatomy.plane
    spacing = patient.height / 8.6
    half = 6.2 * patient.half_width / 132
    fall, steep = float(rng.uniform(24, 36)), float(rng.uniform(58, 74))
    u = np.abs(plane.x - np.float32(patient.offset))
    left_side = plane.x > patient.offset
    layer = plane.zeros()
    for i in range(RIBS):
        start = patient.apex - 4 + spacing * i + float(rng.normal(0, 1.2))
        row = int(np.clip((start + 26) / plane.pixel_mm, 0, plane.size - 1))
        reach = np.float32(max(float(anatomy.border[row, 0]), 34.0) + 5)
        t = u / reach
        lateral = start + fall * (0.6 + 0.07 * i + (0.5 if i < 2 else 0.0))
        lean = np.where(left_side, np.float32(1), np.float32(-1)) * plane.x * np.float32(patient.tilt)
        # Half an ellipse behind and half in front meet at the side, both upright there.
        turn = np.sqrt(np.maximum(1 - t * t, 0))
        fade = np.clip((1 - t) * np.float32(9 if i < 2 else 16), 0, 1)
        back = np.float32(start) - 6 * np.sin(np.pi * np.minimum(t * 1.5, 1)) + np.float32(lateral - start) * (1 - turn)
        known = (t < 1.0) & (u > 14)
        # The tube is seen edge-on where it turns forward, so it brightens towards the side.
        peak = (np.float32(0.18 * calcium) * (1 + 0.5 * np.clip(t, 0, 1) ** 6) * fade).astype(np.float32)
        strip(layer, anatomy, (back - lean).astype(np.float32), half, peak * known)
        if 0 < i < RIBS - 1:
            front = np.float32(lateral) + np.float32(steep * (0.5 + 0.07 * i)) * turn ** np.float32(1.25)
            end = 0.4 + 0.02 * i
            peak = np.clip((t - np.float32(end)) / np.float32(0.18), 0, 1) * np.float32(0.12 * calcium) * fade
            known = (t < 1.0) & (t > end)
            strip(layer, anatomy, (front - lean).astype(np.float32), half * 1.12, (peak * known).astype(np.float32))
    anatomy.bone += layer


def strip(layer: Map, anatomy: Anatomy, centre: Map, half: float, peak: Map) -> None:
    """Add a hollow tube: the rod less most of its marrow."""
    add_strip(layer, anatomy.plane, centre, half_mm=half, peak=peak * np.float32(2.5))
    add_strip(layer, anatomy.plane, centre, half_mm=half * 0.84, peak=peak * np.float32(-1.65))


def add_spine(anatomy: Anatomy, calcium: float) -> None:
    """Add the vertebral bodies with discs, pedicles and spinous processes between."""
    patient, plane = anatomy.patient, anatomy.plane
    y = plane.y
    bend = np.float32(patient.scoliosis) * np.sin((y - np.float32(patient.apex)) / np.float32(70))
    middle = plane.field_mm / 2 + patient.offset
    cols = window(plane, middle - 48, middle + 48)
    x = np.abs((anatomy.x - bend)[:, cols])
    period = np.float32(patient.height / 9.6)
    phase = ((y - np.float32(patient.apex)) / period) % 1
    body = ramp(np.float32(0.4) - np.abs(phase - np.float32(0.5)), 0.12)
    half = 15 + 4 * ramp(y - np.float32(patient.apex + 60), 160)
    column = dome(np.square(np.square(x / half))) * (np.float32(0.24) + np.float32(0.13) * body)
    # Pedicles and processes: products of a bump across and a bump along.
    pedicle = np.exp(-np.square((x - 11) / np.float32(3.2))) * np.exp(
        -np.square((phase - np.float32(0.42)) / np.float32(0.16))
    )
    process = np.exp(-np.square(x / np.float32(3))) * np.exp(-np.square((phase - np.float32(0.7)) / np.float32(0.22)))
    column += np.float32(0.14) * pedicle + np.float32(0.16) * process
    anatomy.bone[:, cols] += np.float32(calcium) * column


def add_shoulders(rng: np.random.Generator, anatomy: Anatomy, calcium: float) -> None:
    """Add clavicles, shoulder blades and the heads of the humeri."""
    patient, plane = anatomy.patient, anatomy.plane
    high = float(rng.uniform(-6, 8)) + (10 if patient.view == "AP" else 0)
    abducted = float(rng.uniform(4, 14)) if patient.view == "PA" else float(rng.uniform(-12, 0))
    for side in (-1, 1):
        u = (plane.x - np.float32(patient.offset + patient.rotation * 0.4)) * side
        t = (u - 16) / np.float32(150)
        s = patient.apex + 38 - high + float(rng.normal(0, 2)) - side * patient.tilt * 60
        centre = np.float32(s) - 40 * t + 8 * np.sin(2 * np.pi * np.clip(t, 0, 1))
        known = (t > 0) & (t < 1.0)
        thick = (np.float32(0.17 * calcium) * (1 + 0.4 * np.abs(2 * t - 1))).astype(np.float32)
        strip(anatomy.bone, anatomy, centre.astype(np.float32), 6.0, thick * known)
        add_blade(anatomy, side, abducted, calcium)
        rows, cols, q = ellipse(
            plane, x=patient.offset + side * (patient.half_width + 62), y=patient.apex + 28, a=25, b=27
        )
        anatomy.bone[rows, cols] += np.float32(0.5 * calcium) * dome(q)


def add_blade(anatomy: Anatomy, side: int, abducted: float, calcium: float) -> None:
    """Add one shoulder blade: a thin triangle with a thicker lateral margin."""
    patient, plane = anatomy.patient, anatomy.plane
    top, tip = patient.apex + 18, patient.apex + 0.62 * patient.height
    rows = window(plane, top - 10, tip + 10)
    y = plane.y[rows]
    s = np.clip((y - np.float32(top)) / np.float32(tip - top), 0, 1)
    u = (plane.x - np.float32(patient.offset)) * side
    medial = np.float32(patient.half_width * 0.8 + abducted) + s * np.float32(patient.half_width * 0.16)
    lateral = np.float32(patient.half_width * 1.42 + abducted) - s * np.float32(patient.half_width * 0.44)
    inside = ramp(u - medial, 3) * ramp(lateral - u, 3) * ramp(y - np.float32(top), 6) * ramp(np.float32(tip) - y, 6)
    margin = np.exp(-(((u - lateral + 4) / 4) ** 2)) * ramp(y - np.float32(top), 6) * ramp(np.float32(tip) - y, 6)
    anatomy.bone[rows] += np.float32(calcium) * (np.float32(0.05) * inside + np.float32(0.14) * margin)
