"""An ensemble learns from phantoms; an interrupted run ends with the very weights of one that was not."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from models.errors import DataError
from models.networks import Network, NetworkSpec
from models.studies import StudyTable
from training.cache import load_films
from training.checkpoints import BEST, LAST, RunCard, load_member, member_folder, read_run_card, write_run_card
from training.cli import app
from training.config import Experiment, Member, read_experiment
from training.datasets import truth_of
from training.member import Split, predict, train_member
from training.report import read_history, write_report
from training.train import split_rows, train_run


def quiet(_what: str, _done: int, _total: int | None) -> None:
    """Tell nobody."""


def prepared(table: StudyTable, experiment: Experiment, run: Path) -> tuple[RunCard, Split, Split]:
    """Return what one member needs."""
    parts = []
    fit_rows, tune_rows = split_rows(table, experiment, ())
    for rows in (fit_rows, tune_rows):
        films = load_films(
            rows, experiment.input_spec, run.parent / "cache", workers=1, on_progress=lambda _done, _total: None
        )
        parts.append(Split(films=films, truth=truth_of(rows)))
    truth = parts[0].truth
    card = RunCard(experiment=experiment, studies_digest=table.digest, sites=truth.sites, kinds=truth.kinds)
    write_run_card(run, card)
    return card, parts[0], parts[1]


def farthest(run: Path, other: Path, index: int) -> float:
    """Return by how much a member's weights differ between two runs, at most."""
    (_, one), (_, two) = (load_member(member_folder(folder, index) / BEST) for folder in (run, other))
    return max(float((one.weights[name].float() - two.weights[name].float()).abs().max()) for name in one.weights)


def train_one(table: StudyTable, experiment: Experiment, run: Path, stop_after: int | None = None) -> None:
    card, fit, tune = prepared(table, experiment, run)
    train_member(0, card, fit, tune, run, on_batch=lambda _films: None, stop_after=stop_after)


