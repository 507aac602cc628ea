"""Torch against the exported graph: the same logits and strangeness, within a stated tolerance."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from models.ensemble import Ensemble
from models.errors import DataError

#: How far the graph may be from torch, absolutely and relatively. Its large weights are stored as float16: 11 bits each.
TOLERANCE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The greatest difference over golden inputs, each divided by one plus the size of what torch gave."""

    logits: float
    strangeness: float


def check_parity(ensemble: Ensemble, graph: Path, images: NDArray[np.float32]) -> Parity:
    """Run both on the same images, one by one and as one batch, and compare.

    Parameters
    ----------
    ensemble : Ensemble
        In evaluation mode.
    graph : Path
        What was exported from it.
    images : ndarray of float32, shape (N, 1, rows, columns)
        At least one.

    Raises
    ------
    DataError
        If a number differs by more than ``TOLERANCE``, or is not finite.
    """
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = [part.numpy() for part in ensemble(torch.from_numpy(images))]
    alone = [session.run(["logits", "strangeness"], {"image": image[np.newaxis]}) for image in images]
    together = session.run(["logits", "strangeness"], {"image": images})
    worst = []
    for i, name in enumerate(("logits", "strangeness")):
        for found in (together[i], np.concatenate([np.asarray(one[i]) for one in alone])):
            worst.append(float(np.max(np.abs(found - wanted[i]) / (1 + np.abs(wanted[i])))))
            if not worst[-1] <= TOLERANCE:
                raise DataError(
                    f"the exported graph's {name} differ from torch's by {worst[-1]:.2g}, above {TOLERANCE}"
                )
    return Parity(logits=max(worst[:2]), strangeness=max(worst[2:]))
