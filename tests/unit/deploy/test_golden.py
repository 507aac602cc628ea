import math
from pathlib import Path

import numpy as np
import pytest

from deploy.golden import INDEX, TENSORS, GoldenFilm, is_close, parse_golden, write_golden
from deploy.manifest import Flaw, VerificationError


def film(name: str, level: float) -> GoldenFilm:
    tensor = np.full((1, 8, 8), level, np.float32)
    return GoldenFilm(name=name, data=name.encode(), tensor=tensor, logits=(level, -0.1), strangeness=level / 3)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_golden_films_come_back_as_they_were_written(tmp_path: Path) -> None:
    films = (film("pa.dcm", 0.25), film("ap.png", -1.5))
    write_golden(tmp_path, films)
    for back, wanted in zip(parse_golden(files_of(tmp_path)), films, strict=True):
        assert (back.name, back.data, back.logits, back.strangeness) == (
            wanted.name,
            wanted.data,
            wanted.logits,
            wanted.strangeness,
        )
        np.testing.assert_array_equal(back.tensor, wanted.tensor)


@pytest.mark.parametrize("films", [[], [film("a", 1), film("a", 2)]])
def test_none_or_two_of_one_name_cannot_be_written(tmp_path: Path, films: list[GoldenFilm]) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        write_golden(tmp_path, films)


@pytest.mark.parametrize(
    "changes",
    [
        {INDEX: None},
        {TENSORS: None},
        {"golden/a": None},
        {INDEX: b"{}"},
        {INDEX: b'{"films":[]}'},
        {INDEX: b'{"films":[{"file":"a","logits":["x"],"strangeness":1}]}'},
        {INDEX: b'{"films":[{"file":"a","logits":1,"strangeness":1}]}'},
        {INDEX: b"[]"},
        {TENSORS: b""},
        {TENSORS: b"nonsense"},
    ],
)
def test_golden_films_that_cannot_be_read_are_a_flaw_of_the_candidate(tmp_path: Path, changes: dict) -> None:
    write_golden(tmp_path, [film("a", 1.0)])
    files = files_of(tmp_path) | changes
    with pytest.raises(VerificationError) as caught:
        parse_golden({name: data for name, data in files.items() if data is not None})
    assert caught.value.flaw is Flaw.CANDIDATE


def test_an_empty_list_of_films_is_a_flaw(tmp_path: Path) -> None:
    write_golden(tmp_path, [film("a", 1.0)])
    np.save(tmp_path / TENSORS, np.zeros((0, 1, 8, 8), np.float32))
    with pytest.raises(VerificationError, match="no golden films"):
        parse_golden(files_of(tmp_path) | {INDEX: b'{"films":[]}'})


@pytest.mark.parametrize(
    ("actual", "stored", "close"),
    [(1.0, 1.0, True), (1.0019, 1.0, True), (1.0021, 1.0, False), (1000.9, 1000.0, True), (0.0, 0.002, False),
     (math.nan, 1.0, False), (1.0, math.nan, False), (math.inf, 1.0, False)],
)  # fmt: skip
def test_an_output_is_close_within_the_stated_tolerance_and_never_by_being_no_number(
    actual: float, stored: float, close: bool
) -> None:
    assert is_close(actual, stored) is close
