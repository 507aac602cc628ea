"""A site's healthy calls and its inputs are watched, and it falls to shadow by itself."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from models.vocabulary import Mode
from service.access.workflow import Principal, Role
from service.errors import SiteError
from service.ledger.workflow import Kind, append, verify
from service.sites.store import find
from service.sites.store import set_mode as lower
from service.sites.workflow import set_mode
from service.watch.following import follow
from service.watch.inputs import BATCH, REFERENCE
from service.worklist.readings import Finding, Result, amend, give_result
from service.worklist.states import State
from service.worklist.workflow import change_state, claim_next
from tests.service_support import Release, make_dicom

DICOM = {"Content-Type": "application/dicom"}
RITA = Principal(name="rita", roles=frozenset({Role.READER}))
LOCK = "1.2.3"
TABLES = ("calls", "watches")


@pytest.fixture
def autonomous(start: Any, certificate_of: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a service at whose sites a share of the healthy calls is audited."""

    def begin(audited: float = 1.0, mode: Mode = Mode.AUTONOMOUS, **settings: Any) -> Any:
        judge = Release(certificate_of())
        service = start(judge, **settings)
        with service.database.writing() as connection:
            connection.exec_driver_sql(f"UPDATE sites SET audit_probability = {audited}")
            for name in ("north", "south"):
                set_mode(
                    connection, name, mode, certificate=judge.certificate, bundle=judge.bundle, now=service.clock()
                )
        return service

    return begin


def send(service: Any, site: str = "north") -> dict[str, Any]:
    answer = service.client(site).post("/v1/studies", content=make_dicom(), headers=DICOM)
    assert answer.status_code == 201, answer.text
    return answer.json()


def read(service: Any, finding: Finding) -> str:
    """Let a reader read the next case; return its id."""
    with service.database.writing() as connection:
        item = claim_next(connection, RITA, transaction_uid=LOCK, lease=timedelta(minutes=15), now=service.clock())
        assert item is not None
        give_result(
            connection,
            RITA,
            item.uid,
            Result(finding=finding),
            transaction_uid=LOCK,
            final_at=None,
            now=service.clock(),
        )
        change_state(
            connection,
            RITA,
            item.uid,
            requested=State.COMPLETED,
            transaction_uid=LOCK,
            lease=timedelta(minutes=15),
            now=service.clock(),
        )
    return item.id


def modes(service: Any) -> dict[str, str]:
    return dict(map(tuple, service.rows("SELECT name, mode FROM sites")))


def falls(service: Any) -> list[str]:
    return [row[0] for row in service.rows("SELECT why FROM site_falls ORDER BY at")]


def kept(service: Any) -> dict[str, list[Any]]:
    return {name: sorted(map(repr, service.rows(f"SELECT * FROM {name}"))) for name in TABLES}


def check_rebuilt(service: Any, grace_days: float = 14.0) -> None:
    """Forget everything that is watched and follow the ledger from its beginning: it must come out the same."""
    service.settle()
    before = kept(service)
    with service.database.writing() as connection:
        for name in (*TABLES, "watch_cursor"):
            connection.exec_driver_sql(f"DELETE FROM {name}")
    for _ in range(3):
        with service.database.writing() as connection:
            follow(connection, grace=timedelta(days=grace_days), now=service.clock())
    assert kept(service) == before


def test_audited_findings_raise_the_alarm_and_the_site_falls_by_itself(autonomous: Any) -> None:
    service = autonomous(0.5)
    for _ in range(12):
        send(service)
    waiting = len(service.rows("SELECT id FROM workitems WHERE state = 'SCHEDULED'"))
    assert 0 < waiting < 12
    for _ in range(waiting):
        read(service, Finding.FINDING)
    assert modes(service)["north"] == "autonomous"
    service.settle()
    assert modes(service) == {"north": "shadow", "south": "autonomous"}
    assert falls(service) == ["monitor_alarm"]
    after = send(service)
    assert (after["decision"], after["mode"], after["is_cleared"]) == ("healthy", "shadow", False)
    with service.database.reading() as connection:
        assert verify(connection).flaw == ""
    check_rebuilt(service)


def test_what_was_cleared_before_the_alarm_is_read_after_all(autonomous: Any) -> None:
    service = autonomous(0.5)
    cleared = [study["id"] for study in (send(service) for _ in range(12))]
    elsewhere = [send(service, "south")["id"] for _ in range(6)]
    for _ in range(18):
        if not service.rows("SELECT 1 FROM workitems WHERE state = 'SCHEDULED'"):
            break
        item = read(service, Finding.FINDING)
        if service.rows(
            f"SELECT 1 FROM workitems JOIN sites ON sites.id = site_id WHERE workitems.id = '{item}' AND name = 'south'"
        ):
            with service.database.writing() as connection:
                amend(connection, RITA, item, Result(finding=Finding.NO_FINDING), now=service.clock())
    service.settle()
    assert modes(service) == {"north": "shadow", "south": "autonomous"}
    seen = {row[0] for row in service.rows("SELECT study_id FROM workitems WHERE state IN ('SCHEDULED', 'COMPLETED')")}
    assert set(cleared) <= seen
    assert not set(elsewhere) <= seen
    assert service.rows("SELECT DISTINCT reasons FROM workitems WHERE state = 'SCHEDULED'") == [("recalled",)]
    service.settle()
    assert service.rows("SELECT recall_from FROM watches WHERE recall_from IS NOT NULL") == []
    check_rebuilt(service)


