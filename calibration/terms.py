"""What is promised and to whom: fixed before any score is seen."""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self

from calibration.bounds import miss_rate_limit


class Unit(StrEnum):
    """What the promise counts."""

    #: Of the patients called healthy at most α are not; an abnormal patient is missed if any of his studies is.
    PATIENT = "patient"
    #: Of the studies called healthy at most α are not; certified from one study of some patients, drawn by hash.
    STUDY = "study"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of abnormal patients that is tested on its own: a site, a stratum of findings, or a stratum at a site.

    Attributes
    ----------
    site, stratum : str or None
        None: all of them.
    """

    site: str | None = None
    stratum: str | None = None

    @property
    def name(self) -> str:
        """How tables and files call it."""
        return " × ".join(part for part in (self.site, self.stratum) if part is not None) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of a certificate.

    Attributes
    ----------
    alpha : float
        Tolerated false omission rate, in (0, 1).
    delta_miss_rate, delta_acceptance : float
        δ1 and δ0: how the probability that the promise fails is split between the bound on the miss rate (all groups
        together) and the bound on the acceptance of healthy (each site).
    max_prevalence : float
        π_max: the promise holds up to this prevalence of abnormal among the units.
    min_healthy_acceptance : float
        a0_min: the share of the healthy that a site must show to be cleared.
    issued, expires : datetime
        With a time zone; given, never the clock's own.
    unit : Unit
        Patients or studies.
    sites, strata : tuple of str, or None
        The groups, listed beforehand; None: all that the table has. Rows of sites that are not listed are set aside.
    crossed : bool
        Test each stratum at each site too, for sites whose mix of findings may change.
    studies_max : int or None
        The most studies that a patient may have; needed where the unit is the study. A table that exceeds it is an error.
    salt : str
        Of the hash that draws studies.
    reference : str
        Where the labels come from; part of what is promised.
    """

    alpha: float = 0.0005
    delta_miss_rate: float = 0.04
    delta_acceptance: float = 0.01
    max_prevalence: float
    min_healthy_acceptance: float
    issued: datetime
    expires: datetime
    unit: Unit = Unit.PATIENT
    sites: tuple[str, ...] | None = None
    strata: tuple[str, ...] | None = None
    crossed: bool = False
    studies_max: int | None = None
    salt: str = ""
    reference: str = "the labels of the score table"

    def __post_init__(self) -> None:
        """Raise ValueError for terms that contradict themselves."""
        miss_rate_limit(self.alpha, self.max_prevalence, self.min_healthy_acceptance)
        for name in ("delta_miss_rate", "delta_acceptance"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} lies in (0, 1), not {getattr(self, name)}")
        if not self.delta < 1.0:
            raise ValueError(f"delta is {self.delta}; a promise that may always fail is none")
        if self.issued.tzinfo is None or self.expires.tzinfo is None:
            raise ValueError("issued and expires need a time zone")
        if not self.issued < self.expires:
            raise ValueError(f"expires ({self.expires}) must be later than issued ({self.issued})")
        self._check_groups()

    def _check_groups(self) -> None:
        if self.unit is Unit.STUDY and self.studies_max is None:
            raise ValueError("a promise per study needs studies_max: the most studies of a patient, fixed beforehand")
        if self.studies_max is not None and self.studies_max < 1:
            raise ValueError(f"studies_max is {self.studies_max}; a patient has at least one study")
        for name, listed in (("sites", self.sites), ("strata", self.strata)):
            if listed is not None and (len(set(listed)) < len(listed) or "" in listed):
                raise ValueError(f"{name} must be distinct and not empty: {', '.join(listed)}")
        if self.sites == ():
            raise ValueError("sites is empty; a promise is made to a site")

    @property
    def delta(self) -> float:
        """Probability, over the calibration draw, that the promise to a site fails."""
        return math.fsum((self.delta_miss_rate, self.delta_acceptance))

    @property
    def miss_rate_limit(self) -> float:
        """The limit a_max on the miss rate of every group."""
        return miss_rate_limit(self.alpha, self.max_prevalence, self.min_healthy_acceptance)

    def with_groups(self, sites: tuple[str, ...], strata: tuple[str, ...]) -> Self:
        """Return the terms with their groups listed."""
        return replace(self, sites=sites, strata=strata)
