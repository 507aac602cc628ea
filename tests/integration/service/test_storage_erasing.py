"""Files that are erased while they come in: whatever meets whatever, what is acknowledged has its file."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service import schema
from service.database import Database
from service.errors import ConflictError
from service.ingest import workflow as ingest
from service.ingest.workflow import Arrival, Outcome
from service.records.workflow import Request, erase_study
from service.sites.store import Site
from service.sites.workflow import add_site
from service.storage.erasing import mark_orphans, sweep
from service.storage.store import unswept
from service.storage.workflow import Folder, Spool
from tests.service_support import ROOT, make_dicom

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class House:
    """A database, a folder, and two sites that send."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.database = Database(url)
        schema.upgrade(self.database)
        self.storage = Folder(folder, reserve_bytes=0)
        self.sites: dict[str, Site] = {}
        with self.database.writing() as connection:
            for name in ("north", "south"):
                self.sites[name], _ = add_site(connection, name, audit_probability=0.0, now=NOW)

    def arrive(self, data: bytes) -> tuple[Spool, Arrival]:
        spool = self.storage.spool()
        spool.write(data)
        return spool, ingest.receive(spool)

    def take_in(self, connection: Any, site: str, arrival: Arrival) -> ingest.Receipt:
        (receipt,) = ingest.take_in(
            connection, self.storage, self.sites[site], [arrival], due_at=NOW + timedelta(days=1), now=NOW
        )
        return receipt

    def send(self, site: str, data: bytes) -> ingest.Receipt:
        spool, arrival = self.arrive(data)
        with spool:
            ingest.keep(self.storage, [arrival])
            with self.database.writing() as connection:
                return self.take_in(connection, site, arrival)

    def erase(self, study_id: str) -> None:
        request = Request(by="ada", reason="asked for", now=NOW)
        with self.database.writing() as connection:
            erase_study(connection, study_id, request, is_unread_too=True)

    def sweep(self) -> int:
        return sweep(self.database, self.storage, now=NOW)

    def digests(self) -> set[str]:
        with self.database.reading() as connection:
            return set(connection.exec_driver_sql("SELECT digest FROM instances").scalars())

    def files(self) -> set[str]:
        return set(self.storage.kept(float("inf")))


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Any:
    found = House(database_url, tmp_path / "files")
    yield found
    found.database.close()


def test_a_file_that_goes_between_being_kept_and_being_written_down_is_kept_again(house: House) -> None:
    data = make_dicom()
    first = house.send("north", data)
    spool, arrival = house.arrive(data)
    with spool:
        ingest.keep(house.storage, [arrival])  # it is there already, so the spool stays
        house.erase(first.study_id)
        assert house.sweep() == 1
        assert house.files() == set()
        with house.database.writing() as connection:
            assert house.take_in(connection, "south", arrival).outcome is Outcome.STORED
    assert house.files() == house.digests() == {arrival.spool.digest}


def test_a_file_that_can_be_had_no_more_is_not_acknowledged_and_comes_again(house: House) -> None:
    data = make_dicom()
    spool, arrival = house.arrive(data)
    with spool:
        ingest.keep(house.storage, [arrival])  # the spool became the file
        assert mark_orphans(house.database, house.storage, older_than=float("inf"), now=NOW) == 1
        assert house.sweep() == 1
        with pytest.raises(FileNotFoundError), house.database.writing() as connection:
            house.take_in(connection, "north", arrival)
    assert house.digests() == house.files() == set()
    assert house.send("north", data).outcome is Outcome.STORED
    assert house.files() == house.digests() != set()


def test_a_sweep_waits_for_who_is_taking_the_file_in_and_lets_it_stay(house: House) -> None:
    data = make_dicom()
    first = house.send("north", data)
    house.erase(first.study_id)
    spool, arrival = house.arrive(data)
    with spool:
        ingest.keep(house.storage, [arrival])
        sweeper = threading.Thread(target=house.sweep)
        with house.database.writing() as connection:
            house.take_in(connection, "south", arrival)
            sweeper.start()
            sweeper.join(timeout=0.5)
            assert sweeper.is_alive(), "it must wait until the transaction ends"
        sweeper.join(timeout=60)
    assert house.files() == house.digests() == {arrival.spool.digest}
    with house.database.reading() as connection:
        assert unswept(connection, limit=10) == []


