"""The certificate: which threshold is safe, at which sites, on what evidence, and until when; or why there is none.

What it promises, with probability 1 − δ over the calibration draw: at a site listed as certified, of the units (patients, or
studies) called healthy at most α are not, for every prevalence up to π_max. Its rules:

- every group named beforehand is tested, none dropped, merged or pooled: one that cannot be tested refuses the certificate;
- the threshold is never recomputed: a site that clears too few of its healthy is marked, and is not certified;
- everything it was computed from is in it, by value or digest, the dates are given, and the bytes are canonical: computing it
  again from the score table gives the same file.

It does not cover findings that the table did not have, and what is not certified is IDK.
"""

import math
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from calibration.bounds import lower_bound, misses_allowed, trials_needed, upper_bound
from calibration.canonical import Fields, Json, canonical, format_time
from calibration.results import Evidence, GroupResult, Lack, Shortfall, SiteResult, read_evidence
from calibration.scores import ABNORMAL, UNKNOWN, ScoreTable
from calibration.terms import Group, Terms, Unit
from calibration.threshold import count_accepted, group_threshold
from calibration.units import abnormal_scores, draw_studies, healthy_scores, studies_per_patient
from models.errors import DataError
from models.vocabulary import Split

FORMAT = "demur-certificate/1"

