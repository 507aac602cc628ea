"""Sampling is balanced over sites and labels, leans to what is hard, and leaves each member other sites out."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import DataError
from models.studies import StudyRow
from models.vocabulary import Label
from training.config import Sampling
from training.datasets import Truth, draw_epoch, labelled, sites_of_member, truth_of


def row(number: int, site: str, label: Label | None, stratum: str = "", mask: Path | None = None) -> StudyRow:
    return StudyRow(
        path=Path(f"/{number}.png"),
        study=str(number),
        patient=str(number),
        site=site,
        label=label,
        stratum=stratum,
        mask=mask,
    )


def truth(sizes: dict[str, tuple[int, int]]) -> Truth:
    """Return films of sites with so many healthy and abnormal ones."""
    rows = []
    for site, (healthy, abnormal) in sizes.items():
        rows += [row(len(rows) + i, site, Label.HEALTHY) for i in range(healthy)]
        rows += [row(len(rows) + i, site, Label.ABNORMAL, "nodule") for i in range(abnormal)]
    return truth_of(rows)


def test_truth_tells_healthy_named_and_unnamed_findings_apart() -> None:
    rows = [
        row(0, "b", Label.HEALTHY),
        row(1, "a", Label.ABNORMAL, "nodule", Path("/m.png")),
        row(2, "a", Label.ABNORMAL, "mass"),
        row(3, "a", Label.ABNORMAL),
    ]
    known = truth_of(rows)
    assert known.sites == ("a", "b")
    assert known.kinds == ("mass", "nodule")
    assert known.site.tolist() == [1, 0, 0, 0]
    assert known.kind.tolist() == [0, 2, 1, -1]
    assert known.abnormal.tolist() == [False, True, True, True]
    assert known.located.tolist() == [True, True, False, False]
    assert truth_of(rows, ("nodule",)).kind.tolist() == [0, 1, -1, -1]


def test_films_without_a_label_are_not_trained_on() -> None:
    assert labelled([row(0, "a", None), row(1, "a", Label.HEALTHY)]) == (row(1, "a", Label.HEALTHY),)


def test_labels_and_sites_have_their_share_however_many_films_they_have() -> None:
    known = truth({"small": (5, 3), "large": (500, 900)})
    drawn = draw_epoch(
        known, (0, 1), np.ones(1408, np.float32), films=400, sampling=Sampling(), random=np.random.default_rng(0)
    )
    assert len(drawn) == 400
    assert known.abnormal[drawn].sum() == 200
    for abnormal in (True, False):
        assert (known.site[drawn[known.abnormal[drawn] == abnormal]] == 0).sum() == 100


def test_without_balance_every_film_of_a_label_is_drawn_equally_often() -> None:
    known = truth({"small": (20, 20), "large": (180, 380)})
    drawn = draw_epoch(
        known,
        (0, 1),
        np.ones(600, np.float32),
        films=400,
        sampling=Sampling(balanced_sites=False),
        random=np.random.default_rng(0),
    )
    assert known.abnormal[drawn].sum() == 200
    of_small = drawn[known.site[drawn] == known.sites.index("small")]
    assert (~known.abnormal[of_small]).sum() == 20
    assert 2 <= known.abnormal[of_small].sum() <= 18


def test_no_film_is_seen_twice_before_its_turn() -> None:
    known = truth({"a": (50, 50), "b": (50, 50)})
    drawn = draw_epoch(
        known, (0, 1), np.ones(200, np.float32), films=200, sampling=Sampling(), random=np.random.default_rng(1)
    )
    assert sorted(drawn.tolist()) == list(range(200))


def test_hard_abnormal_films_are_drawn_more_often_and_easy_ones_still() -> None:
    known = truth({"a": (100, 100), "b": (100, 100)})
    losses = np.linspace(0, 1, 400, dtype=np.float32)
    drawn = draw_epoch(
        known, (0, 1), losses, films=8000, sampling=Sampling(hard_factor=4), random=np.random.default_rng(2)
    )
    counts = np.bincount(drawn, minlength=400)
    abnormal = counts[100:200]
    assert abnormal[-10:].mean() > 3 * abnormal[:10].mean() > 0
    assert np.ptp(counts[:100]) <= 1


def test_a_member_never_sees_films_of_the_sites_it_leaves_out() -> None:
    known = truth({"a": (9, 9), "b": (9, 9), "c": (9, 9)})
    drawn = draw_epoch(
        known, (0, 2), np.ones(54, np.float32), films=90, sampling=Sampling(), random=np.random.default_rng(3)
    )
    assert set(known.site[drawn].tolist()) == {0, 2}


def test_members_leave_out_other_sites_in_turn() -> None:
    sites = ("a", "b", "c", "d")
    assert [sites_of_member(sites, member, 1) for member in range(3)] == [(1, 2, 3), (0, 2, 3), (0, 1, 3)]
    assert sites_of_member(sites, 1, 2) == (0, 1)
    assert sites_of_member(sites, 0, 3) == (0, 1, 2, 3)


def test_sites_without_a_healthy_film_are_told() -> None:
    known = truth({"a": (0, 9), "b": (3, 9)})
    with pytest.raises(DataError, match="healthy"):
        draw_epoch(known, (0,), np.ones(21, np.float32), films=8, sampling=Sampling(), random=np.random.default_rng(0))
