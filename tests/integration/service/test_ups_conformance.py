"""UPS-RS, written from the standard: every state, every operation, and the right, a wrong and no Transaction UID.

PS3.18 sections 11.5 to 11.8 give the status codes and the texts of the Warning header, PS3.4 Table CC.1.1-2 the states.
Subscriptions have their table in ``test_ups_events``.
"""

import json
from typing import Any

import pytest

from service.worklist.readings import Finding, Result
from service.worklist.schemas import result_dataset
from tests.service_support import make_dicom

RIGHT, WRONG, MISSING = "2.25.11", "2.25.22", None
S, P, C, X = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"

OK = (200, "")
ACCEPTED = (202, "")
NO_UID = (400, "The Transaction UID is missing.")
BAD_UID = (400, "The Transaction UID is incorrect.")
#: A workitem is made scheduled and never becomes it: the request itself is at fault (PS3.4 code C303).
NEVER = (400, "The submitted request is inconsistent with the state of the UPS Instance.")
AT_ODDS = (409, "The submitted request is inconsistent with the state of the UPS Instance.")
IS_COMPLETED = (200, "The UPS is already in the requested state of COMPLETED.")
IS_CANCELED = (200, "The UPS is already in the requested state of CANCELED.")
CANCELED_BEFORE = (202, "The UPS is already in the requested state of CANCELED.")
TOO_LATE = (409, "The UPS is already COMPLETED.")

#: operation, present state: answer with no, a wrong and the right Transaction UID; the state after the right one.
#: Where no lock is set yet (SCHEDULED), any valid Transaction UID is the right one. An operation that takes none is
#: answered the same each time.
TABLE: dict[tuple[str, str], tuple[tuple[int, str], tuple[int, str], tuple[int, str], str]] = {
    ("claim", S): (NO_UID, OK, OK, P),
    ("claim", P): (NO_UID, BAD_UID, AT_ODDS, P),
    ("claim", C): (NO_UID, BAD_UID, AT_ODDS, C),
    ("claim", X): (NO_UID, BAD_UID, AT_ODDS, X),
    ("complete", S): (NO_UID, AT_ODDS, AT_ODDS, S),
    ("complete", P): (NO_UID, BAD_UID, OK, C),
    ("complete", C): (NO_UID, BAD_UID, IS_COMPLETED, C),
    ("complete", X): (NO_UID, BAD_UID, AT_ODDS, X),
    ("complete unread", P): (NO_UID, BAD_UID, AT_ODDS, P),
    ("cancel", S): (NO_UID, AT_ODDS, AT_ODDS, S),
    ("cancel", P): (NO_UID, BAD_UID, OK, X),
    ("cancel", C): (NO_UID, BAD_UID, AT_ODDS, C),
    ("cancel", X): (NO_UID, BAD_UID, IS_CANCELED, X),
    ("schedule", S): (NEVER, NEVER, NEVER, S),
    ("schedule", P): (NEVER, NEVER, NEVER, P),
    ("schedule", C): (NEVER, NEVER, NEVER, C),
    ("schedule", X): (NEVER, NEVER, NEVER, X),
    ("update", S): (AT_ODDS, AT_ODDS, AT_ODDS, S),
    ("update", P): (NO_UID, BAD_UID, OK, P),
    ("update", C): (AT_ODDS, AT_ODDS, AT_ODDS, C),
    ("update", X): (AT_ODDS, AT_ODDS, AT_ODDS, X),
    ("request to cancel", S): (ACCEPTED, CANCELED_BEFORE, CANCELED_BEFORE, X),
    ("request to cancel", P): (ACCEPTED, ACCEPTED, ACCEPTED, P),
    ("request to cancel", C): (TOO_LATE, TOO_LATE, TOO_LATE, C),
    ("request to cancel", X): (CANCELED_BEFORE, CANCELED_BEFORE, CANCELED_BEFORE, X),
    ("retrieve", S): (OK, OK, OK, S),
    ("retrieve", P): (OK, OK, OK, P),
    ("retrieve", C): (OK, OK, OK, C),
    ("retrieve", X): (OK, OK, OK, X),
}
REQUESTED = {"claim": P, "complete": C, "complete unread": C, "cancel": X, "schedule": S}


