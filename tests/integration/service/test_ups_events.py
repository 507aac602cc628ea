"""Subscriptions and event reports as PS3.18 sections 8.10 and 11.10 to 11.13 and PS3.4 section CC.2.4 have them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from service.access.workflow import Role, issue_token, sign_in
from service.worklist.readings import Finding, Result
from service.worklist.schemas import result_dataset
from tests.service_support import make_dicom

WORKLIST, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"
CLAIM = "2.25.11"
DICOM_JSON = {"Content-Type": "application/dicom+json"}


def send(service: Any, site: str = "north", **elements: Any) -> str:
    """Store a study and return its workitem's UID."""
    answer = service.client(site).post(
        "/v1/studies?more=true", content=make_dicom(**elements), headers={"Content-Type": "application/dicom"}
    )
    study = answer.json()["id"]
    return service.rows(f"SELECT uid FROM workitems WHERE study_id = '{study}'")[0][0]


def subscribe(service: Any, target: str, who: str = "rita", aet: str = "VIEWER", **query: str) -> Any:
    return service.client(who).post(f"/dicom-web/workitems/{target}/subscribers/{aet}", params=query)


def unsubscribe(service: Any, target: str, who: str = "rita", aet: str = "VIEWER") -> Any:
    return service.client(who).delete(f"/dicom-web/workitems/{target}/subscribers/{aet}")


def suspend(service: Any, target: str, who: str = "rita", aet: str = "VIEWER") -> Any:
    return service.client(who).post(f"/dicom-web/workitems/{target}/subscribers/{aet}/suspend")


def put_state(service: Any, uid: str, state: str) -> None:
    body = {"00741000": {"vr": "CS", "Value": [state]}, "00081195": {"vr": "UI", "Value": [CLAIM]}}
    path = f"/dicom-web/workitems/{uid}/state"
    assert service.client("rita").put(path, content=json.dumps(body), headers=DICOM_JSON).status_code == 200


def give_result(service: Any, uid: str) -> None:
    path = f"/dicom-web/workitems/{uid}?transaction-uid={CLAIM}"
    body = json.dumps(result_dataset(Result(finding=Finding.NO_FINDING)))
    assert service.client("rita").post(path, content=body, headers=DICOM_JSON).status_code == 200


def ask_to_cancel(service: Any, uid: str, body: dict[str, Any]) -> None:
    path = f"/dicom-web/workitems/{uid}/cancelrequest"
    assert service.client("rolf").post(path, content=json.dumps(body), headers=DICOM_JSON).status_code == 202


@contextmanager
def channel(service: Any, who: str = "rita", aet: str = "VIEWER", **headers: str) -> Iterator[Any]:
    """Open an event channel and take its first report, which is of the service itself."""
    with service.client(who).websocket_connect(f"/dicom-web/subscribers/{aet}", headers=headers) as socket:
        first = socket.receive_json()
        assert first["00001000"]["Value"] == [WORKLIST]
        assert first["00001002"]["Value"] == [4]
        assert first["00741242"]["Value"] == ["RESTARTED"]
        assert first["00741244"]["Value"] == first["00741246"]["Value"] == ["WARM START"]
        yield socket


