"""A run becomes a candidate that the engine opens, whose graph says what torch says, and whose rule comes from tune films."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from deploy.candidate import Candidate
from deploy.cli import app
from deploy.export import NOT_STRANGE, choose_rule, write_graph
from deploy.parity import TOLERANCE, check_parity
from deploy.runtime import Engine, Image
from models.ensemble import GLANCE, Ensemble, glance
from models.errors import DataError
from models.networks import Network, NetworkSpec
from models.scoring import ScoreRule, is_strange, score_image
from models.studies import StudyTable
from models.vocabulary import Label
from training.config import Experiment
from training.datasets import Truth
from training.train import train_run


@pytest.fixture(scope="module")
def run(table: StudyTable, experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run."""
    folder = tmp_path_factory.mktemp("run")
    train_run(
        table,
        experiment,
        folder,
        cache=folder / "cache",
        workers=1,
        hold_out=(),
        on_progress=lambda _what, _done, _total: None,
    )
    return folder


@pytest.fixture(scope="module")
def candidate(run: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """Return what the verb makes of it."""
    out = tmp_path_factory.mktemp("made") / "candidate"
    told = CliRunner().invoke(app, ["export", str(run), "--studies", str(studies), "--out", str(out)])
    assert told.exit_code == 0, told.output
    opened = Candidate.open(out)
    assert opened.digest in told.stdout
    return opened


def test_the_engine_runs_the_candidate_and_its_golden_films(candidate: Candidate, table: StudyTable) -> None:
    with Engine(candidate, threads=1) as engine:
        engine.check_golden()
        films = [row for row in table if row.label is Label.HEALTHY][:3]
        for row in films:
            found = engine.assess([Image(data=row.path.read_bytes())])
            assert len(found.logits) == candidate.members == 2
            assert np.isfinite(found.strangeness)


def test_the_candidate_says_where_it_comes_from(candidate: Candidate, table: StudyTable) -> None:
    about = candidate.manifest.about
    assert about["studies"] == table.digest
    assert "resnet18" in about["members"]
    assert about["training_sites"] == "site-01, site-02"
    assert len(candidate.golden()) == 12


def test_a_run_of_another_table_and_an_empty_run_are_refused(run: Path, studies: Path, tmp_path: Path) -> None:
    other = studies.with_name("other.csv")
    lines = studies.read_text(encoding="utf-8").splitlines(keepends=True)
    other.write_text("".join(lines[:-1]), encoding="utf-8")
    asked = ["export", str(run), "--studies", str(other), "--out", str(tmp_path / "out")]
    assert isinstance(CliRunner().invoke(app, asked).exception, DataError)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "run.json").write_bytes((run / "run.json").read_bytes())
    asked = ["export", str(tmp_path / "bare"), "--studies", str(studies), "--out", str(tmp_path / "out")]
    fault = CliRunner().invoke(app, asked).exception
    assert isinstance(fault, DataError)
    assert "no member" in str(fault)


def test_a_graph_that_says_something_else_than_torch_is_refused(candidate: Candidate) -> None:
    torch.manual_seed(0)
    stranger = Ensemble([Network(NetworkSpec(backbone="test_resnet")) for _ in range(2)]).eval()
    images = np.stack([film.tensor for film in candidate.golden()])
    with pytest.raises(DataError, match=f"above {TOLERANCE}"):
        check_parity(stranger, candidate.graph_path, images)


def truth(abnormal: list[bool], site: list[int]) -> Truth:
    flags = np.array(abnormal)
    return Truth(
        abnormal=flags,
        site=np.array(site, np.int64),
        kind=flags.astype(np.int64),
        located=np.ones(len(flags), bool),
        sites=("a", "b"),
        kinds=("nodule",),
    )


def test_disagreement_counts_where_it_tells_a_miss_from_a_healthy_film() -> None:
    rng = np.random.default_rng(0)
    healthy = rng.normal(0, 1, (400, 2))
    # Each found by one member alone: the mean is that of a healthy film, the disagreement is not.
    found = np.stack([np.full(50, 4.0), np.full(50, -4.0)], axis=1)
    found[25:] = found[25:, ::-1]
    logits = np.concatenate([healthy, found])
    known = truth([False] * 400 + [True] * 50, [i % 2 for i in range(450)])
    rule, quality = choose_rule(logits, np.ones(450), known)
    assert rule.disagreement_weight > 0
    assert quality > 0.8
    assert score_image(found[0], 1.0, rule) > score_image(healthy[0], 1.0, rule)


