"""What the networks of the leave-one-out runs look at on films of the site that was held out, and whether they know the site.

    python -m training.leave_one_out --studies runs/radiographs.csv --config training/configs/radiographs.toml --out runs/radiographs
    python benchmarks/saliency.py --studies runs/radiographs.csv --config training/configs/radiographs.toml --runs runs/radiographs --out docs/radiographs-saliency.png

Prints Markdown, and draws maps averaged over films. The maps hold no film: those films are not ours to show.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import cm, colors
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from models.networks import Network
from models.studies import StudyRow, StudyTable, read_study_table
from training.cache import load_films
from training.checkpoints import BEST, load_member, member_folder
from training.config import SCOPES, Experiment, read_experiment
from training.datasets import Truth, labelled, truth_of
from training.leave_one_out import ask, guess_site, healthy_range
from training.selection import auroc
from training.train import split_rows

#: Patches along a side; the outermost ones are the edge: markers, text, collars, hands of those who hold a child.
PATCHES = 8
EDGE = np.pad(np.zeros((PATCHES - 2, PATCHES - 2), bool), 1, constant_values=True)

Films = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Films (N, rows, columns) as the network gets them, with the truth."""

    films: Films
    truth: Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Members that a site was held out from, with what the films of the other sites look like on average."""

    members: Sequence[Network]
    average: Films
    centre: Matrix
    spread: Matrix

    def answers(self, films: Films) -> tuple[Matrix, Matrix]:
        """Return scores (N,) and features (N, F)."""
        logits, features = ask(self.members, films)
        return ((logits - self.centre) / self.spread).mean(1), features


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found where a site was held out; areas under the curve are None where one side is empty.

    ``importance`` (patches, patches) is the mean over films of how far the score moves when a patch shows the average film
    instead, each film's map adding up to 1. ``label`` and ``site_named`` are of whole films, the edge alone and the middle
    alone; ``told_apart`` is how well the score tells this site's films from the others' among healthy and among abnormal.
    """

    site: str
    films: int
    importance: Matrix
    label: tuple[float | None, ...]
    told_apart: tuple[float | None, ...]
    site_named: tuple[float, ...]


def look(table: StudyTable, experiment: Experiment, run: Path, site: str, *, cache: Path, most: int) -> Looked:
    """Return what the members of a run look at on films of the site that was held out from it."""
    fit_rows, tune_rows = split_rows(table, experiment, (site,))
    views = SCOPES[experiment.scope].views
    own_rows = tuple(row for row in labelled(table.rows) if row.site == site and row.view in views)
    fit, tune, own = (_part(rows, experiment, cache) for rows in (fit_rows, tune_rows, own_rows))
    members = [load_member(member_folder(run, i) / BEST)[0] for i in range(len(experiment.members))]
    centre, spread = healthy_range(ask(members, tune.films[~tune.truth.abnormal])[0])
    judges = Judges(members=members, average=fit.films.mean(0), centre=centre, spread=spread)
    shown: tuple[Callable[[Films], Films], ...] = (
        lambda films: films,
        lambda films: np.where(_enlarged(EDGE, films), films, judges.average),
        lambda films: np.where(_enlarged(EDGE, films), judges.average, films),
    )
    chosen = np.unique(np.linspace(0, len(own.films) - 1, min(most, len(own.films))).astype(int))
    own_scores, tune_scores = (judges.answers(part.films)[0] for part in (own, tune))
    return Looked(
        site=site,
        films=len(chosen),
        importance=importance(judges, own.films[chosen]),
        label=tuple(_area(judges.answers(show(own.films))[0], own.truth.abnormal) for show in shown),
        told_apart=tuple(
            _area(
                np.concatenate([own_scores[own.truth.abnormal == sick], tune_scores[tune.truth.abnormal == sick]]),
                np.repeat([True, False], [(own.truth.abnormal == sick).sum(), (tune.truth.abnormal == sick).sum()]),
            )
            for sick in (False, True)
        ),
        site_named=tuple(
            guess_site(judges.answers(show(fit.films))[1], fit.truth, judges.answers(show(tune.films))[1], tune.truth)
            for show in shown
        ),
    )


