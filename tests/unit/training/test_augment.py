"""Films imitate other scanners: in range, moved with their masks, the same for the same seed, untouched where all is off."""

from dataclasses import fields, replace

import pytest
import torch

from training.augment import augment
from training.config import Augmentation

OFF = Augmentation(**{one.name: 0.0 for one in fields(Augmentation)})


def films() -> tuple[torch.Tensor, torch.Tensor]:
    ramp = torch.linspace(0.1, 0.9, 64).view(1, 1, 1, -1).expand(6, 1, 64, 64).clone()
    ramp[:, :, 20:28, 40:48] = 1.0
    masks = torch.zeros(6, 1, 16, 16)
    masks[:, :, 5:7, 10:12] = 1.0
    return ramp, masks


def test_nothing_changes_where_all_is_off() -> None:
    grey, masks = films()
    again, moved = augment(grey, masks, OFF, torch.Generator().manual_seed(0))
    assert torch.equal(again, grey)
    assert torch.equal(moved, masks)


@pytest.mark.parametrize("effect", [one.name for one in fields(Augmentation)])
def test_every_effect_changes_films_and_keeps_them_in_range(effect: str) -> None:
    grey, masks = films()
    changed, _ = augment(grey, masks, replace(OFF, **{effect: 1.0}), torch.Generator().manual_seed(1))
    assert changed.shape == grey.shape
    assert changed.isfinite().all()
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed, grey)


def test_the_same_seed_gives_the_same_films() -> None:
    grey, masks = films()
    first, second = (augment(grey, masks, Augmentation(), torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_masks_move_with_their_films() -> None:
    grey, masks = torch.zeros(32, 1, 64, 64), torch.zeros(32, 1, 16, 16)
    grey[:, :, 20:28, 40:48], masks[:, :, 5:7, 10:12] = 1.0, 1.0
    moved, found = augment(grey, masks, replace(OFF, affine=1.0), torch.Generator().manual_seed(3))
    where = torch.arange(64.0)

    def centre(images: torch.Tensor) -> torch.Tensor:
        scale = 64 / images.shape[-1]
        at = where[: images.shape[-1]] * scale + (scale - 1) / 2
        weight = images.sum((1, 2, 3))
        return torch.stack([(images.sum((1, 3)) * at).sum(1) / weight, (images.sum((1, 2)) * at).sum(1) / weight])

    assert (centre(moved) - centre(found)).abs().max() < 1.5
    assert (centre(moved) - centre(grey)).abs().max() > 2


def test_only_the_films_that_are_drawn_change() -> None:
    grey = torch.full((400, 1, 32, 32), 0.4)
    changed, _ = augment(grey, torch.zeros(400, 1, 8, 8), replace(OFF, contrast=0.25), torch.Generator().manual_seed(4))
    share = float((changed != grey).any(-1).any(-1).float().mean())
    assert 0.15 < share < 0.35
