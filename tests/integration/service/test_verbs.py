"""The verbs, as a person at a terminal meets them."""

import json
from pathlib import Path
from typing import Any

import pytest

import demur
from models.errors import DataError
from tests.service_support import Process, make_dicom


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """Run the front door and return its exit code and what it printed."""
    monkeypatch.setattr("sys.argv", ["demur", *arguments])
    code = 0
    try:
        demur.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that runs a verb on a database and a storage of this test."""
    monkeypatch.setenv("DEMUR_DATABASE", f"sqlite:///{tmp_path / 'demur.sqlite'}")
    monkeypatch.setenv("DEMUR_STORAGE", str(tmp_path / "files"))
    monkeypatch.setenv("DEMUR_PORT", "0")
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_a_site_is_added_listed_and_given_a_new_token(verb: Any) -> None:
    code, out, _ = verb("site", "add", "north", "--json")
    added = json.loads(out)
    assert (code, added["mode"], len(added["token"])) == (0, "shadow", 43)
    assert "north" in verb("site", "list")[1]
    assert json.loads(verb("site", "token", "north", "--json")[1])["token"] != added["token"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("site", "mode", "east", "shadow"), 1, "no site 'east'"),
        (("site", "mode", "north", "autonomous"), 1, "no bundle is open"),
        (("site", "add", "north"), 1, "exists already"),
        (("site", "grant", "x", "--role", "king"), 1, "no role 'king'"),
        (("send", "nowhere.csv", "--token", "x"), 1, "no such file: nowhere.csv"),
        (("serve", "--bundle", "nowhere"), 1, "no such folder: nowhere"),
        (("site", "list", "--database", "mysql://x"), 1, "no database of the kind"),
        (("site", "mode", "north", "odd"), 2, ""),
    ],
)
def test_a_mistake_is_told_in_one_line(verb: Any, arguments: tuple[str, ...], code: int, words: str) -> None:
    verb("site", "add", "north")
    ended, out, err = verb(*arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert code == 2 or err.count("\n") == 1


def test_the_doctor_says_what_is_wrong_and_what_to_do(verb: Any) -> None:
    code, out, _ = verb("doctor")
    assert code == 1
    assert "the schema is not the newest" in out
    assert "→ start demur serve once" in out
    verb("site", "add", "north")
    code, out, _ = verb("doctor", "--json")
    assert code == 0
    assert all(finding["good"] for finding in json.loads(out)["findings"])


def test_the_ledger_is_verified(verb: Any) -> None:
    verb("site", "add", "north")
    assert json.loads(verb("ledger", "verify", "--json")[1])["entries"] == 1
    assert "The ledger holds: 1 entries" in verb("ledger", "verify")[1]


def test_replaying_an_empty_ledger_is_no_error(verb: Any) -> None:
    assert verb("replay")[:2] == (0, "0 of 0 decisions are the same, 0 skipped, 0 erased, 0 differ.\n")


def test_a_study_table_is_sent_and_its_fate_printed(verb: Any, tmp_path: Path) -> None:
    from pydicom.uid import generate_uid

    process = Process(database=f"sqlite:///{tmp_path / 'demur.sqlite'}", storage=tmp_path / "files").start()
    try:
        token = process.demur("site", "add", "north")["token"]
        study = generate_uid()
        files = {"a1": make_dicom(StudyInstanceUID=study), "a2": make_dicom(StudyInstanceUID=study), "b": make_dicom()}
        for name, data in files.items():
            (tmp_path / f"{name}.dcm").write_bytes(data)
        (tmp_path / "bad.dcm").write_bytes(b"not dicom")
        head = "path,study,patient,site,label,stratum,severity,view,age_years,split\n"
        rows = ["a1.dcm,A,p1,north,healthy", "a2.dcm,A,p1,north,healthy", "b.dcm,B,p2,north,abnormal"]
        table = tmp_path / "studies.csv"
        table.write_text(head + "".join(f"{row},,,,,\n" for row in rows))
        code, out, _ = verb("send", str(table), "--url", process.url, "--token", f"north={token}", "--json")
        sent = {item["study"]: item for item in json.loads(out)["studies"]}
        assert code == 0
        assert {item["decision"] for item in sent.values()} == {"IDK"}
        assert sent["A"]["reasons"] == ["no_bundle"], "the images of one study are decided together, not one by one"
        table.write_text(head + "bad.dcm,C,p3,north,,,,,,\n")
        code, out, _ = verb("send", str(table), "--url", process.url, "--token", token)
        assert code == 1
        assert "not a DICOM file" in out
        assert "1 not taken in" in out
    finally:
        process.kill()


def test_tokens_are_given_once_per_site() -> None:
    from service.sending import tokens_of

    assert tokens_of(["a=1", "b=2", "3"]) == {"a": "1", "b": "2", "": "3"}
    for wrong in ([], ["=x"], ["a="]):
        with pytest.raises(DataError):
            tokens_of(wrong)