#: Said in every certificate, so that nobody has to know it.
NOT_COVERED = (
    "findings that the scores did not contain; sites that are not listed as certified; another mix of findings at a site than "
    "it was calibrated with, unless site_strata are tested; studies outside the scope; prevalences above max_prevalence; "
    "more studies per patient than calibrated with"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A promise: at the sites that it certifies, within its dates and its scope, and nowhere else.

    Attributes
    ----------
    terms : Terms
        What is promised.
    evidence : Evidence
        From what.
    threshold : float
        τ, finite: healthy is what scores strictly less.
    """

    terms: Terms
    evidence: Evidence
    threshold: float

    def __post_init__(self) -> None:
        """Raise ValueError for a certificate that certifies nothing, or contradicts itself."""
        if not math.isfinite(self.threshold):
            raise ValueError(f"the threshold is {self.threshold}")
        if not self.certified_sites:
            raise ValueError("no site is certified")
        groups = (*self.evidence.sites, *self.evidence.strata, *self.evidence.site_strata)
        if not all(_passes(group, self.terms.miss_rate_limit) for group in groups):
            raise ValueError("a group does not pass its test")
        for site in self.evidence.sites:
            if site.certified != (site.acceptance_lower >= self.terms.min_healthy_acceptance):
                raise ValueError(f"the site {site.name} is certified against its numbers")

    @property
    def alpha(self) -> float:
        """Tolerated false omission rate."""
        return self.terms.alpha

    @property
    def delta(self) -> float:
        """Probability that the promise to a site fails."""
        return self.terms.delta

    @property
    def max_prevalence(self) -> float:
        """Up to which prevalence it holds."""
        return self.terms.max_prevalence

    @property
    def min_healthy_acceptance(self) -> float:
        """Share of the healthy that a certified site clears at least."""
        return self.terms.min_healthy_acceptance

    @property
    def scores(self) -> str:
        """Digest of the scores that it was computed from."""
        return self.evidence.scores

    @property
    def strata(self) -> tuple[GroupResult, ...]:
        """The result of each stratum of findings."""
        return self.evidence.strata

    @property
    def candidate(self) -> str | None:
        """Digest of the candidate that it is about; None: the scores come from elsewhere, and it cannot be released."""
        return self.evidence.candidate

    @property
    def scope(self) -> dict[str, Json] | None:
        """Scope of the candidate, a JSON object."""
        return self.evidence.scope

    @property
    def sites(self) -> tuple[SiteResult, ...]:
        """The result of each site."""
        return self.evidence.sites

    @property
    def certified_sites(self) -> tuple[str, ...]:
        """The sites where something is promised."""
        return tuple(site.name for site in self.evidence.sites if site.certified)

    @property
    def issued(self) -> datetime:
        """From when it holds."""
        return self.terms.issued

    @property
    def expires(self) -> datetime:
        """Until before when it holds."""
        return self.terms.expires

    def to_json(self) -> str:
        """Return the certificate as canonical JSON."""
        return _to_json(self.terms, self.evidence, self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No promise, and what would be needed for one.

    Attributes
    ----------
    terms : Terms
        What was to be promised.
    evidence : Evidence
        From what, and in ``shortfalls`` why not.
    """

    terms: Terms
    evidence: Evidence

    def to_json(self) -> str:
        """Return the refusal as canonical JSON, in the shape of a certificate."""
        return _to_json(self.terms, self.evidence, None)


def certify(table: ScoreTable, terms: Terms) -> Certificate | Refusal:
    """Certify a threshold, or refuse.

    Parameters
    ----------
    table : ScoreTable
        Labelled, unseen until now, used once. Rows of splits other than calibration, and of sites that the terms do not list,
        are set aside.
    terms : Terms
        Fixed beforehand; groups that they leave open are all that the table has.

    Returns
    -------
    Certificate or Refusal
        Refused is it if a group is too small to be tested, or if no site clears enough of its healthy.

    Raises
    ------
    DataError
        If a study has no label, a patient more studies than the terms allow, or no row is left.
    """
    table, terms = _rows_used(table, terms)
    sample = table if terms.unit is Unit.PATIENT else draw_studies(table, _studies_max(terms), terms.salt)
    sites, strata = terms.sites or (), terms.strata or ()
    groups = [
        *(Group(site=site) for site in sites),
        *(Group(stratum=stratum) for stratum in strata),
        *(Group(site=site, stratum=stratum) for site in sites for stratum in strata if terms.crossed),
    ]
    scores = {group: abnormal_scores(sample, group) for group in groups}
    healthy = {site: healthy_scores(sample, site) for site in sites}
    allowed = {g: misses_allowed(len(s), terms.miss_rate_limit, terms.delta_miss_rate) for g, s in scores.items()}
    threshold = _least_threshold(scores, allowed)
    results = {group: _test(group, scores[group], allowed[group], threshold, terms) for group in groups}
    site_results = tuple(_test_site(results[Group(site=s)], healthy[s], threshold, terms) for s in sites)
    evidence = Evidence(
        scores=table.digest(),
        candidate=table.candidate,
        scope=table.scope,
        studies=len(table),
        patients=int(np.count_nonzero(np.bincount(table.patient.codes))),
        studies_per_patient=studies_per_patient(table),
        sites=site_results,
        strata=tuple(results[g] for g in groups if g.site is None),
        site_strata=tuple(results[g] for g in groups if g.site is not None and g.stratum is not None),
        shortfalls=_shortfalls(tuple(results.values()), site_results, threshold, terms),
    )
    if threshold is None or not any(site.certified for site in site_results):
        return Refusal(terms=terms, evidence=evidence)
    return Certificate(terms=terms, evidence=evidence, threshold=threshold)


def _rows_used(table: ScoreTable, terms: Terms) -> tuple[ScoreTable, Terms]:
    """Return the rows that count, and the terms with every group listed."""
    table = table.only(Split.CALIBRATION)
    if terms.sites is not None:
        codes = [table.site.code_of(site) for site in terms.sites]
        table = table.where(np.isin(table.site.codes, [code for code in codes if code >= 0]))
    if len(table) == 0:
        raise DataError("no study is left to certify from; look at the columns split and site, and at the sites listed")
    unknown = np.flatnonzero(table.label == UNKNOWN)
    if len(unknown):
        raise DataError(
            f"{len(unknown)} studies have no label, {table.study_at(int(unknown[0]))!r} among them; label them, or leave "
            "them out by a rule that looks at no score"
        )
    if terms.studies_max is not None and studies_per_patient(table) > terms.studies_max:
        raise DataError(
            f"a patient has {studies_per_patient(table)} studies, more than the {terms.studies_max} fixed beforehand"
        )
    sites = terms.sites if terms.sites is not None else table.site.used()
    strata = terms.strata if terms.strata is not None else table.where(table.label == ABNORMAL).stratum.used()
    return table, terms.with_groups(sites, tuple(stratum for stratum in strata if stratum))


def _studies_max(terms: Terms) -> int:
    assert terms.studies_max is not None  # Terms demands it where the unit is the study
    return terms.studies_max


def _least_threshold(scores: dict[Group, NDArray[np.float64]], allowed: dict[Group, int | None]) -> float | None:
    """Return τ, the least τ_g over *all* groups; None if one cannot be tested."""
    thresholds: list[float] = []
    for group, count in allowed.items():
        if count is None:
            return None
        thresholds.append(group_threshold(scores[group], count))
    return min(thresholds)


def _test(
    group: Group, scores: NDArray[np.float64], allowed: int | None, threshold: float | None, terms: Terms
) -> GroupResult:
    return GroupResult(
        name=group.name,
        abnormal_patients=len(scores),
        misses_allowed=allowed,
        misses=None if threshold is None else count_accepted(scores, threshold),
        miss_rate_upper=1.0 if allowed is None else upper_bound(allowed, len(scores), terms.delta_miss_rate),
    )


def _test_site(result: GroupResult, healthy: NDArray[np.float64], threshold: float | None, terms: Terms) -> SiteResult:
    accepted = None if threshold is None else count_accepted(healthy, threshold)
    lower = 0.0 if accepted is None else lower_bound(accepted, len(healthy), terms.delta_acceptance)
    return SiteResult(
        name=result.name,
        abnormal_patients=result.abnormal_patients,
        misses_allowed=result.misses_allowed,
        misses=result.misses,
        miss_rate_upper=result.miss_rate_upper,
        healthy_patients=len(healthy),
        healthy_accepted=accepted,
        acceptance_lower=lower,
        certified=accepted is not None and lower >= terms.min_healthy_acceptance,
    )


def _shortfalls(
    groups: tuple[GroupResult, ...], sites: tuple[SiteResult, ...], threshold: float | None, terms: Terms
) -> tuple[Shortfall, ...]:
    needed = trials_needed(0, terms.miss_rate_limit, terms.delta_miss_rate)
    too_small = [
        Shortfall(group=group.name, lack=Lack.ABNORMAL, has=float(group.abnormal_patients), needs=float(needed))
        for group in groups
        if group.misses_allowed is None
    ]
    too_cautious = [
        Shortfall(group=site.name, lack=Lack.ACCEPTANCE, has=site.acceptance_lower, needs=terms.min_healthy_acceptance)
        for site in sites
        if threshold is not None and not site.certified
    ]
    return (*too_small, *too_cautious)


def _passes(group: GroupResult | SiteResult, limit: float) -> bool:
    within = group.misses is not None and group.misses_allowed is not None and group.misses <= group.misses_allowed
    return within and group.miss_rate_upper <= limit


def _to_json(terms: Terms, evidence: Evidence, threshold: float | None) -> str:
    fields: dict[str, Json] = {
        "format": FORMAT,
        "certified": threshold is not None,
        "threshold": threshold,
        "alpha": terms.alpha,
        "delta": terms.delta,
        "delta_split": {"miss_rate": terms.delta_miss_rate, "acceptance": terms.delta_acceptance},
        "max_prevalence": terms.max_prevalence,
        "min_healthy_acceptance": float(terms.min_healthy_acceptance),
        "miss_rate_limit": terms.miss_rate_limit,
        "unit": terms.unit.value,
        "crossed": terms.crossed,
        "studies_max": terms.studies_max,
        "salt": terms.salt,
        "reference": terms.reference,
        "issued": format_time(terms.issued),
        "expires": format_time(terms.expires),
        "not_covered": NOT_COVERED,
        **{
            name: getattr(evidence, name)
            for name in ("scores", "candidate", "scope", "studies", "patients", "studies_per_patient")
        },
        **{
            name: [asdict(item) for item in getattr(evidence, name)]
            for name in ("sites", "strata", "site_strata", "shortfalls")
        },
    }
    return canonical(fields)


def certificate_from_json(text: str) -> Certificate | Refusal:
    """Return the certificate or refusal that a JSON text holds.

    Raises
    ------
    DataError
        If the text holds neither, or one that contradicts itself: another ``delta`` or ``miss_rate_limit`` than its terms
        give, a group that fails its test, a site certified against its numbers.
    """
    fields = Fields.of_text(text, "certificate")
    if fields.text("format") != FORMAT or fields.text("not_covered") != NOT_COVERED:
        raise DataError(f"certificate: the format must be {FORMAT!r}")
    certified, threshold = fields.flag("certified"), fields.number_or_none("threshold")
    delta, limit = fields.number("delta"), fields.number("miss_rate_limit")
    evidence = read_evidence(fields)
    try:
        terms = _read_terms(fields, evidence)
        fields.end()
        if (terms.delta, terms.miss_rate_limit) != (delta, limit):
            raise DataError("certificate: delta and miss_rate_limit are not what its terms give")
        if certified != (threshold is not None):
            raise DataError("certificate: a threshold belongs to a certificate, and to nothing else")
        if threshold is None:
            return Refusal(terms=terms, evidence=evidence)
        return Certificate(terms=terms, evidence=evidence, threshold=threshold)
    except ValueError as fault:
        raise DataError(f"certificate: {fault}") from None


def _read_terms(fields: Fields, evidence: Evidence) -> Terms:
    split = fields.object("delta_split")
    terms = Terms(
        alpha=fields.number("alpha"),
        delta_miss_rate=split.number("miss_rate"),
        delta_acceptance=split.number("acceptance"),
        max_prevalence=fields.number("max_prevalence"),
        min_healthy_acceptance=fields.number("min_healthy_acceptance"),
        issued=fields.time("issued"),
        expires=fields.time("expires"),
        unit=fields.choice("unit", Unit),
        sites=tuple(site.name for site in evidence.sites),
        strata=tuple(stratum.name for stratum in evidence.strata),
        crossed=fields.flag("crossed"),
        studies_max=fields.count_or_none("studies_max"),
        salt=fields.text("salt"),
        reference=fields.text("reference"),
    )
    split.end()
    return terms
