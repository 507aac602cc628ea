"""How long does it take to certify a million rows, and ten times as many, and in how much memory?

    python benchmarks/certify.py [--rows 1000000] [--times 10]

Writes score tables of a few studies per patient, eight sites and five strata as Parquet, and certifies each in a process
of its own: reading, checking, grouping by patient, every group's test, digest and JSON. Prints seconds, CPU (which other work on
the machine disturbs less), the most memory, and how many times the larger table costs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

STRATA = ("mass", "effusion", "fracture", "pneumothorax", "opacity")


def write_table(path: Path, rows: int, seed: int = 1) -> None:
    """Write a table of ``rows`` studies in random order, three studies per patient on average."""
    generator = np.random.default_rng(seed)
    patient = generator.integers(0, rows // 3, rows)
    abnormal = patient % 4 == 0
    stratum = np.where(abnormal, 1 + patient // 4 % len(STRATA), 0)
    score = generator.normal(size=rows) + 6.0 * abnormal

    def names(prefix: str, values: np.ndarray) -> pa.Array:
        text = pa.array(values).cast(pa.string())
        return pa.compute.binary_join_element_wise(pa.scalar(prefix), text, "-")

    table = pa.table(
        {
            "study": names("1.2.826.0.1.3680043", np.arange(rows)),
            "patient": names("patient", patient),
            "site": names("site", patient // 20 % 8),
            "stratum": pa.array(["", *STRATA]).take(pa.array(stratum)),
            "label": pa.array(["healthy", "abnormal"]).take(pa.array(abnormal.astype(int))),
            "score": score,
        }
    )
    parquet.write_table(table.take(pa.array(generator.permutation(rows))), path)


def certify(path: Path) -> None:
    """Certify a table and print seconds and megabytes, as JSON; the process's own memory is counted from its start."""
    from calibration.certificate import certify as certified
    from calibration.scores import read_scores
    from calibration.terms import Terms

    terms = Terms(
        max_prevalence=0.3,
        min_healthy_acceptance=0.5,
        issued=datetime(2026, 1, 1, tzinfo=UTC),
        expires=datetime(2027, 1, 1, tzinfo=UTC),
    )
    start, busy = time.perf_counter(), time.process_time()
    result = certified(read_scores(path), terms)
    size = len(result.to_json())
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"seconds": seconds, "cpu": cpu, "megabytes": megabytes, "bytes": size, "kind": type(result).__name__}
    sys.stdout.write(json.dumps(found))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        certify(options.one)
        return
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in (options.rows, options.rows * options.times):
            path = Path(folder) / "scores.parquet"
            write_table(path, rows)
            command = [sys.executable, __file__, "--one", str(path)]
            run = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            runs.append(run)
            sys.stdout.write(
                f"{rows:>12,} rows: {run['seconds']:6.2f} s, {run['cpu']:6.2f} s of CPU, {run['megabytes']:6.0f} MB "
                f"({run['kind']})\n"
            )
            sys.stdout.flush()
    ratios = {name: runs[1][name] / runs[0][name] for name in ("seconds", "cpu")}
    sys.stdout.write(
        f"{options.times} times the rows cost {ratios['seconds']:.1f} times the time, {ratios['cpu']:.1f} times the CPU\n"
    )


if __name__ == "__main__":
    main()
