"""The worklist over HTTP: searching it, and what readers need. The states have a table of their own in ``test_ups_conformance``."""

import json
from typing import Any

import pytest

from service.worklist.readings import Confidence, Finding, Result
from service.worklist.schemas import result_dataset
from tests.service_support import make_dicom

RIGHT, WRONG = "2.25.11", "2.25.22"


def send(service: Any, site: str = "north", **elements: Any) -> str:
    """Store a study and return its workitem's UID."""
    answer = service.client(site).post(
        "/v1/studies", content=make_dicom(**elements), headers={"Content-Type": "application/dicom"}
    )
    study = answer.json()["id"]
    return service.rows(f"SELECT uid FROM workitems WHERE study_id = '{study}'")[0][0]


def put_state(service: Any, uid: str, state: str, transaction: str | None, reader: str = "rita") -> Any:
    body: dict[str, Any] = {"00741000": {"vr": "CS", "Value": [state]}}
    if transaction is not None:
        body["00081195"] = {"vr": "UI", "Value": [transaction]}
    return service.client(reader).put(
        f"/dicom-web/workitems/{uid}/state",
        content=json.dumps([body]),
        headers={"Content-Type": "application/dicom+json"},
    )


def update(service: Any, uid: str, transaction: str | None, finding: Finding = Finding.NO_FINDING) -> Any:
    body = result_dataset(Result(finding=finding, note="a note", confidence=Confidence.HIGH))
    query = {} if transaction is None else {"transaction-uid": transaction}
    return service.client("rita").post(
        f"/dicom-web/workitems/{uid}",
        params=query,
        content=json.dumps(body),
        headers={"Content-Type": "application/dicom+json"},
    )


def renew(service: Any, uid: str, transaction: str) -> Any:
    return service.client("rita").post(
        f"/dicom-web/workitems/{uid}",
        params={"transaction-uid": transaction},
        content="{}",
        headers={"Content-Type": "application/dicom+json"},
    )


def cancel(service: Any, uid: str) -> Any:
    return service.client("rolf").post(f"/dicom-web/workitems/{uid}/cancelrequest")


def bring_to(service: Any, state: str) -> str:
    """Return the UID of a workitem in a state."""
    uid = send(service)
    if state != "SCHEDULED":
        assert put_state(service, uid, "IN PROGRESS", RIGHT).status_code == 200
    if state == "COMPLETED":
        assert update(service, uid, RIGHT).status_code == 200
    if state in ("COMPLETED", "CANCELED"):
        assert put_state(service, uid, state, RIGHT).status_code == 200
    assert state_of(service, uid) == state
    return uid


def state_of(service: Any, uid: str) -> str:
    return get(service, uid)["00741000"]["Value"][0]


def get(service: Any, uid: str) -> dict[str, Any]:
    answer = service.client("rita").get(f"/dicom-web/workitems/{uid}")
    assert answer.headers["content-type"] == "application/dicom+json"
    return answer.json()[0]


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"[1]", b'{"00741000": 5}', b'[{"00741000": {"Value": ["ODD"]}}]'])
def test_a_malformed_request_is_400(service: Any, body: bytes) -> None:
    uid = send(service)
    answer = service.client("rita").put(
        f"/dicom-web/workitems/{uid}/state", content=body, headers={"Content-Type": "application/dicom+json"}
    )
    assert answer.status_code == 400


def test_the_transaction_uid_is_never_told(service: Any) -> None:
    uid = bring_to(service, "IN PROGRESS")
    assert RIGHT not in json.dumps(get(service, uid))


def test_a_completed_reading_has_its_result_and_is_on_the_ledger(service: Any) -> None:
    uid = bring_to(service, "COMPLETED")
    contents = get(service, uid)["00741216"]["Value"][0]["00741212"]["Value"]
    assert contents[0]["0040A168"]["Value"][0]["00080100"]["Value"] == ["no_finding"]
    body = json.loads(service.rows("SELECT body FROM ledger WHERE kind = 'verdict_given'")[0][0])
    assert (body["verdict"], body["reader"], body["confidence"]) == ("no_finding", "rita", "high")
    assert "a note" not in json.dumps(body)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 2),
        ({"ProcedureStepState": "SCHEDULED"}, 1),
        ({"00741000": "IN PROGRESS"}, 1),
        ({"ProcedureStepState": "COMPLETED,CANCELED"}, 0),
        ({"WorklistLabel": "south"}, 1),
        ({"PatientID": "P-1"}, 1),
        ({"PatientID": ""}, 2),
        ({"PatientID": "P-*"}, 1),
        ({"PatientID": "P_1"}, 0),
        ({"PatientName": "mustermann^*"}, 2),
        ({"PatientName": "Mustermann^Erik?"}, 2),
        ({"PatientName": "Mustermann"}, 0),
        ({"PatientBirthDate": "19600102", "PatientSex": "F"}, 2),
        ({"PatientSex": "M"}, 0),
        ({"ProcedureStepState": "SCHEDULED,IN PROGRESS"}, 2),
        ({"ProcedureStepState": "SCHEDULED\\IN PROGRESS"}, 2),
        ({"includefield": "all"}, 2),
        ({"limit": "5", "offset": "2"}, 0),
        ({"ReferencedRequestSequence.AccessionNumber": "ACC9731"}, 2),
        ({"ScheduledProcedureStepPriority": "HIGH"}, 0),
        ({"ScheduledProcedureStepStartDateTime": "20261121-20261122"}, 2),
        ({"ScheduledProcedureStepStartDateTime": "-20261120"}, 0),
        ({"ActualHumanPerformersSequence.HumanPerformerName": "rita"}, 1),
        ({"limit": "1"}, 1),
        ({"limit": "5", "offset": "1"}, 1),
    ],
)
def test_search_by_the_usual_keys(service: Any, query: dict[str, str], found: int) -> None:
    uid = send(service, PatientID="P-1")
    send(service, "south")
    put_state(service, uid, "IN PROGRESS", RIGHT)
    answer = service.client("rita").get("/dicom-web/workitems", params=query)
    assert answer.status_code == (200 if found else 204)
    assert len(answer.json() if found else []) == found


