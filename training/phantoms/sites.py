"""Sixteen invented hospitals: how each forms a picture, and whom it sees.

``site-01`` to ``site-12`` differ by degrees. ``site-13`` to ``site-16`` each keep a kind of shift to themselves, so that
holding them out means something: a film digitiser, a strongly equalising post-processing, old and large patients on
portables only, and a coarse, low-dose detector.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Kind(StrEnum):
    """What a finding is; the stratum of its study."""

    #: Round opacity of 18 to 30 mm.
    NODULE = "nodule"
    #: Round opacity of 36 to 75 mm.
    MASS = "mass"
    #: Lobar or patchy airspace opacity with air bronchograms.
    CONSOLIDATION = "consolidation"
    #: Reticular network over both lungs.
    INTERSTITIAL = "interstitial"
    #: A collapsed lobe: a dense wedge with volume loss.
    ATELECTASIS = "atelectasis"
    #: Pleural fluid with a meniscus.
    EFFUSION = "effusion"
    #: Air in the pleural space: a pleural line, no vessels beyond it.
    PNEUMOTHORAX = "pneumothorax"
    #: Heart wider than 0.60 of the thorax.
    CARDIOMEGALY = "cardiomegaly"
    #: Lobulated hilar masses.
    HILAR_ENLARGEMENT = "hilar_enlargement"
    #: Pacemaker, port, prosthetic valve or spinal rods.
    FOREIGN_DEVICE = "foreign_device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Whom a site sees."""

    #: Share of abnormal studies where the caller names none.
    prevalence: float = 0.3
    #: Relative frequency of each kind; 1 where absent.
    mix: dict[Kind, float] = field(default_factory=dict)
    age_mean: float = 55.0
    age_sd: float = 17.0
    female: float = 0.5
    #: Mean of the habitus (0 is average, +1 is one standard deviation heavier).
    habitus: float = 0.0
    #: Body size relative to the average.
    stature: float = 1.0
    #: Share of portable AP films.
    portable: float = 0.1
    #: Chance of each kind of harmless object or variant.
    clutter: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """How a site turns line integrals into a stored picture."""

    #: Side of the square field.
    field_mm: float = 360.0
    #: Effective detected quanta per mm² behind the lung.
    quanta_mm2: float = 4000.0
    #: Electronic noise in quanta per pixel at 1 mm².
    electronic: float = 4.0
    #: Standard deviation of detector, focal spot and motion blur.
    blur_mm: float = 1.1
    #: Scattered over primary quanta behind the grid.
    scatter: float = 0.35
    #: Change of the beam across the field, top to bottom.
    heel: float = 0.1
    #: Width of the linear range in natural logarithms, as a multiple of the anatomy's own.
    latitude: float = 1.0
    #: Exponent of the display curve.
    gamma: float = 1.0
    #: Steepness of the sigmoid display curve; 0 is a straight line.
    sigmoid: float = 0.0
    #: Gain of unsharp masking and its radius.
    unsharp: float = 0.3
    unsharp_mm: float = 8.0
    #: Share of the broad structure that multi-scale processing takes away.
    equalise: float = 0.0
    #: Largest collimation from each edge.
    collimation_mm: float = 12.0
    #: Chance of a lead marker.
    marker: float = 0.8
    bits: int = 12
    inverted: bool = False
    digitised: bool = False
    modality: str = "DX"
    manufacturer: str = "PHANTOM WORKS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An institution with its acquisition set-up."""

    name: str
    population: Population
    formation: Formation


_P, _F = Population, Formation
_BASE = Formation()

SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site(name="site-01", population=_P(), formation=_F()),
        Site(
            name="site-02",
            population=_P(prevalence=0.4, age_mean=62, portable=0.35, clutter=0.4),
            formation=_F(modality="CR", bits=10, quanta_mm2=3000, blur_mm=1.4, scatter=0.5, unsharp=0.5),
        ),
        Site(
            name="site-03",
            population=_P(prevalence=0.2, age_mean=44, female=0.6, portable=0.0, stature=0.97),
            formation=_F(inverted=True, bits=14, quanta_mm2=6000, blur_mm=0.8, gamma=1.15, field_mm=368),
        ),
        Site(
            name="site-04",
            population=_P(prevalence=0.3, habitus=0.5, stature=1.03, mix={Kind.CARDIOMEGALY: 2, Kind.EFFUSION: 2}),
            formation=_F(sigmoid=2.5, latitude=1.1, heel=0.2, collimation_mm=22, field_mm=376),
        ),
        Site(
            name="site-05",
            population=_P(prevalence=0.25, female=0.45, portable=0.15, mix={Kind.NODULE: 2, Kind.MASS: 2}),
            formation=_F(gamma=0.85, unsharp=0.8, unsharp_mm=5, bits=12, marker=1.0, equalise=0.15),
        ),
        Site(
            name="site-06",
            population=_P(prevalence=0.5, age_mean=66, portable=0.6, clutter=0.5, habitus=0.3),
            formation=_F(modality="CR", inverted=True, bits=10, quanta_mm2=2600, scatter=0.6, collimation_mm=20),
        ),
        Site(
            name="site-07",
            population=_P(
                prevalence=0.2, age_mean=38, age_sd=12, female=0.4, portable=0.02, mix={Kind.PNEUMOTHORAX: 2}
            ),
            formation=_F(quanta_mm2=7000, blur_mm=0.7, equalise=0.25, unsharp=0.2, field_mm=352),
        ),
        Site(
            name="site-08",
            population=_P(
                prevalence=0.35, stature=0.95, habitus=-0.3, mix={Kind.INTERSTITIAL: 2, Kind.CONSOLIDATION: 2}
            ),
            formation=_F(bits=14, sigmoid=3.5, gamma=1.1, latitude=1.15, heel=0.25, marker=0.3),
        ),
        Site(
            name="site-09",
            population=_P(prevalence=0.3, age_mean=58, portable=0.2),
            formation=_F(bits=12, gamma=0.95, unsharp=0.55, scatter=0.45, quanta_mm2=3500, field_mm=364),
        ),
        Site(
            name="site-10",
            population=_P(prevalence=0.15, age_mean=48, female=0.55, portable=0.05, clutter=0.15),
            formation=_F(inverted=True, bits=12, sigmoid=1.5, equalise=0.1, blur_mm=0.9, collimation_mm=25),
        ),
        Site(
            name="site-11",
            population=_P(prevalence=0.45, age_mean=60, portable=0.45, habitus=0.2, clutter=0.45),
            formation=_F(modality="CR", bits=12, gamma=1.2, scatter=0.55, blur_mm=1.5, heel=0.3, field_mm=372),
        ),
        Site(
            name="site-12",
            population=_P(
                prevalence=0.25, age_mean=52, stature=0.98, mix={Kind.ATELECTASIS: 2, Kind.HILAR_ENLARGEMENT: 2}
            ),
            formation=_F(bits=10, latitude=0.97, unsharp=0.65, unsharp_mm=12, quanta_mm2=5000, marker=1.0),
        ),
        # What follows keeps a kind of shift to itself.
        Site(
            name="site-13",
            population=_P(prevalence=0.3, age_mean=56, portable=0.1),
            formation=_F(digitised=True, modality="CR", bits=10, gamma=1.1, blur_mm=1.5, unsharp=0.0, marker=1.0),
        ),
        Site(
            name="site-14",
            population=_P(prevalence=0.25, age_mean=50, portable=0.1, clutter=0.3),
            formation=_F(equalise=0.4, unsharp=0.6, unsharp_mm=6, bits=14, quanta_mm2=5000),
        ),
        Site(
            name="site-15",
            population=_P(prevalence=0.5, age_mean=74, age_sd=9, portable=1.0, habitus=0.7, clutter=0.6),
            formation=_F(quanta_mm2=3500, scatter=0.7, collimation_mm=10, inverted=True),
        ),
        Site(
            name="site-16",
            population=_P(prevalence=0.3, age_mean=54, portable=0.15),
            formation=replace(_BASE, quanta_mm2=1600, blur_mm=2.0, electronic=8, scatter=0.6, bits=10, sigmoid=2),
        ),
    )
}
