from dataclasses import replace

import pytest

from models.errors import DataError
from models.header import Header
from models.scope import CLINICAL, RESEARCH, Scope, is_companion, veto
from models.vocabulary import Reason

HEADER = Header(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
    modality="DX",
    body_part="CHEST",
    view="PA",
    age_years=45.0,
    presentation_intent="FOR PRESENTATION",
    photometric="MONOCHROME2",
    presentation_lut_shape="IDENTITY",
)
PNG = Header(photometric="MONOCHROME2")


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        ({}, ()),
        ({"modality": "CT"}, (Reason.MODALITY,)),
        ({"modality": ""}, (Reason.MODALITY,)),
        ({"modality": "CR"}, ()),
        ({"body_part": "HIP"}, (Reason.BODY_PART,)),
        ({"body_part": ""}, ()),
        ({"view": "LL"}, (Reason.VIEW,)),
        ({"view": "AP"}, ()),
        ({"view": ""}, ()),
        ({"age_years": 18.0}, ()),
        ({"age_years": 17.99}, (Reason.AGE,)),
        ({"age_years": None}, (Reason.AGE,)),
        ({"age_years": float("nan")}, (Reason.AGE,)),
        ({"presentation_intent": "FOR PROCESSING"}, (Reason.INTENT,)),
        ({"presentation_intent": ""}, ()),
        ({"frames": 2}, (Reason.FRAMES,)),
        ({"samples_per_pixel": 3, "photometric": "RGB"}, (Reason.PHOTOMETRIC,)),
        ({"photometric": "PALETTE COLOR"}, (Reason.PHOTOMETRIC,)),
        ({"photometric": "MONOCHROME1"}, (Reason.PHOTOMETRIC,)),
        ({"photometric": "MONOCHROME1", "presentation_lut_shape": "INVERSE"}, ()),
        ({"photometric": "MONOCHROME1", "presentation_lut_shape": ""}, ()),
        ({"presentation_lut_shape": "INVERSE"}, (Reason.PHOTOMETRIC,)),
        ({"burned_in": "YES"}, (Reason.SECONDARY,)),
        ({"burned_in": "NO"}, ()),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, (Reason.SECONDARY,)),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7.2"}, (Reason.SECONDARY,)),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.77.1"}, ()),
        ({"conversion_type": "SI"}, (Reason.SECONDARY,)),
        ({"modality": "CT", "view": "LL", "age_years": 3.0}, (Reason.MODALITY, Reason.VIEW, Reason.AGE)),
    ],
)
def test_the_clinical_scope_vetoes(changed, reasons):
    assert veto(replace(HEADER, **changed), CLINICAL) == reasons


def test_vetoes_come_in_the_order_of_the_reasons():
    everything = Header(
        modality="CT",
        body_part="HIP",
        view="LL",
        presentation_intent="FOR PROCESSING",
        frames=3,
        photometric="RGB",
        burned_in="YES",
    )
    reasons = veto(everything, CLINICAL)
    assert len(reasons) == 8
    assert list(reasons) == [reason for reason in Reason if reason in reasons]


def test_the_research_scope_admits_children_unknown_ages_and_plain_pictures():
    assert veto(PNG, RESEARCH) == ()
    assert veto(replace(PNG, age_years=0.5, view="AP"), RESEARCH) == ()
    assert veto(replace(PNG, view="LL"), RESEARCH) == (Reason.VIEW,)
    assert veto(PNG, CLINICAL) == (Reason.MODALITY, Reason.AGE)


def test_an_oldest_age_is_inclusive():
    scope = replace(RESEARCH, age_max=60.0)
    assert veto(replace(HEADER, age_years=60.0), scope) == ()
    assert veto(replace(HEADER, age_years=60.1), scope) == (Reason.AGE,)


def test_a_scope_may_admit_secondary_captures_but_never_burned_in_text():
    scope = replace(CLINICAL, admits_secondary_capture=True)
    assert veto(replace(HEADER, conversion_type="SI"), scope) == ()
    assert veto(replace(HEADER, burned_in="YES"), scope) == (Reason.SECONDARY,)


def test_a_declared_lateral_is_a_companion_only_if_the_scope_says_so_and_nothing_else_is_against_it():
    lateral = replace(HEADER, view="LL")
    scope = replace(CLINICAL, companion_views=("LL", "RL"))
    assert is_companion(lateral, scope)
    assert not is_companion(lateral, CLINICAL)
    assert not is_companion(HEADER, scope)
    assert not is_companion(replace(lateral, age_years=4.0), scope)


@pytest.mark.parametrize("scope", [CLINICAL, RESEARCH, replace(CLINICAL, companion_views=("LL",), age_max=99.5)])
def test_a_scope_survives_json(scope):
    assert Scope.from_json(scope.to_json()) == scope


@pytest.mark.parametrize(
    "changed",
    [{"images_max": 0}, {"companion_views": ("PA",)}, {"companion_views": ("",)}, {"age_min": 20.0, "age_max": 10.0}],
)
def test_a_scope_that_contradicts_itself_does_not_exist(changed):
    with pytest.raises(ValueError, match=r"."):
        replace(CLINICAL, **changed)
    with pytest.raises(DataError):
        Scope.from_json(CLINICAL.to_json().replace('"images_max":2', '"images_max":0'))
