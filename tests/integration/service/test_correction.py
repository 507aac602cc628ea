"""Correcting whose a study is: everything shows it, a human reads it, and the ledger names nobody."""

import io
import json
from typing import Any

import pydicom
import pytest

from models.vocabulary import Mode
from service.ledger.workflow import verify
from service.sites.store import set_mode
from tests.service_support import Release, make_dicom, uid_of

DICOM = {"Content-Type": "application/dicom"}
EVA = {
    "patient_id": "4711",
    "patient_name": "Muster^Éva",
    "patient_birth_date": "19700101",
    "patient_sex": "F",
}


def send(service: Any, data: bytes) -> dict[str, Any]:
    answer = service.client("north").post("/v1/studies", content=data, headers=DICOM)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def correct(service: Any, study: str, who: str = "ada", **changes: str) -> Any:
    body = {**EVA, "reason": "wrong entry chosen at the modality", **changes}
    return service.client(who).post(f"/v1/studies/{study}/correction", json=body)


def test_a_cleared_study_of_another_patient_is_read_after_all(start: Any, certificate_of: Any) -> None:
    service = start(Release(certificate_of()))
    with service.database.writing() as connection:
        for (site_id,) in connection.exec_driver_sql("SELECT id FROM sites").all():
            set_mode(connection, site_id, Mode.AUTONOMOUS, bundle=Release.bundle)
    study = send(service, make_dicom())
    assert study["is_cleared"]
    corrected = correct(service, study["id"])
    assert corrected.status_code == 200, corrected.text
    assert (corrected.json()["state"], corrected.json()["decision"]) == ("waiting", None)
    service.settle()
    decided = service.client("north").get(f"/v1/studies/{study['id']}").json()
    assert (decided["decision"], decided["is_cleared"]) == ("IDK", False)
    assert "reopened" in decided["reasons"]
    assert service.rows("SELECT state FROM workitems ORDER BY state") == [("CANCELED",), ("SCHEDULED",)]
    kinds = [kind for (kind,) in service.rows("SELECT kind FROM ledger ORDER BY sequence")]
    assert {"study_reopened", "study_corrected"} <= set(kinds)


def test_a_study_not_yet_decided_is_read_too(start: Any, certificate_of: Any) -> None:
    service = start(Release(certificate_of()))
    with service.database.writing() as connection:
        for (site_id,) in connection.exec_driver_sql("SELECT id FROM sites").all():
            set_mode(connection, site_id, Mode.AUTONOMOUS, bundle=Release.bundle)
    answer = service.client("north").post("/v1/studies?more=true", content=make_dicom(), headers=DICOM)
    study = answer.json()["id"]
    assert correct(service, study).status_code == 200
    service.settle()
    assert service.client("north").get(f"/v1/studies/{study}").json()["decision"] == "IDK"


def test_the_ledger_says_who_and_why_and_nothing_of_either_patient(service: Any) -> None:
    study = send(service, make_dicom())["id"]
    assert correct(service, study).status_code == 200
    bodies = [body for (body,) in service.rows("SELECT body FROM ledger ORDER BY sequence")]
    told = json.loads(service.rows("SELECT body FROM ledger WHERE kind = 'study_corrected'")[0][0])
    assert (told["by"], told["reason"]) == ("ada", "wrong entry chosen at the modality")
    assert len(told["from"]) == len(told["to"]) == 64
    assert told["from"] != told["to"]
    for name in ("Muster", "4711", "SECRETID42", "19700101", "19600102"):
        assert not any(name in body for body in bodies)
    with service.database.reading() as connection:
        assert verify(connection).flaw == ""
    (salt,) = service.rows("SELECT salt FROM corrections")[0]
    assert not any(salt in body for body in bodies)


@pytest.mark.parametrize("reason", ["sent as Mustermann", "it is 4711"])
def test_a_reason_that_names_either_patient_is_refused_and_nothing_changes(service: Any, reason: str) -> None:
    study = send(service, make_dicom())["id"]
    assert correct(service, study, reason=reason).status_code == 400
    assert service.rows("SELECT patient_id FROM studies")[0][0].startswith("SECRETID42")


