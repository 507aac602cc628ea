"""What published findings mean as label and stratum: one rule for every data set.

Healthy needs an explicit "no finding" and a view that is known to be frontal. A named finding is abnormal. Whatever is
doubtful, contradicts itself or says nothing is neither. Where the data set is doubtful the table stays empty: a wrong
"healthy" costs more than a lost film.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from models.vocabulary import Label

FRONTAL = ("AP", "PA")
SEVERAL = "several"
OTHER = "other"
NOT_FRONTAL = "view is not frontal"
#: Other words for the kinds of finding that the phantoms have too.
SAME = {
    "pleural_effusion": "effusion",
    "support_devices": "foreign_device",
    "ild": "interstitial",
    "interstitial_pattern": "interstitial",
    "other_lesion": OTHER,
    "other_disease": OTHER,
    "other_diseases": OTHER,
}
#: A finding that is said along with any of these is the same finding, named more widely.
WIDER = {
    "lung_opacity": {
        "edema",
        "consolidation",
        "pneumonia",
        "atelectasis",
        "lung_lesion",
        "infiltration",
        "nodule_mass",
    },
    "consolidation": {"pneumonia"},
    "infiltration": {"pneumonia"},
    "enlarged_cardiomediastinum": {"cardiomegaly"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was said of one study: names of findings as published, and whether any stayed in doubt."""

    findings: tuple[str, ...] = ()
    doubtful: bool = False
    says_healthy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Label and stratum for the study table; ``reason`` says why there is no label."""

    label: Label | None
    stratum: str = ""
    reason: str = ""


def judge(reading: Reading, *, is_frontal: bool) -> Verdict:
    """Return what a reading means for a film."""
    # CheXpert's labeller says "no finding" of films with nothing but tubes and lines.
    beyond_devices = [finding for finding in reading.findings if word(finding) != "foreign_device"]
    if reading.says_healthy and (beyond_devices or reading.doubtful):
        return Verdict(label=None, reason="contradicts itself")
    if reading.findings:
        return Verdict(label=Label.ABNORMAL, stratum=stratum_of(reading.findings))
    if reading.doubtful:
        return Verdict(label=None, reason="uncertain")
    if not reading.says_healthy:
        return Verdict(label=None, reason="nothing is said")
    if not is_frontal:
        return Verdict(label=None, reason="no finding, but the view is not known")
    return Verdict(label=Label.HEALTHY)


def stratum_of(findings: Iterable[str]) -> str:
    """Return the one kind of finding that a study has; ``several`` if there are more, none being the chief one."""
    words = {word(finding) for finding in findings}
    kinds = {kind for kind in words if not WIDER.get(kind, set()) & words}
    return kinds.pop() if len(kinds) == 1 else SEVERAL


def word(finding: str) -> str:
    """Return a finding's name as a stratum: lower case, underscores, the phantoms' word where there is one."""
    plain = re.sub(r"[^\w.-]+", "_", finding.strip().lower()).strip("_.")
    return SAME.get(plain, plain) or OTHER