def test_the_limit_of_strangeness_lets_the_healthy_films_of_every_site_through() -> None:
    rng = np.random.default_rng(1)
    logits = np.concatenate([rng.normal(0, 1, (400, 2)), rng.normal(5, 1, (50, 2))])
    strangeness = np.concatenate([rng.normal(1, 0.1, 200), rng.normal(1.5, 0.1, 200), np.full(50, 9.0)])
    known = truth([False] * 400 + [True] * 50, [0] * 200 + [1] * 200 + [0] * 50)
    rule, _ = choose_rule(logits, strangeness, known)
    for site in (0, 1):
        healthy = ~known.abnormal & (known.site == site)
        assert (strangeness[healthy] <= rule.strangeness_limit).mean() >= NOT_STRANGE - 0.01


def test_a_tune_split_without_healthy_films_is_told() -> None:
    with pytest.raises(DataError, match="no healthy"):
        choose_rule(np.zeros((3, 2)), np.zeros(3), truth([True] * 3, [0, 0, 1]))


@pytest.fixture(scope="module")
def fitted() -> tuple[Ensemble, torch.Tensor]:
    """Return an untrained ensemble, fitted on films that are bright at the top, with others of their kind."""
    torch.manual_seed(2)
    ensemble = Ensemble([Network(NetworkSpec(backbone="test_resnet")) for _ in range(2)]).eval()
    films = 0.2 * torch.randn(192, 1, 64, 64) + torch.linspace(1, -1, 64).view(1, 1, -1, 1)
    ensemble.fit_strangeness([films[:64], films[64:128]], 0.1)
    ensemble.set_units([films[128:]], lambda distance: float(distance.max()))
    return ensemble, films[128:]


def strangeness_of(ensemble: Ensemble, films: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return ensemble(films)[1]


def test_the_unit_of_strangeness_is_that_of_films_which_were_not_fitted_on(
    fitted: tuple[Ensemble, torch.Tensor],
) -> None:
    ensemble, others = fitted
    assert strangeness_of(ensemble, others).max() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda films: -films,
        lambda films: films.flip(2),
        lambda films: films.rot90(1, (2, 3)),
        torch.zeros_like,
        lambda films: torch.full_like(films, 5.0),
        lambda films: 5 * torch.randn_like(films),
    ],
    ids=["polarity", "upside down", "turned", "black", "white", "noise"],
)
def test_a_wrong_film_is_stranger_than_any_of_the_right_kind(
    wrong: Callable[[torch.Tensor], torch.Tensor], fitted: tuple[Ensemble, torch.Tensor]
) -> None:
    ensemble, others = fitted
    assert strangeness_of(ensemble, wrong(others)).min() > 1.5


def test_either_distance_alone_makes_a_film_strange(fitted: tuple[Ensemble, torch.Tensor]) -> None:
    ensemble, others = fitted
    kept = ensemble.get_buffer("units").clone()
    for blind in (0, 1):
        units = kept.clone()
        units[blind] = 1e9
        ensemble.get_buffer("units").copy_(units)
        seen = strangeness_of(ensemble, 3 - others).min()
        ensemble.get_buffer("units").copy_(kept)
        assert seen > 1.5


def test_a_film_that_is_not_finite_is_strange(fitted: tuple[Ensemble, torch.Tensor], tmp_path: Path) -> None:
    ensemble, others = fitted
    write_graph(ensemble, tmp_path / "graph.onnx", 64, 64)
    films = others[:2].clone()
    films[0, 0, 3, 3], films[1] = torch.nan, 1e30
    session = onnxruntime.InferenceSession((tmp_path / "graph.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    rule = ScoreRule(centre=(0.0, 0.0), scale=(1.0, 1.0), disagreement_weight=0.0, strangeness_limit=1.0)
    for found in (strangeness_of(ensemble, films).tolist(), session.run(["strangeness"], {"image": films.numpy()})[0]):
        assert all(is_strange(float(one), rule) for one in found)


def test_the_graph_says_what_torch_says_of_wrong_films_too(
    fitted: tuple[Ensemble, torch.Tensor], tmp_path: Path
) -> None:
    ensemble, others = fitted
    write_graph(ensemble, tmp_path / "graph.onnx", 64, 64)
    wrong = torch.cat([others[:2], -others[:2], others[:2].flip(2), torch.zeros(1, 1, 64, 64)]).numpy()
    found = check_parity(ensemble, tmp_path / "graph.onnx", wrong)
    assert 0 < found.strangeness <= TOLERANCE


def test_the_glance_sees_means_of_cells() -> None:
    film = torch.zeros(1, 1, 64, 64)
    film[0, 0, :4, 4:8] = 1.0
    cells = glance(film)
    assert cells.shape == (1, GLANCE**2)
    assert cells[0, 1] == 1
    assert cells.sum() == 1


def test_strangeness_needs_films() -> None:
    ensemble = Ensemble([Network(NetworkSpec(backbone="test_resnet"))]).eval()
    with pytest.raises(ValueError, match="no films"):
        ensemble.fit_strangeness([], 0.1)