def test_a_good_site_does_not_fall(autonomous: Any) -> None:
    service = autonomous()
    for _ in range(12):
        send(service)
        read(service, Finding.NO_FINDING)
        service.clock.advance(3600)
    service.clock.advance(15 * 86400)
    service.settle()
    assert modes(service) == {"north": "autonomous", "south": "autonomous"}
    assert service.rows("SELECT COUNT(*) FROM calls WHERE is_counted AND NOT error") == [(12,)]
    check_rebuilt(service)


def test_an_audited_call_that_nobody_has_read_in_time_lets_the_site_fall(autonomous: Any) -> None:
    service = autonomous()
    send(service)
    service.clock.advance(14 * 86400)
    service.settle()
    assert falls(service) == []
    service.clock.advance(600)
    service.settle()
    assert falls(service) == ["audit_unread"]
    check_rebuilt(service)


def test_a_reading_that_can_still_be_undone_does_not_count(autonomous: Any) -> None:
    service = autonomous()
    send(service)
    with service.database.writing() as connection:
        item = claim_next(connection, RITA, transaction_uid=LOCK, lease=timedelta(hours=1), now=service.clock())
        assert item is not None
        final_at = service.clock() + timedelta(seconds=60)
        give_result(
            connection,
            RITA,
            item.uid,
            Result(finding=Finding.FINDING),
            transaction_uid=LOCK,
            final_at=final_at,
            now=service.clock(),
        )
    service.settle()
    assert service.rows("SELECT error FROM calls") == [(None,)]
    service.clock.advance(61)
    service.settle()
    service.settle()
    assert [bool(row[0]) for row in service.rows("SELECT error FROM calls")] == [True]


@pytest.mark.parametrize("is_late", [False, True])
def test_an_addendum_that_names_a_finding_counts_however_late(autonomous: Any, is_late: bool) -> None:
    service = autonomous()
    items = []
    for _ in range(4):
        send(service)
        items.append(read(service, Finding.NO_FINDING))
    if is_late:
        service.clock.advance(20 * 86400)
    service.settle()
    assert modes(service)["north"] == "autonomous"
    for item in items:
        with service.database.writing() as connection:
            amend(connection, RITA, item, Result(finding=Finding.FINDING), now=service.clock())
    service.settle()
    assert falls(service) == ["monitor_alarm"]
    check_rebuilt(service)


def test_a_study_that_cannot_be_assessed_ought_not_to_have_been_called_healthy(autonomous: Any) -> None:
    service = autonomous()
    for _ in range(4):
        send(service)
        read(service, Finding.NOT_ASSESSABLE)
    service.settle()
    assert falls(service) == ["monitor_alarm"]


def test_a_finding_that_is_taken_back_in_time_is_no_error_and_one_named_late_stays(autonomous: Any) -> None:
    service = autonomous()
    for _ in range(2):
        send(service)
    first, second = read(service, Finding.FINDING), read(service, Finding.NO_FINDING)
    for item, finding, days in ((first, "no_finding", 1), (second, "finding", 20), (second, "no_finding", 1)):
        service.clock.advance(days * 86400)
        with service.database.writing() as connection:
            amend(connection, RITA, item, Result(finding=Finding(finding)), now=service.clock())
        service.settle()
    assert sorted(bool(row[0]) for row in service.rows("SELECT error FROM calls")) == [False, True]
    check_rebuilt(service)


def test_two_processes_that_follow_at_once_count_each_call_once(autonomous: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    service = autonomous()
    for _ in range(10):
        send(service)
        read(service, Finding.NO_FINDING)
    service.clock.advance(15 * 86400)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: service.app.state.decider.tick(), range(8)))
    monitors = [json.loads(row[0]) for row in service.rows("SELECT monitor FROM watches WHERE monitor IS NOT NULL")]
    assert sorted(monitor["calls"] for monitor in monitors) == [0, 10]
    check_rebuilt(service)


def decided(service: Any, count: int, score: Callable[[int], float], **changes: Any) -> None:
    """Write decisions on the ledger as a process would."""
    with service.database.writing() as connection:
        site = find(connection, "north")
        assert site is not None
        for n in range(count):
            body = {
                "decision": "IDK", "placement": "worklist", "bundle": Release.bundle, "revision": 1, "gates": [],
                "score": score(n), "strangeness": float(n % 7), "audit": {"probability": 1.0, "is_drawn": True},
            } | changes  # fmt: skip
            append(connection, Kind.DECIDED, body, at=service.clock(), site_id=site.id, study_id=uuid4().hex)


