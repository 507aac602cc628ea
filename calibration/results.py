"""What a certificate or a refusal says of each group, and what it was computed from."""

from dataclasses import dataclass
from enum import StrEnum

from calibration.canonical import Fields, Json


class Lack(StrEnum):
    """What a group is short of."""

    #: Too few abnormal units to test the group at all: the certificate is refused.
    ABNORMAL = "abnormal_patients"
    #: The lower bound on the acceptance of healthy is too low: the site is not certified.
    ACCEPTANCE = "acceptance_lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """What a group lacks.

    Attributes
    ----------
    group : str
        Its name.
    lack : Lack
        Of what.
    has, needs : float
        How much of it; for ``Lack.ABNORMAL`` the least number that would do, without a miss.
    """

    group: str
    lack: Lack
    has: float
    needs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """The test of a group's miss rate.

    Attributes
    ----------
    name : str
        The stratum, the site, or both.
    abnormal_patients : int
        n1: its abnormal units.
    misses_allowed : int or None
        r*; None: too few to test.
    misses : int or None
        How many are below the threshold; None: there is no threshold.
    miss_rate_upper : float
        The bound that ``misses_allowed`` stands for, not one computed from ``misses``; 1 if it cannot be tested.
    """

    name: str
    abnormal_patients: int
    misses_allowed: int | None
    misses: int | None
    miss_rate_upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteResult:
    """The test of a site: its miss rate, as in ``GroupResult``, and its acceptance of healthy.

    Attributes
    ----------
    healthy_patients : int
        n0: its healthy units.
    healthy_accepted : int or None
        c0: how many are below the threshold; None: there is no threshold.
    acceptance_lower : float
        L0: the lower bound on the share of healthy that is cleared.
    certified : bool
        Whether anything is promised here.
    """

    name: str
    abnormal_patients: int
    misses_allowed: int | None
    misses: int | None
    miss_rate_upper: float
    healthy_patients: int
    healthy_accepted: int | None
    acceptance_lower: float
    certified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a certificate or refusal was computed from, and what came out for each group.

    Attributes
    ----------
    scores : str
        Digest of the score table's rows that were used.
    candidate : str or None
        Digest of the candidate that scored; None: the scores come from elsewhere.
    scope : dict or None
        The candidate's scope.
    studies, patients : int
        In the rows used.
    studies_per_patient : int
        The most that a patient has; part of the scope.
    sites, strata, site_strata : tuples of results
        One per group, in the order of the terms.
    shortfalls : tuple of Shortfall
        What is lacking, where.
    """

    scores: str
    candidate: str | None
    scope: dict[str, Json] | None
    studies: int
    patients: int
    studies_per_patient: int
    sites: tuple[SiteResult, ...]
    strata: tuple[GroupResult, ...]
    site_strata: tuple[GroupResult, ...]
    shortfalls: tuple[Shortfall, ...]


def read_evidence(fields: Fields) -> Evidence:
    """Return the evidence among the fields of a certificate or refusal; DataError if there is none or it is malformed."""
    return Evidence(
        scores=fields.text("scores"),
        candidate=fields.text_or_none("candidate"),
        scope=fields.object_or_none("scope"),
        studies=fields.count("studies"),
        patients=fields.count("patients"),
        studies_per_patient=fields.count("studies_per_patient"),
        sites=tuple(_read_site(item) for item in fields.objects("sites")),
        strata=tuple(_read_group(item) for item in fields.objects("strata")),
        site_strata=tuple(_read_group(item) for item in fields.objects("site_strata")),
        shortfalls=tuple(_read_shortfall(item) for item in fields.objects("shortfalls")),
    )


def _read_group(fields: Fields) -> GroupResult:
    result = GroupResult(
        name=fields.text("name"),
        abnormal_patients=fields.count("abnormal_patients"),
        misses_allowed=fields.count_or_none("misses_allowed"),
        misses=fields.count_or_none("misses"),
        miss_rate_upper=fields.rate("miss_rate_upper"),
    )
    fields.end()
    return result


def _read_site(fields: Fields) -> SiteResult:
    result = SiteResult(
        name=fields.text("name"),
        abnormal_patients=fields.count("abnormal_patients"),
        misses_allowed=fields.count_or_none("misses_allowed"),
        misses=fields.count_or_none("misses"),
        miss_rate_upper=fields.rate("miss_rate_upper"),
        healthy_patients=fields.count("healthy_patients"),
        healthy_accepted=fields.count_or_none("healthy_accepted"),
        acceptance_lower=fields.rate("acceptance_lower"),
        certified=fields.flag("certified"),
    )
    fields.end()
    return result


def _read_shortfall(fields: Fields) -> Shortfall:
    result = Shortfall(
        group=fields.text("group"),
        lack=fields.choice("lack", Lack),
        has=fields.number("has"),
        needs=fields.number("needs"),
    )
    fields.end()
    return result
