"""A few dozen phantoms of two sites, small, and an experiment that learns from them in seconds."""

from pathlib import Path

import pytest

from models.studies import StudyTable, read_study_table
from training.config import Experiment, Member, Schedule
from training.phantoms.formats import Format
from training.phantoms.generate import Order, generate
from training.splits import SplitPlan


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the study table of 48 phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    order = Order(
        sites=("site-01", "site-02"),
        studies=48,
        seed=1,
        size=64,
        prevalence=0.5,
        balanced=True,
        format=Format.DICOM,
        first=0,
        split=None,
        plan=SplitPlan(train=0.5, tune=0.5, calibration=0.0),
    )
    generate(order, folder, workers=1, progress=lambda: None)
    return folder / "studies.csv"


@pytest.fixture(scope="session")
def table(studies: Path) -> StudyTable:
    """Return the same, read."""
    return read_study_table(studies)


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """Return two small members and two short epochs."""
    return Experiment(
        name="tiny",
        seed=5,
        scope="clinical",
        rows=64,
        columns=64,
        schedule=Schedule(epochs=2, films_per_epoch=16, batch=8, bfloat16=False, measured_from=0.0),
        members=(
            Member(backbone="resnet18", channels=(8, 8, 16, 16)),
            Member(backbone="test_resnet"),
        ),
    )
