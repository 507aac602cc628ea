"""What would others clear, held to the same certificate, on the same films?

    python benchmarks/baselines.py --calibration calibration.parquet --test test.parquet --test unseen.parquet

Reads score tables as ``demur score`` writes them, with the members' logits. Each baseline gets its threshold from the
calibration table by the certificate's own rule (sites and strata as groups), and is counted on the other tables: one
network by its softmax (for two classes that orders films as its logit does), for every member; the deep ensemble's mean
probability; the mean logit; and the score as exported, with its limit of strangeness. Phantoms have one study per patient.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet
from scipy.special import expit, logit

from calibration.bounds import miss_rate_limit, misses_allowed
from calibration.threshold import count_accepted, group_threshold

MISS_DELTA = 0.04
_SURE = 1e-15

Rule = Callable[["Scored"], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score table as arrays, one study per row."""

    name: str
    abnormal: NDArray[np.bool_]
    site: NDArray[np.str_]
    stratum: NDArray[np.str_]
    score: NDArray[np.float64]
    logits: NDArray[np.float64]


def read(path: Path) -> Scored:
    """Read a table with logits."""
    columns = parquet.read_table(path).to_pydict()
    members = sorted(name for name in columns if name.startswith("logit_"))
    return Scored(
        name=path.stem,
        abnormal=np.array([label == "abnormal" for label in columns["label"]]),
        site=np.array(columns["site"], str),
        stratum=np.array(columns["stratum"], str),
        score=np.array(columns["score"], float),
        logits=np.stack([np.array(columns[name], float) for name in members], axis=1),
    )


def threshold(table: Scored, scores: NDArray[np.float64], rate: float) -> float:
    """Return the least of the groups' thresholds."""
    groups = [table.site == name for name in np.unique(table.site)]
    groups += [table.stratum == name for name in np.unique(table.stratum[table.abnormal])]
    found = []
    for group in groups:
        abnormal = scores[group & table.abnormal]
        allowed = misses_allowed(len(abnormal), rate, MISS_DELTA)
        if allowed is None:
            return -np.inf
        found.append(group_threshold(abnormal, allowed))
    return min(found)


def line(name: str, rule: Rule, calibration: Scored, tests: list[Scored], rate: float) -> str:
    """Return one row of the table: misses, healthy cleared, and the least of a site."""
    limit = threshold(calibration, rule(calibration), rate)
    cells = []
    for table in tests:
        scores = rule(table)
        missed = count_accepted(scores[table.abnormal], limit)
        shares = [
            count_accepted(scores[~table.abnormal & (table.site == site)], limit)
            / (~table.abnormal & (table.site == site)).sum()
            for site in np.unique(table.site[~table.abnormal])
        ]
        cleared = count_accepted(scores[~table.abnormal], limit) / (~table.abnormal).sum()
        cells.append(f"{missed} of {table.abnormal.sum()} | {cleared:.1%} ({min(shares):.1%})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, action="append", required=True)
    parser.add_argument("--alpha", type=float, default=0.0005)
    parser.add_argument("--max-prevalence", type=float, default=0.1)
    parser.add_argument("--min-healthy-acceptance", type=float, default=0.5)
    asked = parser.parse_args()
    calibration, tests = read(asked.calibration), [read(path) for path in asked.test]
    rate = miss_rate_limit(asked.alpha, asked.max_prevalence, asked.min_healthy_acceptance)
    members = range(calibration.logits.shape[1])
    rules: dict[str, Rule] = {
        f"member {member} alone": lambda table, member=member: table.logits[:, member] for member in members
    }
    rules["mean probability"] = lambda table: logit(np.clip(expit(table.logits).mean(1), _SURE, 1 - _SURE))
    rules["mean logit"] = lambda table: table.logits.mean(1)
    rules["as exported"] = lambda table: table.score
    heads = [f"{table.name}: missed | healthy cleared (worst site)" for table in tests]
    print(f"| score | {' | '.join(heads)} |")
    print("|---|" + "---|---|" * len(tests))
    for name, rule in rules.items():
        print(line(name, rule, calibration, tests, rate))


if __name__ == "__main__":
    main()
