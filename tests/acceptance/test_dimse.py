"""DCMTK delivers to ``demur receive`` over DIMSE, and ``demur serve`` on the same database decides what came."""

import io
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pydicom
import pytest

from tests.conftest import new_database
from tests.service_support import DEMUR, ROOT, Process, Receiving, make_dicom, wait_until

# One of the real films has a UID that begins with 999; pydicom says so wherever it is read.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
on_each_database = pytest.mark.parametrize("receiving", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def receiving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiving]:
    """Give a receiver, on SQLite unless the test asks for PostgreSQL."""
    database = f"sqlite:///{tmp_path / 'demur.sqlite'}"
    if getattr(request, "param", "sqlite") == "postgresql":
        database = new_database(request.getfixturevalue("postgresql"))
    found = Receiving(folder=tmp_path, database=database)
    subprocess.run([*DEMUR, "site", "add", "north", "--database", database], check=True, capture_output=True)
    yield found.start()
    if found.is_running():
        found.end(signal.SIGKILL)


def call(command: str, receiving: Receiving, *arguments: str | Path, title: str = "PACS") -> tuple[int, str]:
    """Run a command of DCMTK and return its exit code and what it said."""
    line = [command, "-v", "-aet", title, "-aec", "DEMUR", "127.0.0.1", str(receiving.port), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_every_real_film_is_delivered_and_read(
    receiving: Receiving, shared: Path, needs_command: Callable[[str], str]
) -> None:
    films = sorted((shared / "dicom").glob("n*.dcm"))
    code, said = call(needs_command("dcmsend"), receiving, *films)
    assert (code, f"with status SUCCESS  : {len(films)}" in said) == (0, True), said
    # The one without meta information goes as a bare data set.
    bare = shared / "dicom" / "barre_CR-MONO1-10-chest.dcm"
    code, said = call(needs_command("storescu"), receiving, "-xi", bare)
    assert code == 0, said
    stored = receiving.stored()
    assert len(stored) == len(films) + 1
    for film in [*films, bare]:
        sent = pydicom.dcmread(film, force=True)
        kept = pydicom.dcmread(io.BytesIO(stored[str(sent.SOPInstanceUID)]))
        assert (kept.Rows, kept.Columns, kept.StudyInstanceUID) == (sent.Rows, sent.Columns, sent.StudyInstanceUID)
        if (
            "TransferSyntaxUID" in sent.file_meta
            and kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        ):
            assert kept.PixelData == sent.PixelData
    assert receiving.query("SELECT count(*) FROM studies") == receiving.query(
        "SELECT count(*) FROM workitems WHERE state = 'SCHEDULED'"
    )
    before = receiving.query("SELECT count(*), max(digest) FROM ledger")
    code, said = call(needs_command("dcmsend"), receiving, *films)
    assert (code, f"with status SUCCESS  : {len(films)}" in said) == (0, True), said
    assert receiving.query("SELECT count(*), max(digest) FROM ledger") == before


@pytest.mark.parametrize(
    ("proposal", "file"),
    [
        ("-xs", "nonchest_nema_RG2_JPLL.dcm"),
        ("-xx", "nonchest_nema_RG3_JPLY.dcm"),
        ("-xt", "nonchest_nema_RG3_JLSL.dcm"),
        ("-xu", "nema_RG1_chest_JLSN.dcm"),
        ("-xv", "nonchest_nema_RG3_J2KR.dcm"),
        ("-xw", "nema_RG1_chest_J2KI.dcm"),
        ("-xr", "nonchest_nema_RG2_RLE.dcm"),
        ("-xd", "nonchest_nema_RG2_UNC.dcm"),
    ],
)
def test_every_transfer_syntax_is_taken_as_it_is(
    receiving: Receiving, shared: Path, needs_command: Callable[[str], str], proposal: str, file: str
) -> None:
    film = shared / "dicom" / file
    code, said = call(needs_command("storescu"), receiving, "-R", proposal, film)
    assert code == 0, said
    ((kept,),) = [receiving.stored().values()]
    sent = pydicom.dcmread(film)
    received = pydicom.dcmread(io.BytesIO(kept))
    if proposal == "-xd":
        assert received.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99"
    else:
        assert received.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert received.PixelData == sent.PixelData


def test_an_echo_is_answered_to_who_may_send_alone(receiving: Receiving, needs_command: Callable[[str], str]) -> None:
    assert call(needs_command("echoscu"), receiving)[0] == 0
    code, said = call(needs_command("echoscu"), receiving, title="STRANGER")
    assert (code, "Calling AE Title Not Recognized" in said) == (1, True)


@on_each_database
def test_a_refusal_reaches_the_sender_and_no_patient_the_log(
    receiving: Receiving, needs_command: Callable[[str], str]
) -> None:
    uids = {"SOPInstanceUID": "1.2.3.77", "StudyInstanceUID": "1.2.3.78", "SeriesInstanceUID": "1.2.3.79"}
    for seed in (0, 1):
        (receiving.folder / f"{seed}.dcm").write_bytes(make_dicom(seed=seed, **uids))
    assert call(needs_command("storescu"), receiving, receiving.folder / "0.dcm")[0] == 0
    code, said = call(needs_command("storescu"), receiving, receiving.folder / "1.dcm")
    assert code != 0 or "0x0110" in said or "Failure" in said or "Error" in said, said
    assert receiving.query("SELECT count(*) FROM ledger WHERE kind = 'instance_conflicted'") == [(1,)]
    assert receiving.end() == 0
    for secret in ("SECRETID42", "Mustermann", "19600102", "ACC9731", "1.2.3.7", "PACS"):
        assert secret not in receiving.log()


@on_each_database
def test_what_came_over_dimse_is_decided_by_the_service_beside_it(
    receiving: Receiving, tmp_path: Path, needs_command: Callable[[str], str]
) -> None:
    (tmp_path / "film.dcm").write_bytes(make_dicom())
    service = Process(
        database=receiving.database, storage=tmp_path / "files", environment={"DEMUR_QUIET_S": "0.2"}
    ).start()
    try:
        assert call(needs_command("dcmsend"), receiving, tmp_path / "film.dcm")[0] == 0
        wait_until(lambda: receiving.query("SELECT state FROM studies") == [("decided",)])
        assert receiving.query("SELECT decision FROM studies") == [("IDK",)]
        assert receiving.query("SELECT state FROM workitems") == [("SCHEDULED",)]
        assert httpx.get(f"{service.url}/readyz").status_code == 200
    finally:
        service.stop()


@on_each_database
def test_what_was_acknowledged_outlives_a_power_cut(
    receiving: Receiving, tmp_path: Path, needs_command: Callable[[str], str]
) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    for seed in range(40):
        (sent / f"{seed}.dcm").write_bytes(make_dicom(seed=seed, side=256))
    line = [needs_command("dcmsend"), "-v", "-aet", "PACS", "-aec", "DEMUR", "127.0.0.1", str(receiving.port)]
    with subprocess.Popen(
        [*line, "+sd", str(sent)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sender:
        assert sender.stdout is not None
        said = ""
        for heard in sender.stdout:
            said += heard
            if said.count("C-STORE Response (Success)") == 5:
                receiving.end(signal.SIGKILL)
                break
        said += sender.stdout.read()
    acknowledged = said.count("C-STORE Response (Success)")
    assert 5 <= acknowledged < 40
    stored = receiving.stored()
    assert len(stored) >= acknowledged
    assert receiving.query("SELECT count(*) FROM workitems WHERE state = 'SCHEDULED'") == [(len(stored),)]
    receiving.start()
    code, said = call(needs_command("dcmsend"), receiving, "+sd", sent)
    assert (code, "with status SUCCESS  : 40" in said) == (0, True), said
    assert len(receiving.stored()) == 40
    assert receiving.query("SELECT count(*) FROM ledger WHERE kind = 'instance_stored'") == [(40,)]


def test_nobody_may_send_until_a_title_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMUR, "receive", "--database", f"sqlite:///{tmp_path / 'd.sqlite'}", "--storage", str(tmp_path / "files")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, "no AE title may send" in done.stderr) == (1, True)
