"""A storm: real processes killed while real clients send and read, and then the proof from outside that nothing was lost.

    python -m benchmarks.storm --seconds 60 --database sqlite [--seed 7]
    python -m benchmarks.storm --seconds 600 --database postgresql

SQLite has one process of the service, PostgreSQL two that share the work. Processes of the service and of the database are
killed, stopped and let go on, and ended in good order, at random moments; the disk is full for seconds at a time. Exit code
0: nothing was lost. 1: something was, or the storm was too weak to show it.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from benchmarks.storm_clients import Book, Reader, Sender, Weather
from benchmarks.storm_films import Films
from benchmarks.storm_processes import ROOT, Disk, Postgresql, Service
from benchmarks.storm_proof import CLEARED, final_faults, snapshot_faults, undecided
from benchmarks.storm_release import Release, make_release
from models.errors import DemurError
from models.vocabulary import Mode
from service import schema
from service.access.workflow import Role, issue_token
from service.database import Database
from service.sites.workflow import add_site, set_mode

#: Site: its mode and the share of healthy calls that are read all the same. The last is certified by nobody.
SITES = {"north": (Mode.AUTONOMOUS, 0.001), "south": (Mode.AUTONOMOUS, 0.3), "east": (Mode.PRIORITISE, 0.1)}
UNCERTIFIED = "west"
SETTINGS = {
    "DEMUR_QUIET_S": "0.5",
    "DEMUR_HEARTBEAT_S": "0.5",
    "DEMUR_LOST_AFTER_S": "3",
    "DEMUR_LEASE_S": "6",
    "DEMUR_RESERVE_BYTES": "0",  # the disk is to be met when it is full, not shunned before
    "DEMUR_DRAIN_S": "10",
    "DEMUR_DECIDE_WAIT_S": "10",
}
SETTLE_S = 120.0
STORED_MIN = 80


@dataclass(kw_only=True)
class Place:
    """Everything that stands in the storm."""

    folder: Path
    disk: Disk
    services: list[Service]
    postgresql: Postgresql | None
    database: Database
    release: Release
    storage: Path
    book: Book = field(default_factory=Book)
    weather: Weather = field(default_factory=Weather)


def main() -> None:
    """Run the storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it blows (default %(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=None, help="repeats what is sent and done, not its timing")
    parser.add_argument("--senders", type=int, default=6, help="clients that send at once (default %(default)s)")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 20)
    sys.exit(run(seed, options.seconds, options.database, options.senders))


