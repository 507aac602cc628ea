"""From stored instances to a decision: when, on what, and what becomes of the worklist."""

import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from models.vocabulary import Mode
from service.sites.store import set_mode
from service.sites.workflow import set_mode as raise_site
from service.triage import workflow as triage
from tests.service_support import Release, make_dicom, related, uid_of

DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture
def release(certificate_of: Any) -> Callable[..., Release]:
    return lambda score=-1.0, **certificate: Release(certificate_of(**certificate), score)


def autonomous(service: Any, mode: Mode = Mode.AUTONOMOUS) -> None:
    service.clock.now = service.clock.now.replace(year=2026)
    with service.database.writing() as connection:
        for (site_id,) in connection.exec_driver_sql("SELECT id FROM sites").all():
            set_mode(connection, site_id, mode, bundle=Release.bundle)


def send(service: Any, data: bytes | None = None, **query: str) -> dict[str, Any]:
    answer = service.client("north").post("/v1/studies", content=data or make_dicom(), headers=DICOM, params=query)
    assert answer.status_code in (200, 201, 202), answer.text
    return answer.json()


def open_states(service: Any) -> list[str]:
    return sorted(row[0] for row in service.rows("SELECT state FROM workitems"))


def test_a_healthy_study_of_an_autonomous_site_leaves_the_worklist(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    decided = send(service)
    assert (decided["decision"], decided["is_cleared"], decided["reasons"]) == ("healthy", True, [])
    assert open_states(service) == ["CANCELED"]


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PRIORITISE])
def test_elsewhere_a_healthy_study_is_read(start: Any, release: Any, mode: Mode) -> None:
    service = start(release())
    autonomous(service, mode)
    assert send(service)["is_cleared"] is False
    assert open_states(service) == ["SCHEDULED"]
    priority = "LOW" if mode is Mode.PRIORITISE else "MEDIUM"
    assert service.rows("SELECT priority FROM workitems") == [(priority,)]


@pytest.mark.parametrize("score", [0.0, 5.0, math.nan, math.inf, -math.inf, RuntimeError("a bug")])
def test_anything_but_a_score_below_the_threshold_is_read(start: Any, release: Any, score: Any) -> None:
    service = start(release(score))
    autonomous(service)
    assert send(service)["decision"] == "IDK"
    assert open_states(service) == ["SCHEDULED"]


