"""What does each ingredient of training bring? One small member per variant and seed, on the same films.

    python benchmarks/ablation.py --studies runs/reference/studies.csv --unseen runs/unseen/studies.csv --out runs/ablation

A variant is an experiment in ``training/configs/ablation``; each takes one ingredient away from ``everything``. Training films
are thinned so that sites differ in size (``TRAINED_ON``), as they do in the world. Films are counted on the tune split and at
sites never seen. Runs that are finished are kept: the table and the plot are of those, and the rest goes on where it stopped.
Processes at once may share the folder if each has seeds or variants of its own (``--seed``, ``--variant``).
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.studies import StudyRow, read_study_table
from training.cache import load_films
from training.checkpoints import BEST, RunCard, load_member, member_folder, write_run_card
from training.config import Experiment, read_experiment
from training.datasets import labelled, truth_of
from training.member import Split, predict, train_member
from training.progress import OnProgress, Tally, shown_progress
from training.selection import auroc
from training.train import split_rows

CONFIGS = Path("training/configs/ablation")
BASE = "everything"
#: The first so many training films of each site.
TRAINED_ON = {
    "site-01": 600,
    "site-02": 2000,
    "site-03": 1300,
    "site-04": 900,
    "site-05": 400,
    "site-06": 300,
    "site-07": 200,
    "site-08": 150,
}
MISSES = (0, 5, 20)
PARTS = ("tune", "unseen")
MEASURES = ("AUROC", *(f"cleared at {misses}" for misses in MISSES))
_SEEDS = (1, 2, 3)

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """The rows of the three parts."""

    fit: tuple[StudyRow, ...]
    tune: tuple[StudyRow, ...]
    unseen: tuple[StudyRow, ...]
    digest: str


def read_films(studies: Path, unseen: Path, experiment: Experiment) -> Films:
    """Read the tables and thin the training films."""
    table, other = read_study_table(studies), read_study_table(unseen)
    fit, tune = split_rows(table, experiment, ())
    left = dict(TRAINED_ON)
    thinned = []
    for row in fit:
        if left.get(row.site, 0):
            left[row.site] -= 1
            thinned.append(row)
    return Films(fit=tuple(thinned), tune=tune, unseen=labelled(other.rows), digest=table.digest)


def train_variant(experiment: Experiment, films: Films, run: Path, cache: Path, on_progress: OnProgress) -> None:
    """Train one variant with one seed and write its logits."""
    splits = {}
    kinds = truth_of(films.fit).kinds
    for name, rows in (("fit", films.fit), ("tune", films.tune), ("unseen", films.unseen)):
        read = load_films(
            rows,
            experiment.input_spec,
            cache,
            workers=1,
            on_progress=lambda done, total, name=name: on_progress(f"reading {name}", done, total),
        )
        splits[name] = Split(films=read, truth=truth_of(rows, kinds))
    card = RunCard(experiment=experiment, studies_digest=films.digest, sites=splits["fit"].truth.sites, kinds=kinds)
    write_run_card(run, card)
    total = experiment.schedule.epochs * experiment.schedule.films_per_epoch
    seen = Tally(f"{experiment.name}, seed {experiment.seed}", total, on_progress)
    train_member(0, card, splits["fit"], splits["tune"], run, on_batch=seen.add)
    network, _ = load_member(member_folder(run, 0) / BEST)
    network = network.to(memory_format=torch.channels_last)
    found = {}
    for name in PARTS:
        split = splits[name]
        found[f"{name}_logit"] = predict(
            network, split.films, np.arange(len(split.truth.abnormal)), bfloat16=experiment.schedule.bfloat16
        )
        found[f"{name}_abnormal"] = split.truth.abnormal
    partial = run / "logits.partial.npz"
    np.savez(partial, **found)
    partial.replace(run / "logits.npz")


def measured(logits: Vector, abnormal: NDArray[np.bool_]) -> tuple[float, ...]:
    """Return AUROC and the shares of healthy films below the 1st, 6th and 21st abnormal one."""
    lowest, healthy = np.sort(logits[abnormal]), logits[~abnormal]
    return (auroc(logits, abnormal), *(float(np.mean(healthy < lowest[misses])) for misses in MISSES))


def results(out: Path, variants: Sequence[str]) -> dict[str, list[tuple[float, ...]]]:
    """Return the figures of every finished run: per variant, one row a seed, tune before unseen."""
    table: dict[str, list[tuple[float, ...]]] = {}
    for variant in variants:
        for place in sorted(out.glob(f"{variant}-seed-*/logits.npz")):
            with np.load(place) as found:
                row = [measured(found[f"{part}_logit"], found[f"{part}_abnormal"]) for part in PARTS]
            table.setdefault(variant, []).append(sum(row, ()))
    return table


def write_table(out: Path, table: dict[str, list[tuple[float, ...]]]) -> str:
    """Write every run to ``table.csv`` and means with ranges to ``table.md``; return the latter."""
    names = [f"{part}: {measure}" for part in PARTS for measure in MEASURES]
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", *names])
        writer.writerows([variant, *row] for variant, rows in table.items() for row in rows)
    lines = [f"| variant | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for variant, rows in table.items():
        cells = [
            _cell(np.array(column), is_share=i % len(MEASURES) > 0) for i, column in enumerate(zip(*rows, strict=True))
        ]
        lines.append(f"| `{variant}` ({len(rows)}) | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    return text


def _cell(values: Vector, *, is_share: bool) -> str:
    if is_share:
        return f"{100 * values.mean():.0f} ({100 * values.min():.0f}–{100 * values.max():.0f}) %"
    return f"{values.mean():.4f} ({values.min():.4f}–{values.max():.4f})"


def draw(place: Path, table: dict[str, list[tuple[float, ...]]]) -> None:
    """Draw AUROC and the share cleared at 5 misses, each run a dot, each mean a bar."""
    figure = Figure(figsize=(11, 0.5 + 0.42 * len(table)), layout="constrained")
    columns = [(part, measure) for measure in (0, 2) for part in range(len(PARTS))]
    for axes, (part, measure) in zip(figure.subplots(1, len(columns), sharey=True), columns, strict=True):
        at = part * len(MEASURES) + measure
        for height, rows in enumerate(table.values()):
            values = [row[at] for row in rows]
            axes.plot(values, [height] * len(values), "o", color="#1f6f8b", markersize=4)
            axes.plot([np.mean(values)] * 2, [height - 0.3, height + 0.3], color="#c0392b", linewidth=2)
        if BASE in table:
            axes.axvline(float(np.mean([row[at] for row in table[BASE]])), color="#c0392b", linewidth=0.6, alpha=0.6)
        axes.set_title(f"{PARTS[part]}: {MEASURES[measure]}", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3, axis="x")
        axes.set_yticks(range(len(table)), list(table))
    figure.axes[0].invert_yaxis()
    figure.savefig(place, dpi=130)


def main() -> None:
    """Train what is not trained yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder of decoded films; default: OUT/cache")
    parser.add_argument("--seed", type=int, action="append", help="repeatable; default: 1, 2 and 3")
    parser.add_argument("--variant", action="append", help="repeatable; default: all")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    experiments = [read_experiment(place) for place in sorted(CONFIGS.glob("*.toml"))]
    experiments.sort(key=lambda one: one.name != BASE)
    films = read_films(asked.studies, asked.unseen, experiments[0])
    with shown_progress(quiet=False) as on_progress:
        for seed in asked.seed or _SEEDS:
            for experiment in [one for one in experiments if not asked.variant or one.name in asked.variant]:
                run = asked.out / f"{experiment.name}-seed-{seed}"
                if not (run / "logits.npz").is_file():
                    train_variant(
                        replace(experiment, seed=seed), films, run, asked.cache or asked.out / "cache", on_progress
                    )
    table = results(asked.out, [experiment.name for experiment in experiments])
    print(write_table(asked.out, table), end="")
    draw(asked.out / "ablation.png", table)


if __name__ == "__main__":
    main()
