"""Does a film that is looked at a second time, flipped, shifted or with another window, betray a miss?

    python benchmarks/consistency.py CANDIDATE/ [--scored scores.parquet studies.csv]... [--out table.md]

Every film that is not strange goes through the candidate's graph once as it is and once per view. In each view a member's
logit is read by centre and scale of the healthy development films in that view, as the rule of a candidate reads it. Then the
members' mean as it is served is set beside joint readings of it and the views: worst, mean, and mean with a weight on the
spread between views. Development films are phantoms of the sites trained on, of a seed of their own: whether to serve a view is
chosen on them. Score tables of other films, with the study tables that they come from, tell afterwards whether that was right.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from deploy.candidate import Candidate
from models.films import read_film
from models.preprocess import InputSpec, preprocess
from models.scoring import is_strange
from models.studies import StudyRow, read_study_table
from training.phantoms.film import make
from training.phantoms.sites import SITES, Kind

#: No other phantoms are made with this seed.
SEED = 9003
TRAINED = tuple(f"site-{number:02d}" for number in range(1, 9))
MISSES = (0, 5, 20)
#: Of scored tables, beside every healthy film and nodule, abnormal films that score less than this are asked again.
NEAR = 27.0
#: Weights of the spread between a film and its views.
SPREADS = (0.0, 1.0, 3.0)
_CHUNK = 32
_SIZE = 256

Grey = NDArray[np.float32]
Vector = NDArray[np.float64]


def _moved(down: int, across: int) -> Callable[[Grey], Grey]:
    def move(films: Grey) -> Grey:
        shifted = np.roll(films, (down, across), (-2, -1))
        if down:
            shifted[..., slice(0, down) if down > 0 else slice(down, None), :] = 0
        if across:
            shifted[..., slice(0, across) if across > 0 else slice(across, None)] = 0
        return shifted

    return move


def _enlarged(films: Grey) -> Grey:
    """Return the middle, enlarged by a twentieth."""
    rows, columns = films.shape[-2:]
    box = (columns / 42, rows / 42, columns * 41 / 42, rows * 41 / 42)
    larger = [
        np.asarray(Image.fromarray(film).resize((columns, rows), Image.Resampling.BICUBIC, box=box))
        for film in films[:, 0]
    ]
    return np.clip(np.array(larger, np.float32), 0, 1).reshape(films.shape)


#: Views of films (N, 1, rows, columns) with grey values in [0, 1].
VIEWS: dict[str, Callable[[Grey], Grey]] = {
    "as it is": lambda films: films,
    "flipped": lambda films: films[..., ::-1],
    "3 pixels to the side": _moved(0, 3),
    "4 pixels up": _moved(-4, 0),
    "gamma 0.75": lambda films: films**0.75,
    "gamma 1.33": lambda films: films**1.33,
    "narrower window": lambda films: np.clip((films - 0.1) / 0.8, 0, 1),
    "enlarged by 5 %": _enlarged,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A film to be looked at: a phantom to be made, or a row of a study table."""

    name: str
    site: str
    abnormal: bool
    index: int = 0
    kind: Kind | None = None
    row: StudyRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Films that are not strange, with each view's logits (N, views, members)."""

    name: str
    films: tuple[Wanted, ...]
    logits: NDArray[np.float64]
    #: Healthy films asked about, the strange ones too.
    healthy: int
    abnormal: int


def development(nodules: int, others: int, healthy: int) -> list[Wanted]:
    """Return phantoms per site: nodules, films of each other kind, healthy ones; indices are never shared."""
    plan = [*[Kind.NODULE] * nodules, *[kind for kind in Kind if kind != Kind.NODULE for _ in range(others)]]
    return [
        Wanted(name=f"{site}-{SEED}-{i:06d}", site=site, abnormal=kind is not None, index=i, kind=kind)
        for site in TRAINED
        for i, kind in enumerate([*plan, *[None] * healthy])
    ]


def scored(table: Path, studies: Path) -> list[Wanted]:
    """Return the healthy films, the nodules and the low-scoring abnormal films of a score table that have a score."""
    columns = parquet.read_table(table, columns=["study", "score", "label", "stratum"]).to_pylist()
    kept = {
        one["study"]
        for one in columns
        if np.isfinite(one["score"])
        and (one["label"] == "healthy" or one["stratum"] == "nodule" or one["score"] < NEAR)
    }
    return [
        Wanted(name=row.study, site=row.site, abnormal=row.label == "abnormal", row=row)
        for row in read_study_table(studies)
        if row.study in kept
    ]


def look(candidate: Path, films: Sequence[Wanted], name: str, workers: int) -> Seen:
    """Return what the candidate's graph says of films in every view."""
    chunks = [films[start : start + _CHUNK] for start in range(0, len(films), _CHUNK)]
    context = multiprocessing.get_context("forkserver")
    with context.Pool(workers, _Eye.open, (candidate,)) as pool:
        found = pool.map(_Eye.look, chunks, chunksize=1)
    fit = np.concatenate([one for _, one in found])
    return Seen(
        name=name,
        films=tuple(film for film, kept in zip(films, fit, strict=True) if kept),
        logits=np.concatenate([one for one, _ in found]),
        healthy=sum(not film.abnormal for film in films),
        abnormal=sum(film.abnormal for film in films),
    )


