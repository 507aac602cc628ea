"""Each site is held out in turn and judged by members that never saw it."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import DataError
from models.studies import StudyTable
from models.vocabulary import Label
from training.checkpoints import read_run_card
from training.config import Experiment
from training.leave_one_out import as_markdown, hold_out_in_turn, judge
from training.train import train_run


def quiet(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def brief(experiment: Experiment) -> Experiment:
    """Return the experiment with one member and one epoch."""
    return replace(
        experiment, members=experiment.members[:1], schedule=replace(experiment.schedule, epochs=1, measured_from=1.0)
    )


def test_every_site_is_held_out_once_and_judged_with_intervals(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    results = hold_out_in_turn(table, brief(experiment), tmp_path, workers=1, on_progress=quiet)
    assert [one.site for one in results] == ["site-01", "site-02"]
    for one in results:
        assert one.healthy + one.abnormal == 24
        assert one.auroc is not None
        assert one.auroc_lower is not None
        assert one.auroc_upper is not None
        assert one.auroc_lower <= one.auroc <= one.auroc_upper
        assert one.missed_at_others_half.trials == one.abnormal
        others = read_run_card(tmp_path / one.site).sites
        assert one.site not in others
    text = as_markdown(results)
    assert text.count("\n") == 4
    assert "`site-01`" in text


def test_a_site_without_healthy_films_is_judged_by_its_misses_alone(
    table: StudyTable, experiment: Experiment, tmp_path: Path
) -> None:
    rows = tuple(row for row in table if row.site == "site-01" or row.label is Label.ABNORMAL)
    sick = replace(table, rows=rows)
    run = tmp_path / "site-02"
    train_run(
        sick, brief(experiment), run, cache=tmp_path / "cache", workers=1, hold_out=("site-02",), on_progress=quiet
    )
    found = judge(sick, brief(experiment), run, "site-02", cache=tmp_path / "cache")
    assert found.healthy == 0
    assert found.auroc is None
    assert found.cleared_at_no_miss is None
    assert 0 <= found.missed_at_others_half.count <= found.missed_at_others_half.trials == found.abnormal
    assert found.site_guessed == found.site_by_chance == 1.0
    assert "—" in as_markdown([found])
    with pytest.raises(DataError, match="healthy"):
        hold_out_in_turn(sick, brief(experiment), tmp_path / "all", workers=1, on_progress=quiet)
