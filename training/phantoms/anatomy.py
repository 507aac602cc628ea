"""A varied adult chest as layers of thickness: body, air, bones, vessels.

A layer is what the line integral is composed of; findings exchange or add to layers, so that the same patient can be
projected with and without the finding.
"""

from dataclasses import dataclass

import numpy as np

from training.phantoms.canvas import Canvas, Map, clouds, dome, ellipse, ramp
from training.phantoms.sites import Population

#: Linear attenuation of soft tissue at the effective energy, per mm.
MU_SOFT = 0.0195
#: Largest cardiothoracic ratio of a healthy film, PA and AP; smallest of an enlarged heart. Nothing between is made.
HEALTHY_RATIO = {"PA": 0.48, "AP": 0.52}
ENLARGED_RATIO = 0.60


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """Who lies before the detector. Lengths in mm as projected (magnification included)."""

    female: bool
    age: int
    habitus: float
    view: str
    #: Half the inner width of the rib cage.
    half_width: float
    apex: float
    #: Top of the right and of the left diaphragm dome.
    dome_right: float
    dome_left: float
    #: From the dome's top to the costophrenic angle.
    angle_depth: float
    depth: float
    wall: float
    #: Share of tissue in the lung's volume.
    lung_density: float
    heart_ratio: float
    #: Shift of heart and mediastinum by rotation, and of the patient on the film.
    rotation: float
    offset: float
    #: Amplitude of the spine's curve.
    scoliosis: float
    tilt: float

    @property
    def height(self) -> float:
        """Return the height of the lungs."""
        return (self.dome_right + self.dome_left) / 2 - self.apex


def draw_patient(rng: np.random.Generator, people: Population, *, field_mm: float) -> Patient:
    """Draw a patient and the position on the film."""
    female = rng.random() < people.female
    age = int(np.clip(rng.normal(people.age_mean, people.age_sd), 18, 95))
    view = "AP" if rng.random() < people.portable else "PA"
    magnified = 1.07 if view == "AP" else 1.0
    size = (0.93 if female else 1.0) * people.stature * float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)) * magnified
    habitus = float(np.clip(rng.normal(people.habitus, 0.8), -1.6, 2.2))
    inspiration = float(rng.uniform(0.0, 0.6) if view == "AP" else rng.uniform(0.35, 1.0))
    scale = field_mm / 360
    apex = (rng.uniform(34, 50) + (6 if view == "AP" else 0)) * scale
    height = (172 + 52 * inspiration) * size
    right = apex + height
    half_width = min(132 * size * float(rng.uniform(0.97, 1.04)) + 4 * habitus, 148 * scale)
    low = 0.38 if view == "PA" else 0.42
    return Patient(
        female=bool(female),
        age=age,
        habitus=habitus,
        view=view,
        half_width=half_width,
        apex=apex,
        dome_right=right,
        dome_left=right + float(rng.uniform(4, 16)),
        angle_depth=float(rng.uniform(38, 56)) * size,
        depth=float(rng.uniform(150, 185)) * size,
        wall=float(16 + 8 * max(habitus, -1.0)),
        lung_density=float(rng.uniform(0.2, 0.26) + 0.05 * (1 - inspiration)),
        heart_ratio=float(rng.uniform(low, HEALTHY_RATIO[view])),
        rotation=float(np.clip(rng.normal(0, 4), -9, 9)),
        offset=float(np.clip(rng.normal(0, 5), -10, 10)) * scale,
        scoliosis=float(rng.uniform(6, 14)) if rng.random() < people.clutter * 0.3 else 0.0,
        tilt=float(rng.normal(0, 0.015)),
    )


@dataclass(slots=True, kw_only=True)
class Anatomy:
    """The layers of one patient, and the lines that the findings need."""

    patient: Patient
    plane: Canvas
    #: (size, size) distance from the midline, patient's left positive; tilt and scoliosis included.
    x: Map
    #: Soft tissue if the chest were solid.
    body_mm: Map
    #: Depth of the thoracic cavity, before diaphragm and mediastinum.
    cavity_mm: Map
    #: Depth below which the diaphragm covers the lung, per pixel.
    diaphragm_y: Map
    #: Share of the cavity that heart and mediastinum fill.
    silhouette: Map
    #: Lateral border of the lung per row (size, 1).
    border: Map
    #: Line integral of bone and other things denser than tissue.
    bone: Map
    #: Blood in the lung.
    vessels_mm: Map
    #: Harmless things: objects, folds, gas (negative).
    harmless: Map


def diaphragm(patient: Patient, x: Map, *, raise_left: float = 0.0, raise_right: float = 0.0) -> Map:
    """Return the y of the diaphragm over the plane."""
    t = np.abs(x) / np.float32(patient.half_width)
    top = np.where(x > 0, np.float32(patient.dome_left - raise_left), np.float32(patient.dome_right - raise_right))
    drop = np.maximum(t - np.float32(0.46), 0) / np.float32(0.54)
    inner = np.maximum(np.float32(0.46) - t, 0) / np.float32(0.46)
    return (top + np.float32(patient.angle_depth) * drop * drop + np.float32(14) * inner**2).astype(np.float32)


