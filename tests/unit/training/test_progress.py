"""Progress of long work: a bar on a terminal, and elsewhere a line now and then."""

from io import StringIO

import pytest
from rich.console import Console

from training.progress import LINE_EVERY_S, Tally, counted, plain_lines


def lines_of(times: list[float], total: int | None) -> list[str]:
    """Return what is told of one piece of work after each of these times, without the time of day."""
    file = StringIO()
    clock = iter(times)
    tell = plain_lines(Console(file=file), lambda: next(clock))
    for done in range(1, len(times) + 1):
        tell("films", done, total)
    return [line.partition(" ")[2] for line in file.getvalue().splitlines()]


def test_long_work_is_told_now_and_then_and_at_its_end():
    late = LINE_EVERY_S
    assert lines_of([0, late - 1, late, late + 1, 2 * late + 1, 2 * late + 2], 6) == [
        "films: 3 of 6",
        "films: 5 of 6",
        "films: 6 of 6",
    ]


def test_work_of_unknown_length_is_told_without_an_end():
    assert lines_of([0, LINE_EVERY_S], None) == ["films: 2"]


def test_short_work_is_not_told(capsys: pytest.CaptureFixture[str]):
    with counted("films", 20) as advance:
        for _ in range(20):
            advance()
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with counted("images") as advance:
        advance()
    told = capsys.readouterr()
    assert told.out == ""
    assert "images" in told.err


def test_a_tally_adds_up_and_ends_at_the_total_whatever_was_done_before():
    told: list[tuple[str, int, int | None]] = []
    tally = Tally("training", 10, lambda *one: told.append(one))
    tally.add(4)
    tally.add(4)
    tally.finish()
    assert told == [("training", 4, 10), ("training", 8, 10), ("training", 10, 10)]
