"""Erasing studies: what goes, what stays, and that nothing of it says whose they were."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from models.vocabulary import Mode
from service.audit.replaying import history_of, replay_all
from service.ledger.workflow import verify
from service.records.workflow import retain
from service.settings import Settings
from service.sites.store import set_mode
from tests.service_support import Release, make_dicom, uid_of

DICOM = {"Content-Type": "application/dicom"}
READ = {"finding": "no_finding", "note": "Frau Mustermann is well", "confidence": "high"}


def send(service: Any, data: bytes, site: str = "north") -> dict[str, Any]:
    answer = service.client(site).post("/v1/studies", content=data, headers=DICOM)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def read(service: Any, study_id: str, **result: Any) -> None:
    """Let rita read a study to the end."""
    rita = service.client("rita")
    uid = service.rows(f"SELECT uid FROM workitems WHERE study_id = '{study_id}' ORDER BY created_at DESC")[0][0]
    lock = f"1.2.{len(uid)}.7"
    state = {"00741000": {"vr": "CS", "Value": ["IN PROGRESS"]}, "00081195": {"vr": "UI", "Value": [lock]}}
    headers = {"Content-Type": "application/dicom+json"}
    assert rita.put(f"/dicom-web/workitems/{uid}/state", json=[state], headers=headers).status_code == 200
    from service.access.workflow import Principal, Role
    from service.worklist import readings

    who = Principal(name="rita", roles=frozenset({Role.READER}))
    with service.database.writing() as connection:
        given = readings.Result(finding=readings.Finding.NO_FINDING, note=READ["note"])
        readings.give_result(
            connection, who, uid, given, transaction_uid=lock, final_at=service.clock(), now=service.clock()
        )
    service.settle()


def erase(service: Any, study_id: str, who: str = "ada", **asked: Any) -> Any:
    body = {"reason": "the patient asked for it", **asked}
    return service.client(who).post(f"/v1/studies/{study_id}/erasure", json=body)


def everything(service: Any) -> str:
    """Return all that the database holds, as text."""
    from service.tables import metadata

    return "\n".join(str(tuple(row)) for name in metadata.tables for row in service.rows(f"SELECT * FROM {name}"))


def files(service: Any) -> set[str]:
    return set(service.app.state.decider.storage.kept(float("inf")))


def test_an_erased_study_leaves_nothing_that_names_its_patient_and_a_ledger_that_verifies(service: Any) -> None:
    data = make_dicom()
    study = send(service, data)["id"]
    read(service, study)
    assert "Mustermann" in everything(service)
    assert len(files(service)) == 1
    answer = erase(service, study)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": study, "images": 1, "files_left": 0}
    assert files(service) == set()
    left = everything(service)
    for name in ("Mustermann", "SECRETID42", "19600102", "ACC9731", "20260102"):
        assert name not in left
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert uid_of(data, keyword) not in left
    with service.database.reading() as connection:
        assert verify(connection).flaw == ""
    (body,) = service.rows("SELECT body FROM ledger WHERE kind = 'study_erased'")
    told = json.loads(body[0])
    assert (told["by"], told["reason"], told["was_unread"]) == ("ada", "the patient asked for it", False)
    assert service.client("north").get(f"/v1/studies/{study}").json()["state"] == "erased"
    uid = uid_of(data, "StudyInstanceUID")
    assert service.client("north").get(f"/dicom-web/studies/{uid}").status_code == 404
    assert service.client("north").get("/dicom-web/studies").status_code == 204
    assert erase(service, study).json()["images"] == 0, "again it changes nothing"
    assert service.client("north").post(f"/v1/studies/{study}/complete").status_code == 202


def test_a_study_that_nobody_has_read_is_erased_only_by_who_says_so(service: Any) -> None:
    study = send(service, make_dicom())["id"]
    refused = erase(service, study)
    assert refused.status_code == 409
    assert refused.json()["type"] == "/problems/unread"
    assert len(files(service)) == 1
    assert erase(service, study, unread_too=True).status_code == 200
    assert service.rows("SELECT state, cancel_reason FROM workitems") == [("CANCELED", "the study was erased")]
    assert '"was_unread":true' in service.rows("SELECT body FROM ledger WHERE kind = 'study_erased'")[0][0]


def test_what_is_erased_is_overwritten_in_the_file_of_sqlite(service: Any) -> None:
    if not service.database.is_sqlite:
        pytest.skip("of SQLite's file")
    study = send(service, make_dicom())["id"]
    file = Path(service.database.engine.url.database)

    def lies_there() -> bool:
        with service.database.engine.connect() as connection:
            connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return any(b"SECRETID42" in path.read_bytes() for path in file.parent.glob(f"{file.name}*"))

    assert lies_there()
    assert erase(service, study, unread_too=True).status_code == 200
    assert not lies_there()


@pytest.mark.parametrize("who", ["north", "rita", "anna"])
def test_only_an_admin_erases(service: Any, who: str) -> None:
    study = send(service, make_dicom())["id"]
    assert erase(service, study, who=who, unread_too=True).status_code == 403
    assert len(files(service)) == 1


def test_a_reason_that_names_the_patient_is_refused_since_it_would_stay(service: Any) -> None:
    data = make_dicom()
    study = send(service, data)["id"]
    for reason in ("asked by frau MUSTERMANN", "see acc9731", "born 19600102", uid_of(data, "StudyInstanceUID")[:64]):
        answer = erase(service, study, reason=reason, unread_too=True)
        assert answer.status_code == 400, reason
        assert reason not in answer.text
    assert len(files(service)) == 1


def test_a_file_that_another_site_has_too_stays_until_both_have_erased_it(service: Any) -> None:
    data = make_dicom()
    north, south = send(service, data)["id"], send(service, data, "south")["id"]
    assert erase(service, north, unread_too=True).status_code == 200
    assert len(files(service)) == 1
    uid = uid_of(data, "StudyInstanceUID")
    assert service.client("south").get(f"/dicom-web/studies/{uid}").status_code == 200
    assert erase(service, south, unread_too=True).status_code == 200
    assert files(service) == set()


def test_what_comes_again_after_its_erasure_is_a_new_study_and_is_read_by_a_human(
    start: Any, certificate_of: Any
) -> None:
    service = start(Release(certificate_of()))
    with service.database.writing() as connection:
        for (site_id,) in connection.exec_driver_sql("SELECT id FROM sites").all():
            set_mode(connection, site_id, Mode.AUTONOMOUS, bundle=Release.bundle)
    data = make_dicom()
    first = send(service, data)
    assert first["is_cleared"]
    assert erase(service, first["id"]).status_code == 200, "a cleared study is no longer to be read"
    again = send(service, data)
    assert again["id"] != first["id"]
    assert (again["decision"], again["is_cleared"]) == ("IDK", False)
    assert "reopened" in again["reasons"]
    assert service.rows(f"SELECT state FROM workitems WHERE study_id = '{again['id']}'") == [("SCHEDULED",)]
    assert len(files(service)) == 1
    foreign = send(service, data, "south")
    assert foreign["is_cleared"], "what one site has erased is nothing to another"


def test_an_erased_study_still_counts_among_its_patients_studies(start: Any, certificate_of: Any) -> None:
    service = start(Release(certificate_of()))
    with service.database.writing() as connection:
        for (site_id,) in connection.exec_driver_sql("SELECT id FROM sites").all():
            set_mode(connection, site_id, Mode.AUTONOMOUS, bundle=Release.bundle)
    first = send(service, make_dicom(PatientID="P-1"))
    assert first["is_cleared"]
    assert erase(service, first["id"]).status_code == 200
    second = send(service, make_dicom(PatientID="P-1"))
    assert not second["is_cleared"], "the certificate covers one study of a patient"
    assert send(service, make_dicom(PatientID="P-2"))["is_cleared"]


def test_a_decision_whose_images_were_erased_replays_as_erased(service: Any) -> None:
    erased, kept = send(service, make_dicom(seed=1))["id"], send(service, make_dicom(seed=2))["id"]
    erase(service, erased, unread_too=True)
    found = replay_all(
        history_of(service.database), service.app.state.decider.storage, bundle=None, trust=None, tolerance=0.0
    )
    outcomes = {item.study_id: (item.is_erased, item.skipped, item.differences) for item in found}
    assert outcomes == {erased: (True, "", ()), kept: (False, "", ())}


def test_one_image_of_another_patient_is_erased_and_the_rest_is_read_again(service: Any) -> None:
    uid = uid_of(make_dicom(), "StudyInstanceUID")
    study = send(service, make_dicom(StudyInstanceUID=uid, seed=1))["id"]
    send(service, make_dicom(StudyInstanceUID=uid, seed=2, PatientID="ANOTHER"))
    read(service, study)
    ada = service.client("ada")
    first, second = ada.get(f"/v1/studies/{study}/images").json()
    gone = ada.post(f"/v1/studies/{study}/images/{second['id']}/erasure", json={"reason": "another patient's"})
    assert gone.status_code == 200, gone.text
    assert files(service) == {first["digest"]}
    assert service.client("north").get(f"/v1/studies/{study}").json()["state"] == "waiting"
    assert service.rows("SELECT state FROM workitems ORDER BY state") == [("COMPLETED",), ("SCHEDULED",)]
    service.settle()
    assert "reopened" in service.client("north").get(f"/v1/studies/{study}").json()["reasons"]
    last = ada.post(
        f"/v1/studies/{study}/images/{first['id']}/erasure", json={"reason": "another patient's", "unread_too": True}
    )
    assert last.status_code == 409


def test_retention_erases_what_was_read_long_ago_and_nothing_that_was_not(start: Any) -> None:
    service = start(retention_days=30)
    was_read, unread = send(service, make_dicom(seed=1))["id"], send(service, make_dicom(seed=2))["id"]
    service.clock.advance(20 * 86_400)
    read(service, was_read)
    service.clock.advance(20 * 86_400)
    assert service.app.state.keeper.tick() == 0, "the reading is not so long ago"
    service.clock.advance(11 * 86_400)
    assert service.app.state.keeper.tick() == 1
    states = {row[0]: row[1] for row in service.rows("SELECT id, state FROM studies")}
    assert states == {was_read: "erased", unread: "decided"}
    (body,) = service.rows("SELECT body FROM ledger WHERE kind = 'study_erased'")
    assert json.loads(body[0])["by"] == "retention"
    assert len(files(service)) == 1


def test_no_patients_name_keeps_retention_from_its_work(start: Any) -> None:
    service = start(retention_days=30)
    names = ("Day^John", "Kept^For", "Mustermann^Erika")
    for seed, name in enumerate(names):
        read(service, send(service, make_dicom(seed=seed, PatientName=name))["id"])
    service.clock.advance(40 * 86_400)
    assert service.app.state.keeper.tick() == len(names)


def test_what_may_have_to_be_read_after_all_is_not_erased_before() -> None:
    with pytest.raises(ValueError, match="DEMUR_RETENTION_DAYS"):
        Settings(retention_days=7)


def test_nothing_is_erased_by_itself_unless_it_is_set(service: Any) -> None:
    study = send(service, make_dicom())["id"]
    read(service, study)
    service.clock.advance(20 * 365 * 86_400)
    assert service.app.state.keeper.tick() == 0
    assert len(files(service)) == 1
    assert retain(service.database, days=1, now=service.clock() - timedelta(days=40 * 365)) == 0


def test_nothing_is_added_to_what_was_said_of_an_erased_study(service: Any) -> None:
    study = send(service, make_dicom())
    service.settle()
    read(service, study["id"])
    item = service.rows("SELECT id FROM workitems WHERE state = 'COMPLETED'")[0][0]
    words = {"finding": "finding", "note": "Erika Mustermann has one after all"}
    assert service.client("rita").post(f"/v1/workitems/{item}/addenda", json=words).status_code == 201
    assert erase(service, study["id"]).status_code == 200
    refused = service.client("rita").post(f"/v1/workitems/{item}/addenda", json=words)
    assert refused.status_code == 409, refused.text
    assert "Mustermann" not in everything(service)