def told(socket: Any) -> tuple[int, str, dict[str, Any]]:
    """Return type, workitem and attributes of the next report; check what every report has (PS3.7 Table 10.3-1)."""
    report = socket.receive_json()
    assert report.pop("00000002") == {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.34.6.1"]}
    assert report.pop("00000100") == {"vr": "US", "Value": [256]}
    assert report.pop("00000800")["vr"] == "US"
    assert report.pop("00000110")["vr"] == "US"
    return report.pop("00001002")["Value"][0], report.pop("00001000")["Value"][0], report


def state(name: str) -> dict[str, Any]:
    return {"00404041": {"vr": "CS", "Value": ["READY"]}, "00741000": {"vr": "CS", "Value": [name]}}


def progress(percent: int, words: str) -> dict[str, Any]:
    step = {"00741004": {"vr": "DS", "Value": [percent]}, "00741006": {"vr": "ST", "Value": [words]}}
    return {"00741002": {"vr": "SQ", "Value": [step]}}


def states_told(socket: Any, count: int) -> list[tuple[str, str]]:
    """Return workitem and state of the next reports, which are all of states."""
    found = [told(socket) for _ in range(count)]
    assert {kind for kind, _, _ in found} <= {1}
    return [(uid, attributes["00741000"]["Value"][0]) for _, uid, attributes in found]


def test_everything_that_happens_to_a_workitem_is_reported_with_the_attributes_of_the_standard(service: Any) -> None:
    code = {"00080100": {"vr": "SH", "Value": ["110513"]}, "00080102": {"vr": "SH", "Value": ["DCM"]},
            "00080104": {"vr": "LO", "Value": ["Discontinued for unspecified reason"]}}  # fmt: skip
    request = {
        "00741238": {"vr": "LT", "Value": ["wrong side"]},
        "0074100E": {"vr": "SQ", "Value": [code]},
        "0074100A": {"vr": "UR", "Value": ["tel:123"]},
        "0074100C": {"vr": "LO", "Value": ["Dr Rolf"]},
    }
    performer = {"00080100": {"vr": "SH", "Value": ["rita"]}, "00080102": {"vr": "SH", "Value": ["99DEMUR"]},
                 "00080104": {"vr": "LO", "Value": ["rita"]}}  # fmt: skip
    with channel(service) as socket:
        assert subscribe(service, WORKLIST).status_code == 201
        uid = send(service)
        put_state(service, uid, "IN PROGRESS")
        ask_to_cancel(service, uid, request)
        give_result(service, uid)
        put_state(service, uid, "COMPLETED")
        expected = [
            (1, uid, state("SCHEDULED")),
            (1, uid, state("IN PROGRESS")),
            (5, uid, {"00404009": {"vr": "SQ", "Value": [performer]}}),
            (2, uid, {"00741236": {"vr": "AE", "Value": ["rolf"]}, **request}),
            (3, uid, progress(100, "result given")),
            (1, uid, state("COMPLETED")),
        ]
        assert [told(socket) for _ in expected] == expected


def test_a_workitem_that_is_cancelled_is_reported_with_the_reason_and_its_replacement_after_it(service: Any) -> None:
    uid = send(service)
    with channel(service) as socket:
        subscribe(service, WORKLIST)
        ask_to_cancel(service, uid, {"00741238": {"vr": "LT", "Value": ["Mustermann is not here"]}})
        replacement = service.rows("SELECT uid FROM workitems WHERE state = 'SCHEDULED'")[0][0]
        canceled = {**state("CANCELED"), "00741238": {"vr": "LT", "Value": ["Mustermann is not here"]}}
        assert told(socket) == (1, uid, canceled)
        assert told(socket) == (1, replacement, state("SCHEDULED"))
    words = json.dumps([row[0] for row in service.rows("SELECT body FROM ledger")])
    assert "Mustermann" not in words, "what somebody writes may name a patient, and the ledger forgets nothing"


def test_a_workitem_made_for_any_reason_is_reported(service: Any) -> None:
    uid = send(service, StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4")
    put_state(service, uid, "IN PROGRESS")
    give_result(service, uid)
    put_state(service, uid, "COMPLETED")
    with channel(service) as socket:
        subscribe(service, WORKLIST)
        conflict = make_dicom(StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.4", seed=5)
        service.client("north").post("/v1/studies", content=conflict, headers={"Content-Type": "application/dicom"})
        again = service.rows("SELECT uid FROM workitems WHERE state = 'SCHEDULED'")[0][0]
        assert told(socket) == (1, again, state("SCHEDULED"))


def test_reports_name_no_patient(service: Any) -> None:
    with channel(service) as socket:
        subscribe(service, WORKLIST)
        uid = send(service)
        put_state(service, uid, "IN PROGRESS")
        words = "".join(socket.receive_text() for _ in range(3))
    for secret in ("Mustermann", "SECRETID42", "ACC9731", "19600102"):
        assert secret not in words


#: (what is done before, on which target, the operation, status): sections 11.10.3, 11.11.3 and 11.12.3.
OPERATIONS = [
    ((), "workitem", subscribe, 201),
    ((), WORKLIST, subscribe, 201),
    ((), "unknown", subscribe, 404),
    ((), FILTERED, subscribe, 400),  # a filter belongs to it
    ((subscribe,), "workitem", subscribe, 201),
    ((subscribe,), WORKLIST, subscribe, 201),
    ((), "workitem", unsubscribe, 404),
    ((), WORKLIST, unsubscribe, 404),
    ((), FILTERED, unsubscribe, 404),
    ((), "unknown", unsubscribe, 404),
    ((subscribe,), "workitem", unsubscribe, 200),
    ((subscribe,), WORKLIST, unsubscribe, 200),
    ((subscribe, unsubscribe), "workitem", unsubscribe, 404),
    ((subscribe, unsubscribe), WORKLIST, unsubscribe, 404),
    ((subscribe, suspend), WORKLIST, unsubscribe, 200),
    ((), WORKLIST, suspend, 404),
    ((), FILTERED, suspend, 404),
    ((), "workitem", suspend, 400),  # only a worklist's subscription is suspended
    ((subscribe,), "workitem", suspend, 400),
    ((subscribe,), WORKLIST, suspend, 200),
    ((subscribe, suspend), WORKLIST, suspend, 200),
    ((subscribe, unsubscribe), WORKLIST, suspend, 404),
]


def test_every_operation_on_subscriptions_is_answered_as_the_standard_has_it(service: Any) -> None:
    uid = send(service)
    for number, (before, target, operation, status) in enumerate(OPERATIONS):
        name = {"workitem": uid, "unknown": "2.25.9"}.get(target, target)
        for earlier in before:
            assert earlier(service, name, aet=f"AE{number}").status_code in (200, 201)
        answer = operation(service, name, aet=f"AE{number}")
        done = [step.__name__ for step in before]
        assert answer.status_code == status, f"{operation.__name__} {target} after {done}"
        if status == 201:
            assert answer.headers["content-location"] == f"ws://testserver/dicom-web/subscribers/AE{number}"
        if status >= 400:
            assert answer.headers["warning"].startswith("299 demur: ")


@pytest.mark.parametrize(
    ("target", "query", "status"),
    [
        (WORKLIST, {"deletionlock": "true"}, 201),
        (WORKLIST, {"deletionlock": "perhaps"}, 422),
        (WORKLIST, {"filter": "WorklistLabel=north"}, 400),
        (FILTERED, {"filter": "WorklistLabel=north"}, 201),
        (FILTERED, {"filter": "WorklistLabel=north,ProcedureStepState=SCHEDULED,IN PROGRESS"}, 201),
        (FILTERED, {"filter": "WorklistLabel"}, 400),
        (FILTERED, {"filter": "Nonsense=1"}, 400),
        (FILTERED, {"filter": "ProcedureStepState=ODD"}, 400),
        (FILTERED, {"filter": "limit=5"}, 400),
        (FILTERED, {"filter": "PatientID=" + "x" * 3000}, 400),
    ],
)
def test_a_subscription_is_asked_for_with_a_lock_and_a_filter(
    service: Any, target: str, query: dict[str, str], status: int
) -> None:
    assert subscribe(service, target, **query).status_code == status


@pytest.mark.parametrize("aet", ["A" * 17, "%5C", "%20", "%0A", "%C3%A4"])
def test_a_name_that_is_no_title_of_an_application_entity_is_refused(service: Any, aet: str) -> None:
    assert subscribe(service, WORKLIST, aet=aet).status_code == 400


#: What is done, and which of the two workitems (an old one and one that comes later) are then reported.
COVERAGE: dict[str, tuple[tuple[tuple[Callable[..., Any], str, dict[str, str]], ...], set[str]]] = {
    "nothing": ((), set()),
    "the worklist": (((subscribe, WORKLIST, {}),), {"old", "new"}),
    "a workitem": (((subscribe, "old", {}),), {"old"}),
    "the worklist, suspended": (((subscribe, WORKLIST, {}), (suspend, WORKLIST, {})), {"old"}),
    "the worklist, suspended and asked for again": (
        ((subscribe, WORKLIST, {}), (suspend, WORKLIST, {}), (subscribe, WORKLIST, {})),
        {"old", "new"},
    ),
    "the worklist but for one": (((subscribe, WORKLIST, {}), (unsubscribe, "old", {})), {"new"}),
    "the worklist after all": (
        ((subscribe, WORKLIST, {}), (unsubscribe, "old", {}), (subscribe, WORKLIST, {})),
        {"old", "new"},
    ),
    "nothing any more": (((subscribe, "old", {}), (subscribe, WORKLIST, {}), (unsubscribe, WORKLIST, {})), set()),
    "what matches": (((subscribe, FILTERED, {"filter": "WorklistLabel=north,PatientID=NEW"}),), {"new"}),
    "what is scheduled": (((subscribe, FILTERED, {"filter": "ProcedureStepState=SCHEDULED"}),), {"old", "new"}),
    "what is read": (((subscribe, FILTERED, {"filter": "ProcedureStepState=COMPLETED"}),), set()),
    "what matches nowhere": (((subscribe, FILTERED, {"filter": "WorklistLabel=south"}),), set()),
    "what matches, and one": (
        ((subscribe, FILTERED, {"filter": "PatientID=NEW"}), (subscribe, "old", {})),
        {"old", "new"},
    ),
}


def test_a_subscription_covers_what_the_standard_says(service: Any) -> None:
    for number, (words, (steps, expected)) in enumerate(COVERAGE.items()):
        aet = f"AE{number}"
        old = send(service)
        for step, target, query in steps:
            assert step(service, old if target == "old" else target, aet=aet, **query).status_code < 300, words
        service.clock.advance(1)
        with channel(service, aet=aet) as socket:
            new = send(service, PatientID="NEW")
            put_state(service, old, "IN PROGRESS")
            put_state(service, new, "IN PROGRESS")
            last = send(service, "south")
            subscribe(service, last, aet=aet)  # its first state is the end of what is waited for
            heard: set[str] = set()
            while (report := told(socket))[1] != last:
                heard.add({old: "old", new: "new"}[report[1]])
        assert heard == expected, words


def test_who_subscribes_is_told_the_present_state(service: Any) -> None:
    first, second, foreign = send(service), send(service), send(service, "south")
    put_state(service, second, "IN PROGRESS")
    with channel(service) as socket:
        subscribe(service, second)
        assert states_told(socket, 1) == [(second, "IN PROGRESS")]
        subscribe(service, FILTERED, deletionlock="true", filter="WorklistLabel=north")
        assert set(states_told(socket, 2)) == {(first, "SCHEDULED"), (second, "IN PROGRESS")}
        subscribe(service, WORKLIST)  # without a lock: nothing of what is there
        subscribe(service, foreign)
        assert states_told(socket, 1) == [(foreign, "SCHEDULED")]


def test_more_first_states_than_a_page_are_all_told(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.worklist.channel._PAGE", 2)
    uids = {send(service) for _ in range(5)}
    with channel(service) as socket:
        subscribe(service, WORKLIST, deletionlock="true")
        assert {uid for uid, _ in states_told(socket, 5)} == uids


def test_what_happens_without_a_channel_is_in_the_feed_and_not_told_later(service: Any) -> None:
    subscribe(service, WORKLIST)
    missed = send(service)
    with channel(service) as socket:
        uid = send(service)
        assert states_told(socket, 1) == [(uid, "SCHEDULED")]
    changes = service.client("rita").get("/v1/workitems/changes").json()
    made = [event for event in changes if event["kind"] == "workitem_changed"]
    assert [(event["was"], event["state"]) for event in made] == [(None, "SCHEDULED")] * 2
    case = service.rows(f"SELECT id FROM workitems WHERE uid = '{missed}'")[0][0]
    assert made[0]["workitem"] == case


def test_a_subscriber_belongs_to_who_made_it(service: Any) -> None:
    subscribe(service, WORKLIST, "rita")
    assert unsubscribe(service, WORKLIST, "rolf").status_code == 404
    assert suspend(service, WORKLIST, "rolf").status_code == 404
    with channel(service, "rolf") as socket:  # of the same name, and of another reader
        send(service)
        own = send(service)
        assert subscribe(service, own, "rolf").status_code == 201
        assert states_told(socket, 1) == [(own, "SCHEDULED")], "what rita subscribed to is not told to rolf"
    assert unsubscribe(service, WORKLIST, "rita").status_code == 200


def test_a_reader_of_one_site_is_told_of_that_site_only(service: Any) -> None:
    south = service.rows("SELECT id FROM sites WHERE name = 'south'")[0][0]
    with service.database.writing() as connection:
        service.tokens["sue"] = issue_token(
            connection, name="sue", role=Role.READER, site_id=south, now=service.clock()
        )
    foreign = send(service, "north")
    assert subscribe(service, foreign, "sue").status_code == subscribe(service, "2.25.9", "sue").status_code == 404
    with channel(service, "sue") as socket:
        subscribe(service, WORKLIST, "sue", deletionlock="true")
        subscribe(service, FILTERED, "sue", deletionlock="true", filter="WorklistLabel=north")
        put_state(service, foreign, "IN PROGRESS")
        own = send(service, "south")
        put_state(service, own, "IN PROGRESS")
        while (report := told(socket))[0] != 5:  # the last of what is reported of a claim
            assert report[1] == own


@pytest.mark.parametrize(("who", "status"), [("", 401), ("north", 403), ("anna", 403), ("ada", 403)])
def test_only_readers_subscribe_and_listen(service: Any, who: str, status: int) -> None:
    uid = send(service)
    answers = [operation(service, uid, who) for operation in (subscribe, unsubscribe, suspend)]
    assert {answer.status_code for answer in answers} == {status}
    with pytest.raises(WebSocketDenialResponse) as refused, channel(service, who):
        pass
    assert refused.value.status_code == status
    assert refused.value.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({}, False),
    ],
)
def test_a_page_of_another_site_opens_no_channel_with_a_readers_cookie(
    service: Any, origin: dict[str, str], is_let_in: bool
) -> None:
    with service.database.writing() as connection:
        cookie = sign_in(connection, name="rita", roles=[Role.READER], now=service.clock(), lifetime=timedelta(hours=1))
    headers = {"Cookie": f"demur_session={cookie}", **origin}
    if is_let_in:
        with channel(service, "", **headers):
            pass
    else:
        with pytest.raises(WebSocketDenialResponse) as refused, channel(service, "", **headers):
            pass
        assert refused.value.status_code == 403


def test_a_channel_ends_with_the_right_to_it(service: Any) -> None:
    with service.database.writing() as connection:
        service.tokens["tom"] = issue_token(
            connection, name="tom", role=Role.READER, site_id=None, now=service.clock(), lifetime=timedelta(hours=1)
        )
    with channel(service, "tom") as socket:
        subscribe(service, WORKLIST, "tom")
        service.clock.advance(3601)
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
        assert ended.value.code == 1008


def test_a_channel_only_speaks(service: Any) -> None:
    with channel(service) as socket:
        socket.send_text("hello")
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
        assert ended.value.code == 1003


def test_nobody_takes_every_channel(start: Callable[..., Any]) -> None:
    service = start(channels_max=1)
    with channel(service, "rita"), pytest.raises(WebSocketDenialResponse) as refused, channel(service, "rolf"):
        pass
    assert refused.value.status_code == 503
    with channel(service, "rolf"):
        pass


def test_nobody_keeps_subscriptions_without_end(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.worklist.subscriptions._PER_OWNER", 2)
    uids = [send(service) for _ in range(3)]
    assert [subscribe(service, uid).status_code for uid in uids] == [201, 201, 403]
    assert subscribe(service, uids[0]).status_code == 201, "one that is there already is renewed"


def test_channels_say_goodbye_when_the_service_goes_down(service: Any) -> None:
    with channel(service) as socket:
        service.app.state.channels.is_ending = True
        assert told(socket) == (4, WORKLIST, {"00741242": {"vr": "CS", "Value": ["GOING DOWN"]}})
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_json()
        assert ended.value.code == 1001
