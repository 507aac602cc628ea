"""Which films a member sees, in which order: balanced over sites and labels, hard ones more often. Numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.studies import StudyRow
from models.vocabulary import Label
from training.config import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of films, as arrays in the order of their rows.

    Attributes
    ----------
    abnormal : ndarray of bool, shape (N,)
    site : ndarray of int, shape (N,)
        Index into ``sites``.
    kind : ndarray of int, shape (N,)
        0 for healthy, else 1 + index into ``kinds``; -1 where an abnormal film names no kind.
    located : ndarray of bool, shape (N,)
        The mask says where the finding is: healthy films, and abnormal ones with a mask.
    """

    abnormal: NDArray[np.bool_]
    site: NDArray[np.int64]
    kind: NDArray[np.int64]
    located: NDArray[np.bool_]
    sites: tuple[str, ...]
    kinds: tuple[str, ...]


def truth_of(rows: Sequence[StudyRow], kinds: tuple[str, ...] | None = None) -> Truth:
    """Return what the rows say; ``kinds`` are those of the training films, found here if None."""
    if kinds is None:
        kinds = tuple(sorted({row.stratum for row in rows if row.stratum}))
    sites = tuple(sorted({row.site for row in rows}))
    number = {kind: i for i, kind in enumerate(kinds, start=1)}
    return Truth(
        abnormal=np.array([row.label is Label.ABNORMAL for row in rows], bool),
        site=np.array([sites.index(row.site) for row in rows], np.int64),
        kind=np.array([0 if row.label is Label.HEALTHY else number.get(row.stratum, -1) for row in rows], np.int64),
        located=np.array([row.label is Label.HEALTHY or row.mask is not None for row in rows], bool),
        sites=sites,
        kinds=kinds,
    )


def labelled(rows: Sequence[StudyRow]) -> tuple[StudyRow, ...]:
    """Return the rows whose label is known."""
    return tuple(row for row in rows if row.label is not None)


def sites_of_member(sites: Sequence[str], member: int, left_out: int) -> tuple[int, ...]:
    """Return the sites (by index) that one member sees: all but ``left_out``, in turn; all where too few would be left."""
    count = len(sites)
    if count - left_out < 2:
        return tuple(range(count))
    skipped = {(member * left_out + step) % count for step in range(left_out)}
    return tuple(i for i in range(count) if i not in skipped)


def draw_epoch(
    truth: Truth,
    seen_sites: Sequence[int],
    difficulty: NDArray[np.float32],
    *,
    films: int,
    sampling: Sampling,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the films of one epoch in random order.

    Labels have their share; within a label every site is drawn equally often, unless sites are not balanced; within a site,
    abnormal films are drawn the more often the greater their loss was.

    Raises
    ------
    DataError
        If the sites have no healthy or no abnormal film.
    """
    parts = []
    for abnormal, share in ((True, sampling.abnormal_share), (False, 1 - sampling.abnormal_share)):
        groups = [(site,) for site in seen_sites] if sampling.balanced_sites else [tuple(seen_sites)]
        pools = [np.flatnonzero(np.isin(truth.site, group) & (truth.abnormal == abnormal)) for group in groups]
        pools = [pool for pool in pools if len(pool)]
        if not pools:
            raise DataError(f"the training films of a member have no {'abnormal' if abnormal else 'healthy'} one")
        wanted = round(films * share)
        for order, pool in enumerate(pools):
            count = (wanted * (order + 1)) // len(pools) - (wanted * order) // len(pools)
            weight = _hardness(difficulty[pool], sampling.hard_factor) if abnormal else np.ones(len(pool))
            parts.append(_spread(pool, weight, count, random))
    return random.permutation(np.concatenate(parts))


def _hardness(losses: NDArray[np.float32], factor: float) -> NDArray[np.float64]:
    """Return weights from 1 for the least loss to ``factor`` for the greatest, by rank."""
    if len(losses) < 2 or losses.min() == losses.max():
        return np.ones(len(losses))
    rank = np.argsort(np.argsort(losses, kind="stable"), kind="stable") / (len(losses) - 1)
    return 1 + (factor - 1) * rank**2


def _spread(
    pool: NDArray[np.int64], weight: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw with these weights as evenly as can be: systematic sampling, so that no film is seen twice before its turn."""
    order = random.permutation(len(pool))
    edges = np.cumsum(weight[order])
    ticks = (np.arange(count) + random.random()) * edges[-1] / max(count, 1)
    return pool[order[np.minimum(np.searchsorted(edges, ticks, side="right"), len(pool) - 1)]]
