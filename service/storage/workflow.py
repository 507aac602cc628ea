"""Where the bytes of instances lie: by SHA-256 of their content, durable before anything is acknowledged.

Invariants:

- What ``keep`` returned from is on disk: file and folder are synchronised first.
- Files are deleted by ``erasing`` only, which says when that is safe.
- No path is ever built from what a sender wrote; a digest is 64 hexadecimal digits of our own making.
- The 128 bytes before "DICM" are stored as zeros unless they are zeros or a TIFF header, since they can make a file an
  executable as well (CVE-2019-11687). The digest of what was sent is kept beside the digest of what is stored.
"""

import contextlib
import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

from models.errors import DataError
from service.errors import OverloadedError

_PREAMBLE, _MAGIC = 128, 132
_HARMLESS = (b"II*\0", b"MM\0*")  # TIFF, which PS3.10 section 7.1 allows


class Spool:
    """One file on its way in: written and hashed as it comes, not yet kept."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix="incoming-")
        self.path = Path(name)
        self._file = cast("BinaryIO", os.fdopen(descriptor, "wb", buffering=1 << 18))
        self._head: bytearray | None = bytearray()
        self._sent, self._stored = hashlib.sha256(), None
        self.bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self.bytes += len(data)
        if self._head is None:
            self._pass(data)
            return
        self._head += data
        if len(self._head) >= _MAGIC:
            self._release_head()

    def rest(self) -> None:
        """Write out what is left and hold no file open: a request may have more parts than a process may open files."""
        if not self._file.closed:
            self._release_head()
            self._file.close()

    def finish(self) -> None:
        """Write out what is left and make it durable."""
        self.rest()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @property
    def sent_digest(self) -> str:
        """SHA-256 of what came."""
        return self._sent.hexdigest()

    @property
    def digest(self) -> str:
        """SHA-256 of what is stored."""
        return (self._stored or self._sent).hexdigest()

    def view(self) -> memoryview:
        """Return the finished file's bytes without copying them."""
        return _map(self.path)

    def discard(self) -> None:
        """Forget the file, unless it was kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _release_head(self) -> None:
        if self._head is None:
            return
        head, self._head = bytes(self._head), None
        preamble = head[:_PREAMBLE]
        if head[_PREAMBLE:_MAGIC] == b"DICM" and any(preamble) and not preamble.startswith(_HARMLESS):
            self._stored = hashlib.sha256()
            self._sent.update(head)
            head = bytes(_PREAMBLE) + head[_PREAMBLE:]
            self._stored.update(head)
            self._file.write(head)
        else:
            self._pass(head)

    def _pass(self, data: bytes | memoryview) -> None:
        self._sent.update(data)
        if self._stored is not None:
            self._stored.update(data)
        self._file.write(data)


class Storage(Protocol):
    """What the service needs of a place for files."""

    def spool(self) -> Spool:
        """Begin to take in a file; OverloadedError when there is no room."""
        ...

    def keep(self, spool: Spool) -> None:
        """Make a finished file durable under its digest."""
        ...

    def view(self, digest: str) -> memoryview:
        """Return the bytes of a kept file; DataError if it is not there."""
        ...

    def delete(self, digest: str) -> None:
        """Delete a kept file, if it is there; for ``erasing`` alone."""
        ...

    def kept(self, older_than: float) -> Iterator[str]:
        """Yield the digests of files kept before a time (seconds since the epoch)."""
        ...

    def sweep(self, older_than: float) -> int:
        """Delete what never finished coming in before a time; return how many files."""
        ...

    def check(self) -> None:
        """Raise OverloadedError if nothing can be taken in."""
        ...


class Folder:
    """A folder on a local disk: ``ab/cdef…`` by digest, ``incoming`` for what is on its way."""

    def __init__(self, path: Path, *, reserve_bytes: int) -> None:
        self.path = path.absolute()
        self._reserve_bytes = reserve_bytes
        self._incoming = self.path / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def spool(self) -> Spool:
        """Begin to take in a file; OverloadedError when the disk is nearly full."""
        self.check()
        return Spool(self._incoming)

    def keep(self, spool: Spool) -> None:
        """Make a finished file durable under its digest."""
        place = self._place(spool.digest)
        if not place.exists():
            if not place.parent.exists():
                place.parent.mkdir(exist_ok=True)
                _synchronise(place.parent.parent)
            spool.path.replace(place)
        _synchronise(place.parent)

    def view(self, digest: str) -> memoryview:
        """Return the bytes of a kept file without copying them."""
        try:
            return _map(self._place(digest))
        except FileNotFoundError:
            raise DataError(f"the stored file {digest[:12]} is gone") from None

    def delete(self, digest: str) -> None:
        """Delete a kept file, if it is there; for ``erasing`` alone."""
        place = self._place(digest)
        if place.parent.exists():
            place.unlink(missing_ok=True)
            _synchronise(place.parent)

    def kept(self, older_than: float) -> Iterator[str]:
        """Yield the digests of files kept before a time (seconds since the epoch)."""
        for folder in self.path.glob("[0-9a-f]" * 2):
            for path in folder.glob("[0-9a-f]" * 62):
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < older_than:
                        yield folder.name + path.name

    def check(self) -> None:
        """Raise OverloadedError if the disk is nearly full."""
        free = shutil.disk_usage(self.path).free
        if free < self._reserve_bytes:
            raise OverloadedError(f"only {free >> 20} MiB are free where files are stored; make room")

    def sweep(self, older_than: float) -> int:
        """Delete what never finished coming in before a time (seconds since the epoch); return how many files."""
        count = 0
        for path in self._incoming.glob("incoming-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < older_than:
                    path.unlink()
                    count += 1
        return count

    def _place(self, digest: str) -> Path:
        return self.path / digest[:2] / digest[2:]


def _map(path: Path) -> memoryview:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
