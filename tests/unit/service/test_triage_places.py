"""Where a decided study stands on the worklist, and that readers cannot tell what was decided."""

import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from calibration.policy import Placement, Ruling
from models.vocabulary import Decision, Mode, Reason
from service.sites.store import Site
from service.triage.workflow import Draw, place_of
from service.worklist.store import Priority

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOUR = timedelta(hours=1)


def site(mode: Mode) -> Site:
    return Site(
        id="s", name="north", mode=mode, bundle="b", audit_probability=0.1, service_level_s=3600.0, created_at=NOW
    )


def ruling(decision: Decision, placement: Placement, *reasons: Reason) -> Ruling:
    return Ruling(decision=decision, reasons=reasons, threshold=0.0, placement=placement)


def place(
    mode: Mode, found: Ruling, score: float, *, is_drawn: bool = False
) -> tuple[Priority, float, tuple[str, ...]]:
    draw = Draw(probability=0.1, is_drawn=is_drawn)
    made = place_of(site(mode), found, draw, score, received_at=NOW, rng=random.Random(3))
    return made.priority, (made.read_by - NOW) / HOUR, made.reasons


IDK = ruling(Decision.IDK, Placement.WORKLIST, Reason.SCORE)
LAST = ruling(Decision.HEALTHY, Placement.END_OF_WORKLIST)


def test_a_higher_score_is_read_sooner_and_never_at_once() -> None:
    waits = [place(Mode.AUTONOMOUS, IDK, score)[1] for score in (0.0, 1.0, 4.0, 40.0)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == 1.0
    assert waits[-1] >= 0.25


@pytest.mark.parametrize("score", [math.inf, math.nan])
def test_a_study_without_a_score_is_read_by_its_age(score: float) -> None:
    assert place(Mode.AUTONOMOUS, ruling(Decision.IDK, Placement.WORKLIST, Reason.AGE), score)[1] == 1.0


def test_in_shadow_nothing_but_age_orders_the_worklist() -> None:
    healthy = ruling(Decision.HEALTHY, Placement.WORKLIST)
    seen = {
        place(Mode.SHADOW, IDK, 9.0),
        place(Mode.SHADOW, IDK, 0.1),
        place(Mode.SHADOW, healthy, -3.0, is_drawn=True),
    }
    assert seen == {(Priority.MEDIUM, 1.0, ("score_not_below_threshold",))}


def test_a_healthy_call_read_last_is_still_read_one_day() -> None:
    assert place(Mode.PRIORITISE, LAST, -3.0) == (Priority.LOW, 12.0, ())


def test_a_drawn_call_looks_like_an_abstention() -> None:
    priority, wait, reasons = place(Mode.PRIORITISE, LAST, -3.0, is_drawn=True)
    assert (priority in (Priority.MEDIUM, Priority.HIGH), reasons) == (True, ("score_not_below_threshold",))
    assert 0.25 <= wait <= 1.0
