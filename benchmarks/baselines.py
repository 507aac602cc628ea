"""What would others clear, held to the same certificate, on the same films?

    python -m benchmarks.baselines --calibration calibration.parquet --test test.parquet --test unseen.parquet
        [--dropout runs/dropout] [--groups]

Reads score tables as ``demur score`` writes them, with the members' logits, and below ``--dropout`` tables of the same names as
``benchmarks/dropout.py`` writes them. Each contender gets its threshold from the calibration table by the certificate's own
rule (sites and strata as groups), and is counted on the other tables: one network by its maximum softmax (for two classes that
orders films as its logit does), for every member; Monte Carlo dropout; the deep ensemble's mean probability; the mean logit;
and the score as exported, with its limit of strangeness. ``--groups`` tells the release and the three usual baselines per site
and stratum, with exact 95 % intervals. Phantoms have one study per patient.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet
from scipy.special import expit, logit

from calibration.bounds import lower_bound, miss_rate_limit, misses_allowed, upper_bound
from calibration.threshold import count_accepted, group_threshold

MISS_DELTA = 0.04
_SURE = 1e-15

#: Of a two-sided 95 % interval.
TAIL = 0.025

Rule = Callable[["Scored"], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A score table as arrays, one study per row."""

    name: str
    study: NDArray[np.str_]
    abnormal: NDArray[np.bool_]
    site: NDArray[np.str_]
    stratum: NDArray[np.str_]
    score: NDArray[np.float64]
    logits: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A score that is held to the certificate."""

    name: str
    rule: Rule
    calibration: Scored
    tests: tuple[Scored, ...]


def read(path: Path) -> Scored:
    """Read a table with logits."""
    columns = parquet.read_table(path).to_pydict()
    members = sorted(
        (name for name in columns if name.startswith("logit_")), key=lambda name: int(name[len("logit_") :])
    )
    return Scored(
        name=path.stem,
        study=np.array(columns["study"], str),
        abnormal=np.array([label == "abnormal" for label in columns["label"]]),
        site=np.array(columns["site"], str),
        stratum=np.array(columns["stratum"], str),
        score=np.array(columns["score"], float),
        logits=np.stack([np.array(columns[name], float) for name in members], axis=1),
    )


def mean_probability(table: Scored) -> NDArray[np.float64]:
    """Return the mean probability of abnormal, as a logit."""
    return logit(np.clip(expit(table.logits).mean(1), _SURE, 1 - _SURE))


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


def contenders(tables: Sequence[Scored], dropped: Sequence[Scored]) -> list[Contender]:
    """Return every score that can be made of the tables, the calibration table first."""
    rules: dict[str, Rule] = {
        f"member {member} alone": lambda table, member=member: table.logits[:, member]
        for member in range(tables[0].logits.shape[1])
    }
    rules["deep ensemble, mean probability"] = mean_probability
    rules["deep ensemble, mean logit"] = lambda table: table.logits.mean(1)
    rules["as exported"] = lambda table: table.score
    found = [
        Contender(name=name, rule=rule, calibration=tables[0], tests=tuple(tables[1:])) for name, rule in rules.items()
    ]
    if dropped:
        by_dropout = Contender(
            name="Monte Carlo dropout", rule=mean_probability, calibration=dropped[0], tests=tuple(dropped[1:])
        )
        found.insert(-3, by_dropout)
    return found


def usual(every: Sequence[Contender]) -> list[Contender]:
    """Return the release and the three usual baselines; the one network is the experiment's first."""
    by_name = {one.name: one for one in every}
    named = (
        ("release", "as exported"),
        ("one network, maximum softmax", "member 0 alone"),
        ("deep ensemble, mean", "deep ensemble, mean probability"),
        ("Monte Carlo dropout", "Monte Carlo dropout"),
    )
    return [replace(by_name[source], name=name) for name, source in named if source in by_name]


def count(scores: NDArray[np.float64], limit: float, chosen: NDArray[np.bool_]) -> tuple[int, int]:
    """Return how many of the chosen films lie below the threshold, and how many there are."""
    return count_accepted(scores[chosen], limit), int(chosen.sum())


