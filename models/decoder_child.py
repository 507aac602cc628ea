"""The process in which codecs run: reads films from a socket, answers with network inputs, and may be killed at any time.

It ends by itself when its parent does (the socket's end), when one film takes longer than it may (the kernel's alarm, which
needs no cooperation of a codec that hangs), and when it wants more memory than it may.

Request: lengths of parameters and film (two uint32), the parameters as JSON, the film. Answer: status (uint8), lengths of
result and tensor (two uint32), the result as JSON, the tensor as float32. All little endian.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys
from enum import IntEnum

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<BII")
READY = b"R"

# glibc's malloc.h: how much may be free at the end before it is given back, and from which size blocks are mapped apart.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class Status(IntEnum):
    """How a film went."""

    #: Result and tensor follow.
    DONE = 0
    #: ``InputError`` with this message.
    UNREADABLE = 1
    #: ``UndecodableError`` with this message.
    UNDECODABLE = 2


def receive(channel: socket.socket, size: int) -> bytearray:
    """Return exactly ``size`` bytes; EOFError if the other side ends before."""
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = channel.recv_into(view[filled:])
        if count == 0:
            raise EOFError
        filled += count
    return data


def serve(channel: socket.socket) -> None:
    """Answer requests until the other side ends."""
    channel.sendall(READY)
    while True:
        try:
            parameters_size, film_size = REQUEST.unpack(receive(channel, REQUEST.size))
            parameters = json.loads(receive(channel, parameters_size))
            film = receive(channel, film_size)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, parameters["alarm_s"])
        status, result, tensor = _work(parameters["spec"], film)
        signal.setitimer(signal.ITIMER_REAL, 0)
        channel.sendall(ANSWER.pack(status, len(result), len(tensor)) + result)
        channel.sendall(tensor)


def _work(spec: str, film: bytearray) -> tuple[Status, bytes, bytes]:
    """Decode and preprocess one film."""
    from models.canonical import to_canonical_json
    from models.codecs import UndecodableError
    from models.errors import InputError
    from models.films import read_film
    from models.preprocess import InputSpec, preprocess

    try:
        picture = read_film(memoryview(film))
        tensor = preprocess(picture.pixels, InputSpec.from_json(spec))
    except UndecodableError as error:
        return Status.UNDECODABLE, str(error).encode(), b""
    except InputError as error:
        return Status.UNREADABLE, str(error).encode(), b""
    except MemoryError:
        return Status.UNDECODABLE, b"the film needs more memory than a decoder may have", b""
    result = json.dumps({"decoder": picture.decoder, "header": to_canonical_json(picture.header)})
    return Status.DONE, result.encode(), tensor.tobytes()


def keep_freed_memory() -> None:
    """Have this process's allocator keep blocks of the size of films instead of returning each to the kernel.

    A fresh block costs one page fault for every 4 kB: more than half of the CPU time of an uncompressed 10 MB film.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


def main() -> None:
    """Run as ``python -m models.decoder_child DESCRIPTOR BYTES``."""
    descriptor, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this one
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)  # what a codec prints may quote the film
    import imagecodecs  # noqa: F401 - loaded before the first film and before the limit

    import models.films  # noqa: F401

    keep_freed_memory()
    mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes, mapped + memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as channel:
        serve(channel)


if __name__ == "__main__":
    main()
