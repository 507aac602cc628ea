"""One radiograph with known truth, from (seed, site, index) alone."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.vocabulary import Label
from training.phantoms.anatomy import Anatomy, Patient, build_soft_parts, draw_patient, line_integral
from training.phantoms.canvas import Map, canvas
from training.phantoms.detectability import (
    Visibility,
    contrast_to_clutter,
    ideal_observer,
)
from training.phantoms.findings import Finding, draw_finding
from training.phantoms.image_formation import (
    Display,
    Exposure,
    add_marker,
    add_noise,
    density_of,
    develop,
    digitise,
    draw_exposure,
    expose,
    range_of,
)
from training.phantoms.sites import SITES, Kind, Site
from training.phantoms.skeleton import add_skeleton
from training.phantoms.variety import add_variety
from training.phantoms.vessels import add_vessels

#: Tries with a larger finding before its strength alone is raised.
TRIES = 12
#: Most that the strength of a finding is raised before a larger one is drawn.
STRENGTH = 1.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A film and the truth about it."""

    seed: int
    site: str
    index: int
    label: Label
    #: Empty for healthy.
    stratum: str
    #: d′ of the ideal observer; None for healthy.
    severity: float | None
    #: Contrast over anatomical clutter; None for healthy.
    contrast: float | None
    #: Stored values as the DICOM file has them.
    stored: NDArray[np.uint16]
    #: (size, size), True where the finding is.
    mask: NDArray[np.bool_]
    bits: int
    inverted: bool
    #: Window centre and width over the stored values.
    window: tuple[float, float]
    patient: Patient
    field_mm: float

    @property
    def pixels(self) -> Map:
        """Return the picture in [0, 1], bright where dense, as a reader of the DICOM file sees it."""
        centre, width = self.window
        shown = (self.stored.astype(np.float32) - np.float32(centre - 0.5)) / np.float32(width - 1) + np.float32(0.5)
        shown = np.clip(shown, 0, 1)
        return 1 - shown if self.inverted else shown

    @property
    def name(self) -> str:
        """Return the name of the study, which is also its patient's."""
        return f"{self.site}-{self.seed}-{self.index:06d}"


def generator(seed: int, site: str, index: int, stream: str) -> np.random.Generator:
    """Return the random generator of one use of one film; no other film's order or number changes it."""
    key = hashlib.sha256(f"{seed}/{site}/{index}/{stream}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big")))


def truth(seed: int, site: Site, index: int, *, prevalence: float, balanced: bool) -> Kind | None:
    """Return the kind of finding of a film, None for healthy.

    Of the first n films of a site, prevalence · n are abnormal up to one; with ``balanced`` the kinds take turns.
    """
    start = generator(seed, site.name, 0, "truth").random()
    rank = int(np.floor((index + 1) * prevalence + start))
    if rank == int(np.floor(index * prevalence + start)):
        return None
    kinds = list(Kind)
    if balanced:
        return kinds[rank % len(kinds)]
    weights = np.array([site.population.mix.get(kind, 1.0) for kind in kinds])
    return kinds[int(generator(seed, site.name, index, "kind").choice(len(kinds), p=weights / weights.sum()))]


def phantom(
    seed: int, site: str, index: int, size: int, *, prevalence: float | None = None, balanced: bool = False
) -> Phantom:
    """Return film ``index`` of a site. ``prevalence`` None is the site's own; ``size`` is a multiple of 16."""
    profile = SITES[site]
    share = profile.population.prevalence if prevalence is None else prevalence
    return make(seed, profile, index, size, truth(seed, profile, index, prevalence=share, balanced=balanced))


def make(seed: int, site: Site, index: int, size: int, kind: Kind | None) -> Phantom:
    """Return film ``index`` of a site with that finding, or healthy."""
    anatomy = build(seed, site, index, size)
    rng = generator(seed, site.name, index, "exposure")
    healthy = line_integral(anatomy)
    exposure = draw_exposure(rng, site.formation, anatomy, healthy)
    expected = expose(healthy, exposure)
    mask, seen = np.zeros((size, size), np.bool_), None
    if kind is not None:
        expected, mask, seen = with_finding(seed, site, index, kind, anatomy, healthy, expected, exposure)
    stored, window = store(rng, site, anatomy, expected, exposure)
    return Phantom(
        seed=seed,
        site=site.name,
        index=index,
        label=Label.HEALTHY if kind is None else Label.ABNORMAL,
        stratum="" if kind is None else kind.value,
        severity=None if seen is None else seen.detectability,
        contrast=None if seen is None else seen.contrast,
        stored=stored,
        mask=mask,
        bits=site.formation.bits,
        inverted=site.formation.inverted,
        window=window,
        patient=anatomy.patient,
        field_mm=site.formation.field_mm,
    )


