"""Each site held out in turn: train on the others, judge on it, and ask whether the network knows the site better than the film.

The held-out site has no part in training, selection, or the joining of members. Run as ``python -m training.leave_one_out``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.selective import Rate, rate, zero_misses
from models.errors import DataError, DemurError
from models.networks import Network
from models.studies import StudyRow, StudyTable, read_study_table
from training.cache import Films, load_films, usable_cores
from training.checkpoints import BEST, load_member, member_folder
from training.config import SCOPES, Experiment, read_experiment
from training.datasets import Truth, labelled, truth_of
from training.progress import OnProgress, shown_progress
from training.selection import auroc
from training.train import split_rows, train_run

_DELTA = 0.05
_DRAWS = 2000
_BATCH = 128
#: Ridge of the linear read-out that guesses the site, relative to the features' variance.
_RIDGE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What an ensemble is worth at a site that it has never seen.

    Attributes
    ----------
    auroc, auroc_lower, auroc_upper : float or None
        With a 95 % interval by bootstrap over patients; None where the site has one label only.
    cleared_at_no_miss : Rate or None
        Share of its healthy films below its own least abnormal one.
    missed_at_others_half : Rate
        Share of its abnormal films below the threshold that clears half of the training sites' healthy tune films.
    cleared_at_others_half : Rate or None
        Share of its healthy films below that threshold.
    site_guessed, site_by_chance : float
        How often a linear read-out of the features names the site of tune films of the training sites, the mean over those
        sites, and what guessing gives.
    """

    site: str
    healthy: int
    abnormal: int
    auroc: float | None
    auroc_lower: float | None
    auroc_upper: float | None
    cleared_at_no_miss: Rate | None
    missed_at_others_half: Rate
    cleared_at_others_half: Rate | None
    site_guessed: float
    site_by_chance: float


def hold_out_in_turn(
    table: StudyTable, experiment: Experiment, out: Path, *, workers: int, on_progress: OnProgress
) -> tuple[HeldOut, ...]:
    """Train and judge once for every site of the table."""
    sites = sorted({row.site for row in table})
    cache = out / "cache"
    results = []
    for number, site in enumerate(sites, start=1):

        def tell(
            what: str, done: int, total: int | None, at: str = f"{site} held out ({number} of {len(sites)})"
        ) -> None:
            on_progress(f"{at}: {what}", done, total)

        run = out / site
        train_run(table, experiment, run, cache=cache, workers=workers, hold_out=(site,), on_progress=tell)
        results.append(judge(table, experiment, run, site, cache=cache))
    return tuple(results)


def judge(table: StudyTable, experiment: Experiment, run: Path, site: str, *, cache: Path) -> HeldOut:
    """Return what a run that held a site out is worth there."""
    members = [load_member(member_folder(run, i) / BEST)[0] for i in range(len(experiment.members))]
    fit_rows, tune_rows = split_rows(table, experiment, (site,))
    views = SCOPES[experiment.scope].views
    own_rows = tuple(row for row in labelled(table.rows) if row.site == site and row.view in views)
    tune_logits, tune_features, tune = _answers(members, tune_rows, experiment, cache)
    if tune.abnormal.all():
        raise DataError(f"without {site!r} no healthy film is left to set a threshold by")
    own_logits, _, own = _answers(members, own_rows, experiment, cache)
    _, fit_features, fit = _answers(members, fit_rows, experiment, cache)
    centre, spread = healthy_range(tune_logits[~tune.abnormal])
    tune_scores, scores = (((logits - centre) / spread).mean(1) for logits in (tune_logits, own_logits))
    threshold = float(np.quantile(tune_scores[~tune.abnormal], 0.5))
    found, healthy = scores[own.abnormal], scores[~own.abnormal]
    both = len(found) > 0 and len(healthy) > 0
    lower, upper = _interval(scores, own.abnormal, [row.patient for row in own_rows]) if both else (None, None)
    alone = zero_misses(found, healthy, _DELTA) if both else None
    return HeldOut(
        site=site,
        healthy=len(healthy),
        abnormal=len(found),
        auroc=auroc(scores, own.abnormal) if both else None,
        auroc_lower=lower,
        auroc_upper=upper,
        cleared_at_no_miss=alone.healthy_acceptance if alone else None,
        missed_at_others_half=rate(int((found < threshold).sum()), len(found), _DELTA),
        cleared_at_others_half=rate(int((healthy < threshold).sum()), len(healthy), _DELTA) if both else None,
        site_guessed=guess_site(fit_features, fit, tune_features, tune),
        site_by_chance=1 / len(fit.sites),
    )