def run(seed: int, seconds: float, kind: str, senders: int) -> int:
    """Blow, prove, and print; return the exit code."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="demur-storm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        films = Films(rng)
        place = _build(folder, films, kind, stack)
        print(f"storm over {kind}, seed {seed}, {seconds:g} s; the disk is {place.disk.kind}", flush=True)
        threads = _let_in(place, films, rng, senders)
        _blow(place, rng, seconds)
        threads_end = _calm(place, threads)
        faults = [*place.book.faults, *threads_end]
        counts: dict[str, int] = {}
        faults += _prove(place, counts)
    return _report(place.book, faults, counts)


def _build(folder: Path, films: Films, kind: str, stack: ExitStack) -> Place:
    folder.chmod(0o711)
    release = make_release(folder, sites=tuple(SITES), films=films.plain)
    disk = Disk(folder / "disk", mebibytes=1024 if kind == "postgresql" else 512)
    stack.callback(disk.close)
    postgresql = None
    url = f"sqlite:///{disk.path / 'demur.sqlite'}"
    if kind == "postgresql":
        postgresql = Postgresql(disk.path / "postgresql")
        stack.callback(postgresql.stop)
        postgresql.start()
        url = postgresql.url
    storage = disk.path / "files"
    arguments = [
        "--database",
        url,
        "--storage",
        str(storage),
        "--bundle",
        str(release.path),
        "--trust",
        str(release.trust),
    ]
    services = [
        Service(name=name, arguments=arguments, environment=SETTINGS, log=folder / f"{name}.log")
        for name in ("first", "second")[: 2 if postgresql is not None else 1]
    ]
    for service in services:  # all at once, on an empty database: migrations take a lock
        service.start()
        stack.callback(service.kill)
    for service in services:
        if not service.wait_until_listening():
            raise RuntimeError(service.log.read_text()[-2000:])
    database = Database(url)
    stack.callback(database.close)
    schema.upgrade(database)
    return Place(
        folder=folder,
        disk=disk,
        services=services,
        postgresql=postgresql,
        database=database,
        release=release,
        storage=storage,
    )


def _let_in(place: Place, films: Films, rng: random.Random, senders: int) -> list[threading.Thread]:
    now = datetime.now(UTC)
    tokens = {}
    with place.database.writing() as connection:
        for site, (mode, probability) in {**SITES, UNCERTIFIED: (Mode.SHADOW, 0.0)}.items():
            _, tokens[site] = add_site(connection, site, audit_probability=probability, now=now)
            bundle = place.release.bundle
            set_mode(connection, site, mode, certificate=bundle.certificate, bundle=bundle.digest, now=now)
        reader = issue_token(connection, name="reader", role=Role.READER, site_id=None, now=now)
    # Each site has more than one sender; autonomous sites send most.
    sites = ["north", "south", "north", "east", "south", UNCERTIFIED]
    clients = [
        Sender(site, films, place.services, tokens[site], place.book, place.weather, rng.randrange(1 << 30))
        for site in (sites[n % len(sites)] for n in range(senders))
    ]
    readers = [Reader(place.services, reader, place.book, place.weather, rng.randrange(1 << 30)) for _ in range(2)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in (*clients, *readers)]
    threads.append(threading.Thread(target=_watch, args=(place,), daemon=True))
    for thread in threads:
        thread.start()
    return threads


def _watch(place: Place) -> None:
    """Look at the database again and again, as it stands between two transactions."""
    while not place.weather.is_over.is_set():
        try:
            for fault in snapshot_faults(place.database):
                place.book.fault(f"in the midst of it: {fault}")
            place.book.count("looks at the database in the midst of it")
        except (DBAPIError, DemurError):
            pass
        time.sleep(0.5)


def _blow(place: Place, rng: random.Random, seconds: float) -> None:
    acts = [_kill_service, _kill_service, _end_service, _freeze_service, _fill_disk]
    if place.postgresql is not None:
        acts += [_kill_postgresql, _kill_backend]
    ends_at = time.monotonic() + seconds
    turn: list[object] = [*([_kill_postgresql] if place.postgresql is not None else ()), _kill_service]
    # A slow machine gets more time, so that there is something to lose.
    while time.monotonic() < ends_at or (len(place.book.stored) < STORED_MIN and time.monotonic() < ends_at + SETTLE_S):
        time.sleep(rng.uniform(1.0, 4.0))
        if not turn:
            turn = rng.sample(acts, len(acts))
        act = turn.pop()
        assert callable(act)
        act(place, rng)
        _raise_the_dead(place)


def _kill_service(place: Place, rng: random.Random) -> None:
    service = rng.choice(place.services)
    service.kill()
    place.book.count("kills -9 of the service")
    if rng.random() < 0.3:  # and once more while it is starting
        service.start()
        time.sleep(rng.uniform(0.1, 2.0))
        service.kill()
        place.book.count("kills -9 of the service while it starts")
    time.sleep(rng.uniform(0.0, 1.0))
    _restart(place, service)


def _end_service(place: Place, rng: random.Random) -> None:
    service = rng.choice(place.services)
    service.send(signal.SIGTERM)
    place.book.count("ends of the service in good order")
    code = service.wait()
    if code != 0:
        place.book.fault(f"SIGTERM ended the service with exit code {code}")
    _restart(place, service)


def _freeze_service(place: Place, rng: random.Random) -> None:
    """Stop a process for longer than it takes to be held for dead, and let it go on."""
    service = rng.choice(place.services)
    service.send(signal.SIGSTOP)
    place.book.count("freezes of the service")
    time.sleep(rng.uniform(1.0, 5.0))
    service.send(signal.SIGCONT)


def _fill_disk(place: Place, rng: random.Random) -> None:
    with place.disk.full(place.services):
        place.book.count("full disks")
        time.sleep(rng.uniform(1.0, 3.0))


def _kill_postgresql(place: Place, rng: random.Random) -> None:
    assert place.postgresql is not None
    place.postgresql.kill()
    place.book.count("kills -9 of PostgreSQL")
    time.sleep(rng.uniform(0.0, 2.0))
    place.postgresql.start()


def _kill_backend(place: Place, rng: random.Random) -> None:
    assert place.postgresql is not None
    if place.postgresql.kill_a_backend(rng.randrange(1000)):
        place.book.count("kills -9 of a process under PostgreSQL")


def _restart(place: Place, service: Service) -> None:
    service.start()
    place.book.count("restarts of the service")
    if not service.wait_until_listening():
        place.book.count("starts that failed")  # say, since the database was away; started again below


def _raise_the_dead(place: Place) -> None:
    """Start again what has ended, as a supervisor would; a service must not die of others' ills."""
    if place.postgresql is not None:
        place.postgresql.start()
    for service in place.services:
        tries = 0
        while service.has_died():
            code = service.wait()
            tries += 1
            if code < 0:
                place.book.fault(f"the service died of signal {-code}")
            if tries > 5:
                raise RuntimeError(f"the service does not start: {service.log.read_text()[-2000:]}")
            _restart(place, service)