def test_who_holds_the_case_of_a_corrected_study_loses_it_and_it_is_there_again(service: Any) -> None:
    study = send(service, make_dicom())["id"]
    uid = service.rows("SELECT uid FROM workitems")[0][0]
    rita = service.client("rita")
    state = {"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": ["1.2.3"]}}
    headers = {"Content-Type": "application/dicom+json"}
    assert rita.put(f"/dicom-web/workitems/{uid}/state", json=[state], headers=headers).status_code == 200
    assert correct(service, study).status_code == 200
    done = {"00741000": {"vr": "CS", "Value": ["COMPLETED"]}, "00081195": {"vr": "UI", "Value": ["1.2.3"]}}
    assert rita.put(f"/dicom-web/workitems/{uid}/state", json=[done], headers=headers).status_code == 409
    states = service.rows("SELECT state, replaces IS NOT NULL FROM workitems ORDER BY state")
    assert [(state, bool(replaces)) for state, replaces in states] == [("CANCELED", False), ("SCHEDULED", True)]


def test_every_way_to_look_shows_the_corrected_patient_and_the_file_stays_as_it_came(service: Any) -> None:
    data = make_dicom(PatientWeight="91", OtherPatientNames="Musterfrau")
    study = send(service, data)["id"]
    assert correct(service, study).status_code == 200
    north, uid = service.client("north"), uid_of(data, "StudyInstanceUID")
    (found,) = north.get("/dicom-web/studies", params={"PatientID": "4711"}).json()
    assert found["00100010"]["Value"] == [{"Alphabetic": "Muster^Éva"}]
    assert north.get("/dicom-web/studies", params={"PatientName": "Mustermann*"}).status_code == 204
    (metadata,) = north.get(f"/dicom-web/studies/{uid}/metadata").json()
    assert metadata["00100010"]["Value"] == [{"Alphabetic": "Muster^Éva"}]
    assert metadata["00100020"]["Value"] == ["4711"]
    assert "00101030" not in metadata, "the weight is the other patient's"
    got = north.get(f"/dicom-web/studies/{uid}", headers={"Accept": "application/dicom"})
    film = pydicom.dcmread(io.BytesIO(got.content))
    assert (str(film.PatientName), film.PatientID, film.PatientBirthDate) == ("Muster^Éva", "4711", "19700101")
    assert "PatientAge" not in film
    assert b"Muster" + b"mann" not in got.content
    assert film.PixelData == pydicom.dcmread(io.BytesIO(data)).PixelData
    rita = service.client("rita")
    cases = rita.get("/dicom-web/workitems").json()
    assert [case["00100020"]["Value"] for case in cases] == [["4711"], ["4711"]], "the cancelled one too"
    (digest,) = service.rows("SELECT digest FROM instances")[0]
    assert bytes(service.app.state.decider.storage.view(digest)) == data


def test_a_study_corrected_and_then_erased_leaves_digests_that_say_nothing(service: Any) -> None:
    study = send(service, make_dicom())["id"]
    assert correct(service, study).status_code == 200
    erased = service.client("ada").post(
        f"/v1/studies/{study}/erasure", json={"reason": "asked for", "unread_too": True}
    )
    assert erased.status_code == 200
    assert service.rows("SELECT count(*) FROM corrections") == [(0,)]
    assert correct(service, study).status_code == 409


@pytest.mark.parametrize(
    "change", [{"patient_birth_date": "1.1.1970"}, {"patient_sex": "X"}, {"patient_id": "a\\b"}, {"ward": "3"}]
)
def test_a_patient_that_dicom_cannot_name_is_refused(service: Any, change: dict[str, str]) -> None:
    study = send(service, make_dicom())["id"]
    assert correct(service, study, **change).status_code == 422


@pytest.mark.parametrize("who", ["north", "rita", "anna"])
def test_only_an_admin_corrects(service: Any, who: str) -> None:
    study = send(service, make_dicom())["id"]
    assert correct(service, study, who=who).status_code == 403
