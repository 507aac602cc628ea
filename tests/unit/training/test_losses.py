"""Misses cost more, findings teach where they are, and the lowest abnormal films are what ranking hears."""

import math

import pytest
import torch

from models.networks import Readout
from training.config import Losses
from training.losses import film_losses, map_loss, ranking_loss, total_loss


def test_a_miss_costs_as_many_times_more_as_was_asked() -> None:
    each = film_losses(torch.zeros(2), torch.tensor([1.0, 0.0]), 3.0)
    assert each.tolist() == pytest.approx([1.5 * math.log(2), 0.5 * math.log(2)])


def test_a_map_that_points_at_the_finding_costs_less() -> None:
    cover = torch.zeros(1, 1, 8, 8)
    cover[:, :, 2, 2] = 1.0
    right, wrong = torch.full((1, 1, 4, 4), -4.0), torch.full((1, 1, 4, 4), -4.0)
    right[:, :, 1, 1], wrong[:, :, 3, 3] = 4.0, 4.0
    located = torch.tensor([True])
    assert map_loss(right, cover, located) < map_loss(torch.full((1, 1, 4, 4), -4.0), cover, located)
    assert map_loss(right, cover, located) < map_loss(wrong, cover, located)


def test_films_whose_finding_is_nowhere_drawn_say_nothing_of_the_map() -> None:
    where = torch.randn(2, 1, 4, 4, requires_grad=True)
    map_loss(where, torch.zeros(2, 1, 8, 8), torch.tensor([False, True])).backward()
    assert where.grad is not None
    assert where.grad[0].abs().max() == 0
    assert where.grad[1].abs().max() > 0
    assert map_loss(where, torch.zeros(2, 1, 8, 8), torch.tensor([False, False])) == 0


def test_ranking_hears_the_lowest_quarter_of_the_abnormal_films_alone() -> None:
    logit = torch.tensor([-1.0, 3.0, 4.0, 5.0, 0.0], requires_grad=True)
    ranking_loss(logit, torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])).backward()
    assert logit.grad is not None
    assert logit.grad[0] < 0 < logit.grad[4]
    assert logit.grad[1:4].abs().max() == 0


def test_ranking_needs_both_labels() -> None:
    assert ranking_loss(torch.ones(3), torch.ones(3)) == 0


def test_the_total_leaves_out_what_has_no_weight() -> None:
    readout = Readout(
        logit=torch.tensor([1.0, -1.0]),
        map=torch.zeros(2, 1, 4, 4),
        kinds=torch.randn(2, 3),
        features=torch.zeros(2, 5),
    )
    abnormal, kind = torch.tensor([1.0, 0.0]), torch.tensor([2, 0])
    cover, located = torch.zeros(2, 1, 8, 8), torch.tensor([True, True])
    bare = Losses(miss_weight=1.0, localisation=0.0, kind=0.0, ranking=0.0)
    total, each = total_loss(readout, abnormal, kind, cover, located, bare)
    assert float(total) == pytest.approx(float(each.mean()))
    whole, _ = total_loss(readout, abnormal, kind, cover, located, Losses(miss_weight=1.0))
    assert whole > total
