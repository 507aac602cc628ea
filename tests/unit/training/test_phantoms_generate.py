"""Folders of phantoms: the same whatever the processes, and a sound study table."""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.errors import DataError
from models.films import read_film
from models.studies import read_study_table
from models.vocabulary import Label, Split
from training.cli import app
from training.phantoms.film import phantom
from training.phantoms.formats import Format
from training.phantoms.generate import Order, chosen_sites, generate
from training.phantoms.sites import SITES, Kind
from training.splits import SplitPlan

ORDER = Order(
    sites=("site-01", "site-03", "site-06"),
    studies=30,
    seed=7,
    size=64,
    prevalence=0.5,
    balanced=True,
    format=Format.DICOM,
    first=0,
    split=None,
    plan=SplitPlan(),
)


def made(order: Order, out: Path, workers: int = 1) -> dict[str, str]:
    """Make the films and return the digest of every file."""
    generate(order, out, workers=workers, progress=lambda: None)
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_files_do_not_depend_on_the_number_of_processes(tmp_path):
    alone, many = made(ORDER, tmp_path / "one"), made(ORDER, tmp_path / "three", workers=3)
    assert alone == many
    assert "studies.csv" in alone


def test_fewer_studies_are_the_first_of_more(tmp_path):
    more, fewer = made(ORDER, tmp_path / "more"), made(replace(ORDER, studies=12), tmp_path / "fewer")
    del fewer["studies.csv"]
    assert fewer.items() <= more.items()


def test_the_table_says_what_was_made(tmp_path):
    made(ORDER, tmp_path)
    table = read_study_table(tmp_path / "studies.csv")
    assert len(table) == 30
    for row in table.rows:
        index = int(row.study.rsplit("-", 1)[1])
        film = phantom(7, row.site, index, 64, prevalence=0.5, balanced=True)
        assert row.label is film.label
        assert row.stratum == film.stratum
        assert row.age_years == film.patient.age
        picture = read_film(row.path.read_bytes())
        assert np.abs(picture.pixels - film.pixels).max() < 1e-6
        assert (row.mask is not None) == (row.label is Label.ABNORMAL)
        if row.mask is not None:
            with Image.open(row.mask) as mask:
                assert np.array_equal(np.asarray(mask) > 0, film.mask)


def test_png_is_the_picture_in_eight_bits_bright_where_dense(tmp_path):
    order = replace(ORDER, format=Format.PNG, studies=3)
    made(order, tmp_path)
    for row in read_study_table(tmp_path / "studies.csv").rows:
        film = phantom(7, row.site, 0, 64, prevalence=0.5, balanced=True)
        with Image.open(row.path) as image:
            shown = np.asarray(image, np.float32) / 255
        assert np.abs(shown - film.pixels).max() <= 0.5 / 255 + 1e-6


def test_every_site_and_stratum_is_there(tmp_path):
    order = replace(ORDER, sites=tuple(SITES), studies=16 * 20, prevalence=0.5, format=Format.PNG)
    made(order, tmp_path)
    strata = defaultdict(Counter)
    for row in read_study_table(tmp_path / "studies.csv").rows:
        strata[row.site][row.stratum] += 1
    assert set(strata) == set(SITES)
    for counts in strata.values():
        assert set(counts) == {"", *(kind.value for kind in Kind)}
        assert 9 <= counts[""] <= 11


def test_one_split_for_all_and_other_indices_are_other_patients(tmp_path):
    made(replace(ORDER, studies=6), tmp_path / "a")
    made(replace(ORDER, studies=6, first=2, split=Split.CALIBRATION), tmp_path / "b")
    first, second = (read_study_table(tmp_path / name / "studies.csv").rows for name in ("a", "b"))
    assert {row.split for row in second} == {Split.CALIBRATION}
    assert not {row.patient for row in first} & {row.patient for row in second}


def test_sites_are_the_first_or_those_named():
    assert chosen_sites(2, ()) == ("site-01", "site-02")
    assert chosen_sites(2, ("site-09", "site-10", "site-09")) == ("site-09", "site-10")
    with pytest.raises(DataError, match="no such site: site-99"):
        chosen_sites(2, ("site-99",))
    with pytest.raises(DataError, match="17 sites"):
        chosen_sites(17, ())


def test_the_verb_makes_a_folder_and_tells_it_as_json(tmp_path):
    words = ["phantoms", "--out", str(tmp_path / "p"), "--sites", "2", "--studies", "6", "--size", "64"]
    result = CliRunner().invoke(app, [*words, "--prevalence", "0.5", "--workers", "1", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["studies"] == 6
    assert told["abnormal"] in {2, 3, 4}
    assert len(read_study_table(Path(told["table"]))) == 6


def test_the_verb_refuses_a_size_that_does_not_fit(tmp_path):
    result = CliRunner().invoke(app, ["phantoms", "--out", str(tmp_path), "--size", "100"])
    assert result.exit_code == 2
