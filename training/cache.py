"""Films decoded and preprocessed once, as arrays on disk that every member reads. Numpy only: workers are light.

The cache is keyed by the study table's digest, the rows in it and the input specification; an interrupted one is made anew.
"""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, InputError
from models.films import read_film, read_mask
from models.preprocess import InputSpec, preprocess, preprocess_mask
from models.studies import StudyRow

#: Masks are kept at so many pixels per cell: each the greatest cover within it.
MASK_STRIDE = 4
_CHUNK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """Preprocessed films in the order of their rows.

    Attributes
    ----------
    images : ndarray of float16, shape (N, rows, columns)
        Normalised grey values.
    masks : ndarray of uint8, shape (N, rows / 4, columns / 4)
        Cover by the finding, 0 to 255.
    """

    images: NDArray[np.float16]
    masks: NDArray[np.uint8]


def load_films(
    rows: Sequence[StudyRow],
    spec: InputSpec,
    folder: Path,
    *,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> Films:
    """Return the films of some rows, from the cache below ``folder`` if it has them.

    Raises
    ------
    DataError
        If a film or a mask cannot be read; the message names it.
    """
    key = hashlib.sha256(spec.to_json().encode())
    for row in rows:
        stat = row.path.stat() if row.path.is_file() else None
        key.update(f"{row.path}\0{row.mask}\0{stat.st_size if stat else None}\n".encode())
    place = folder / key.hexdigest()[:24]
    images, masks = place / "images.npy", place / "masks.npy"
    if not (place / "complete").is_file():
        place.mkdir(parents=True, exist_ok=True)
        _fill(rows, spec, images, masks, workers, on_progress)
        (place / "complete").touch()
    return Films(images=np.load(images, mmap_mode="r"), masks=np.load(masks, mmap_mode="r"))


def _fill(
    rows: Sequence[StudyRow],
    spec: InputSpec,
    images: Path,
    masks: Path,
    workers: int,
    on_progress: Callable[[int, int], None],
) -> None:
    height, width = spec.rows // MASK_STRIDE, spec.columns // MASK_STRIDE
    grey = np.lib.format.open_memmap(images, "w+", np.float16, (len(rows), spec.rows, spec.columns))
    cover = np.lib.format.open_memmap(masks, "w+", np.uint8, (len(rows), height, width))
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    done = 0
    work = partial(_read_chunk, spec)
    if workers > 1 and len(chunks) > 1:
        with multiprocessing.get_context("forkserver").Pool(min(workers, len(chunks))) as pool:
            for films, found in pool.imap(work, chunks):
                grey[done : done + len(films)], cover[done : done + len(films)] = films, found
                done += len(films)
                on_progress(done, len(rows))
    else:
        for films, found in map(work, chunks):
            grey[done : done + len(films)], cover[done : done + len(films)] = films, found
            done += len(films)
            on_progress(done, len(rows))
    grey.flush()
    cover.flush()


def _read_chunk(spec: InputSpec, rows: Sequence[StudyRow]) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    films, masks = zip(*(_read(row, spec) for row in rows), strict=True)
    return np.stack(films), np.stack(masks)


def _read(row: StudyRow, spec: InputSpec) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    try:
        picture = read_film(row.path.read_bytes(), row.view, row.age_years)
        image = preprocess(picture.pixels, spec)[0].astype(np.float16)
    except OSError:
        raise DataError(f"no such file: {row.path}; the study table names it") from None
    except (InputError, ValueError) as fault:
        raise DataError(f"cannot read the film {row.path}: {fault}") from None
    height, width = spec.rows // MASK_STRIDE, spec.columns // MASK_STRIDE
    if row.mask is None:
        return image, np.zeros((height, width), np.uint8)
    try:
        drawn = read_mask(row.mask.read_bytes())
    except (OSError, InputError) as fault:
        raise DataError(f"cannot read the mask {row.mask}: {fault}") from None
    if drawn.shape != picture.pixels.shape:
        raise DataError(f"the mask {row.mask} is {drawn.shape}, its film {picture.pixels.shape}")
    cells = preprocess_mask(drawn, spec)[0].reshape(height, MASK_STRIDE, width, MASK_STRIDE).max((1, 3))
    return image, np.round(cells * 255).astype(np.uint8)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