def heart_borders(patient: Patient, y: Map, *, ratio: float) -> tuple[Map, Map]:
    """Return the right and left border of the mediastinal silhouette per row, as positive distances."""
    width = ratio * 2 * patient.half_width
    bottom = max(patient.dome_left, patient.dome_right) + 16
    top = patient.apex + 0.42 * patient.height
    t = np.clip((y - np.float32(top)) / np.float32(bottom - top), 0, 1)
    upper = np.float32(min(0.17 * patient.half_width + 3, 27))
    # Left: aortic knob, concave waist, pulmonary trunk, left ventricle.
    bulge = np.sin(np.pi * np.clip(t, 0, 1) ** 1.15 * 0.72) ** 1.3
    left = upper + (np.float32(0.66 * width) - upper) * bulge
    knob = patient.apex + 0.27 * patient.height
    left = left + np.float32(9) * np.exp(-(((y - np.float32(knob)) / 14) ** 2))
    left = left + np.float32(4) * np.exp(-(((y - np.float32(knob + 34)) / 12) ** 2))
    right_bulge = np.sin(np.pi * np.clip(t, 0, 1) ** 0.9 * 0.8) ** 1.5
    right = upper + (np.float32(0.34 * width) - upper) * right_bulge
    peak = np.float32(width) / np.float32((left + right).max())
    grown = t > 0
    left = np.where(grown, upper + (left - upper) * peak, left)
    right = np.where(grown, upper + (right - upper) * peak, right)
    return right.astype(np.float32), left.astype(np.float32)


def silhouette(patient: Patient, plane: Canvas, x: Map, *, ratio: float) -> Map:
    """Return the share of the cavity filled by heart and mediastinum."""
    right, left = heart_borders(patient, plane.y, ratio=ratio)
    centre = (left - right) / 2 + np.float32(patient.rotation)
    half = (left + right) / 2
    q = np.abs(x - centre) / half
    return np.float32(0.93) * dome(np.square(q * q))


def lungs_mm(anatomy: Anatomy) -> Map:
    """Return the depth of air-bearing lung along each ray."""
    below = (anatomy.plane.y - anatomy.diaphragm_y) / np.float32(22)
    seen = ramp(-below * 22, max(2.2, anatomy.plane.pixel_mm))
    recess = np.float32(0.24) * np.exp(-np.maximum(below, 0) * np.float32(1.6))
    covered = seen + (1 - seen) * recess
    return anatomy.cavity_mm * covered * (1 - anatomy.silhouette)


def line_integral(anatomy: Anatomy, *, air_mm: Map | None = None, density: Map | float | None = None) -> Map:
    """Return the attenuation along each ray."""
    air = lungs_mm(anatomy) if air_mm is None else air_mm
    tissue = anatomy.patient.lung_density if density is None else density
    aerated = np.minimum(air * np.float32(0.03), 1)
    total = anatomy.body_mm - air * (1 - tissue) + anatomy.vessels_mm * aerated
    return np.maximum(total * np.float32(MU_SOFT) + anatomy.bone + anatomy.harmless, 0)


def cavity(patient: Patient, plane: Canvas, x: Map) -> tuple[Map, Map]:
    """Return the depth of the thoracic cavity, and its lateral border per row."""
    widest = patient.apex + 0.78 * patient.height
    v = np.clip((np.float32(widest) - plane.y) / np.float32(widest - patient.apex), 0, 1)
    border = np.float32(patient.half_width) * np.maximum(1 - v**2.7, 0) ** np.float32(0.52)
    border = np.maximum(border, np.float32(1e-3))
    depth = np.float32(patient.depth) * np.sqrt(np.maximum(1 - v**2.2, 0))
    return depth * dome(cube(np.abs(x) / border)), border


def cube(a: Map) -> Map:
    """Return the third power, faster than the operator."""
    return a * a * a


def sum_of_fourths(*maps: Map) -> Map:
    """Return the sum of the maps' fourth powers."""
    total = np.square(np.square(maps[0]))
    for layer in maps[1:]:
        total += np.square(np.square(layer))
    return total