def test_an_expired_certificate_clears_nothing(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    service.clock.advance(timedelta(days=4000).total_seconds())
    service.add_site("late")
    assert "certificate_expired" in send(service)["reasons"]
    assert open_states(service) == ["SCHEDULED"]


def test_a_site_that_is_not_certified_clears_nothing(start: Any, release: Any) -> None:
    service = start(release(sites=("south",)))
    autonomous(service)
    assert send(service)["reasons"] == ["site_not_certified"]


def test_a_patient_is_cleared_by_as_many_studies_as_the_certificate_covers(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    assert send(service, make_dicom(PatientID="P-1"))["is_cleared"] is True
    second = send(service, make_dicom(PatientID="P-1"))
    assert (second["decision"], second["reasons"]) == ("IDK", ["more_studies_than_certified"])
    assert send(service, make_dicom(PatientID="P-2"))["is_cleared"] is True
    elsewhere = service.client("south").post("/v1/studies", content=make_dicom(PatientID="P-1"), headers=DICOM)
    assert elsewhere.json()["is_cleared"] is True  # another site's number names another patient


def test_a_doubtful_study_counts_as_a_look_at_its_patient(start: Any, release: Any) -> None:
    service = start(release(9.0))
    autonomous(service)
    assert send(service, make_dicom(PatientID="P-1"))["decision"] == "IDK"
    service.app.state.decider.judge.score = -1.0
    assert send(service, make_dicom(PatientID="P-1"))["reasons"] == ["more_studies_than_certified"]


def test_a_study_of_an_unknown_patient_is_read(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    for number in ("", "  ", None):
        assert send(service, make_dicom(PatientID=number))["reasons"] == ["no_patient_id"]


def test_of_two_studies_of_a_patient_decided_at_once_one_is_cleared(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    decider = service.app.state.decider
    for _ in range(5):
        patient = f"P-{uuid4().hex}"
        studies = [send(service, make_dicom(PatientID=patient), more="true") for _ in range(4)]
        service.clock.advance(60)
        decider.take_due()
        decider.wait()
        placements = [
            service.client("north").get(f"/v1/studies/{study['id']}").json()["is_cleared"] for study in studies
        ]
        assert sorted(placements) == [False, False, False, True]


def test_a_drawn_healthy_call_stays_on_the_worklist_and_looks_like_any_other(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    with service.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sites SET audit_probability = 1.0")
    decided = send(service)
    assert decided["decision"] == "healthy"
    item = service.rows("SELECT state, priority, reasons FROM workitems")[0]
    assert tuple(item) == ("SCHEDULED", "MEDIUM", "score_not_below_threshold")
    body = json.loads(service.rows("SELECT body FROM ledger WHERE kind = 'study_decided'")[0][0])
    assert body["audit"] == {"probability": 1.0, "is_drawn": True}


def test_a_study_is_decided_once_it_has_been_quiet(start: Any) -> None:
    service = start(quiet_s=10)
    data = make_dicom()
    body, content_type = related([data])
    service.client("north").post("/dicom-web/studies", content=body, headers={"Content-Type": content_type})
    service.settle()
    assert service.rows("SELECT state FROM studies") == [("waiting",)]
    service.clock.advance(11)
    service.settle()
    assert service.rows("SELECT state, decision FROM studies") == [("decided", "IDK")]


def test_a_study_that_its_sender_calls_whole_is_decided_at_once(service: Any) -> None:
    waiting = send(service, more="true")
    assert (waiting["state"], waiting["decision"]) == ("waiting", None)
    answer = service.client("north").post(f"/v1/studies/{waiting['id']}/complete")
    assert (answer.status_code, answer.json()["decision"]) == (200, "IDK")
    assert service.client("south").post(f"/v1/studies/{waiting['id']}/complete").status_code == 404


def test_a_later_instance_withdraws_a_healthy_decision(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    data = make_dicom()
    assert send(service, data)["is_cleared"] is True
    later = make_dicom(StudyInstanceUID=uid_of(data, "StudyInstanceUID"))
    decided = send(service, later)
    assert (decided["decision"], decided["reasons"]) == ("IDK", ["reopened"])
    assert open_states(service) == ["CANCELED", "SCHEDULED"]
    body = service.rows("SELECT body FROM ledger WHERE kind = 'study_reopened'")
    assert json.loads(body[0][0])["was_healthy"] is True


def test_a_claimed_case_is_never_withdrawn(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    study = send(service, more="true")
    uid = service.rows("SELECT uid FROM workitems")[0][0]
    claim = {"00081195": {"vr": "UI", "Value": ["1.2.3"]}, "00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}}
    assert service.client("rita").put(f"/dicom-web/workitems/{uid}/state", json=[claim]).status_code == 200
    decided = service.client("north").post(f"/v1/studies/{study['id']}/complete").json()
    assert decided["decision"] == "healthy"
    assert open_states(service) == ["IN PROGRESS"]


def test_an_attempt_that_never_ended_is_read_and_not_tried_again(service: Any) -> None:
    study = send(service, more="true")
    with service.database.writing() as connection:
        found = triage.store.get(connection, study["id"], lock=True)
        triage.begin(connection, found, worker_id="dead", now=service.clock())
    service.settle()
    assert service.rows("SELECT state FROM studies") == [("deciding",)]
    service.clock.advance(60)
    service.settle()
    assert service.rows("SELECT state, reasons FROM studies") == [("decided", "attempt_lost no_bundle")]
    assert open_states(service) == ["SCHEDULED"]


def test_an_attempt_on_images_that_have_grown_meanwhile_does_not_count(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service)
    data = make_dicom()
    study = send(service, data, more="true")
    decider = service.app.state.decider
    with service.database.writing() as connection:
        found = triage.store.get(connection, study["id"], lock=True)
        attempt = triage.begin(connection, found, worker_id=decider.worker_id, now=service.clock())
    send(service, make_dicom(StudyInstanceUID=uid_of(data, "StudyInstanceUID")), more="true")
    assert decider.decide(attempt).result() is None
    assert service.rows("SELECT state, decision FROM studies") == [("waiting", None)]


def test_the_ledger_names_everything_a_decision_rests_on(start: Any, release: Any) -> None:
    service = start(release())
    send(service)
    body = json.loads(service.rows("SELECT body FROM ledger WHERE kind = 'study_decided'")[0][0])
    assert {
        "decision", "reasons", "placement", "threshold", "score", "strangeness", "logits", "gates", "runtime", "bundle",
        "site", "mode", "studies_before", "audit", "revision", "images", "received_at", "begun_at", "decided_at",
    } == set(body)  # fmt: skip
    assert {"digest", "sent_digest", "bytes", "transfer_syntax", "received_at"} <= set(body["images"][0])


def test_no_identity_reaches_the_ledger_or_the_log(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    data = make_dicom()
    send(service, data)
    secrets = ["SECRETID42", "Mustermann", "ACC9731", uid_of(data, "StudyInstanceUID"), uid_of(data, "SOPInstanceUID")]
    written = caplog.text + "".join(str(row) for row in service.rows("SELECT body FROM ledger"))
    assert [secret for secret in secrets if secret in written] == []


def test_place_of_a_healthy_call_at_the_end_is_later_than_any_doubt(start: Any, release: Any) -> None:
    service = start(release())
    autonomous(service, Mode.PRIORITISE)
    send(service)
    service.app.state.decider.judge.score = 9.0
    send(service)
    order = service.rows("SELECT priority FROM workitems ORDER BY read_by")
    assert [row[0] for row in order] == ["HIGH", "LOW"]


def test_a_site_is_in_shadow_under_another_release_than_it_was_raised_under(start: Any, release: Any) -> None:
    judge = release()
    service = start(judge)
    with service.database.writing() as connection:
        connection.exec_driver_sql("UPDATE sites SET audit_probability = 0.1")
        raise_site(
            connection,
            "north",
            Mode.AUTONOMOUS,
            certificate=judge.certificate,
            bundle=judge.bundle,
            now=service.clock(),
        )
        connection.exec_driver_sql("UPDATE sites SET audit_probability = 0.0")
    assert send(service)["is_cleared"] is True
    judge.bundle = "c" * 64  # what a process that was restarted with another release decides
    assert send(service)["mode"] == "shadow"
    assert len(service.rows("SELECT id FROM workitems WHERE state = 'SCHEDULED'")) == 1
    judge.bundle = "b" * 64  # beside it one that still runs with the first
    assert send(service)["is_cleared"] is True
