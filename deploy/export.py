"""Checkpoints to a candidate: one graph, the rule that joins members, the limit of strangeness, golden films, digests.

Everything that serves is fixed here, from the training and tune splits alone: the calibration split has not been looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from numpy.typing import NDArray

from deploy.candidate import GRAPH, INPUT_SPEC, RULE, SCOPE, write_manifest
from deploy.golden import GoldenFilm, write_golden
from deploy.parity import Parity, check_parity
from models.ensemble import Ensemble
from models.errors import DataError
from models.films import read_film
from models.preprocess import preprocess
from models.scoring import ScoreRule, score_image
from models.studies import StudyRow, StudyTable
from training.cache import load_films
from training.checkpoints import BEST, MemberState, RunCard, load_member, member_folder, read_run_card
from training.config import SCOPES
from training.datasets import Truth, truth_of
from training.member import Split, batches_of
from training.progress import OnProgress
from training.selection import merit
from training.train import split_rows

#: Films on which "like the training films" is fitted, at most.
STRANGENESS_FILMS = 3000
SHRINKAGE = 0.05
#: Share of each site's healthy tune films that must not be strange.
NOT_STRANGE = 0.985
#: Weights of the members' disagreement that are tried on the tune split.
DISAGREEMENT_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
GOLDEN_FILMS = 12
_BATCH = 64
_LARGE = 1024
_FLOAT16_MAX = 6e4


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What was exported.

    Attributes
    ----------
    digest : str
        Of the candidate.
    members : tuple of MemberState
        Which checkpoints it was made of.
    rule : ScoreRule
        How members become a score.
    merit : float
        Coverage at few misses at the worst site, of the ensemble on the tune split, by which the rule was chosen.
    parity : Parity
        How far the graph is from torch.
    """

    digest: str
    members: tuple[MemberState, ...]
    rule: ScoreRule
    merit: float
    parity: Parity


def export_run(
    run: Path,
    table: StudyTable,
    out: Path,
    *,
    cache: Path,
    hold_out: Sequence[str],
    workers: int,
    on_progress: OnProgress,
) -> ExportSummary:
    """Write a candidate from the members of a run that have a checkpoint.

    Parameters
    ----------
    run : Path
        What ``demur train`` wrote; it may still be under way.
    table : StudyTable
        The one that the run was trained on.
    out : Path
        Folder to make; must not exist, or be empty.
    cache : Path
        The run's folder of decoded films.
    hold_out : sequence of str
        Sites that training did not look at.
    workers : int
        Processes to read films with, where the cache does not have them.
    on_progress : callable
        Told what is under way.

    Raises
    ------
    DataError
        If no member has a checkpoint, the table is another, or ``out`` is in use.
    """
    card = read_run_card(run)
    if table.digest != card.studies_digest:
        raise DataError(f"{run} was trained on another study table; give that one with --studies")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; give a new folder")
    loaded = [
        load_member(member_folder(run, i) / BEST)
        for i in range(len(card.experiment.members))
        if (member_folder(run, i) / BEST).is_file()
    ]
    if not loaded:
        raise DataError(f"no member of {run} has finished an epoch yet; train first")
    # One thread: on a shared machine, threads of one operation wait for one another longer than they work.
    torch.set_num_threads(1)
    ensemble = Ensemble([network for network, _ in loaded]).eval().to(memory_format=torch.channels_last)
    fit, tune, tune_rows = _splits(card, table, cache, hold_out, workers, on_progress)
    chosen = np.random.default_rng(card.experiment.seed).permutation(len(fit.truth.abnormal))[:STRANGENESS_FILMS]
    on_progress("fitting strangeness", 0, 2)
    ensemble.fit_strangeness(batches_of(fit.films, np.sort(chosen), _BATCH), SHRINKAGE)
    healthy = np.flatnonzero(~tune.truth.abnormal)
    if not len(healthy):
        raise DataError("the tune split has no healthy film; the rule cannot be chosen")
    ensemble.set_units(
        batches_of(tune.films, healthy, _BATCH),
        lambda distance: strangeness_limit(distance.double().numpy(), tune.truth.site[healthy]),
    )
    on_progress("choosing the rule", 1, 2)
    out.mkdir(parents=True, exist_ok=True)
    spec = card.experiment.input_spec
    write_graph(ensemble, out / GRAPH, spec.rows, spec.columns)
    logits, strangeness = run_graph(out / GRAPH, tune)
    rule, quality = choose_rule(logits, strangeness, tune.truth)
    on_progress("writing the candidate", 2, 2)
    (out / INPUT_SPEC).write_text(spec.to_json(), encoding="utf-8")
    (out / RULE).write_text(rule.to_json(), encoding="utf-8")
    (out / SCOPE).write_text(SCOPES[card.experiment.scope].to_json(), encoding="utf-8")
    golden = _golden_films(out / GRAPH, _spread(tune_rows, GOLDEN_FILMS), card)
    parity = check_parity(ensemble, out / GRAPH, np.stack([film.tensor for film in golden]))
    write_golden(out, golden)
    about = {
        "experiment": card.experiment.name,
        "studies": card.studies_digest,
        "members": ", ".join(f"{state.spec.backbone} (epoch {state.epoch})" for _, state in loaded),
        "training_sites": ", ".join(card.sites),
        "parity": f"logits {parity.logits:.1e}, strangeness {parity.strangeness:.1e} from torch",
        "made_with": f"torch {torch.__version__}, timm {timm.__version__}, onnxruntime {onnxruntime.__version__}",
    }
    digest = write_manifest(out, about=about)
    return ExportSummary(
        digest=digest, members=tuple(state for _, state in loaded), rule=rule, merit=quality, parity=parity
    )


