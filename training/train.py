"""A training run: films read once, members side by side in processes of their own, each resumable by itself."""

import multiprocessing
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from models.errors import DataError
from models.studies import StudyRow, StudyTable
from models.vocabulary import Split as SplitName
from training.cache import load_films
from training.checkpoints import RunCard, write_run_card
from training.config import SCOPES, Experiment
from training.datasets import labelled, truth_of
from training.member import EpochRecord, Split, train_member

CACHE = "cache"
#: Told (what is under way, units done, units in all).
OnProgress = Callable[[str, int, int], None]

# Set in each worker as it starts; the parent listens at the other end.
_films_done: "multiprocessing.Queue[int] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What a run came to: each member's history."""

    members: tuple[tuple[EpochRecord, ...], ...]


def train_run(
    table: StudyTable,
    experiment: Experiment,
    run: Path,
    *,
    cache: Path,
    workers: int,
    hold_out: Sequence[str],
    on_progress: OnProgress,
) -> RunSummary:
    """Train all members of an experiment, or go on where they stopped.

    Parameters
    ----------
    table : StudyTable
        With films of the splits ``train`` and ``tune``.
    experiment : Experiment
        What to do.
    run : Path
        Folder to write; a run of the same experiment and table in it is resumed.
    cache : Path
        Folder of the decoded films.
    workers : int
        Members trained at the same time, each in a process with its share of the cores.
    hold_out : sequence of str
        Sites that are never looked at.
    on_progress : callable
        Told what is under way.
    """
    fit_rows, tune_rows = split_rows(table, experiment, hold_out)
    truth = truth_of(fit_rows)
    card = RunCard(experiment=experiment, studies_digest=table.digest, sites=truth.sites, kinds=truth.kinds)
    write_run_card(run, card)
    for what, rows in (("reading training films", fit_rows), ("reading tune films", tune_rows)):
        load_films(
            rows,
            experiment.input_spec,
            cache,
            workers=workers,
            on_progress=lambda done, total, what=what: on_progress(what, done, total),
        )
    members = range(len(experiment.members))
    total = len(members) * experiment.schedule.epochs * experiment.schedule.films_per_epoch
    context = multiprocessing.get_context("spawn")
    counts: multiprocessing.Queue[int] = context.Queue()
    threads = max(1, torch.get_num_threads() // workers)
    done = 0
    with ProcessPoolExecutor(workers, context, _start_worker, (counts, threads)) as pool:
        jobs = [pool.submit(_train_in_worker, i, card, fit_rows, tune_rows, run, cache) for i in members]
        while not all(job.done() for job in jobs):
            try:
                done += counts.get(timeout=0.5)
            except queue.Empty:
                continue
            on_progress("training", min(done, total), total)
        histories = tuple(job.result() for job in jobs)
    on_progress("training", total, total)
    return RunSummary(members=histories)


def split_rows(
    table: StudyTable, experiment: Experiment, hold_out: Sequence[str]
) -> tuple[tuple[StudyRow, ...], tuple[StudyRow, ...]]:
    """Return the training and tune rows: labelled, of a view in scope, of no site that is held out.

    Raises
    ------
    DataError
        If a part is empty, or a site that is held out is not in the table.
    """
    if unknown := sorted(set(hold_out) - {row.site for row in table}):
        raise DataError(f"no site {unknown[0]!r} in the study table")
    views = SCOPES[experiment.scope].views
    parts = []
    for split in (SplitName.TRAIN, SplitName.TUNE):
        rows = tuple(row for row in labelled(table.only(split)) if row.site not in hold_out and row.view in views)
        if not rows:
            raise DataError(f"the study table has no labelled frontal films of split {split.value!r}")
        parts.append(rows)
    return parts[0], parts[1]


def load_split(rows: Sequence[StudyRow], card: RunCard, cache: Path) -> Split:
    """Return films that are in the cache already, with their truth."""
    films = load_films(rows, card.experiment.input_spec, cache, workers=1, on_progress=lambda _done, _total: None)
    return Split(films=films, truth=truth_of(rows, card.kinds))


def _start_worker(counts: "multiprocessing.Queue[int]", threads: int) -> None:
    global _films_done  # noqa: PLW0603
    _films_done = counts
    torch.set_num_threads(threads)


def _train_in_worker(
    index: int, card: RunCard, fit: Sequence[StudyRow], tune: Sequence[StudyRow], run: Path, cache: Path
) -> tuple[EpochRecord, ...]:
    assert _films_done is not None
    return train_member(
        index, card, load_split(fit, card, cache), load_split(tune, card, cache), run, on_batch=_films_done.put
    )