def test_a_site_whose_inputs_drift_falls_and_what_was_cleared_meanwhile_is_read(autonomous: Any) -> None:
    service = autonomous(0.001)
    decided(service, REFERENCE, lambda n: (n * 37 % 101) / 10 - 3)
    early = send(service)
    decided(service, BATCH - 1, lambda n: (n * 41 % 101) / 10 - 3)
    service.settle()
    assert falls(service) == []
    service.clock.advance(60)
    late = send(service)
    decided(service, BATCH - 1, lambda n: 30.0 + n)
    service.settle()
    assert falls(service) == ["inputs_drifted"]
    assert modes(service)["north"] == "shadow"
    assert (early["is_cleared"], late["is_cleared"]) == (True, True)
    assert service.rows("SELECT study_id FROM workitems WHERE state = 'SCHEDULED'") == [(late["id"],)]
    check_rebuilt(service)


def test_what_was_cleared_in_a_batch_that_drifted_is_read_though_the_site_was_lowered_before(autonomous: Any) -> None:
    service = autonomous(0.001)
    decided(service, REFERENCE, lambda n: (n * 37 % 101) / 10 - 3)
    service.clock.advance(60)
    cleared = send(service)
    assert cleared["is_cleared"] is True
    with service.database.writing() as connection:
        site = find(connection, "north")
        assert site is not None
        lower(connection, site.id, Mode.SHADOW, bundle=site.bundle)
    decided(service, BATCH - 1, lambda n: 30.0 + n)
    service.settle()
    assert falls(service) == []
    assert service.rows("SELECT study_id FROM workitems WHERE state = 'SCHEDULED'") == [(cleared["id"],)]


def test_studies_that_are_decided_again_are_no_inputs(autonomous: Any) -> None:
    service = autonomous()
    decided(service, 10, float, gates=["reopened"])
    decided(service, 5, float)
    service.settle()
    (inputs,) = [
        json.loads(row[0]) for row in service.rows("SELECT inputs FROM watches") if '"reference":[]' not in row[0]
    ]
    assert len(inputs["reference"]) == 5


def test_an_auditor_sees_how_a_site_stands_and_which_calls_were_made(autonomous: Any) -> None:
    service = autonomous(0.5)
    for _ in range(6):
        send(service)
    read(service, Finding.NO_FINDING)
    service.settle()
    client = service.client("anna")
    (north,) = [item for item in client.get("/v1/watches").json()["watches"] if item["site"] == "north"]
    calls = client.get("/v1/watches/north/calls").json()["calls"]
    assert (north["mode"], north["made"], north["read"], north["errors"]) == ("autonomous", 6, 1, 0)
    assert (north["alarm_evidence"], north["false_omission_rate_upper"], north["reference"]) == (20.0, 1.0, 6)
    assert len(calls) == 6
    assert north["drawn"] == sum(call["is_drawn"] for call in calls)
    assert [call["error"] for call in calls if call["error"] is not None] == [False]
    later = {"since": (service.clock() + timedelta(seconds=1)).isoformat()}
    assert client.get("/v1/watches/north/calls", params=later).json() == {"calls": []}
    assert client.get("/v1/watches/nowhere/calls").status_code == 404
    for stranger in ("north", "rita", ""):
        assert service.client(stranger).get("/v1/watches").status_code in (401, 403)
    page = client.get("/metrics").text
    assert 'demur_site_mode{site="north"} 2.0' in page
    assert 'demur_watched_calls{site="north",what="made"} 6.0' in page
    assert 'demur_monitor_evidence{site="north"}' in page


def test_an_alarm_is_withdrawn_with_the_readings_that_raised_it_and_the_site_may_be_raised_again(
    autonomous: Any,
) -> None:
    service = autonomous()
    items = []
    for _ in range(4):
        send(service)
        items.append(read(service, Finding.FINDING))
    service.settle()
    assert falls(service) == ["monitor_alarm"]
    judge = service.app.state.decider.judge
    raised = {"certificate": judge.certificate, "bundle": judge.bundle, "now": service.clock()}
    for item in items:
        with pytest.raises(SiteError, match="raised the alarm"), service.database.writing() as connection:
            set_mode(connection, "north", Mode.AUTONOMOUS, **raised)
        with service.database.writing() as connection:
            amend(connection, RITA, item, Result(finding=Finding.NO_FINDING), now=service.clock())
    service.settle()
    assert modes(service)["north"] == "shadow"
    with service.database.writing() as connection:
        set_mode(connection, "north", Mode.AUTONOMOUS, **raised)
    service.settle()
    assert (modes(service)["north"], falls(service)) == ("autonomous", ["monitor_alarm"])
    check_rebuilt(service)
