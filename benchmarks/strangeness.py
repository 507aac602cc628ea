"""How many films that must not be decided are strange to a candidate, by kind, and what that costs in healthy films.

    python benchmarks/strangeness.py CANDIDATE/ [--certificate certificate.json] [--films 300] [--out table.md]
    python benchmarks/strangeness.py CANDIDATE/ --alternatives RUN/ [--out table.md]

Films go through the candidate's own decoder, preprocessing and graph. The headers' veto is left out: it refuses most of the
real ones besides. With ``--alternatives`` the members of the run that the candidate was made of are asked in other ways too.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from wrong_films import ALIKE, DEGREES, SPOILS, Spoil, real_films, spoilt

from calibration.bounds import lower_bound
from calibration.certificate import Certificate, certificate_from_json
from deploy.candidate import Candidate
from models.preprocess import InputSpec, preprocess
from models.scoring import is_strange, score_image
from training.phantoms.film import make, phantom
from training.phantoms.sites import SITES

#: No other phantoms are made with this seed.
SEED = 9001
TRAINED, UNSEEN, SHIFTED = (
    tuple(f"site-{number:02d}" for number in numbers) for numbers in (range(1, 9), range(9, 13), range(13, 17))
)
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Films of one kind as the network gets them; ``group`` says in which table they stand."""

    group: str
    name: str
    tensors: NDArray[np.float32]


