"""Metal that is a finding: pacemaker, port, prosthetic valve, spinal rods."""

from collections.abc import Callable

import numpy as np

from training.phantoms.anatomy import Anatomy
from training.phantoms.canvas import Map, blur, ellipse, ramp, splat


def draw_device(rng: np.random.Generator, anatomy: Anatomy, *, large: bool) -> Map:
    """Return the line integral of one device; a large one is a pacemaker."""
    layer = anatomy.plane.zeros()
    kind = pacemaker if large else DEVICES[int(rng.integers(len(DEVICES)))]
    kind(rng, anatomy, layer)
    return layer


def tube(layer: Map, anatomy: Anatomy, points: list[tuple[float, float]], *, half_mm: float, peak: float) -> None:
    """Add a smooth thread through the points, in place."""
    corners = np.asarray(points, np.float64)
    s = np.linspace(0, 1, 400)
    knots = np.linspace(0, 1, len(points))
    degree = min(3, len(points) - 1)
    x = np.polyval(np.polyfit(knots, corners[:, 0], degree), s).astype(np.float32)
    y = np.polyval(np.polyfit(knots, corners[:, 1], degree), s).astype(np.float32)
    length = float(np.hypot(np.diff(x), np.diff(y)).sum())
    mass = np.full(s.shape, peak * half_mm * 2 * length / s.size, np.float32)
    layer += blur(splat(anatomy.plane, x, y, mass), max(half_mm * 0.6 / anatomy.plane.pixel_mm, 0.45))


def pacemaker(rng: np.random.Generator, anatomy: Anatomy, layer: Map) -> None:
    """Add a generator below the clavicle and a lead to the heart's apex."""
    patient, plane = anatomy.patient, anatomy.plane
    side = 1 if rng.random() < 0.8 else -1
    x = patient.offset + side * patient.half_width * float(rng.uniform(0.58, 0.72))
    y = patient.apex + patient.height * float(rng.uniform(0.2, 0.28))
    rows, cols, q = ellipse(plane, x=x, y=y, a=float(rng.uniform(22, 26)), b=float(rng.uniform(19, 22)))
    inner = ramp(1 - q, 0.15)
    layer[rows, cols] += np.float32(1.6) * inner + np.float32(0.9) * ramp(np.float32(0.35) - q, 0.1)
    mid = patient.offset + patient.rotation
    for tip_x, tip_y in ((mid + 46, patient.dome_left - 14), (mid - 18, patient.dome_right - 60))[
        : int(rng.integers(1, 3))
    ]:
        points = [(x, y - 12), (x - side * 40, y - 34), (mid - 12, y + 10), (mid - 20, y + 70), (tip_x, tip_y)]
        tube(layer, anatomy, points, half_mm=1.6, peak=1.6)


def port(rng: np.random.Generator, anatomy: Anatomy, layer: Map) -> None:
    """Add an implanted port with its catheter to the superior vena cava."""
    patient, plane = anatomy.patient, anatomy.plane
    x = patient.offset - patient.half_width * float(rng.uniform(0.5, 0.64))
    y = patient.apex + patient.height * float(rng.uniform(0.24, 0.32))
    rows, cols, q = ellipse(plane, x=x, y=y, a=14, b=14)
    layer[rows, cols] += np.float32(1.1) * ramp(1 - q, 0.15) + np.float32(1.0) * ramp(
        np.float32(0.16) - np.abs(q - np.float32(0.7)), 0.1
    )
    mid = patient.offset + patient.rotation - 16
    points = [
        (x, y),
        (x + 8, y - 36),
        (mid - 16, patient.apex + 8),
        (mid, patient.apex + 60),
        (mid, patient.apex + 100),
    ]
    tube(layer, anatomy, points, half_mm=1.6, peak=1.3)


def valve(rng: np.random.Generator, anatomy: Anatomy, layer: Map) -> None:
    """Add one or two prosthetic valve rings and the wires of the sternum."""
    patient, plane = anatomy.patient, anatomy.plane
    mid = patient.offset + patient.rotation
    for dx, dy in ((22, 0.68), (4, 0.58))[: int(rng.integers(1, 3))]:
        a, b = float(rng.uniform(15, 18)), float(rng.uniform(8, 13))
        rows, cols, q = ellipse(
            plane, x=mid + dx, y=patient.apex + patient.height * dy, a=a * 1.2, b=b * 1.2, turn=-0.6
        )
        layer[rows, cols] += np.float32(2.2) * np.exp(-(((np.sqrt(q) - np.float32(0.8)) / np.float32(0.14)) ** 2))
    for i in range(6):
        y = patient.apex + patient.height * (0.22 + 0.1 * i)
        rows, cols, q = ellipse(plane, x=mid, y=y, a=8.5, b=5)
        layer[rows, cols] += np.float32(1.6) * np.exp(-(((np.sqrt(q) - np.float32(0.75)) / np.float32(0.2)) ** 2))


def rods(rng: np.random.Generator, anatomy: Anatomy, layer: Map) -> None:
    """Add two rods along the spine with their screws."""
    patient, plane = anatomy.patient, anatomy.plane
    top = patient.apex + patient.height * float(rng.uniform(0.1, 0.3))
    bottom = top + patient.height * float(rng.uniform(0.65, 0.85))
    bend = np.float32(patient.scoliosis) * np.sin((plane.y - np.float32(patient.apex)) / np.float32(70))
    x = anatomy.x - bend
    rod = (np.abs(np.abs(x) - 14) < 3.2).astype(np.float32)
    layer += np.float32(2.0) * rod * ramp(plane.y - np.float32(top), 4) * ramp(np.float32(bottom) - plane.y, 4)
    for i in range(int((bottom - top) // 26) + 1):
        rows = slice(*(int(v / plane.pixel_mm) for v in (top + 26 * i, top + 26 * i + 5)))
        layer[rows] += np.float32(1.4) * ramp(21 - np.abs(x[rows]), 3) * ramp(np.abs(x[rows]) - 6, 3)


DEVICES: tuple[Callable[[np.random.Generator, Anatomy, Map], None], ...] = (pacemaker, port, valve, rods)