def total_row(one: Contender, rate: float) -> str:
    """Return a row of the table over all films: misses, healthy cleared, and the least of a site."""
    limit = threshold(one.calibration, one.rule(one.calibration), rate)
    cells = []
    for table in one.tests:
        scores = one.rule(table)
        missed, abnormal = count(scores, limit, table.abnormal)
        cleared, healthy = count(scores, limit, ~table.abnormal)
        worst = min(
            below / films
            for site in np.unique(table.site[~table.abnormal])
            for below, films in [count(scores, limit, ~table.abnormal & (table.site == site))]
        )
        cells.append(f"{missed} of {abnormal:,} | {cleared / healthy:.1%} ({worst:.1%})")
    return f"| {one.name} | {' | '.join(cells)} |"


def group_rows(chosen: Sequence[Contender], rate: float) -> list[str]:
    """Return the tables per site and per stratum, of each test table in turn."""
    limits = [threshold(one.calibration, one.rule(one.calibration), rate) for one in chosen]
    heads = " | ".join(one.name for one in chosen)
    lines = []
    for number, table in enumerate(chosen[0].tests):
        scores = [one.rule(one.tests[number]) for one in chosen]
        whole = np.ones(len(table.study), bool)
        sites = [(site, table.site == site) for site in np.unique(table.site)] + [("all", whole)]
        strata = [(name, table.stratum == name) for name in np.unique(table.stratum[table.abnormal])]
        lines += [f"\n{table.name}: healthy cleared (95 % interval), abnormal missed\n", f"| site | {heads} |"]
        lines.append("|---|" + "---|" * len(chosen))
        for name, group in sites:
            cells = [_both(of, limit, table, group) for of, limit in zip(scores, limits, strict=True)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += [
            f"\n{table.name}: abnormal missed (upper end of the 95 % interval)\n",
            f"| stratum | films | {heads} |",
        ]
        lines.append("|---|--:|" + "---|" * len(chosen))
        for name, group in strata:
            cells = [_missed(of, limit, table.abnormal & group) for of, limit in zip(scores, limits, strict=True)]
            lines.append(f"| {name} | {(table.abnormal & group).sum()} | {' | '.join(cells)} |")
    return lines


def _both(scores: NDArray[np.float64], limit: float, table: Scored, group: NDArray[np.bool_]) -> str:
    cleared, healthy = count(scores, limit, group & ~table.abnormal)
    missed, abnormal = count(scores, limit, group & table.abnormal)
    low, high = lower_bound(cleared, healthy, TAIL), upper_bound(cleared, healthy, TAIL)
    return f"{100 * cleared / healthy:.1f} % ({100 * low:.1f}–{100 * high:.1f}), {missed} of {abnormal:,}"


def _missed(scores: NDArray[np.float64], limit: float, chosen: NDArray[np.bool_]) -> str:
    missed, abnormal = count(scores, limit, chosen)
    return f"{missed} ({100 * upper_bound(missed, abnormal, TAIL):.1f} %)"


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, action="append", required=True)
    parser.add_argument("--dropout", type=Path, help="folder with tables of the same names")
    parser.add_argument("--groups", action="store_true", help="per site and stratum")
    parser.add_argument("--alpha", type=float, default=0.0005)
    parser.add_argument("--max-prevalence", type=float, default=0.1)
    parser.add_argument("--min-healthy-acceptance", type=float, default=0.5)
    asked = parser.parse_args()
    paths = [asked.calibration, *asked.test]
    tables = [read(path) for path in paths]
    dropped = [read(asked.dropout / path.name) for path in paths] if asked.dropout else []
    for one, other in zip(tables, dropped, strict=False):
        if not np.array_equal(one.study, other.study):
            parser.error(f"{asked.dropout / one.name} is of other studies than {one.name}")
    rate = miss_rate_limit(asked.alpha, asked.max_prevalence, asked.min_healthy_acceptance)
    every = contenders(tables, dropped)
    if asked.groups:
        print("\n".join(group_rows(usual(every), rate)))
        return
    heads = [f"{table.name}: missed | healthy cleared (worst site)" for table in tables[1:]]
    print(f"| score | {' | '.join(heads)} |")
    print("|---|" + "---|---|" * len(tables[1:]))
    for one in every:
        print(total_row(one, rate))


if __name__ == "__main__":
    main()