def choose_rule(logits: NDArray[np.float64], strangeness: NDArray[np.float64], truth: Truth) -> tuple[ScoreRule, float]:
    """Choose how members become a score, on the tune split.

    Centre and scale are the median and the spread (half the distance between the 16th and 84th percentile) of the healthy
    films' logits. The weight of disagreement is the one with the greatest coverage at few misses at the worst site, the
    smallest of equals. The limit of strangeness lets through ``NOT_STRANGE`` of the healthy films of every site.

    Returns
    -------
    tuple
        The rule, and the merit that it reached.
    """
    healthy = ~truth.abnormal
    if not healthy.any():
        raise DataError("the tune split has no healthy film; the rule cannot be chosen")
    low, centre, high = np.percentile(logits[healthy], (16, 50, 84), axis=0)
    limit = strangeness_limit(strangeness[healthy], truth.site[healthy])
    best, rule = -np.inf, None
    for weight in DISAGREEMENT_WEIGHTS:
        tried = ScoreRule(
            centre=tuple(map(float, centre)),
            scale=tuple(map(float, np.maximum((high - low) / 2, 1e-3))),
            disagreement_weight=weight,
            strangeness_limit=limit,
        )
        scores = np.array([score_image(*answer, tried) for answer in zip(logits, strangeness, strict=True)])
        quality = merit(scores, truth.abnormal, truth.site)
        if rule is None or quality > best:
            best, rule = quality, tried
    assert rule is not None
    return rule, float(best)


def strangeness_limit(strangeness: NDArray[np.float64], site: NDArray[np.int64]) -> float:
    """Return what at least ``NOT_STRANGE`` of the healthy films of every site do not exceed."""
    return max(float(np.quantile(strangeness[site == one], NOT_STRANGE)) for one in np.unique(site))


def write_graph(ensemble: Ensemble, place: Path, rows: int, columns: int) -> None:
    """Write an ensemble as one ONNX file: ``image`` (N, 1, rows, columns) to ``logits`` (N, K), ``strangeness`` (N,).

    Large weights are stored as float16, which halves the file, and are float32 again when the graph is loaded: all
    arithmetic is float32. Rule and limit of strangeness are chosen with the graph as it is stored.
    """
    program = torch.onnx.export(
        ensemble,
        (torch.zeros(2, 1, rows, columns),),
        dynamo=True,
        input_names=["image"],
        output_names=["logits", "strangeness"],
        dynamic_shapes={"image": {0: torch.export.Dim("films", min=1, max=4096)}},
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    _store_as_float16(model)
    onnx.checker.check_model(model)
    place.write_bytes(model.SerializeToString(deterministic=True))


def _store_as_float16(model: onnx.ModelProto) -> None:
    """Replace large float32 weights by float16 ones and a cast back."""
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _LARGE or np.abs(values).max() > _FLOAT16_MAX:
            continue
        name, stored = weight.name, f"{weight.name}.float16"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], f"{name}.cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _splits(
    card: RunCard, table: StudyTable, cache: Path, hold_out: Sequence[str], workers: int, on_progress: OnProgress
) -> tuple[Split, Split, tuple[StudyRow, ...]]:
    parts = []
    fit_rows, tune_rows = split_rows(table, card.experiment, hold_out)
    for what, rows in (("reading training films", fit_rows), ("reading tune films", tune_rows)):
        films = load_films(
            rows,
            card.experiment.input_spec,
            cache,
            workers=workers,
            on_progress=lambda done, total, what=what: on_progress(what, done, total),
        )
        parts.append(Split(films=films, truth=truth_of(rows, card.kinds)))
    return parts[0], parts[1], tune_rows


def run_graph(graph: Path, split: Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the graph's logits (N, K) and strangeness (N,) of all films of a split."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    every = np.arange(len(split.truth.abnormal))
    answers = [
        session.run(["logits", "strangeness"], {"image": batch.contiguous().numpy()})
        for batch in batches_of(split.films, every, _BATCH)
    ]
    logits, strangeness = (np.concatenate(parts).astype(np.float64) for parts in zip(*answers, strict=True))
    return logits, strangeness


def _spread(rows: Sequence[StudyRow], count: int) -> tuple[StudyRow, ...]:
    """Return so many rows, evenly over the table, hence over sites and kinds."""
    return tuple(rows[i] for i in sorted({int(i) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))}))


def _golden_films(graph: Path, rows: Sequence[StudyRow], card: RunCard) -> tuple[GoldenFilm, ...]:
    session = onnxruntime.InferenceSession(graph.read_bytes(), providers=["CPUExecutionProvider"])
    films = []
    for number, row in enumerate(rows):
        data = row.path.read_bytes()
        tensor = preprocess(read_film(data, row.view, row.age_years).pixels, card.experiment.input_spec)
        logits, strangeness = session.run(["logits", "strangeness"], {"image": tensor[np.newaxis]})
        films.append(
            GoldenFilm(
                name=f"film-{number:02d}{row.path.suffix}",
                data=data,
                tensor=tensor,
                logits=tuple(map(float, np.asarray(logits)[0])),
                strangeness=float(np.asarray(strangeness)[0]),
            )
        )
    return tuple(films)
