"""What readers have found of a study, from the ledger's entries about it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from service.ledger.store import Entry
from service.ledger.workflow import Kind
from service.watch.following import outcome

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def entry(hour: int, kind: Kind, verdict: str = "", workitem: str = "w") -> Entry:
    body = {"workitem": workitem, "verdict": verdict, "to": "COMPLETED"}
    at = NOW + timedelta(hours=hour)
    return Entry(
        sequence=hour, at=at, kind=kind, site_id="s", study_id="t", body=json.dumps(body), previous="", digest=""
    )


def given(hour: int, verdict: str, workitem: str = "w") -> Entry:
    return entry(hour, Kind.VERDICT, verdict, workitem)


def final(hour: int, workitem: str = "w") -> Entry:
    return entry(hour, Kind.WORKITEM, workitem=workitem)


def amended(hour: int, verdict: str) -> Entry:
    return entry(hour, Kind.ADDENDUM, verdict)


@pytest.mark.parametrize(
    ("readings", "error"),
    [
        ([], None),
        ([given(1, "finding")], None),
        ([given(1, "finding"), final(2)], True),
        ([given(1, "no_finding"), final(2)], False),
        ([given(1, "not_assessable"), final(2)], True),
        ([given(1, "finding"), entry(2, Kind.UNDONE), given(3, "no_finding"), final(4)], False),
        ([given(1, "finding"), entry(2, Kind.UNDONE), final(3)], None),
        ([given(1, "no_finding"), final(2), amended(3, "finding")], True),
        ([given(1, "finding"), final(2), amended(3, "no_finding")], False),
        ([given(1, "no_finding"), final(2), given(3, "finding", "x"), final(4, "x")], True),
        ([given(1, "no_finding"), final(2), given(3, "finding", "x")], False),
    ],
)
def test_a_final_reading_counts_and_one_error_is_enough(readings: list[Entry], error: bool | None) -> None:
    assert outcome(readings) is error


@pytest.mark.parametrize(
    ("readings", "error"),
    [
        ([given(1, "no_finding"), final(2)], False),
        ([given(9, "no_finding"), final(9)], None),
        ([given(9, "finding"), final(9)], True),
        ([given(1, "no_finding"), final(2), amended(9, "finding")], True),
        ([given(1, "no_finding"), final(2), amended(8, "finding"), amended(9, "no_finding")], True),
        ([given(1, "finding"), final(2), amended(4, "no_finding")], False),
        ([given(1, "finding"), final(2), amended(9, "no_finding")], True),
    ],
)
def test_after_its_age_a_call_only_gets_worse(readings: list[Entry], error: bool | None) -> None:
    assert outcome(readings, by=NOW + timedelta(hours=5)) is error