def test_a_search_by_uids_finds_each_of_them(service: Any) -> None:
    uids = [send(service) for _ in range(3)]
    answer = service.client("rita").get("/dicom-web/workitems", params={"SOPInstanceUID": ",".join(uids[:2])})
    assert {found["00080018"]["Value"][0] for found in answer.json()} == set(uids[:2])


@pytest.mark.parametrize(
    ("query", "warnings"),
    [
        ({}, []),
        ({"fuzzymatching": "false"}, []),
        ({"fuzzymatching": "true"}, ["The fuzzymatching parameter is not supported. Only literal matching has been performed."]),
        ({"emptyvaluematching": "true"}, ["The emptyvaluematching parameter is not supported."]),
        ({"multiplevaluematching": "true"}, ["The multiplevaluematching parameter is not supported."]),
        ({"limit": "1"}, ["There are 2 additional results that can be requested"]),
        ({"limit": "1", "offset": "1"}, ["There are 1 additional results that can be requested"]),
        ({"limit": "1", "offset": "2"}, []),
        ({"limit": "3"}, []),
        ({"limit": "2", "fuzzymatching": "true"},
         ["The fuzzymatching parameter is not supported. Only literal matching has been performed.",
          "There are 1 additional results that can be requested"]),
    ],
)  # fmt: skip
def test_a_search_says_what_it_did_not_do_and_did_not_give(
    service: Any, query: dict[str, str], warnings: list[str]
) -> None:
    for _ in range(3):
        send(service)
    answer = service.client("rita").get("/dicom-web/workitems", params=query)
    assert answer.headers.get("warning", "") == ", ".join(f'299 demur: "{words}"' for words in warnings)


@pytest.mark.parametrize("query", [{"limit": "-1"}, {"Nonsense": "1"}, {"ProcedureStepState": "ODD"}])
def test_a_search_that_means_nothing_is_400(service: Any, query: dict[str, str]) -> None:
    assert service.client("rita").get("/dicom-web/workitems", params=query).status_code == 400


def test_a_claim_that_is_not_renewed_goes_to_another_reader(service: Any) -> None:
    uid = bring_to(service, "IN PROGRESS")
    service.clock.advance(600)
    assert renew(service, uid, RIGHT).status_code == 200, "an update renews the claim"
    service.clock.advance(600)
    service.settle()
    assert state_of(service, uid) == "IN PROGRESS"
    service.clock.advance(600)
    service.settle()
    assert state_of(service, uid) == "CANCELED"
    waiting = service.client("rolf").get("/dicom-web/workitems", params={"ProcedureStepState": "SCHEDULED"}).json()
    assert len(waiting) == 1
    assert put_state(service, waiting[0]["00080018"]["Value"][0], "IN PROGRESS", WRONG, "rolf").status_code == 200


def test_a_result_stands_when_the_claim_ends_before_it_was_completed(service: Any) -> None:
    uid = bring_to(service, "IN PROGRESS")
    assert update(service, uid, RIGHT, Finding.FINDING).status_code == 200
    service.clock.advance(1000)
    service.settle()
    assert state_of(service, uid) == "COMPLETED", "nobody has to read again what was read"
    result = get(service, uid)["00741216"]["Value"][0]["00741212"]["Value"][0]
    assert result["0040A168"]["Value"][0]["00080100"]["Value"] == ["finding"]
    assert get(service, uid)["00404035"]["Value"][0]["00404037"]["Value"] == [{"Alphabetic": "rita"}]
    assert service.rows("SELECT count(*) FROM workitems WHERE state = 'SCHEDULED'") == [(0,)]
    last = json.loads(service.rows("SELECT body FROM ledger ORDER BY sequence DESC LIMIT 1")[0][0])
    assert (last["to"], last["by"]) == ("COMPLETED", "rita")
    assert last["reason"] == "the claim ended after the result was given"