def kinds_of(spec: InputSpec, shared: Path, films: int) -> Iterator[Kind]:
    """Yield every kind of film, healthy ones first; so many of each, or as many as there are."""
    healthy = {site: [_healthy(site, i, 256) for i in range(films)] for site in SITES}
    for site, pictures in healthy.items():
        group = "trained" if site in TRAINED else "unseen" if site in UNSEEN else "shifted"
        yield Kind(group=group, name=site, tensors=_tensors(pictures, spec))
    large = [_healthy(site, i, 512) for site in TRAINED for i in range(max(1, films // len(TRAINED)))]
    yield Kind(group="resampled", name="the first of sites 01 to 08 at 512 pixels", tensors=_tensors(large, spec))
    abnormal = [
        phantom(SEED, site, i, 256, prevalence=1.0, balanced=True).pixels
        for site in TRAINED
        for i in range(max(1, films // len(TRAINED)))
    ]
    yield Kind(group="abnormal", name="abnormal, sites 01 to 08", tensors=_tensors(abnormal, spec))
    pool = [picture for site in TRAINED for picture in healthy[site]]
    yield from _spoilt_kinds(pool, {"wrong": SPOILS, "degree": DEGREES}, films, spec)
    real: dict[str, list[NDArray[np.float32]]] = {}
    for name, _, picture in real_films(shared):
        real.setdefault(name, []).append(picture.pixels)
    for name, pictures in real.items():
        yield Kind(group="wrong", name=name, tensors=_tensors(pictures, spec))


def some_kinds(names: list[str], spec: InputSpec, films: int) -> Iterator[Kind]:
    """Yield some of the kinds that are made, of no more phantoms than they need."""
    pool = [_healthy(site, i, 256) for site in TRAINED for i in range(-(-films // len(TRAINED)))]
    yield from _spoilt_kinds(pool, {"wrong": {name: (SPOILS | DEGREES)[name] for name in names}}, films, spec)


def _spoilt_kinds(
    pool: list[NDArray[np.float32]], groups: dict[str, dict[str, Spoil]], films: int, spec: InputSpec
) -> Iterator[Kind]:
    random = np.random.default_rng(SEED)
    for group, ways in groups.items():
        for how in ways:
            chosen = random.choice(len(pool), 1 if how in ALIKE else min(films, len(pool)), replace=False)
            yield Kind(group=group, name=how, tensors=_tensors([spoilt(pool[i], how, random) for i in chosen], spec))


def _healthy(site: str, index: int, size: int) -> NDArray[np.float32]:
    return make(SEED, SITES[site], index, size, None).pixels


def _tensors(pictures: list[NDArray[np.float32]], spec: InputSpec) -> NDArray[np.float32]:
    return np.stack([preprocess(np.ascontiguousarray(picture), spec) for picture in pictures])


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the candidate made of one kind."""

    kind: Kind
    strangeness: NDArray[np.float64]
    #: Share that is too strange to be scored, and that is so or has no score below the threshold.
    strange: float
    abstained: float | None


def measure(candidate: Candidate, certificate: Certificate | None, kinds: list[Kind]) -> list[Found]:
    """Return what the graph and the rule say of all kinds."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(candidate.graph, options, providers=["CPUExecutionProvider"])
    found = []
    for kind in kinds:
        batches = [kind.tensors[i : i + _BATCH] for i in range(0, len(kind.tensors), _BATCH)]
        answers = [session.run(["logits", "strangeness"], {"image": batch}) for batch in batches]
        logits, strangeness = (np.concatenate(parts).astype(np.float64) for parts in zip(*answers, strict=True))
        strange = [is_strange(one, candidate.rule) for one in strangeness]
        scores = [score_image(*answer, candidate.rule) for answer in zip(logits, strangeness, strict=True)]
        abstained = None if certificate is None else float(np.mean([not s < certificate.threshold for s in scores]))
        found.append(Found(kind=kind, strangeness=strangeness, strange=float(np.mean(strange)), abstained=abstained))
    return found


def table_of(found: list[Found], limit: float) -> str:
    """Return the Markdown table: strangeness in units of the candidate's limit, shares with an exact one-sided limit."""
    head = "| films | number | strange | at least (95 %) | abstain in all | least | median | greatest |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for one in found:
        least, median, most = (float(np.quantile(one.strangeness, q)) / limit for q in (0, 0.5, 1))
        abstained = "not asked" if one.abstained is None else f"{one.abstained:.1%}"
        count = len(one.strangeness)
        bound = lower_bound(round(one.strange * count), count, 0.05)
        lines.append(
            f"| {one.kind.name} | {count} | {one.strange:.1%} | {bound:.1%} | {abstained} "
            f"| {least:.3g} | {median:.3g} | {most:.3g} |"
        )
    return "\n".join(lines)


def report(found: list[Found], limit: float) -> str:
    """Return all tables with what they come to."""
    wrong = [one for one in found if one.kind.group == "wrong"]
    costs = [one for one in found if one.kind.group == "trained"]
    parts = [
        f"Least share of any wrong kind that is strange: {min(one.strange for one in wrong):.1%}. "
        f"Healthy films of the sites trained on that are strange: {np.mean([one.strange for one in costs]):.1%}, "
        f"at the worst site {max(one.strange for one in costs):.1%}."
    ]
    titles = {
        "wrong": "Wrong films",
        "trained": "Healthy films of the sites trained on (the cost)",
        "unseen": "Healthy films of sites never seen",
        "shifted": "Healthy films of sites that keep a kind of shift to themselves",
        "resampled": "Healthy films stored at twice the resolution",
        "abnormal": "Abnormal films",
        "degree": "Spoilt by degrees",
    }
    for group, title in titles.items():
        parts.append(f"### {title}\n\n{table_of([one for one in found if one.kind.group == group], limit)}")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--alternatives", type=Path, metavar="RUN")
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--films", type=int, default=300, help="of each kind that is made, or of each site")
    parser.add_argument(
        "--kind", action="append", choices=[*SPOILS, *DEGREES], help="only this kind that is made; again for more"
    )
    parser.add_argument("--fitted", type=int, default=300, help="phantoms of each site that alternatives are fitted on")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    candidate = Candidate.open(asked.candidate)
    certificate = None if asked.certificate is None else certificate_from_json(asked.certificate.read_text("utf-8"))
    if certificate is not None and not isinstance(certificate, Certificate):
        parser.error(f"{asked.certificate} is a refusal; it has no threshold")
    if asked.kind:
        kinds = list(some_kinds(asked.kind, candidate.input_spec, asked.films))
        print(table_of(measure(candidate, certificate, kinds), candidate.rule.strangeness_limit))
        return
    kinds = list(kinds_of(candidate.input_spec, asked.shared, asked.films))
    if asked.alternatives is None:
        text = report(measure(candidate, certificate, kinds), candidate.rule.strangeness_limit)
    else:
        from strangeness_alternatives import compare

        text = compare(asked.alternatives, kinds, candidate.input_spec, asked.fitted)
    text = f"Candidate {candidate.digest}.\n\n{text}"
    print(text)
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