def build(seed: int, site: Site, index: int, size: int) -> Anatomy:
    """Return the patient's anatomy, healthy."""
    if size % 16 or size < 64:
        raise ValueError(f"size {size} is not a multiple of 16 from 64 on")
    rng = generator(seed, site.name, index, "anatomy")
    plane = canvas(size, site.formation.field_mm)
    anatomy = build_soft_parts(rng, draw_patient(rng, site.population, field_mm=plane.field_mm), plane)
    add_skeleton(rng, anatomy)
    add_vessels(rng, anatomy)
    add_variety(rng, anatomy, site.population.clutter)
    return anatomy


def with_finding(
    seed: int, site: Site, index: int, kind: Kind, anatomy: Anatomy, healthy: Map, expected: Map, exposure: Exposure
) -> tuple[Map, NDArray[np.bool_], Visibility]:
    """Return the expected quanta with the finding, its mask and its visibility, both floors met.

    A finding too faint is made denser; one that would have to be made too dense is drawn anew and larger.
    """
    background = density_of(expected, exposure)
    display = range_of(background, site.formation)
    for attempt in range(TRIES):
        rng = generator(seed, site.name, index, f"finding {attempt}")
        finding = draw_finding(rng, kind, anatomy, grade=1 + 0.15 * min(attempt, 4))
        if finding.mask.sum() * anatomy.plane.pixel_mm**2 < least_area_mm2(kind) and attempt < TRIES - 3:
            continue
        strength = 1.0
        for _ in range(4):
            abnormal, seen = look(finding, strength, healthy, expected, background, display, exposure)
            if seen.lacking <= 1:
                return abnormal, finding.mask, seen
            strength *= 1.05 * seen.lacking
            if strength > STRENGTH and attempt < TRIES - 3:
                break
    raise RuntimeError(f"no visible {kind} in film {index} of {site.name}, seed {seed}")


def least_area_mm2(kind: Kind) -> float:
    """Return the least area of a finding's mask."""
    return 200.0 if kind in {Kind.NODULE, Kind.FOREIGN_DEVICE} else 1000.0 if kind is Kind.MASS else 1600.0


def look(
    finding: Finding,
    strength: float,
    healthy: Map,
    expected: Map,
    background: Map,
    display: Display,
    exposure: Exposure,
) -> tuple[Map, Visibility]:
    """Return the expected quanta with the finding at that strength, and how visible it is."""
    integral = finding.integral
    if strength != 1.0:
        integral = np.maximum(healthy + np.float32(strength) * (integral - healthy), 0)
    abnormal = expose(integral, exposure)
    change, contrast = contrast_to_clutter(background, density_of(abnormal, exposure))
    return abnormal, Visibility(
        detectability=ideal_observer(expected, abnormal, exposure.electronic),
        contrast=contrast,
        shade=change / (display.high - display.low),
    )


def store(
    rng: np.random.Generator, site: Site, anatomy: Anatomy, expected: Map, exposure: Exposure
) -> tuple[NDArray[np.uint16], tuple[float, float]]:
    """Return the stored values and the window over them."""
    formation, plane = site.formation, anatomy.plane
    density = density_of(add_noise(rng, expected, exposure), exposure)
    picture = develop(density, range_of(density, formation), formation, plane)
    # The blades of the collimator are blackened, as vendors do.
    picture *= exposure.field >= np.float32(0.5)
    if rng.random() < formation.marker:
        add_marker(rng, picture, plane, anatomy.patient.apex - 20)
    if formation.digitised:
        picture = digitise(rng, picture, plane)
    top = 2**formation.bits - 1
    values = np.rint((1 - picture if formation.inverted else picture) * np.float32(top))
    return values.astype(np.uint16), ((top + 1) / 2, float(top + 1))
