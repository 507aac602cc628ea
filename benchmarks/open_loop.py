"""How long a sender waits for a decision when films come at random, at 30, 50 and 70 % of what the cores can do.

    python -m benchmarks.open_loop [--database sqlite] [--seconds 20]

Films of 1 MB arrive as a Poisson process at ``POST /v1/studies``, whether the ones before are answered or not; the time counts
from when a film ought to have been sent. What the cores can do is the tight loop's throughput on all of them, and the unit of
time is what the tight loop takes for one film on one thread, both measured just before.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.front_door import SIZES
from benchmarks.hot_path import tight
from benchmarks.posting import RELEASE, Films, Posters, running
from deploy.candidate import Candidate
from deploy.runtime import Engine

CONNECTIONS = 64
#: Share of what the cores can do, and the most that p99 may be in films of one thread; alone it is p50 that counts.
LOADS = {0.0: 0.75, 0.3: 2.5, 0.5: 4.0, 0.7: 7.0}


def arrive(posters: Posters, films: Films, rng: np.random.Generator, *, rate: float, count: int) -> list[float]:
    """Send films at random times, on average so many a second; return how long each took, in seconds."""
    due = time.perf_counter() + np.cumsum(rng.exponential(1 / rate, count))

    futures = []
    for moment in due:
        time.sleep(max(0.0, moment - time.perf_counter()))
        futures.append(posters.post(films))
    return [future.result() - moment for future, moment in zip(futures, due, strict=True)]


def alone(posters: Posters, films: Films, count: int) -> list[float]:
    """Send films one after the other; return how long each took, in seconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        posters.post_all(films, 1)
        times.append(time.perf_counter() - began)
    return times


def capacity(engine: Engine, films: Films, count: int) -> tuple[float, float]:
    """Return the tight loop's films a second on all cores, and its seconds a film on one thread."""
    with ThreadPoolExecutor(engine.threads) as pool:
        list(pool.map(lambda _: tight(engine, films.data), range(count)))
        began = time.perf_counter()
        list(pool.map(lambda _: tight(engine, films.data), range(count)))
        rate = count / (time.perf_counter() - began)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        tight(engine, films.data)
        times.append(time.perf_counter() - began)
    return rate, float(np.median(times))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="sqlite", choices=["sqlite", "postgresql"])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each load; %(default)s")
    options = parser.parse_args()
    rows, columns, *_ = SIZES["1 MB"]
    films, rng = Films(rows, columns), np.random.default_rng(0)
    table = Table(
        "load", "films/s", "films", "p50, ms", "p99, ms", "p50 in films of one thread", "p99 in films of one thread"
    )
    with (
        tempfile.TemporaryDirectory(prefix="demur-bench-") as folder,
        Engine(Candidate.open(RELEASE / "candidate")) as engine,
        running(Path(folder), options.database) as service,
    ):
        for load, most in LOADS.items():
            rate, one_s = capacity(engine, films, 40)
            count = max(20, round(load * rate * options.seconds))
            # Connections anew, since the service closes those that were silent while the limit was measured.
            with Posters(service, "/v1/studies", len(films.data), CONNECTIONS) as posters:
                posters.post_all(films, CONNECTIONS)
                times = (
                    arrive(posters, films, rng, rate=load * rate, count=count) if load else alone(posters, films, count)
                )
            middle, late = np.percentile(times, [50, 99])
            target = f" (≤ {most:g})"
            table.add_row(
                f"{load:.0%}" if load else "alone",
                f"{load * rate:.1f}" if load else "",
                str(count),
                f"{1000 * middle:.0f}",
                f"{1000 * late:.0f}",
                f"{middle / one_s:.2f}{'' if load else target}",
                f"{late / one_s:.2f}{target if load else ''}",
            )
    console = Console(width=140)
    console.print(table)
    console.print(f"{options.database}; one film on one thread at the end: {1000 * one_s:.1f} ms; targets in brackets")


if __name__ == "__main__":
    main()
