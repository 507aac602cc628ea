"""The only place that says healthy: every way to IDK, and the one way to healthy."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import numpy as np
import pytest

from calibration.policy import Placement, Ruling, decide
from models.vocabulary import Decision, Mode, Reason


@pytest.fixture
def ruling(certificate):
    def rule(**changes) -> Ruling:
        arguments = {
            "score": 9.0,
            "gates": (),
            "certificate": certificate,
            "site": "A",
            "studies_before": 0,
            "mode": Mode.AUTONOMOUS,
            "now": certificate.issued,
        }
        return decide(**{**arguments, **changes})

    return rule


def test_a_score_below_the_threshold_of_a_valid_certificate_is_healthy(ruling) -> None:
    assert ruling() == Ruling(decision=Decision.HEALTHY, reasons=(), threshold=10.0, placement=Placement.CLEARED)


@pytest.mark.parametrize(
    ("mode", "placement"),
    [
        (Mode.SHADOW, Placement.WORKLIST),
        (Mode.PRIORITISE, Placement.END_OF_WORKLIST),
        (Mode.AUTONOMOUS, Placement.CLEARED),
    ],
)
def test_the_mode_changes_where_a_study_goes_and_never_what_is_said(ruling, mode: Mode, placement: Placement) -> None:
    assert ruling(mode=mode).decision is Decision.HEALTHY
    assert ruling(mode=mode).placement is placement
    assert ruling(mode=mode, score=10.0).placement is Placement.WORKLIST


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"score": 10.0}, (Reason.SCORE,)),
        ({"score": 11.0}, (Reason.SCORE,)),
        ({"score": np.nextafter(10.0, 11.0)}, (Reason.SCORE,)),
        ({"score": float("nan")}, (Reason.NO_SCORE,)),
        ({"score": float("inf")}, (Reason.NO_SCORE,)),
        ({"score": float("-inf")}, (Reason.NO_SCORE,)),
        ({"gates": (Reason.STRANGE,)}, (Reason.STRANGE,)),
        ({"gates": (Reason.VIEW, Reason.AGE, Reason.VIEW), "score": float("inf")}, (Reason.VIEW, Reason.AGE)),
        ({"gates": (Reason.STRANGE,), "score": 12.0}, (Reason.STRANGE, Reason.SCORE)),
        ({"site": "C"}, (Reason.SITE,)),
        ({"site": "unheard of"}, (Reason.SITE,)),
        ({"site": ""}, (Reason.SITE,)),
        ({"studies_before": None}, (Reason.PATIENT,)),
        ({"studies_before": 1}, (Reason.STUDIES,)),
        ({"studies_before": 2, "score": 10.0}, (Reason.STUDIES, Reason.SCORE)),
        ({"certificate": None}, (Reason.NO_BUNDLE,)),
        ({"certificate": None, "gates": (Reason.VIEW,)}, (Reason.VIEW, Reason.NO_BUNDLE)),
        ({"site": "C", "score": 10.0}, (Reason.SITE, Reason.SCORE)),
    ],
)
def test_everything_else_is_idk_with_its_reasons(ruling, mode: Mode, changes: dict, reasons: tuple) -> None:
    result = ruling(mode=mode, **changes)
    assert result.decision is Decision.IDK
    assert result.reasons == reasons
    assert result.placement is Placement.WORKLIST
    assert result.threshold == (None if "certificate" in changes else 10.0)


def test_a_certificate_holds_from_its_issue_until_before_its_expiry(ruling, certificate) -> None:
    moment = timedelta(microseconds=1)
    for now in (certificate.issued, certificate.expires - moment):
        assert ruling(now=now).decision is Decision.HEALTHY
    for now in (certificate.issued - moment, certificate.expires, certificate.expires + timedelta(days=999)):
        assert ruling(now=now).reasons == (Reason.EXPIRED,)


def test_a_patient_has_as_many_studies_decided_as_the_certificate_covers(ruling, certificate) -> None:
    covers_three = replace(certificate, evidence=replace(certificate.evidence, studies_per_patient=3))
    decisions = [ruling(certificate=covers_three, studies_before=n).decision for n in range(5)]
    assert decisions == [Decision.HEALTHY] * 3 + [Decision.IDK] * 2


def test_a_clock_without_a_time_zone_is_the_callers_mistake(ruling, certificate) -> None:
    with pytest.raises(TypeError):
        ruling(now=certificate.issued.replace(tzinfo=None))


def test_a_tie_abstains_in_the_dtype_of_calibration(ruling, certificate) -> None:
    for kind in (np.float16, np.float32, np.float64):
        assert ruling(score=float(kind(10.0))).decision is Decision.IDK
    just_below = np.nextafter(10.0, 0.0)
    assert ruling(score=just_below).decision is Decision.HEALTHY
    assert ruling(score=float(np.float32(just_below))).decision is Decision.IDK  # rounding meets the threshold


def test_healthy_needs_all_conditions_at_once(ruling, certificate) -> None:
    options = {
        "score": (9.0, 10.0),
        "gates": ((), (Reason.STRANGE,)),
        "certificate": (certificate, None),
        "site": ("A", "C"),
        "studies_before": (0, 1),
        "now": (certificate.issued, certificate.expires),
    }
    for choice in product(*(range(2) for _ in options)):
        result = ruling(**{name: values[i] for i, (name, values) in zip(choice, options.items(), strict=True)})
        assert (result.decision is Decision.HEALTHY) == (sum(choice) == 0)
        assert bool(result.reasons) == (sum(choice) > 0)