def test_films_that_came_after_the_claim_are_read_although_the_claim_ended_with_a_result(service: Any) -> None:
    study = "1.2.3.4"
    uid = send(service, StudyInstanceUID=study)
    put_state(service, uid, "IN PROGRESS", RIGHT)
    service.clock.advance(10)
    send(service, StudyInstanceUID=study)
    update(service, uid, RIGHT)
    service.clock.advance(1000)
    service.settle()
    assert state_of(service, uid) == "COMPLETED"
    assert service.rows("SELECT count(*) FROM workitems WHERE state = 'SCHEDULED'") == [(1,)]


def test_a_result_may_be_undone_for_a_minute_and_is_final_after_it_across_restarts(service: Any) -> None:
    from datetime import timedelta

    from service.access.workflow import Principal, Role
    from service.worklist import readings

    rita = Principal(name="rita", roles=frozenset({Role.READER}))
    uid = bring_to(service, "IN PROGRESS")

    def give() -> None:
        now = service.clock()
        with service.database.writing() as connection:
            readings.give_result(
                connection,
                rita,
                uid,
                Result(finding=Finding.FINDING),
                transaction_uid=RIGHT,
                final_at=now + timedelta(seconds=60),
                now=now,
            )

    give()
    service.clock.advance(30)
    with service.database.writing() as connection:
        readings.undo_result(
            connection, rita, uid, transaction_uid=RIGHT, lease=timedelta(seconds=900), now=service.clock()
        )
    service.clock.advance(120)
    service.settle()
    assert state_of(service, uid) == "IN PROGRESS"
    give()
    service.clock.advance(61)
    service.settle()  # the time stands in the database; whichever process looks next completes it
    assert state_of(service, uid) == "COMPLETED"
    assert [row[0] for row in service.rows("SELECT kind FROM ledger WHERE kind LIKE 'verdict%' ORDER BY sequence")] == [
        "verdict_given", "verdict_undone", "verdict_given",
    ]  # fmt: skip


def test_only_a_completed_reading_is_amended(service: Any) -> None:
    uid = bring_to(service, "COMPLETED")
    case = service.rows(f"SELECT id FROM workitems WHERE uid = '{uid}'")[0][0]
    other = service.rows(f"SELECT id FROM workitems WHERE uid = '{send(service)}'")[0][0]
    addendum = {"finding": "finding", "note": "seen on second look"}
    assert service.client("rita").post(f"/v1/workitems/{case}/addenda", json=addendum).status_code == 201
    assert service.client("rita").post(f"/v1/workitems/{other}/addenda", json=addendum).status_code == 409
    assert service.rows("SELECT count(*) FROM ledger WHERE kind = 'verdict_amended'") == [(1,)]


def test_the_history_leaves_nothing_out(service: Any) -> None:
    uid = bring_to(service, "COMPLETED")
    client, after, seen = service.client("rita"), 0, []
    while page := client.get("/v1/workitems/changes", params={"after": after, "limit": 1}).json():
        after = page[-1]["sequence"]
        seen += [(event["kind"], event["state"]) for event in page]
    assert seen == [
        ("workitem_changed", "SCHEDULED"), ("instance_stored", None), ("workitem_changed", "IN PROGRESS"),
        ("verdict_given", None), ("workitem_changed", "COMPLETED"),
    ]  # fmt: skip
    assert uid not in json.dumps(seen)


def test_several_readers_never_claim_the_same_case(service: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from datetime import timedelta

    from service.access.workflow import Principal, Role
    from service.worklist import workflow

    for _ in range(12):
        send(service)

    def claim(number: int) -> str | None:
        reader = Principal(name=f"r{number}", roles=frozenset({Role.READER}))
        with service.database.writing() as connection:
            found = workflow.claim_next(
                connection, reader, transaction_uid=f"2.25.{number}", lease=timedelta(seconds=60), now=service.clock()
            )
        return None if found is None else found.uid

    with ThreadPoolExecutor(8) as pool:
        claimed = [uid for uid in pool.map(claim, range(1, 17)) if uid is not None]
    assert len(claimed) == len(set(claimed)) == 12


def test_a_readers_name_of_any_length_is_a_code_that_dicom_allows() -> None:
    from service.worklist.schemas import performer_code

    short, long = (performer_code(name)["Value"][0] for name in ("rita", "oidc:a-subject-of-some-length"))
    assert short["00080100"] == {"vr": "SH", "Value": ["rita"]}
    assert long["00080119"] == {"vr": "UC", "Value": ["oidc:a-subject-of-some-length"]}
    assert "00080100" not in long
