"""Golden films: stored inputs with the outputs that the candidate gave for them where it was exported.

Checked at export, in CI and before a service reports ready, through the whole way from file to logits, so that a
codec, a numpy or a runtime that computes another picture is found before it decides anything.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from deploy.manifest import Flaw, VerificationError, canonical_json

INDEX = "golden/golden.json"
TENSORS = "golden/tensors.npy"

#: How far a tensor may be from the stored one, absolutely. Tensors are normalised to about one.
TENSOR_TOLERANCE = 1e-5
#: How far logits and strangeness may be from the stored ones, absolutely and relatively: other CPUs sum in another order.
OUTPUT_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFilm:
    """One stored film and what it must become.

    Parameters
    ----------
    name : str
        File name within ``golden/``.
    data : bytes
        The film as it would be posted: DICOM, PNG or JPEG.
    tensor : NDArray
        What the network sees, float32 (1, rows, columns).
    logits : tuple[float, ...]
        One per member.
    strangeness : float
        As the graph gives it.
    """

    name: str
    data: bytes
    tensor: NDArray[np.float32]
    logits: tuple[float, ...]
    strangeness: float


def write_golden(folder: Path, films: Sequence[GoldenFilm]) -> None:
    """Write golden films below a candidate's folder, which must not be sealed by a manifest yet.

    Parameters
    ----------
    folder : Path
        The candidate's folder.
    films : Sequence[GoldenFilm]
        At least one, with names of their own.
    """
    names = [film.name for film in films]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"golden films need names of their own, got {names}")
    (folder / "golden").mkdir(exist_ok=True)
    for film in films:
        (folder / "golden" / film.name).write_bytes(film.data)
    np.save(folder / TENSORS, np.stack([film.tensor for film in films]).astype(np.float32), allow_pickle=False)
    index = [{"file": film.name, "logits": list(film.logits), "strangeness": film.strangeness} for film in films]
    (folder / INDEX).write_bytes(canonical_json({"films": index}))


def parse_golden(files: Mapping[str, bytes]) -> tuple[GoldenFilm, ...]:
    """Read golden films from a candidate's verified bytes.

    Parameters
    ----------
    files : Mapping[str, bytes]
        Every file below ``golden/``, by its path in the candidate.

    Raises
    ------
    VerificationError
        If they are not what ``write_golden`` writes.
    """
    try:
        index = cast("list[dict[str, object]]", json.loads(files[INDEX])["films"])
        tensors = np.load(io.BytesIO(files[TENSORS]), allow_pickle=False)
        films = tuple(
            GoldenFilm(
                name=str(entry["file"]),
                data=files[f"golden/{entry['file']}"],
                tensor=tensor,
                logits=tuple(float(logit) for logit in cast("list[float]", entry["logits"])),
                strangeness=float(cast("float", entry["strangeness"])),
            )
            for entry, tensor in zip(index, tensors, strict=True)
        )
    except (ValueError, TypeError, KeyError, EOFError) as error:
        raise VerificationError(Flaw.CANDIDATE, f"the golden films cannot be read ({error}); export again") from error
    if not films:
        raise VerificationError(Flaw.CANDIDATE, "there are no golden films; export again")
    return films


def is_close(actual: float, stored: float) -> bool:
    """Tell whether an output is the stored one within ``OUTPUT_TOLERANCE``; NaN never is."""
    return abs(actual - stored) <= OUTPUT_TOLERANCE * (1 + abs(stored))