class _Eye:
    """A process's own session of the graph."""

    candidate: Candidate
    session: onnxruntime.InferenceSession

    @classmethod
    def open(cls, place: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        cls.candidate = Candidate.open(place)
        cls.session = onnxruntime.InferenceSession(cls.candidate.graph, options, providers=["CPUExecutionProvider"])

    @classmethod
    def look(cls, films: Sequence[Wanted]) -> tuple[Vector, NDArray[np.bool_]]:
        """Return logits (N', views, members) of the films that are not strange, and which those are."""
        spec = cls.candidate.input_spec
        tensors = np.stack([_tensor(film, spec) for film in films])
        logits, strangeness = map(np.asarray, cls.session.run(["logits", "strangeness"], {"image": tensors}))
        fit = np.array([not is_strange(float(one), cls.candidate.rule) for one in strangeness])
        every = [logits[fit]]
        grey = tensors[fit] * np.float32(spec.std) + np.float32(spec.mean)
        for view in list(VIEWS.values())[1:]:
            changed = (view(grey).astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
            every.append(np.asarray(cls.session.run(["logits"], {"image": np.ascontiguousarray(changed)})[0]))
        return np.stack(every, axis=1).astype(np.float64), fit


def _tensor(film: Wanted, spec: InputSpec) -> Grey:
    if film.row is None:
        return preprocess(make(SEED, SITES[film.site], film.index, _SIZE, film.kind).pixels, spec)
    return preprocess(read_film(film.row.path.read_bytes(), film.row.view, film.row.age_years).pixels, spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One score made of the views' means; ``views`` are those beside the film as it is."""

    name: str
    views: tuple[int, ...]
    join: Callable[[Vector], Vector]

    def scores(self, means: Vector) -> Vector:
        """Return one score per film of the members' means (N, views)."""
        return self.join(means[:, [0, *self.views]])


def readings() -> list[Reading]:
    """Return the served score, and joint readings of it and one view, and of all."""
    found = [Reading(name="served: the film as it is", views=(), join=lambda means: means[:, 0])]
    names = list(VIEWS)
    for chosen in (*((i,) for i in range(1, len(names))), tuple(range(1, len(names)))):
        title = names[chosen[0]] if len(chosen) == 1 else "all views"
        found.append(Reading(name=f"{title}: worst", views=chosen, join=lambda means: means.max(1)))
        found += [
            Reading(
                name=f"{title}: mean + {weight:g} × spread" if weight else f"{title}: mean",
                views=chosen,
                join=lambda means, weight=weight: means.mean(1) + weight * means.std(1),
            )
            for weight in SPREADS
        ]
    return found


def means_of(seen: Seen, development: Seen) -> Vector:
    """Return the members' mean of every film in every view, by the healthy development films' centre and scale in it."""
    healthy = development.logits[[not film.abnormal for film in development.films]]
    low, centre, high = np.percentile(healthy, (16, 50, 84), axis=0)
    return ((seen.logits - centre) / np.maximum((high - low) / 2, 1e-3)).mean(2)


def coverage(scores: Vector, abnormal: NDArray[np.bool_], misses: int) -> float:
    """Return the share of healthy films below the threshold that misses so many."""
    return float(np.mean(scores[~abnormal] < np.sort(scores[abnormal])[misses]))


def report(sets: Sequence[Seen]) -> str:
    """Return the table: the development films, the first scored table, and the others at the first one's threshold."""
    development, *tables = sets
    head = [f"{one.name}: cleared at {' / '.join(map(str, MISSES))} misses" for one in sets]
    head += [f"{one.name} at the threshold of {tables[0].name}: missed, cleared" for one in tables[1:]]
    lines = [f"| reading | looks | {' | '.join(head)} |", "|---|--:|" + "---|" * len(head)]
    for reading in readings():
        cells = []
        limit = -np.inf
        for one in sets:
            scores = reading.scores(means_of(one, development))
            abnormal = np.array([film.abnormal for film in one.films])
            cells.append(" / ".join(f"{coverage(scores, abnormal, misses):.1%}" for misses in MISSES))
            if tables and one is tables[0]:
                limit = float(scores[abnormal].min())
        for one in tables[1:]:
            scores = reading.scores(means_of(one, development))
            abnormal = np.array([film.abnormal for film in one.films])
            cells.append(f"{(scores[abnormal] < limit).sum()}, {np.mean(scores[~abnormal] < limit):.1%}")
        lines.append(f"| {reading.name} | {1 + len(reading.views)} | {' | '.join(cells)} |")
    counts = [
        f"{one.name}: {one.healthy} healthy and {one.abnormal} abnormal films, of which "
        f"{sum(not film.abnormal for film in one.films)} and {sum(film.abnormal for film in one.films)} are not strange."
        for one in sets
    ]
    return "\n".join([*counts, "", *lines]) + "\n"


def least(seen: Seen, development: Seen, count: int) -> str:
    """Return the abnormal films that score least as they are, with the members' mean in every view."""
    means = means_of(seen, development)
    order = [i for i in np.argsort(means[:, 0], kind="stable") if seen.films[i].abnormal][:count]
    lines = [f"| {seen.name} | {' | '.join(VIEWS)} |", "|---|" + "--:|" * len(VIEWS)]
    lines += [f"| {seen.films[i].name} | {' | '.join(f'{mean:.1f}' for mean in means[i])} |" for i in order]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--scored", type=Path, nargs=2, action="append", default=[], metavar=("SCORES", "STUDIES"))
    parser.add_argument("--nodules", type=int, default=750, help="development films of each site")
    parser.add_argument("--others", type=int, default=30, help="development films of each site and each other kind")
    parser.add_argument("--healthy", type=int, default=250, help="development films of each site")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    films = {"development": development(asked.nodules, asked.others, asked.healthy)}
    films |= {table.stem: scored(table, studies) for table, studies in asked.scored}
    sets = [look(asked.candidate, wanted, name, asked.workers) for name, wanted in films.items()]
    text = "\n".join([report(sets), *(least(one, sets[0], 6) for one in sets)])
    print(text)
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
