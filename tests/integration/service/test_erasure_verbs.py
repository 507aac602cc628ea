"""The verb study, as a person at a terminal meets it."""

import io
import json
from typing import Any

import pytest

import demur
from service.doctor import examine
from tests.service_support import make_dicom

DICOM = {"Content-Type": "application/dicom"}


@pytest.fixture
def verb(service: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs demur study on the service's database and storage."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("DEMUR_DATABASE", service.settings.database)
        monkeypatch.setenv("DEMUR_STORAGE", service.settings.storage)
        monkeypatch.setattr("sys.argv", ["demur", "study", *arguments])
        code = 0
        try:
            demur.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_a_study_is_found_corrected_and_erased(service: Any, verb: Any) -> None:
    sent = service.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM).json()
    _, out, _ = verb("find", "--name", "ACC9731", "--json")
    (found,) = json.loads(out)["studies"]
    assert (found["id"], found["site"], found["state"]) == (sent["id"], "north", "decided")
    assert "Mustermann" not in out
    whose = ("--patient-id", "4711", "--patient-name", "Muster^Eva", "--birth-date", "", "--sex", "F")
    code, _, err = verb("correct", sent["id"], *whose, "--reason", "wrong entry", "--by", "ada")
    assert code == 0, err
    assert service.rows("SELECT patient_id FROM studies") == [("4711",)]
    code, _, err = verb("erase", sent["id"], "--reason", "asked for", "--yes")
    assert (code, "on the worklist" in err) == (1, True)
    code, out, _ = verb("erase", sent["id"], "--reason", "asked for", "--yes", "--unread-too", "--by", "ada", "--json")
    assert (code, json.loads(out)) == (0, {"id": sent["id"], "images": 1, "files_left": 0})
    assert list(service.app.state.decider.storage.kept(float("inf"))) == []
    bodies = [json.loads(body) for (body,) in service.rows("SELECT body FROM ledger WHERE kind LIKE 'study_e%'")]
    assert [body["by"] for body in bodies] == ["ada"]
    (retention,) = [found for found in examine(service.settings) if found.check == "retention"]
    assert retention.is_good
    assert "1 were erased, 0 files" in retention.found


def test_what_cannot_be_undone_is_asked_about_first(service: Any, verb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = service.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM).json()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, _, _ = verb("erase", sent["id"], "--reason", "asked for", "--unread-too")
    assert code == 1
    assert service.rows("SELECT state FROM studies") == [("decided",)]