def test_a_run_leaves_every_members_weights_history_and_a_report(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    told: list[str] = []
    run = tmp_path / "run"
    summary = train_run(
        table,
        experiment,
        run,
        cache=tmp_path / "cache",
        workers=2,
        hold_out=(),
        on_progress=lambda what, _done, _total: told.append(what),
    )
    assert [len(history) for history in summary.members] == [2, 2]
    assert {"reading training films", "reading tune films", "training"} <= set(told)
    card = read_run_card(run)
    assert card.studies_digest == table.digest
    assert card.experiment == experiment
    for index, member in enumerate(experiment.members):
        network, state = load_member(member_folder(run, index) / BEST)
        assert state.spec.backbone == member.backbone
        logits = network(torch.zeros(1, 1, 64, 64)).logit
        assert logits.isfinite().all()
        assert read_history(run, index) == summary.members[index]
    page = write_report(run)
    assert "resnet18" in page.read_text(encoding="utf-8")
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    train_one(table, experiment, tmp_path / "whole")
    train_one(table, experiment, tmp_path / "halved", stop_after=1)
    assert len(read_history(tmp_path / "halved", 0)) == 1
    train_one(table, experiment, tmp_path / "halved")
    for name in (BEST, LAST):
        whole, halved = (
            torch.load(member_folder(tmp_path / run, 0) / name, weights_only=True) for run in ("whole", "halved")
        )
        key = "weights" if name == BEST else "average"
        assert whole[key].keys() == halved[key].keys()
        assert all(torch.equal(whole[key][part], halved[key][part]) for part in whole[key])
    assert len(read_history(tmp_path / "halved", 0)) == 2


def test_training_on_few_films_learns_them(table: StudyTable, experiment: Experiment, tmp_path: Path) -> None:
    longer = replace(
        experiment,
        schedule=replace(experiment.schedule, epochs=12, films_per_epoch=48, measured_from=1.0, average_decay=0.9),
        sampling=replace(experiment.sampling, sites_left_out=0),
    )
    card, fit, tune = prepared(table, longer, tmp_path / "run")
    history = train_member(0, card, fit, tune, tmp_path / "run", on_batch=lambda _films: None)
    last = [record.loss for record in history[-3:]]
    assert sum(last) / len(last) < 0.85 * history[0].loss, last


@pytest.mark.parametrize("with_card", [True, False])
def test_a_folder_begun_with_another_experiment_is_refused_by_the_setting_that_differs(
    table: StudyTable, experiment: Experiment, tmp_path: Path, *, with_card: bool
) -> None:
    run = tmp_path / "run"
    train_one(table, experiment, run, stop_after=1)
    if not with_card:
        (run / "run.json").unlink()
    wider = replace(experiment.members[0], channels=(8, 8, 16, 32))
    others = {
        "members": replace(experiment, members=(wider, *experiment.members[1:])),
        "schedule.epochs is 2 there and 3 here": replace(experiment, schedule=replace(experiment.schedule, epochs=3)),
    }
    for field, other in others.items():
        with pytest.raises(DataError, match=field) as told:
            train_one(table, other, run)
        assert "\n" not in str(told.value)
        (run / "run.json").unlink(missing_ok=not with_card)
        if with_card:
            prepared(table, experiment, run)
    with pytest.raises(DataError, match="digest of the study table"):
        train_one(replace(table, digest="0" * 64), experiment, run)


def test_a_state_that_cannot_be_read_is_told_in_one_line(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    train_one(table, experiment, tmp_path / "run", stop_after=1)
    (member_folder(tmp_path / "run", 0) / LAST).write_bytes(b"half")
    with pytest.raises(DataError, match=r"last\.pt is not a member's checkpoint"):
        train_one(table, experiment, tmp_path / "run")


def test_a_run_of_other_sites_in_the_same_folder_is_refused(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    card, _, _ = prepared(table, experiment, tmp_path / "run")
    with pytest.raises(DataError, match="sites is"):
        write_run_card(tmp_path / "run", replace(card, sites=("site-01",)))


def test_settings_that_were_not_yet_known_are_taken_as_their_defaults(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    card, _, _ = prepared(table, experiment, tmp_path / "run")
    place = tmp_path / "run" / "run.json"
    written = json.loads(place.read_text(encoding="utf-8"))
    del written["experiment"]["sampling"]["balanced_sites"]
    place.write_text(json.dumps(written), encoding="utf-8")
    write_run_card(tmp_path / "run", card)


def test_sites_that_are_held_out_are_not_trained_on(table: StudyTable, experiment: Experiment) -> None:
    fit, tune = split_rows(table, experiment, ("site-02",))
    assert {row.site for row in (*fit, *tune)} == {"site-01"}
    with pytest.raises(DataError, match="site-99"):
        split_rows(table, experiment, ("site-99",))


def test_weights_come_from_a_local_file_when_the_config_names_one(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    spec = NetworkSpec(backbone="test_resnet")
    donor = Network(spec)
    place = tmp_path / "weights.pth"
    torch.save(donor.backbone.state_dict(), place)
    torch.manual_seed(12)
    filled = Network(spec, str(place))
    for name, value in donor.backbone.state_dict().items():
        assert torch.equal(filled.backbone.state_dict()[name], value)
    learned = replace(experiment, members=(Member(backbone="test_resnet", weights=str(place)),))
    train_one(table, learned, tmp_path / "run", stop_after=1)
    assert (member_folder(tmp_path / "run", 0) / BEST).is_file()


@pytest.mark.parametrize(
    ("backbone", "weights"),
    [("no_such_network", ""), ("vit_tiny_patch16_224", ""), ("test_resnet", "nowhere.pth")],
)
def test_a_network_that_cannot_be_built_is_told_in_one_line(backbone: str, weights: str) -> None:
    with pytest.raises(DataError) as told:
        Network(NetworkSpec(backbone=backbone), weights)
    assert "\n" not in str(told.value)


def test_dropout_changes_what_a_network_says_in_training_and_nothing_else() -> None:
    torch.manual_seed(3)
    plain = Network(NetworkSpec(backbone="test_resnet", kinds=2)).eval()
    dropping = Network(NetworkSpec(backbone="test_resnet", kinds=2, dropout=0.5)).eval()
    dropping.load_state_dict(plain.state_dict())
    film = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(plain(film).logit, dropping(film).logit)
        dropping.drop_channels.train()
        assert not torch.equal(dropping(film).logit, dropping(film).logit)


def test_a_file_that_is_no_checkpoint_is_refused_without_running_it(tmp_path: Path) -> None:
    place = tmp_path / "best.pt"
    place.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="not a member's checkpoint"):
        load_member(place)
    with pytest.raises(DataError, match="no such file"):
        load_member(tmp_path / "none.pt")


def test_films_are_read_once_and_found_again(table: StudyTable, experiment: Experiment, tmp_path: Path) -> None:
    rows, told = split_rows(table, experiment, ())[0], []
    first, second = (
        load_films(
            rows,
            experiment.input_spec,
            tmp_path,
            workers=1,
            on_progress=lambda done, total: told.append((done, total)),
        )
        for _ in range(2)
    )
    assert told == [(len(rows), len(rows))]
    assert np.array_equal(first.images, second.images)
    assert first.masks.max() > 0
    healthy = [i for i, row in enumerate(rows) if row.mask is None]
    assert not first.masks[healthy].any()


def test_predictions_do_not_depend_on_the_batch(table: StudyTable, experiment: Experiment, tmp_path: Path) -> None:
    _, fit, _ = prepared(table, experiment, tmp_path / "run")
    network = Network(NetworkSpec(backbone="test_resnet")).eval()
    every = np.arange(4)
    together = predict(network, fit.films, every, bfloat16=False)
    alone = np.concatenate([predict(network, fit.films, every[i : i + 1], bfloat16=False) for i in every])
    assert np.allclose(together, alone, atol=1e-4)


def test_the_verb_trains_and_goes_on_where_a_run_stopped(studies: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\nseed = 1\nscope = "clinical"\nrows = 64\ncolumns = 64\n'
        "[schedule]\nepochs = 1\nfilms_per_epoch = 16\nbatch = 8\nmeasured_from = 0.0\n"
        '[[members]]\nbackbone = "test_resnet"\n',
        encoding="utf-8",
    )
    asked = ["train", "--studies", str(studies), "--config", str(config), "--out", str(tmp_path / "run"), "--json"]
    first, second = (CliRunner().invoke(app, asked) for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert json.loads(first.stdout)["members"][0]["epochs"] == 1
    shutil.rmtree(tmp_path / "run" / "cache")


def test_two_processes_of_torchrun_end_with_the_weights_of_one(
    table: StudyTable, studies: Path, experiment: Experiment, tmp_path: Path
) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(
        'name = "tiny"\nseed = 5\nscope = "clinical"\nrows = 64\ncolumns = 64\n'
        "[schedule]\nepochs = 2\nfilms_per_epoch = 16\nbatch = 8\nmeasured_from = 0.0\nbfloat16 = false\n"
        '[[members]]\nbackbone = "resnet18"\nchannels = [8, 8, 16, 16]\n[[members]]\nbackbone = "test_resnet"\n',
        encoding="utf-8",
    )
    assert read_experiment(config) == experiment
    asked = ["train", "--studies", str(studies), "--config", str(config), "--out", str(tmp_path / "two"), "--json"]
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "demur"]
    done = subprocess.run([sys.executable, *launched, *asked], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [one["epochs"] for one in json.loads(done.stdout)["members"]] == [2, 2]
    for name, other in (("one", experiment), ("stranger", replace(experiment, seed=6))):
        train_run(
            table, other, tmp_path / name, cache=tmp_path / "two" / "cache", workers=2, hold_out=(), on_progress=quiet
        )
    for index in range(2):
        assert farthest(tmp_path / "two", tmp_path / "one", index) < 0.1 * farthest(
            tmp_path / "two", tmp_path / "stranger", index
        )
    assert (tmp_path / "two" / "report.html").is_file()
    again = subprocess.run(
        [sys.executable, *launched, *asked], capture_output=True, text=True, timeout=300, check=False
    )
    assert json.loads(again.stdout) == json.loads(done.stdout)