def importance(judges: Judges, films: Films) -> Matrix:
    """Return the mean map of how far the score moves when one patch after the other shows the average film."""
    whole = judges.answers(films)[0]
    moved = np.zeros((len(films), PATCHES, PATCHES))
    for row in range(PATCHES):
        for column in range(PATCHES):
            hidden = np.zeros((PATCHES, PATCHES), bool)
            hidden[row, column] = True
            changed = np.where(_enlarged(hidden, films), judges.average, films)
            moved[:, row, column] = np.abs(judges.answers(changed)[0] - whole)
    return (moved / np.maximum(moved.sum((1, 2), keepdims=True), 1e-9)).mean(0)


def as_markdown(found: Sequence[Looked]) -> str:
    """Return the results as a table."""
    lines = [
        "| held out | importance at the edge (area 44 %) | label told: whole film / edge / middle"
        " | site told by the score: healthy / abnormal | site named: whole film / edge / middle (chance 50 %) |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{one.site}` | {one.importance[EDGE].sum():.0%} | {_row(one.label)} | {_row(one.told_apart)}"
        f" | {' / '.join(f'{share:.0%}' for share in one.site_named)} |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def draw(found: Sequence[Looked], place: Path) -> None:
    """Draw the average maps side by side; 1 is what each patch would have if all mattered alike."""
    mpl.use("Agg")
    figure, places = plt.subplots(1, len(found), figsize=(3.6 * len(found), 3.6), layout="constrained")
    scale = colors.Normalize(0, 3)
    for one, axes in zip(found, places, strict=True):
        axes.imshow(one.importance * PATCHES**2, cmap="magma", norm=scale)
        axes.add_patch(Rectangle((0.5, 0.5), PATCHES - 2, PATCHES - 2, fill=False, ls="--", ec="white", lw=1))
        axes.set(
            xticks=(), yticks=(), title=f"{one.site}\n{one.films} films", xlabel="the patient's left is at the right"
        )
    figure.colorbar(
        cm.ScalarMappable(scale, "magma"), ax=places, shrink=0.8, label="importance of a patch; 1: all alike"
    )
    figure.savefig(place, dpi=90)


def _part(rows: Sequence[StudyRow], experiment: Experiment, cache: Path) -> Part:
    films = load_films(rows, experiment.input_spec, cache, workers=1, on_progress=lambda _done, _total: None)
    return Part(films=np.asarray(films.images, np.float32), truth=truth_of(rows))


def _enlarged(patches: NDArray[np.bool_], films: Films) -> NDArray[np.bool_]:
    return np.kron(patches, np.ones((films.shape[-2] // PATCHES, films.shape[-1] // PATCHES), bool))


def _area(scores: Matrix, positive: NDArray[np.bool_]) -> float | None:
    return auroc(scores, positive) if 0 < positive.sum() < len(positive) else None


def _row(areas: Sequence[float | None]) -> str:
    return " / ".join("–" if area is None else f"{area:.2f}" for area in areas)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--runs",
        type=Path,
        required=True,
        help="what the leave-one-out program wrote; a site without a run is left out",
    )
    parser.add_argument("--films", type=int, default=200, help="of each site that are looked at patch by patch")
    parser.add_argument("--out", type=Path, required=True, help="picture of the average maps")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table, experiment = read_study_table(asked.studies), read_experiment(asked.config)
    found = [
        look(table, experiment, asked.runs / site, site, cache=asked.runs / "cache", most=asked.films)
        for site in sorted({row.site for row in table})
        if (asked.runs / site).is_dir()
    ]
    draw(found, asked.out)
    print(as_markdown(found))


if __name__ == "__main__":
    main()
