"""What do more members, their disagreement and the limit of strangeness bring? From a candidate's score tables, no training.

    python -m benchmarks.members runs/candidate --calibration calibration.parquet --test test.parquet --test unseen.parquet

Every subset of the members is held to the certificate as in ``benchmarks/baselines.py``: members' logits by the candidate's
centres and scales, their mean plus a weight on their standard deviation, with or without the limit of strangeness. Of
subsets of one size, mean and range are told: healthy films cleared at the certified threshold, and abnormal ones missed.
"""

import argparse
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Scored, count, read, threshold
from calibration.bounds import miss_rate_limit
from deploy.candidate import RULE
from models.scoring import ScoreRule

RATE = miss_rate_limit(0.0005, 0.1, 0.5)
#: Weights of the members' standard deviation.
WEIGHTS = (0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How some members' logits become a score."""

    members: tuple[int, ...]
    weight: float
    gated: bool


def score(table: Scored, rule: ScoreRule, reading: Reading) -> NDArray[np.float64]:
    """Return the scores of a table's films."""
    chosen = list(reading.members)
    z = ((table.logits - np.array(rule.centre)) / np.array(rule.scale))[:, chosen]
    scores = z.mean(1) + reading.weight * z.std(1)
    return np.where(np.isfinite(table.score), scores, np.inf) if reading.gated else scores


def row(name: str, readings: list[Reading], rule: ScoreRule, calibration: Scored, tests: list[Scored]) -> str:
    """Return one row: over the readings, healthy films cleared and abnormal ones missed, mean and range."""
    limits = [threshold(calibration, score(calibration, rule, reading), RATE) for reading in readings]
    cells = []
    for table in tests:
        cleared, missed = [], []
        for reading, limit in zip(readings, limits, strict=True):
            scores = score(table, rule, reading)
            below, healthy = count(scores, limit, ~table.abnormal)
            cleared.append(100 * below / healthy)
            missed.append(count(scores, limit, table.abnormal)[0])
        cells.append(f"{_spread(cleared, 1)} % | {_spread(missed, 0)} of {table.abnormal.sum():,}")
    return f"| {name} | {' | '.join(cells)} |"


def _spread(values: list[float] | list[int], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{np.mean(values):.1f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, action="append", required=True)
    asked = parser.parse_args()
    rule = ScoreRule.from_json((asked.candidate / RULE).read_text(encoding="utf-8"))
    calibration, tests = read(asked.calibration), [read(path) for path in asked.test]
    every = tuple(range(len(rule.centre)))
    print(f"| reading | {' | '.join(f'{table.name}: cleared | missed' for table in tests)} |")
    print("|---|" + "---|---|" * len(tests))
    for size in range(1, len(every) + 1):
        readings = [Reading(members=some, weight=0.0, gated=False) for some in combinations(every, size)]
        print(row(f"{size} of {len(every)} members, mean z", readings, rule, calibration, tests))
    for weight in WEIGHTS[1:]:
        readings = [Reading(members=every, weight=weight, gated=False)]
        print(row(f"all, mean z + {weight:g} × disagreement", readings, rule, calibration, tests))
    for weight in WEIGHTS:
        readings = [Reading(members=every, weight=weight, gated=True)]
        print(
            row(f"all, mean z + {weight:g} × disagreement, strange films abstain", readings, rule, calibration, tests)
        )


if __name__ == "__main__":
    main()
