"""Contact sheets."""

import numpy as np
from PIL import Image

from training.phantoms.contact_sheet import ACROSS, SIDE, outline, write_sheets
from training.phantoms.film import make
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