def _answers(
    members: Sequence[Network], rows: Sequence[StudyRow], experiment: Experiment, cache: Path
) -> tuple[NDArray[np.float64], NDArray[np.float64], Truth]:
    """Return logits (N, K), features (N, F) of all members side by side, and the truth."""
    films: Films = load_films(
        rows, experiment.input_spec, cache, workers=usable_cores(), on_progress=lambda _done, _total: None
    )
    return *ask(members, films.images), truth_of(rows)


@torch.no_grad()
def ask(members: Sequence[Network], images: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return logits (N, K) and features (N, F) of all members side by side, of images (N, rows, columns)."""
    logits, features = [], []
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(np.asarray(images[start : start + _BATCH], np.float32))[:, None]
        readouts = [member(batch) for member in members]
        logits.append(torch.stack([readout.logit for readout in readouts], 1).double().numpy())
        features.append(torch.cat([readout.features for readout in readouts], 1).double().numpy())
    return np.concatenate(logits), np.concatenate(features)


def healthy_range(logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre and spread of each member's logits of healthy films."""
    low, centre, high = np.percentile(logits, (16, 50, 84), axis=0)
    return centre, np.maximum((high - low) / 2, 1e-3)


def _interval(scores: NDArray[np.float64], abnormal: NDArray[np.bool_], patients: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC, by drawing patients with replacement."""
    random = np.random.default_rng(0)
    _, number = np.unique(patients, return_inverse=True)
    films = [np.flatnonzero(number == i) for i in range(number.max() + 1)]
    areas = []
    for _ in range(_DRAWS):
        drawn = np.concatenate([films[i] for i in random.integers(0, len(films), len(films))])
        areas.append(auroc(scores[drawn], abnormal[drawn]))
    lower, upper = np.nanpercentile(areas, (2.5, 97.5))
    return float(lower), float(upper)


def guess_site(fit: NDArray[np.float64], truth: Truth, tune: NDArray[np.float64], known: Truth) -> float:
    """Return how often ridge regression on standardised features names the site of a tune film, the mean over sites."""
    centre, spread = fit.mean(0), fit.std(0) + 1e-9
    left, right = ((features - centre) / spread for features in (fit, tune))
    share = np.bincount(truth.site) / len(truth.site)
    # Every site counts alike, however many films it has.
    weight = (1 / share / len(share))[truth.site][:, None] / len(left)
    wanted = np.eye(len(share))[truth.site] - 1 / len(share)
    gram = left.T @ (weight * left) + _RIDGE * np.eye(left.shape[1])
    guessed = np.array(truth.sites)[(right @ np.linalg.solve(gram, left.T @ (weight * wanted))).argmax(1)]
    right_names = np.array(known.sites)[known.site]
    return float(np.mean([(guessed[right_names == site] == site).mean() for site in known.sites]))


def as_markdown(results: Sequence[HeldOut]) -> str:
    """Return the results as a table."""
    lines = [
        "| held out | healthy / abnormal | AUROC (95 %) | healthy cleared at no miss (95 %) | missed at the others' half (95 %)"
        " | healthy cleared there | site named from features (by chance) |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in results:
        area = "—" if one.auroc is None else f"{one.auroc:.3f} ({one.auroc_lower:.3f}–{one.auroc_upper:.3f})"
        lines.append(
            f"| `{one.site}` | {one.healthy} / {one.abnormal} | {area} | {_percent(one.cleared_at_no_miss)}"
            f" | {_percent(one.missed_at_others_half)} | {_percent(one.cleared_at_others_half)}"
            f" | {one.site_guessed:.0%} ({one.site_by_chance:.0%}) |"
        )
    return "\n".join(lines) + "\n"


def _percent(value: Rate | None) -> str:
    if value is None or value.value is None:
        return "—"
    return f"{value.value:.1%} ({value.lower:.1%}–{value.upper:.1%})"


def main(arguments: Sequence[str]) -> None:
    """Run from the command line; print the table, and leave it beside the runs."""
    parser = argparse.ArgumentParser(prog="python -m training.leave_one_out", description=__doc__)
    parser.add_argument("--studies", type=Path, required=True, help="study table of at least two sites")
    parser.add_argument("--config", type=Path, required=True, help="experiment")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs; finished ones are not repeated")
    asked = parser.parse_args(arguments)
    experiment = read_experiment(asked.config)
    with shown_progress(quiet=False) as on_progress:
        results = hold_out_in_turn(
            read_study_table(asked.studies),
            experiment,
            asked.out,
            workers=min(usable_cores(), len(experiment.members)),
            on_progress=on_progress,
        )
    text = as_markdown(results)
    (asked.out / "table.md").write_text(text, encoding="utf-8")
    plain = [asdict(one) for one in results]
    (asked.out / "table.json").write_text(json.dumps(plain, indent=1, allow_nan=False), encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except DemurError as error:
        sys.exit(f"demur: {error.__doc__}: {error}")
