"""Who saw what, what is counted, and decisions made again."""

import json
from typing import Any

import pytest

from service.access.workflow import Role, grant
from service.audit.replaying import History, record_of, replay_all
from service.errors import ForbiddenError
from service.ledger.store import entries
from tests.service_support import make_dicom, uid_of

DICOM = {"Content-Type": "application/dicom"}


def send(service: Any) -> tuple[bytes, str]:
    data = make_dicom()
    return data, service.client("north").post("/v1/studies", content=data, headers=DICOM).json()["id"]


def test_whoever_looks_at_a_study_is_known_in_the_shape_of_fhir(service: Any) -> None:
    data, study = send(service)
    uid = service.rows("SELECT uid FROM workitems")[0][0]
    service.client("rita").get(f"/dicom-web/workitems/{uid}")
    service.clock.advance(1)
    service.client("north").get(f"/dicom-web/studies/{uid_of(data, 'StudyInstanceUID')}/metadata")
    answer = service.client("anna").get("/v1/audit/events", params={"study": study})
    assert answer.headers["content-type"] == "application/fhir+json"
    events = [entry["resource"] for entry in answer.json()["entry"]]
    assert [(event["agent"][0]["altId"], event["subtype"][0]["display"]) for event in events] == [
        ("north", "retrieved"), ("rita", "looked at workitem"),
    ]  # fmt: skip
    assert {event["resourceType"] for event in events} == {"AuditEvent"}
    assert uid_of(data, "StudyInstanceUID") not in answer.text
    later = {"since": service.clock().isoformat()}
    assert service.client("anna").get("/v1/audit/events", params=later).json()["total"] == 1


def test_an_auditor_sees_whether_the_ledger_holds(service: Any) -> None:
    send(service)
    answer = service.client("anna").get("/v1/ledger/verification").json()
    assert answer["flaw"] is None
    assert answer["entries"] > 3


def test_the_metrics_tell_depth_age_and_decisions_without_a_patient(service: Any) -> None:
    data, _ = send(service)
    service.clock.advance(90)
    text = service.client("anna").get("/metrics").text
    assert 'demur_workitems{site="north",state="SCHEDULED"} 1.0' in text
    assert 'demur_oldest_workitem_seconds{site="north",state="SCHEDULED"} 90.0' in text
    assert 'demur_decisions_total{decision="IDK",reason="no_bundle",site="north"}' in text
    for secret in ("SECRETID42", "Mustermann", uid_of(data, "StudyInstanceUID")):
        assert secret not in text


def test_a_granted_token_ends_and_stands_on_the_ledger(service: Any) -> None:
    from datetime import timedelta

    with service.database.writing() as connection:
        service.tokens["zoe"] = grant(
            connection, name="zoe", role=Role.READER, now=service.clock(), lifetime=timedelta(days=1)
        )
    client = service.client("zoe")
    assert client.get("/dicom-web/workitems").status_code == 204
    service.clock.advance(86_401)
    assert client.get("/dicom-web/workitems").status_code == 401
    assert '"name":"zoe"' in service.rows("SELECT body FROM ledger ORDER BY sequence DESC")[0][0]


def test_a_sender_is_granted_nothing_without_a_site(service: Any) -> None:
    from datetime import timedelta

    with pytest.raises(ForbiddenError), service.database.writing() as connection:
        grant(connection, name="x", role=Role.SENDER, now=service.clock(), lifetime=timedelta(days=1))


def test_decisions_without_a_bundle_replay_as_the_same_and_a_changed_record_is_named(service: Any) -> None:
    send(service)
    with service.database.reading() as connection:
        (entry,) = entries(connection, kinds=("study_decided",))
    storage = service.app.state.decider.storage
    (same,) = replay_all(History(decisions=[entry], erased=set()), storage, bundle=None, trust=None, tolerance=0.0)
    assert (same.differences, same.skipped) == ((), "")
    record = record_of(json.loads(entry.body))
    assert record.images == (service.rows("SELECT digest FROM instances")[0][0],)
    storage.delete(record.images[0])
    (gone,) = replay_all(History(decisions=[entry], erased=set()), storage, bundle=None, trust=None, tolerance=0.0)
    assert "gone" in gone.skipped
