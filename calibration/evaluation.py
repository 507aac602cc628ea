"""What a score table shows, in all, per site and per stratum: the auditor's page."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from calibration.direct import DirectCheck, direct_check
from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN, ScoreTable
from calibration.selective import (
    Area,
    OperatingPoint,
    RiskCoverage,
    ZeroMisses,
    areas,
    operating_point,
    risk_coverage,
    zero_misses,
)
from calibration.terms import Group, Unit
from calibration.units import abnormal_scores, decided_patients, draw_studies, healthy_scores, studies_per_patient
from models.errors import DataError


class Kind(StrEnum):
    """What a row of the report is about."""

    #: Everything.
    ALL = "all"
    #: A site.
    SITE = "site"
    #: The abnormal of a stratum, beside all healthy.
    STRATUM = "stratum"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupReport:
    """What the scores of a group show.

    Attributes
    ----------
    kind, name : Kind, str
        Which group.
    abnormal, healthy : int
        Units with a label.
    without_score : int
        Labelled units that no threshold can clear: their score is +∞.
    point : OperatingPoint or None
        At the certificate's threshold; None: no certificate was given.
    zero : ZeroMisses or None
        Below the least abnormal score; None: nothing is abnormal.
    curve : RiskCoverage
        From none cleared to all.
    aurc, augrc : Area
        Of the curve.
    """

    kind: Kind
    name: str
    abnormal: int
    healthy: int
    without_score: int
    point: OperatingPoint | None
    zero: ZeroMisses | None
    curve: RiskCoverage
    aurc: Area
    augrc: Area


def evaluate(
    table: ScoreTable, *, threshold: float | None, delta: float, unit: Unit = Unit.PATIENT, salt: str = ""
) -> tuple[GroupReport, ...]:
    """Evaluate the labelled studies of a table in all, per site and per stratum.

    Parameters
    ----------
    table : ScoreTable
        Studies without a label are left out.
    threshold : float or None
        Fixed before these scores were seen.
    delta : float
        Each interval fails with at most this probability.
    unit : Unit
        For studies, one of some patients is drawn, so that intervals stay exact where patients have several.
    salt : str
        Of that draw.

    Raises
    ------
    DataError
        If no study has a label.
    """
    table = table.where(table.label != UNKNOWN)
    if len(table) == 0:
        raise DataError("no study of these has a label; there is nothing to evaluate")
    if unit is Unit.STUDY:
        table = draw_studies(table, studies_per_patient(table), salt)
    sites, strata = table.site.used(), table.where(table.label == ABNORMAL).stratum.used()
    everyone = abnormal_scores(table, Group()), healthy_scores(table, None)
    reports = [_report(Kind.ALL, "all", *everyone, threshold, delta)]
    for site in sites:
        scores = abnormal_scores(table, Group(site=site)), healthy_scores(table, site)
        reports.append(_report(Kind.SITE, site, *scores, threshold, delta))
    for stratum in strata:
        if stratum:
            scores = abnormal_scores(table, Group(stratum=stratum)), everyone[1]
            reports.append(_report(Kind.STRATUM, stratum, *scores, threshold, delta))
    return tuple(reports)


def check_directly(table: ScoreTable, *, threshold: float, planned: int, alpha: float, delta: float) -> DirectCheck:
    """Check the false omission rate of the first ``planned`` cleared patients, in the order of their first studies.

    Raises
    ------
    DataError
        If fewer labelled patients than planned are cleared.
    """
    label, cleared = decided_patients(table, threshold)
    known = (label == ABNORMAL) | (label == HEALTHY)
    chosen = np.flatnonzero(known & cleared)[:planned]
    if len(chosen) < planned:
        raise DataError(
            f"{len(chosen)} labelled patients are cleared, fewer than the {planned} that were to be checked"
        )
    return direct_check(
        misses=int(np.count_nonzero(label[chosen] == ABNORMAL)),
        cleared=len(chosen),
        planned=planned,
        prevalence=int(np.count_nonzero(label == ABNORMAL)) / int(np.count_nonzero(known)),
        alpha=alpha,
        delta=delta,
    )


def _report(
    kind: Kind,
    name: str,
    abnormal: NDArray[np.float64],
    healthy: NDArray[np.float64],
    threshold: float | None,
    delta: float,
) -> GroupReport:
    curve = risk_coverage(abnormal, healthy)
    aurc, augrc = areas(curve, delta)
    return GroupReport(
        kind=kind,
        name=name,
        abnormal=len(abnormal),
        healthy=len(healthy),
        without_score=len(abnormal) + len(healthy) - curve.reachable,
        point=None if threshold is None else operating_point(abnormal, healthy, threshold, delta),
        zero=zero_misses(abnormal, healthy, delta),
        curve=curve,
        aurc=aurc,
        augrc=augrc,
    )