def test_senders_erasers_and_sweepers_at_once_leave_no_instance_without_its_file(house: House) -> None:
    films = [make_dicom(seed=seed) for seed in range(3)]
    studies: set[str] = set()

    def run(work: Any) -> None:
        for round_ in range(12):
            work(round_)

    def post(site: str) -> Any:
        def work(round_: int) -> None:
            try:
                studies.add(house.send(site, films[round_ % 3]).study_id)
            except FileNotFoundError:
                return  # not acknowledged

        return work

    def erase(_round: int) -> None:
        for study in list(studies):
            try:
                house.erase(study)
            except ConflictError:
                return

    works = (post("north"), post("south"), post("north"), erase, lambda _: house.sweep(), lambda _: house.sweep())
    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(run, work) for work in works]:
            future.result()
    assert house.digests() <= house.files()
    house.sweep()
    assert house.digests() == house.files(), "and nothing is left that was erased"


#: What a process does before it is killed, and where.
KILLED = {
    "erased, not swept": "house.erase(STUDY); die()",
    "file deleted, not settled": "house.erase(STUDY); after(house.storage, 'delete'); house.sweep()",
    "seized, not deleted": "house.erase(STUDY); before(house.storage, 'delete'); house.sweep()",
    "kept, not written down": "spool, arrival = house.arrive(DATA); ingest.keep(house.storage, [arrival]); die()",
    "kept again, not committed": (
        "house.erase(STUDY); house.sweep(); spool, arrival = house.arrive(SAME); ingest.keep(house.storage, [arrival])\n"
        "with house.database.writing() as connection:\n"
        "    house.take_in(connection, 'south', arrival)\n"
        "    die()"
    ),
    "committed": "house.send('south', SAME); die()",
}
PROGRAM = """
import os, signal, sys
from pathlib import Path
from service.database import Database
from service.sites.store import every
from service.storage.workflow import Folder
from tests.integration.service.test_storage_erasing import House, ingest

STUDY, SAME, DATA = sys.argv[3], Path(sys.argv[4]).read_bytes(), Path(sys.argv[5]).read_bytes()
house = House.__new__(House)
house.database, house.storage = Database(sys.argv[1]), Folder(Path(sys.argv[2]), reserve_bytes=0)
with house.database.reading() as connection:
    house.sites = {site.name: site for site in every(connection)}

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(holder, name):
    setattr(holder, name, lambda *given: die())

def after(holder, name):
    work = getattr(holder, name)
    setattr(holder, name, lambda *given: (work(*given), die()))

"""


@pytest.mark.parametrize("step", KILLED)
def test_a_process_killed_between_two_steps_leaves_what_the_next_one_finishes(
    house: House, tmp_path: Path, step: str
) -> None:
    same, other = make_dicom(seed=1), make_dicom(seed=2)
    (tmp_path / "same.dcm").write_bytes(same)
    (tmp_path / "other.dcm").write_bytes(other)
    study = house.send("north", same).study_id
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM + KILLED[step],
            house.url,
            str(house.folder),
            study,
            str(tmp_path / "same.dcm"),
            str(tmp_path / "other.dcm"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert house.digests() <= house.files()
    mark_orphans(house.database, house.storage, older_than=float("inf"), now=NOW)
    house.sweep()
    assert house.digests() == house.files()
    for data in (same, other):
        assert house.send("south", data).is_stored
    assert house.digests() == house.files()
    assert len(house.files()) == 2


def test_what_never_finished_coming_in_goes_and_what_is_coming_in_stays(house: House) -> None:
    old = house.storage.spool()
    old.write(b"the half of a film")
    old.rest()
    assert house.storage.sweep(older_than=0.0) == 0
    assert house.storage.sweep(older_than=old.path.stat().st_mtime + 1) == 1
    assert not old.path.exists()