def ask(service: Any, operation: str, uid: str, transaction: str | None) -> Any:
    """Send the request of an operation."""
    client, path = service.client("rita"), f"/dicom-web/workitems/{uid}"
    query = {} if transaction is None else {"transaction-uid": transaction}
    if operation == "retrieve":
        return client.get(path, params=query)
    if operation == "request to cancel":
        return client.post(f"{path}/cancelrequest", params=query)
    headers = {"Content-Type": "application/dicom+json"}
    if operation == "update":
        body = result_dataset(Result(finding=Finding.NO_FINDING))
        return client.post(path, params=query, content=json.dumps([body]), headers=headers)
    body = {"00741000": {"vr": "CS", "Value": [REQUESTED[operation]]}}
    if transaction is not None:
        body["00081195"] = {"vr": "UI", "Value": [transaction]}
    return client.put(f"{path}/state", content=json.dumps([body]), headers=headers)


def bring_to(service: Any, state: str, operation: str) -> str:
    """Return the UID of a new workitem in a state, read where the operation needs it."""
    headers = {"Content-Type": "application/dicom"}
    study = service.client("north").post("/v1/studies?more=true", content=make_dicom(), headers=headers).json()["id"]
    uid = service.rows(f"SELECT uid FROM workitems WHERE study_id = '{study}'")[0][0]
    steps = {S: [], P: ["claim"], C: ["claim", "update", "complete"], X: ["claim", "cancel"]}[state]
    if (operation, state) == ("complete", P):
        steps = ["claim", "update"]
    for step in steps:
        assert ask(service, step, uid, RIGHT).status_code == 200
    assert state_of(service, uid) == state
    return uid


def state_of(service: Any, uid: str) -> str:
    return ask(service, "retrieve", uid, None).json()[0]["00741000"]["Value"][0]


@pytest.mark.parametrize("operation", dict.fromkeys(operation for operation, _ in TABLE))
def test_every_operation_in_every_state_is_answered_as_the_standard_has_it(service: Any, operation: str) -> None:
    for (asked, state), (*answers, after) in TABLE.items():
        if asked != operation:
            continue
        uid = bring_to(service, state, operation)
        for transaction, (status, warning) in zip((MISSING, WRONG, RIGHT), answers, strict=True):
            if (operation, state, transaction) == ("claim", S, RIGHT):
                uid = bring_to(service, state, operation)  # the one before was claimed by the other UID
            answer = ask(service, operation, uid, transaction)
            words = f"{operation} {state} with {transaction}"
            assert (answer.status_code, answer.headers.get("warning", "")) == (
                status,
                f'299 demur: "{warning}"' if warning else "",
            ), words
            if status >= 400:
                assert state_of(service, uid) == state, words
        assert state_of(service, uid) == after, f"{operation} {state}"


@pytest.mark.parametrize("transaction", ["", "not a uid", "1." * 40, "2.25.11\\2.25.22"])
def test_what_is_no_uid_claims_nothing(service: Any, transaction: str) -> None:
    uid = bring_to(service, S, "claim")
    assert ask(service, "claim", uid, transaction).status_code == 400
    assert state_of(service, uid) == S


@pytest.mark.parametrize(
    "operation", ["claim", "complete", "cancel", "schedule", "update", "request to cancel", "retrieve"]
)
def test_every_operation_on_a_workitem_that_is_not_there_is_404(service: Any, operation: str) -> None:
    for transaction in (MISSING, WRONG, RIGHT):
        assert ask(service, operation, "2.25.9", transaction).status_code == 404


@pytest.mark.parametrize("state", [S, P, C, X])
def test_no_request_to_cancel_takes_a_study_off_the_worklist_unread(service: Any, state: str) -> None:
    uid = bring_to(service, state, "request to cancel")
    ask(service, "request to cancel", uid, MISSING)
    waiting = service.rows("SELECT count(*) FROM workitems WHERE state IN ('SCHEDULED', 'IN PROGRESS')")[0][0]
    assert waiting == (0 if state == C else 1)
