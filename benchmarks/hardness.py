"""Which nodules are missed? Phantoms of the hardest kind of finding, by their contrast over anatomy and by the ideal observer's d'.

    python benchmarks/hardness.py CANDIDATE/ --certificate certificate.json [--nodules 750]

The films are of a seed of their own and of the sites trained on; the certified threshold is asked of them as of any other film.
"""

import argparse
import itertools
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from calibration.bounds import upper_bound
from calibration.certificate import Certificate, certificate_from_json
from deploy.candidate import Candidate
from models.preprocess import preprocess
from models.scoring import score_image
from training.phantoms.film import make
from training.phantoms.sites import SITES, Kind

#: The same nodules as those of ``consistency.py``.
SEED = 9003
TRAINED = tuple(f"site-{number:02d}" for number in range(1, 9))
CONTRASTS = (3.5, 3.75, 4.5, 6.0, np.inf)
DETECTABILITIES = (0.0, 400.0, 550.0, 800.0, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodule:
    """A nodule that was drawn, and what the candidate scored its film."""

    contrast: float
    detectability: float
    score: float


def score_site(candidate: Path, site: str, count: int) -> list[Nodule]:
    """Make and score so many nodules of a site."""
    opened = Candidate.open(candidate)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(opened.graph, options, providers=["CPUExecutionProvider"])
    found = []
    for index in range(count):
        film = make(SEED, SITES[site], index, 256, Kind.NODULE)
        assert film.contrast is not None
        assert film.severity is not None
        tensor = preprocess(film.pixels, opened.input_spec)
        logits, strangeness = map(np.asarray, session.run(["logits", "strangeness"], {"image": tensor[np.newaxis]}))
        score = score_image(logits[0], float(strangeness[0]), opened.rule)
        found.append(Nodule(contrast=film.contrast, detectability=film.severity, score=score))
    return found


def table_of(
    nodules: Sequence[Nodule], title: str, value: Callable[[Nodule], float], edges: Sequence[float], threshold: float
) -> str:
    """Return a table of bands of a value."""
    lines = [f"| {title} | nodules | strange | missed (95 % at most) | least score |", "|---|--:|--:|--:|--:|"]
    for low, high in itertools.pairwise(edges):
        scores = np.array([one.score for one in nodules if low <= value(one) < high])
        if not len(scores):
            continue
        missed = int((scores < threshold).sum())
        band = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and above"
        lines.append(
            f"| {band} | {len(scores)} | {np.mean(np.isinf(scores)):.0%} | {missed}"
            f" ({upper_bound(missed, len(scores), 0.05):.2%}) | {scores.min():.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--nodules", type=int, default=750, help="of each site")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    certificate = certificate_from_json(asked.certificate.read_text("utf-8"))
    if not isinstance(certificate, Certificate):
        parser.error(f"{asked.certificate} is a refusal; it has no threshold")
    with multiprocessing.get_context("forkserver").Pool(asked.workers) as pool:
        parts = pool.starmap(score_site, [(asked.candidate, site, asked.nodules) for site in TRAINED], chunksize=1)
    nodules = [one for part in parts for one in part]
    print(table_of(nodules, "contrast over anatomy", lambda one: one.contrast, CONTRASTS, certificate.threshold))
    print(table_of(nodules, "d′", lambda one: one.detectability, DETECTABILITIES, certificate.threshold))


if __name__ == "__main__":
    main()
