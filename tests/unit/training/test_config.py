"""An experiment is read strictly, and survives its way through JSON."""

from pathlib import Path

import pytest

from models.errors import DataError
from training.config import experiment_from_json, experiment_to_json, read_experiment

CONFIGS = sorted((Path(__file__).parents[3] / "training" / "configs").glob("*.toml"))

SMALL = """
name = "small"
seed = 3
scope = "research"
rows = 64
columns = 96
[schedule]
epochs = 2
films_per_epoch = 100
learning_rate = 1
[[members]]
backbone = "resnet18"
channels = [8, 16, 24, 32]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_reads_and_states_purpose_command_and_expectation(path: Path) -> None:
    experiment = read_experiment(path)
    assert experiment.name == path.stem
    heading = "".join(
        line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#")
    )
    for word in ("Purpose:", "Command:", "Expected:"):
        assert word in heading


def test_an_experiment_survives_json(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, SMALL))
    assert experiment.members[0].channels == (8, 16, 24, 32)
    assert experiment.schedule.learning_rate == 1.0
    assert (experiment.input_spec.rows, experiment.input_spec.columns) == (64, 96)
    assert experiment_from_json(experiment_to_json(experiment)) == experiment


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("epochs = 2", "epochs = 2\nepoch = 3", "'epoch'"),
        ("epochs = 2", "", "'epochs'"),
        ("epochs = 2", 'epochs = "2"', "epochs"),
        ("epochs = 2", "epochs = true", "epochs"),
        ('scope = "research"', 'scope = "all"', "'all'"),
        ("rows = 64", "rows = 65", "multiples of 32"),
        ("[[members]]", "[members]", "members"),
        ("[schedule]", "[schedule", "TOML"),
        ("[schedule]", "schedule = 3\n[sampling]", "a table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read_experiment(written(tmp_path, SMALL.replace(old, new)))


def test_an_ensemble_has_members(tmp_path: Path) -> None:
    text = SMALL[: SMALL.index("[[members]]")].replace('name = "small"', 'name = "small"\nmembers = []')
    with pytest.raises(DataError, match="at least one"):
        read_experiment(written(tmp_path, text))


def test_a_missing_file_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.toml"):
        read_experiment(tmp_path / "nowhere.toml")