def _calm(place: Place, threads: list[threading.Thread]) -> list[str]:
    """Let everybody finish what they began, decide what is left, and end the processes."""
    faults = []
    _raise_the_dead(place)
    place.weather.is_over.set()
    deadline = time.monotonic() + SETTLE_S
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
    place.weather.gives_up.set()
    if any(thread.is_alive() for thread in threads):
        faults.append(f"a client was not answered within {SETTLE_S:g} s of calm")
    deadline = time.monotonic() + SETTLE_S
    while undecided(place.database) and time.monotonic() < deadline:
        time.sleep(0.5)
    if left := undecided(place.database):
        faults.append(f"{left} studies are not decided after {SETTLE_S:g} s of calm")
    for service in place.services:
        service.send(signal.SIGTERM)
    codes = [service.wait() for service in place.services]
    faults += [f"SIGTERM ended the service with exit code {code}" for code in codes if code]
    time.sleep(1.0)
    if left_behind := [pid for service in place.services for pid in service.left_behind()]:
        faults.append(f"{len(left_behind)} processes have outlived their service")
    faults += _log_faults(place)
    return faults


def _log_faults(place: Place) -> list[str]:
    """Return the faults of Demur's own in its logs: what it calls an error and what is no JSON."""
    faults = []
    for service in place.services:
        for line in service.log.read_text(errors="replace").splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                faults.append(f"a line in the log is no JSON: {line[:200]}")
                continue
            if told["level"] == "ERROR":
                place.book.count(f"errors logged: {told['message']} ({told.get('fault', '')})")
    return sorted(set(faults))[:5]


def _prove(place: Place, counts: dict[str, int]) -> list[str]:
    faults = final_faults(place.database, place.storage, place.book, place.release.bundle, counts)
    command = [sys.executable, "-m", "demur", "ledger", "verify", "--json", "--database"]
    url = place.postgresql.url if place.postgresql is not None else str(place.database.engine.url)
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ))
    if done.returncode != 0:
        faults.append(f"demur ledger verify: {done.stdout}{done.stderr}")
    else:
        counts["entries of the ledger, its chain verified"] = json.loads(done.stdout)["entries"]
    if not counts.get(CLEARED):
        faults.append("the storm was too weak: no study was cleared")
    return faults


def _report(book: Book, faults: list[str], counts: dict[str, int]) -> int:
    for title, figures in (("What was done", dict(book.counts)), ("What was looked at afterwards", counts)):
        print(f"\n{title}")
        for name, number in sorted(figures.items()):
            print(f"  {number:7d}  {name}")
    if not faults:
        print("\nNothing was lost.")
        return 0
    print(f"\n{len(faults)} faults:")
    for fault in sorted(set(faults))[:40]:
        print(f"  {faults.count(fault):5d} times  {fault}")
    return 1


if __name__ == "__main__":
    main()
