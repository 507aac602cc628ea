"""Decoder children: real processes, really hung, crashed and killed."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from models.codecs import UndecodableError
from models.decoding import DecoderKilledError, Decoders
from models.errors import InputError
from models.films import read_film
from models.preprocess import InputSpec, preprocess

_module = importlib.util.spec_from_file_location("film_builders", Path(__file__).with_name("conftest.py"))
assert _module is not None
assert _module.loader is not None
_builders = importlib.util.module_from_spec(_module)
_module.loader.exec_module(_builders)
coded, ENCODE = _builders.coded, _builders.ENCODE

SPEC = InputSpec(rows=32, columns=32)
#: Holds the interpreter's lock inside a function of C, as a codec may.
HANG = "re.match(r'(a+)+$', 'a' * 60 + 'b')"


def processes(decoders: Decoders) -> list[int]:
    lanes = (decoders._common, decoders._jpeg_2000)
    return [child._process.pid for lane in lanes for child in (*lane._idle, *lane._busy)]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_child_gives_the_same_input_as_this_process_bit_for_bit():
    with Decoders(children=1) as decoders:
        for syntax in ENCODE:
            data = coded(syntax)
            film = decoders.decode(memoryview(data), SPEC)
            here = read_film(data)
            assert (film.tensor == preprocess(here.pixels, SPEC)).all()
            assert (film.header, film.decoder) == (here.header, here.decoder)
        assert len(processes(decoders)) == 2  # one for JPEG 2000, one for all others


def test_uncompressed_films_need_no_child():
    with Decoders() as decoders:
        film = decoders.decode(coded(uid.ExplicitVRLittleEndian), SPEC)
        assert film.tensor.shape == (1, 32, 32)
        assert processes(decoders) == []


def test_png_is_decoded_in_a_child_with_its_own_header():
    import io

    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(np.arange(4000, dtype=np.int64).reshape(80, 50).astype(np.uint8)).save(target, "PNG")
    with Decoders(children=1) as decoders:
        film = decoders.decode(target.getvalue(), SPEC)
        assert (film.header.rows, film.header.columns, film.header.modality) == (80, 50, "")
        with pytest.raises(InputError):
            decoders.decode(target.getvalue()[:60], SPEC)
        assert len(processes(decoders)) == 1


def test_a_film_that_cannot_be_read_costs_no_child():
    with Decoders(children=1) as decoders:
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        before = processes(decoders)
        with pytest.raises(UndecodableError, match="cut off"):
            decoders.decode(coded(uid.JPEGLSLossless, damage=lambda data: data[:2000]), SPEC)
        with pytest.raises(InputError):
            decoders.decode(b"not a film", SPEC)
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        assert processes(decoders) == before


def test_a_child_that_hangs_is_killed_and_replaced(misbehaving):
    with Decoders(children=1, timeout_s=1.0, child=misbehaving(HANG)) as decoders:
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        (hung,) = processes(decoders)
        with pytest.raises(DecoderKilledError, match="longer than 1 s"):
            decoders.decode(coded(uid.JPEGLSLossless, columns=40), SPEC)
        assert not is_running(hung)
        assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)


def test_a_codestream_on_which_a_codec_really_hangs_is_survived():
    """CharLS searches for seconds to minutes where the scan ends early but the end is marked."""
    data = coded(uid.JPEGLSLossless, damage=lambda data: data[: len(data) // 2] + b"\xff\xd9")
    with Decoders(children=1, timeout_s=1.0) as decoders:
        with pytest.raises(InputError):
            decoders.decode(data, SPEC)
        assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)


def test_a_child_that_crashes_is_replaced(misbehaving):
    with Decoders(children=1, child=misbehaving("os.abort()")) as decoders:
        with pytest.raises(DecoderKilledError, match="crashed"):
            decoders.decode(coded(uid.JPEGLSLossless, columns=40), SPEC)
        assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)


def test_a_child_that_wants_more_memory_than_it_may_fails_alone(misbehaving):
    greedy = misbehaving("hoard = bytearray(1 << 30); raise AssertionError('had it')")
    with Decoders(children=1, memory_bytes=256 << 20, child=greedy) as decoders:
        with pytest.raises(InputError) as refused:
            decoders.decode(coded(uid.JPEGLSLossless, columns=40), SPEC)
        assert "MemoryError" in str(refused.value)
        assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)


def test_a_child_that_was_killed_while_idle_is_no_film_s_fault():
    with Decoders(children=1) as decoders:
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        (pid,) = processes(decoders)
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not is_running(pid))
        assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)


@pytest.mark.parametrize(
    "script",
    [
        "s.sendall(b'R'); s.recv(9); s.sendall(b'\\xff' * 9)",
        "s.sendall(b'R'); s.recv(9); import struct; s.sendall(struct.pack('<BII', 0, 2, 4096) + b'{}' + bytes(4096))",
        "s.sendall(b'R')",
        "pass",
    ],
)
def test_a_child_that_answers_nonsense_or_does_not_start_is_not_believed(script, tmp_path):
    liar = tmp_path / "liar.py"
    liar.write_text(f"import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\n{script}\n")
    with (
        Decoders(children=1, child=(sys.executable, "-P", str(liar))) as decoders,
        pytest.raises(DecoderKilledError),
    ):
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)


def test_jpeg_2000_does_not_block_the_others(misbehaving):
    slow = misbehaving("time.sleep(600)")
    with Decoders(children=1, timeout_s=120.0, child=slow) as decoders, ThreadPoolExecutor(3) as pool:
        stuck = [pool.submit(decoders.decode, coded(uid.JPEG2000Lossless, columns=40), SPEC) for _ in range(2)]
        assert wait_until(lambda: len(processes(decoders)) == 1)
        for _ in range(3):
            assert decoders.decode(coded(uid.JPEGLSLossless), SPEC).tensor.shape == (1, 32, 32)
        assert not any(future.done() for future in stuck)
        decoders.close()
        for future in stuck:
            with pytest.raises(DecoderKilledError):
                future.result(timeout=30)


def test_closing_ends_every_child_and_what_comes_after_is_refused():
    decoders = Decoders(children=2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda syntax: decoders.decode(coded(syntax), SPEC), list(ENCODE) * 2))
    pids = processes(decoders)
    assert pids
    decoders.close()
    decoders.close()
    assert not any(is_running(pid) for pid in pids)
    with pytest.raises(DecoderKilledError, match="closed"):
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)


def test_many_threads_share_few_children_and_all_get_their_own_film():
    films = {columns: coded(uid.JPEGLosslessSV1, columns=columns) for columns in range(50, 66)}
    expected = {columns: preprocess(read_film(data).pixels, SPEC) for columns, data in films.items()}
    with Decoders(children=2) as decoders, ThreadPoolExecutor(8) as pool:
        jobs = [(columns, pool.submit(decoders.decode, data, SPEC)) for columns, data in list(films.items()) * 4]
        for columns, job in jobs:
            assert (job.result().tensor == expected[columns]).all()
        assert len(processes(decoders)) <= 2


def test_no_child_is_left_when_the_parent_is_killed_even_a_hung_one(misbehaving, tmp_path):
    film = tmp_path / "film.dcm"
    film.write_bytes(coded(uid.JPEGLSLossless, columns=40))
    good = tmp_path / "good.dcm"
    good.write_bytes(coded(uid.JPEG2000Lossless))
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from models.decoding import Decoders\n"
        "from models.preprocess import InputSpec\n"
        f"decoders = Decoders(children=1, timeout_s=2.0, child={misbehaving(HANG)!r})\n"
        "spec = InputSpec(rows=32, columns=32)\n"
        f"decoders.decode(Path({str(good)!r}).read_bytes(), spec)\n"
        f"threading.Thread(target=decoders.decode, args=(Path({str(film)!r}).read_bytes(), spec)).start()\n"
        "while not decoders._common._busy: time.sleep(0.01)\n"
        "lanes = (decoders._common, decoders._jpeg_2000)\n"
        "print(*[c._process.pid for lane in lanes for c in (*lane._idle, *lane._busy)], flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-P", str(parent)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        process.kill()
    assert wait_until(lambda: not any(map(is_running, pids)))


def test_an_exception_of_ours_in_the_parent_leaves_no_child_in_an_unknown_state(monkeypatch):
    with Decoders(children=1) as decoders:
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        (pid,) = processes(decoders)
        monkeypatch.setattr("models.decoding._film", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        assert not is_running(pid)


def test_a_child_knows_nothing_of_how_the_service_is_configured(monkeypatch):
    monkeypatch.setenv("DEMUR_DATABASE", "postgresql://user:secret@host/demur")
    with Decoders(children=1) as decoders:
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)
        (pid,) = processes(decoders)
        assert "secret" not in Path(f"/proc/{pid}/environ").read_text()


def test_no_children_at_all_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="at least one"):
        Decoders(children=0)


BOMB = """
import resource, struct, sys, zlib
from models.dicom import read_header, read_picture
from models.errors import InputError
packer = zlib.compressobj(9, zlib.DEFLATED, -15)
meta = b"\\0" * 128 + b"DICM" + b"\\x02\\0\\x10\\0UI" + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99"
body = [packer.compress({first!r})] + [packer.compress(bytes(1 << 20)) for _ in range(400)] + [packer.flush()]
bomb = meta + b"".join(body)
assert len(bomb) < 420_000, len(bomb)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for read in (read_header, read_picture):
    try:
        read(bomb)
        print("read", end=" ")
    except InputError as error:
        print("refused", end=" ")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
"""


def test_a_deflate_bomb_of_400_kb_does_not_cost_a_gigabyte(tmp_path):
    private = b"\x09\0\x01\x10OB\0\0\xff\xff\xff\x1f"
    script = tmp_path / "bomb.py"
    script.write_text(BOMB.format(first=private))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-P", str(script)], capture_output=True, text=True, env=environment, check=True
    )
    *outcomes, kilobytes = done.stdout.split()
    assert outcomes == ["refused", "refused"]
    assert int(kilobytes) < 100_000


def test_starting_children_from_many_threads_at_once_stays_within_the_lane():
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        decoders.decode(coded(uid.JPEGLSLossless), SPEC)

    with Decoders(children=2) as decoders, ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(work) for _ in range(4)]:
            job.result()
        assert 1 <= len(processes(decoders)) <= 2
