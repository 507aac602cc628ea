"""Other ways to ask whether a film is strange, on the same members and the same films, each at the same cost.

Each distance is fitted on phantoms of the sites trained on. Its limit is the greatest, over those sites, of what 98.5 % of
other healthy films do not exceed; that is how the product sets its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from models.ensemble import GLANCE
from models.networks import Network
from models.preprocess import InputSpec, preprocess
from training.checkpoints import BEST, load_member, member_folder, read_run_card
from training.phantoms.film import phantom

if TYPE_CHECKING:
    from strangeness import Kind

Matrix = NDArray[np.float64]
#: Fitted on some films' features: says how far others' are.
Distance = Callable[[Matrix], NDArray[np.float64]]
Fit = Callable[[Matrix], Distance]
SITES = tuple(f"site-{number:02d}" for number in range(1, 9))
SEED = 9002
#: Of healthy films under the limit, at the site that needs the greatest.
SHARE = 0.985
ENERGY = "energy of the kinds"


def mahalanobis(floor: float = 1e-6, shrinkage: float = 0.05) -> Fit:
    """Distance by a covariance that is shrunk towards its diagonal."""

    def fit(films: Matrix) -> Distance:
        centre = films.mean(0)
        covariance = np.cov(films.T, bias=True)
        diagonal = np.diag(np.maximum(covariance.diagonal(), floor))
        values, vectors = np.linalg.eigh((1 - shrinkage) * covariance + shrinkage * diagonal)
        whitening = vectors / np.sqrt(np.maximum(values, floor))
        return lambda others: np.sqrt((((others - centre) @ whitening) ** 2).mean(1))

    return fit


def neighbours(films: Matrix, k: int = 5, most: int = 1500) -> Distance:
    """Distance from the k-th nearest of a coreset, of standardised features of unit length (Sun et al. 2022)."""
    centre, spread = films.mean(0), films.std(0) + 1e-6

    def unit(values: Matrix) -> Matrix:
        standard = (values - centre) / spread
        return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-9)

    core = unit(films[:: max(1, len(films) // most)])

    def distance(others: Matrix) -> NDArray[np.float64]:
        squares = 2 - 2 * unit(others) @ core.T
        return np.sqrt(np.maximum(np.partition(squares, k - 1, axis=1)[:, k - 1], 0))

    return distance


def residual(films: Matrix, kept: float = 0.95) -> Distance:
    """Length outside the principal subspace, as in ViM (Wang et al. 2022), of standardised features."""
    centre, spread = films.mean(0), films.std(0) + 1e-6
    standard = (films - centre) / spread
    values, vectors = np.linalg.eigh(standard.T @ standard / len(films))
    left_out = vectors[:, np.cumsum(values) <= (1 - kept) * values.sum()]
    return lambda others: np.linalg.norm(((others - centre) / spread) @ left_out, axis=1)


def energy(_films: Matrix) -> Distance:
    """Negative free energy of the logits of the kinds of finding (Liu et al. 2020)."""
    return lambda others: -np.logaddexp.reduce(others, axis=1)


def compare(run: Path, kinds: "Sequence[Kind]", spec: InputSpec, each: int) -> str:
    """Return the Markdown table of all, fitted on so many phantoms of each site; half as many others set the limits."""
    torch.set_num_threads(1)
    members = [
        load_member(member_folder(run, i) / BEST)[0].eval()
        for i in range(len(read_run_card(run).experiment.members))
        if (member_folder(run, i) / BEST).is_file()
    ]
    fitted = _phantoms(spec, 0, each, 0.5)
    others = _phantoms(spec, each, each // 2, 0.0)
    site = np.repeat(np.arange(len(SITES)), each // 2)
    everything = [fitted, others, *(kind.tensors for kind in kinds)]
    features = [_features(members, films) for films in everything]
    ways: dict[str, list[tuple[str, Fit]]] = {
        "Mahalanobis, features": [(f"pooled {i}", mahalanobis()) for i in range(len(members))],
        "Mahalanobis, early stages": [(f"early {i}", mahalanobis()) for i in range(len(members))],
        "k nearest, features": [(f"pooled {i}", neighbours) for i in range(len(members))],
        "ViM residual, features": [(f"pooled {i}", residual) for i in range(len(members))],
        ENERGY: [(f"kinds {i}", energy) for i in range(len(members))],
        "disagreement of the logits": [("logits", _spread)],
        "glance, 8 × 8": [("glance 8", mahalanobis(4e-3))],
        "glance, 16 × 16": [("glance 16", mahalanobis(4e-3))],
        "fine detail, 4 × 4": [("detail", mahalanobis())],
    }
    found: dict[str, list[NDArray[np.float64]]] = {}
    for name, parts in ways.items():
        distances = []
        for key, fit in parts:
            distance = fit(features[0][key])
            distances.append([distance(one[key]) for one in features[1:]])
        join = np.mean if name == ENERGY else _root_mean_square
        found[name] = [join(same, axis=0) for same in zip(*distances, strict=True)]
    for name, parts in {
        "features and glance 16 (kept)": ("Mahalanobis, features", "glance, 16 × 16"),
        "features, glance 16 and detail": ("Mahalanobis, features", "glance, 16 × 16", "fine detail, 4 × 4"),
    }.items():
        found[name] = [
            np.max([found[part][i] / _limit(found[part][0], site) for part in parts], axis=0)
            for i in range(len(kinds) + 1)
        ]
    return _table(found, [_limit(distances[0], site) for distances in found.values()], kinds)


def _table(found: dict[str, list[NDArray[np.float64]]], limits: list[float], kinds: "Sequence[Kind]") -> str:
    """Return the share of each kind above each limit, in per cent."""
    lines = [f"| films | {' | '.join(found)} |", "|---|" + "--:|" * len(found)]
    worst = [100.0] * len(found)
    for i, kind in enumerate(kinds):
        shares = [100 * float(np.mean(~(d[i + 1] <= limit))) for d, limit in zip(found.values(), limits, strict=True)]
        if kind.group == "wrong":
            worst = list(map(min, worst, shares))
        lines.append(f"| {kind.name} | {' | '.join(f'{share:.0f}' for share in shares)} |")
    lines.append(f"| **the least of any wrong kind** | {' | '.join(f'{share:.0f}' for share in worst)} |")
    return "\n".join(lines) + "\n"


def _limit(distance: NDArray[np.float64], site: NDArray[np.int64]) -> float:
    return max(float(np.quantile(distance[site == one], SHARE)) for one in np.unique(site))


def _phantoms(spec: InputSpec, first: int, count: int, prevalence: float) -> NDArray[np.float32]:
    films = (
        phantom(SEED, site, i, 256, prevalence=prevalence, balanced=True).pixels
        for site in SITES
        for i in range(first, first + count)
    )
    return np.stack([preprocess(picture, spec) for picture in films])


@torch.no_grad()
def _features(members: Sequence[Network], films: NDArray[np.float32]) -> dict[str, Matrix]:
    """Return all that the alternatives are computed from, by name."""
    parts: dict[str, list[Matrix]] = {}
    for start in range(0, len(films), 32):
        batch = torch.from_numpy(films[start : start + 32])
        logits = []
        for i, member in enumerate(members):
            stages: list[torch.Tensor] = []
            hook = member.backbone.register_forward_hook(lambda _module, _given, made, kept=stages: kept.extend(made))
            readout = member(batch)
            hook.remove()
            early = torch.cat([part for stage in stages[:2] for part in (stage.mean((2, 3)), stage.std((2, 3)))], dim=1)
            logits.append(readout.logit)
            for name, values in (("pooled", readout.features), ("early", early), ("kinds", readout.kinds)):
                parts.setdefault(f"{name} {i}", []).append(values.double().numpy())
        parts.setdefault("logits", []).append(torch.stack(logits, dim=1).double().numpy())
        grey = films[start : start + 32, 0].astype(np.float64)
        for cells in (8, GLANCE):
            parts.setdefault(f"glance {cells}", []).append(_cells(grey, cells))
        parts.setdefault("detail", []).append(_detail(grey))
    return {name: np.concatenate(values) for name, values in parts.items()}


def _root_mean_square(same: Sequence[NDArray[np.float64]], axis: int) -> NDArray[np.float64]:
    return np.sqrt(np.mean(np.square(same), axis=axis))


def _spread(_films: Matrix) -> Distance:
    return lambda others: others.std(axis=1)


def _cells(grey: Matrix, cells: int) -> Matrix:
    """Return means over cells; the input's side is a multiple of their number."""
    side = grey.shape[1] // cells
    return grey.reshape(len(grey), cells, side, cells, side).mean((2, 4)).reshape(len(grey), -1)


def _detail(grey: Matrix) -> Matrix:
    """Return the logarithm of what three octaves of detail amount to, over 4 × 4 cells."""
    bands = []
    for _ in range(3):
        smooth = (grey + sum(np.roll(grey, by, axis) for by in (1, -1) for axis in (1, 2))) / 5
        bands.append(np.log(_cells(np.abs(grey - smooth), 4) + 2e-3))
        grey = grey.reshape(len(grey), grey.shape[1] // 2, 2, grey.shape[2] // 2, 2).mean((2, 4))
    return np.concatenate(bands, axis=1)
