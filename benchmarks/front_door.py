"""What the service adds to decoding and inference: HTTP, storage, database and ledger, against the tight loop in the same minute.

    python -m benchmarks.front_door [--database sqlite postgresql] [--rounds 3] [--films 60]

A real ``demur serve`` on the demonstration release takes raw films of 1 and 10 MB over sixteen connections that are kept open,
each film a study and patient of its own: by ``POST /v1/studies``, which answers with the decision, and by STOW-RS, until all are
decided. The tight loop decodes, preprocesses and infers the same film in this process, on as many threads as there are cores.
Both are measured in turns. CPU counts the service with its decoders and, on PostgreSQL, the server; not the client. Throughput is
set against the tight loop's; the client's work on the same cores counts against the service there.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.hot_path import tight
from benchmarks.posting import RELEASE, Films, Posters, Running, running
from deploy.candidate import Candidate
from deploy.runtime import Engine

CONNECTIONS = 16
#: Rows, columns; least CPU ratio, most CPU milliseconds around it, least throughput share.
SIZES = {"1 MB": (1024, 512, 0.92, 2.0, 0.90), "10 MB": (2560, 2048, 0.88, 4.0, 0.80)}
WAYS = {"POST /v1/studies": "/v1/studies", "STOW-RS": "/dicom-web/studies"}


def measure(work: Callable[[], None], cpu_s: Callable[[], float], count: int) -> tuple[float, float]:
    """Return CPU milliseconds and wall milliseconds per film."""
    cpu, wall = cpu_s(), time.perf_counter()
    work()
    return 1000 * (cpu_s() - cpu) / count, 1000 * (time.perf_counter() - wall) / count


def compare(
    engine: Engine, service: Running, path: str, films: Films, *, rounds: int, count: int
) -> tuple[float, float, float]:
    """Return CPU ms of the tight loop and of the service, and the throughput's share; the median of the rounds."""
    with ThreadPoolExecutor(engine.threads) as pool, Posters(service, path, len(films.data), CONNECTIONS) as posters:

        def bare() -> None:
            list(pool.map(lambda _: tight(engine, films.data), range(count)))

        def whole() -> None:
            posters.post_all(films, count)
            while service.undecided():
                time.sleep(0.05)

        bare(), whole()
        found = [
            (*measure(bare, time.process_time, count), *measure(whole, service.cpu_s, count)) for _ in range(rounds)
        ]
    bare_cpu, bare_wall, whole_cpu, whole_wall = np.array(found).T
    return float(np.median(bare_cpu)), float(np.median(whole_cpu)), float(np.median(bare_wall / whole_wall))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    parser.add_argument("--films", type=int, default=60, help="films per round; %(default)s")
    options = parser.parse_args()
    print(f"milliseconds of CPU per film; {CONNECTIONS} connections; targets in brackets")
    with Engine(Candidate.open(RELEASE / "candidate")) as engine:
        for kind in options.database:
            with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder, running(Path(folder), kind) as service:
                for size in options.sizes:
                    rows, columns, ratio_least, around_most, share_least = SIZES[size]
                    films = Films(rows, columns)
                    for way, path in WAYS.items():
                        bare, whole, share = compare(
                            engine, service, path, films, rounds=options.rounds, count=options.films
                        )
                        print(
                            f"{kind:10} {way:16} {size:>5}  tight {bare:5.1f}  service {whole:5.1f}  around "
                            f"{whole - bare:5.1f} (≤ {around_most:g})  CPU ratio {bare / whole:.2f} (≥ {ratio_least})  "
                            f"throughput {share:.2f} (≥ {share_least:.2f})",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