def body(patient: Patient, plane: Canvas, x: Map) -> Map:
    """Return the thickness of the body, as if solid."""
    y = plane.y
    # Chest and belly, an elliptic cylinder that grows downwards.
    grow = 1 + np.float32(0.1 + 0.05 * max(patient.habitus, 0)) * ramp(y - np.float32(patient.dome_right), 120)
    half = np.float32(patient.half_width + patient.wall + 10)
    depth = np.float32(patient.depth + 34 + 18 * max(patient.habitus, -1.2)) * grow
    rise = ramp(y - np.float32(patient.apex - 25), 110)
    wide = np.abs(x)
    chest = depth * np.sqrt(rise) * dome(np.square(np.square(wide / half)))
    # Neck, shoulders and upper arms: under a sloping line, down to the fold of the armpit.
    slope = np.float32(patient.apex - 34) + np.maximum(wide - np.float32(46), 0) * np.float32(0.36)
    armpit = np.float32(patient.apex + 0.5 * patient.height)
    spread = ramp(armpit - y, 90)
    outer = half + np.float32(110) * spread * spread
    over = np.sqrt(np.clip((y - slope) / np.float32(38), 0, 1)) * np.sqrt(ramp(armpit + 26 - y, 90))
    shoulder = np.float32(122 + 8 * patient.habitus) * over * np.sqrt(dome(cube(np.square(wide / outer))))
    neck = (
        np.float32(112)
        * dome(np.square(np.square(wide * np.float32(1 / 58))))
        * ramp(np.float32(patient.apex + 10) - y, 70)
    )
    # A smooth greatest of the three.
    return np.sqrt(np.sqrt(sum_of_fourths(chest, shoulder, neck)))


def breasts(patient: Patient, plane: Canvas) -> Map:
    """Return the thickness of the breasts (or of the pectoral muscles)."""
    layer = plane.zeros()
    middle = patient.apex + 0.78 * patient.height
    for side in (-1, 1):
        a = patient.half_width * (0.46 + 0.03 * patient.habitus)
        thickness = 22 + 10 * max(patient.habitus, -1) if patient.female else 7
        rows, cols, q = ellipse(
            plane,
            x=patient.offset + side * patient.half_width * 0.62,
            y=middle if patient.female else patient.apex + 0.5 * patient.height,
            a=a,
            b=a * (1.02 if patient.female else 0.8),
        )
        layer[rows, cols] += np.float32(thickness) * dome(q)
    return layer


def build_soft_parts(rng: np.random.Generator, patient: Patient, plane: Canvas) -> Anatomy:
    """Return the anatomy without bones, vessels and harmless objects."""
    bend = np.float32(patient.scoliosis) * np.sin((plane.y - np.float32(patient.apex)) / np.float32(70))
    x = plane.x - np.float32(patient.offset) - np.float32(patient.tilt) * (plane.y - plane.field_mm / 2)
    depth, border = cavity(patient, plane, x)
    solid = body(patient, plane, x) + breasts(patient, plane)
    solid = solid * (1 + np.float32(0.012) * clouds(rng, plane.size, cells=24))
    anatomy = Anatomy(
        patient=patient,
        plane=plane,
        x=x,
        body_mm=solid,
        cavity_mm=depth,
        diaphragm_y=diaphragm(patient, x),
        silhouette=silhouette(patient, plane, x - bend * np.float32(0.3), ratio=patient.heart_ratio),
        border=border,
        bone=plane.zeros(),
        vessels_mm=plane.zeros(),
        harmless=plane.zeros(),
    )
    add_airways(anatomy, bend)
    add_gas(rng, anatomy)
    return anatomy


def add_airways(anatomy: Anatomy, bend: Map) -> None:
    """Take the air of the trachea and the main bronchi out of the mediastinum."""
    patient, y = anatomy.patient, anatomy.plane.y
    carina = np.float32(patient.apex + 0.36 * patient.height)
    centre = bend * np.float32(0.3) + np.float32(patient.rotation * 0.5 - 2)
    tube = dome(((anatomy.x - centre) / np.float32(8.5)) ** 2) * ramp(carina - y, 8)
    below = np.maximum(y - carina, 0)
    fade = ramp(carina + 34 - y, 20) * (y > carina - 4)
    right = dome(((anatomy.x - centre + below * np.float32(0.75)) / np.float32(7)) ** 2)
    left = dome(((anatomy.x - centre - below * np.float32(1.0)) / np.float32(7)) ** 2)
    tube = np.maximum(tube, np.maximum(right, left) * fade)
    anatomy.harmless -= np.float32(19 * MU_SOFT) * tube


def add_gas(rng: np.random.Generator, anatomy: Anatomy) -> None:
    """Take the air of stomach and bowel out of the belly."""
    patient = anatomy.patient
    if rng.random() < 0.8:
        rows, cols, q = ellipse(
            anatomy.plane,
            x=patient.offset + patient.half_width * float(rng.uniform(0.38, 0.6)),
            y=patient.dome_left + float(rng.uniform(30, 44)),
            a=float(rng.uniform(20, 34)),
            b=float(rng.uniform(12, 20)),
        )
        level = np.float32(patient.dome_left + float(rng.uniform(36, 52)))
        gas = dome(q) * ramp(level - anatomy.plane.y[rows], 3)
        anatomy.harmless[rows, cols] -= np.float32(float(rng.uniform(25, 50)) * MU_SOFT) * gas
