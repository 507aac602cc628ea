"""A training run: films read once, members side by side in processes of their own, each resumable by itself."""

import multiprocessing
import queue
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from models.errors import DataError
from models.studies import StudyRow, StudyTable
from models.vocabulary import Split as SplitName
from training.cache import load_films
from training.checkpoints import RunCard, write_run_card
from training.config import SCOPES, Experiment
from training.datasets import labelled, truth_of
from training.member import EpochRecord, Split, read_history, train_member
from training.progress import OnProgress, Tally
from training.ranks import Rank

CACHE = "cache"

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
    rank: Rank | None = None,
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
    rank : Rank or None
        This process's part of a run that ``torchrun`` started; members are trained in turn then, and ``workers`` read films.
    """
    fit, tune = split_rows(table, experiment, hold_out)
    truth = truth_of(fit)
    card = RunCard(experiment=experiment, studies_digest=table.digest, sites=truth.sites, kinds=truth.kinds)
    job = _Job(card=card, fit=fit, tune=tune, run=run, cache=cache)
    if rank is None or rank.is_first:
        write_run_card(run, card)
        _read_films(job, workers, on_progress)
    members = range(len(experiment.members))
    if rank is None:
        _train_side_by_side(job, members, workers, on_progress)
    else:
        rank.wait()
        _train_in_turn(job, rank.share(members), on_progress)
        rank.wait()
    return RunSummary(members=tuple(read_history(run, index) for index in members))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What training a member needs beside its number; small enough to be sent to another process."""

    card: RunCard
    fit: tuple[StudyRow, ...]
    tune: tuple[StudyRow, ...]
    run: Path
    cache: Path


def _read_films(job: _Job, workers: int, on_progress: OnProgress) -> None:
    """Fill the cache, once for all members."""
    for what, rows in (("reading training films", job.fit), ("reading tune films", job.tune)):
        load_films(
            rows, job.card.experiment.input_spec, job.cache, workers=workers, on_progress=partial(on_progress, what)
        )


def _tally(job: _Job, members: range, on_progress: OnProgress) -> Tally:
    schedule = job.card.experiment.schedule
    return Tally("training", len(members) * schedule.epochs * schedule.films_per_epoch, on_progress)


def _train_side_by_side(job: _Job, members: range, workers: int, on_progress: OnProgress) -> None:
    tally = _tally(job, members, on_progress)
    context = multiprocessing.get_context("spawn")
    counts: multiprocessing.Queue[int] = context.Queue()
    threads = max(1, torch.get_num_threads() // workers)
    with ProcessPoolExecutor(workers, context, _start_worker, (counts, threads)) as pool:
        running = [pool.submit(_train_in_worker, job, index) for index in members]
        while not all(one.done() for one in running):
            try:
                tally.add(counts.get(timeout=0.5))
            except queue.Empty:
                continue
        for one in running:
            one.result()
    tally.finish()


def _train_in_turn(job: _Job, members: range, on_progress: OnProgress) -> None:
    tally = _tally(job, members, on_progress)
    fit, tune = (load_split(rows, job.card, job.cache) for rows in (job.fit, job.tune))
    for index in members:
        train_member(index, job.card, fit, tune, job.run, on_batch=tally.add)
    tally.finish()


def _start_worker(counts: "multiprocessing.Queue[int]", threads: int) -> None:
    global _films_done  # noqa: PLW0603
    _films_done = counts
    torch.set_num_threads(threads)


def _train_in_worker(job: _Job, index: int) -> None:
    assert _films_done is not None
    fit, tune = (load_split(rows, job.card, job.cache) for rows in (job.fit, job.tune))
    train_member(index, job.card, fit, tune, job.run, on_batch=_films_done.put)
