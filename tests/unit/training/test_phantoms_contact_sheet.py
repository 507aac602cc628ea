"""Contact sheets, and the progress of long work."""

import numpy as np
from PIL import Image

from training.phantoms.contact_sheet import ACROSS, SIDE, outline, write_sheets
from training.phantoms.film import make
from training.phantoms.progress import bar
from training.phantoms.sites import SITES, Kind


def test_there_is_a_small_sheet_of_every_finding_and_of_all_sites(tmp_path):
    paths = write_sheets(tmp_path, seed=7)
    assert {path.stem for path in paths} == {"sites-1", "sites-2", *(kind.value for kind in Kind)}
    for path in paths:
        assert path.stat().st_size < 400_000
        with Image.open(path) as sheet:
            assert sheet.size[0] == ACROSS * SIDE


def test_the_outline_runs_around_the_mask_and_leaves_the_finding_to_be_seen():
    film = make(7, SITES["site-01"], 0, SIDE, Kind.MASS)
    drawn = outline(film)[:SIDE]
    assert np.array_equal(drawn[film.mask], np.rint(film.pixels * np.float32(255)).astype(np.uint8)[film.mask])
    assert (drawn == 255).sum() > film.mask.sum() ** 0.5


def test_long_work_is_told_in_tenths_where_there_is_no_terminal(capsys):
    with bar(400, "films") as advance:
        for _ in range(400):
            advance()
    told = capsys.readouterr().err.splitlines()
    assert told == [f"films: {done} of 400" for done in range(40, 401, 40)]


def test_short_work_is_not_told(capsys):
    with bar(20, "films") as advance:
        for _ in range(20):
            advance()
    assert capsys.readouterr().err == ""
