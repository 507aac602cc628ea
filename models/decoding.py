"""Films to network inputs, with codecs in processes that can be killed.

A mutated codestream can hang a codec for good, and a thread cannot be killed. So compressed films are decoded in children
with a time-out and a memory limit, which are started when first needed and replaced when killed. JPEG 2000 takes twenty times
longer than anything else and has a lane of its own. Uncompressed films meet no codec and are looked at where they lie, in the
caller's thread. Decoding and preprocessing are those of ``models.films`` and ``models.preprocess`` wherever they run, so the
result does not depend on where that was.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from models.canonical import from_canonical_json
from models.codecs import JPEG_2000, UndecodableError
from models.decoder_child import ANSWER, READY, REQUEST, Status, receive
from models.dicom import read_header, read_picture
from models.errors import DataError, InputError
from models.films import is_dicom
from models.header import Header
from models.preprocess import InputSpec, preprocess

#: How long a film of up to ``TIMED_PIXELS`` may take; a larger one may take longer in proportion.
TIMEOUT_S = 5.0
TIMED_PIXELS = 8 << 20
START_TIMEOUT_S = 60.0
MEMORY_BYTES = 1536 << 20
RESULT_BYTES_MAX = 1 << 16
CHILD = (sys.executable, "-P", "-m", "models.decoder_child")
#: No codec has to look at these.
IN_PLACE = frozenset((uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian))


class DecoderKilledError(InputError):
    """A decoder was killed by a film"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What the network sees of a film.

    Attributes
    ----------
    header : Header
        What the file says of itself.
    tensor : ndarray of float32, shape (1, rows, columns)
        The network's input.
    decoder : str
        Which library decoded it, with its version.
    """

    header: Header
    tensor: NDArray[np.float32]
    decoder: str


class Decoders:
    """Lanes of decoder children; safe to use from many threads. A context manager.

    Parameters
    ----------
    children : int or None
        Children of the common lane at most; as many as cores if None. JPEG 2000 gets half as many, at least one.
    timeout_s : float
        How long a film of up to ``TIMED_PIXELS`` may take in a child, wall clock; larger ones in proportion.
    memory_bytes : int
        How much one child may take beyond what it starts with.
    child : sequence of str
        The command that a child runs.
    """

    def __init__(
        self,
        *,
        children: int | None = None,
        timeout_s: float = TIMEOUT_S,
        memory_bytes: int = MEMORY_BYTES,
        child: Sequence[str] = CHILD,
    ) -> None:
        count = children if children is not None else len(os.sched_getaffinity(0))
        if count < 1:
            raise ValueError(f"{count} children; at least one is needed")
        terms = _Terms(child=tuple(child), timeout_s=timeout_s, memory_bytes=memory_bytes)
        self._common = _Lane(terms, count)
        self._jpeg_2000 = _Lane(terms, max(1, count // 2))

    def __enter__(self) -> Self:
        """Return itself; children start when first needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End all children, busy ones too: whoever waits for one gets a ``DecoderKilledError``."""
        self._common.close()
        self._jpeg_2000.close()

    def decode(self, data: bytes | memoryview, spec: InputSpec, header: Header | None = None) -> Film:
        """Return what the network sees of a film.

        Parameters
        ----------
        data : bytes-like
            A DICOM, PNG or JPEG file.
        spec : InputSpec
            The network's input.
        header : Header or None
            What ``read_header`` gave for this DICOM file, where the caller has it already: reading it takes a millisecond.

        Raises
        ------
        InputError
            If it is none of these, or breaks a bound.
        UndecodableError
            If there is no single grey film in it, or its pixels cannot be decoded.
        DecoderKilledError
            If decoding took too long or too much memory, or crashed.
        """
        if header is None and is_dicom(data):
            header = read_header(data)
        if header is not None and header.transfer_syntax in IN_PLACE:
            picture = read_picture(data)
            return Film(header=header, tensor=preprocess(picture.pixels, spec), decoder=picture.decoder)
        lane = self._jpeg_2000 if header is not None and header.transfer_syntax in JPEG_2000 else self._common
        return lane.decode(data, spec, header)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """How children are started, and what one may take."""

    child: tuple[str, ...]
    timeout_s: float
    memory_bytes: int


class _Lane:
    """Children for one kind of film: idle ones are used again, the latest first."""

    def __init__(self, terms: _Terms, size: int) -> None:
        self._terms = terms
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._is_closed = False

    def decode(self, data: bytes | memoryview, spec: InputSpec, header: Header | None) -> Film:
        with self._free:
            child = self._take()
            try:
                film = child.decode(data, spec, header)
            except DecoderKilledError:
                self._drop(child)
                raise
            except InputError:
                self._put_back(child)
                raise
            except BaseException:  # what state the child is in is not known
                self._drop(child)
                raise
            self._put_back(child)
            return film

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            children = [*self._idle, *self._busy]
            self._idle.clear()
        for child in children:
            child.kill()

    def _take(self) -> "_Child":
        with self._lock:
            if self._is_closed:
                raise DecoderKilledError("the decoders are closed")
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    self._busy.add(child)
                    return child
        started = _Child(self._terms)
        with self._lock:
            if not self._is_closed:
                self._busy.add(started)
                return started
        started.kill()
        raise DecoderKilledError("the decoders are closed")

    def _put_back(self, child: "_Child") -> None:
        with self._lock:
            self._busy.discard(child)
            if not self._is_closed:
                self._idle.append(child)
                return
        child.kill()

    def _drop(self, child: "_Child") -> None:
        child.kill()
        with self._lock:
            self._busy.discard(child)


class _Child:
    """One process and the socket to it."""

    def __init__(self, terms: _Terms) -> None:
        self._terms = terms
        self._channel, theirs = socket.socketpair()
        arguments = [*terms.child, str(theirs.fileno()), str(terms.memory_bytes)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                arguments,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self._channel.settimeout(START_TIMEOUT_S)
        try:
            is_ready = self._channel.recv(1) == READY
        except OSError:
            is_ready = False
        if not is_ready:
            self.kill()
            raise DecoderKilledError("a decoder could not be started")

    def decode(self, data: bytes | memoryview, spec: InputSpec, header: Header | None) -> Film:
        """Have a film decoded; DecoderKilledError if it does not come back in time or at all."""
        pixels = header.rows * header.columns if header is not None else 0
        timeout_s = self._terms.timeout_s * max(1.0, pixels / TIMED_PIXELS)
        deadline = time.monotonic() + timeout_s
        # A child that hangs after its parent was killed is ended by its own alarm.
        parameters = json.dumps({"spec": spec.to_json(), "alarm_s": timeout_s + 2.0}).encode()
        try:
            self._channel.settimeout(timeout_s)
            self._channel.sendall(REQUEST.pack(len(parameters), len(data)) + parameters)
            self._channel.sendall(data)
            status, result_size, tensor_size = ANSWER.unpack(self._receive(ANSWER.size, deadline))
            if result_size > RESULT_BYTES_MAX or tensor_size not in (0, 4 * spec.rows * spec.columns):
                raise DecoderKilledError("a decoder answered nonsense")
            result = self._receive(result_size, deadline).decode()
            tensor = self._receive(tensor_size, deadline)
        except TimeoutError:
            raise DecoderKilledError(f"decoding took longer than {timeout_s:.3g} s") from None
        except (OSError, EOFError, UnicodeDecodeError):
            raise DecoderKilledError("the decoder crashed, or needed more memory than it may have") from None
        if status != Status.DONE:
            raise UndecodableError(result) if status == Status.UNDECODABLE else InputError(result)
        return _film(result, tensor, spec, header)

    def is_alive(self) -> bool:
        """Say whether the process still runs: one that was killed while idle is no film's fault."""
        if self._process.poll() is None:
            return True
        self._channel.close()
        return False

    def kill(self) -> None:
        """End the process, whatever it does, and wait for its end; may be called twice and from another thread."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._channel.close()

    def _receive(self, size: int, deadline: float) -> bytearray:
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        return receive(self._channel, size)


def _environment() -> dict[str, str]:
    """Return all that a child needs to know: what the service is configured with (secrets) is no business of a codec's."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}


def _film(result: str, tensor: bytearray, spec: InputSpec, header: Header | None) -> Film:
    """Return the film that a child has answered; a child that met a hostile film is not trusted blindly."""
    try:
        fields = json.loads(result)
        told = from_canonical_json(Header, fields["header"]) if header is None else header
        pixels = np.frombuffer(tensor, dtype="<f4").reshape(1, spec.rows, spec.columns)
        return Film(header=told, tensor=pixels, decoder=str(fields["decoder"]))
    except (ValueError, KeyError, TypeError, DataError):
        raise DecoderKilledError("a decoder answered nonsense") from None
