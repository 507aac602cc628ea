"""Other scanners, imitated on whole batches at once: cheap enough to leave the processor to the networks.

Each effect takes the films that are drawn for it, each with a strength of its own. Grey values stay in [0, 1]. Strengths are
kept below what would hide a finding that could be seen before: such a film would teach that its finding is not one.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from training.config import Augmentation

Effect = Callable[[Tensor, Generator], Tensor]


def augment(grey: Tensor, masks: Tensor, chances: Augmentation, random: Generator) -> tuple[Tensor, Tensor]:
    """Return films (B, 1, H, W) in [0, 1] as other scanners would have made them, and masks (B, 1, h, w) moved alike."""
    moved = _drawn(len(grey), chances.affine, random)
    if len(moved):
        grid = _affine_maps(len(moved), random)
        grey = grey.index_copy(0, moved, _warp(grey[moved], grid))
        masks = masks.index_copy(0, moved, _warp(masks[moved], grid))
    effects: tuple[tuple[float, Effect], ...] = (
        (chances.bias, _bias),
        (chances.resolution, _resolution),
        (chances.blur, _blur),
        (chances.sharpen, _sharpen),
        (chances.noise, _noise),
        (chances.curve, _curve),
        (chances.gamma, _gamma),
        (chances.contrast, _contrast),
        (chances.collimation, _collimation),
    )
    for chance, effect in effects:
        chosen = _drawn(len(grey), chance, random)
        if len(chosen):
            grey = grey.index_copy(0, chosen, effect(grey[chosen], random).clamp(0, 1))
    return grey, masks


def _drawn(count: int, chance: float, random: Generator) -> Tensor:
    return torch.nonzero(torch.rand(count, generator=random) < chance).flatten()


def _between(low: float, high: float, count: int, random: Generator) -> Tensor:
    """Return (count, 1, 1, 1) numbers, uniform between two."""
    return (low + (high - low) * torch.rand(count, generator=random)).view(-1, 1, 1, 1)


def _affine_maps(count: int, random: Generator) -> Tensor:
    angle = _between(-0.1, 0.1, count, random).flatten()
    scale = torch.exp(_between(-0.1, 0.1, count, random).flatten())
    aspect = torch.exp(_between(-0.05, 0.05, count, random).flatten())
    shift = 0.12 * torch.rand(count, 2, generator=random) - 0.06
    maps = torch.zeros(count, 2, 3)
    maps[:, 0, 0], maps[:, 0, 1] = torch.cos(angle) * scale * aspect, -torch.sin(angle) * scale
    maps[:, 1, 0], maps[:, 1, 1] = torch.sin(angle) * scale, torch.cos(angle) * scale / aspect
    maps[:, :, 2] = shift
    return maps


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def _bias(grey: Tensor, random: Generator) -> Tensor:
    """Heel effect and uneven scatter: a smooth field."""
    coarse = torch.randn(len(grey), 1, 3, 3, generator=random) * _between(0.02, 0.1, len(grey), random)
    field = functional.interpolate(coarse, size=grey.shape[-2:], mode="bicubic", align_corners=True)
    return grey * torch.exp(field)


def _resolution(grey: Tensor, random: Generator) -> Tensor:
    """A coarser detector, or a film that was enlarged."""
    rows = grey.shape[-2]
    size = int(rows * (0.55 + 0.35 * float(torch.rand((), generator=random))))
    small = functional.interpolate(grey, size=(size, size), mode="area")
    return functional.interpolate(small, size=grey.shape[-2:], mode="bilinear", align_corners=False)


def _smooth(grey: Tensor, sigma: Tensor) -> Tensor:
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-(offsets**2) / (2 * sigma.view(-1, 1) ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    count = len(grey)
    padded = functional.pad(grey.transpose(0, 1), (2, 2, 2, 2), mode="replicate")
    across = functional.conv2d(padded, kernel.view(count, 1, 1, 5), groups=count)
    return functional.conv2d(across, kernel.view(count, 1, 5, 1), groups=count).transpose(0, 1)


def _blur(grey: Tensor, random: Generator) -> Tensor:
    return _smooth(grey, _between(0.4, 0.9, len(grey), random))


def _sharpen(grey: Tensor, random: Generator) -> Tensor:
    """Unsharp masking, as post-processing does it."""
    wide = _smooth(grey, torch.full((len(grey),), 1.2))
    return grey + _between(0.2, 1.2, len(grey), random) * (grey - wide)


def _noise(grey: Tensor, random: Generator) -> Tensor:
    """Quantum noise, stronger where the film is dense."""
    strength = _between(0.005, 0.025, len(grey), random)
    white = torch.randn(grey.shape, generator=random)
    return grey + strength * (0.5 + grey) * white


def _curve(grey: Tensor, random: Generator) -> Tensor:
    """A smooth monotone characteristic curve: of a film, or of a vendor's look-up table."""
    bend = _between(-0.12, 0.12, len(grey), random)
    twist = _between(-0.06, 0.06, len(grey), random)
    return grey + bend * torch.sin(math.pi * grey) + twist * torch.sin(2 * math.pi * grey)


def _gamma(grey: Tensor, random: Generator) -> Tensor:
    power = torch.exp(_between(-0.4, 0.4, len(grey), random))
    return grey.clamp_min(1e-4) ** power


def _contrast(grey: Tensor, random: Generator) -> Tensor:
    return (grey - 0.5) * _between(0.8, 1.2, len(grey), random) + 0.5 + _between(-0.08, 0.08, len(grey), random)


def _collimation(grey: Tensor, random: Generator) -> Tensor:
    """Shutters: up to a fourteenth of the film is black at each side."""
    rows, columns = grey.shape[-2:]
    edges = (
        torch.rand(len(grey), 4, 1, 1, generator=random)
        * 0.07
        * (torch.rand(len(grey), 4, 1, 1, generator=random) < 0.5)
    )
    y = torch.linspace(0, 1, rows).view(1, -1, 1)
    x = torch.linspace(0, 1, columns).view(1, 1, -1)
    inside = (y >= edges[:, 0]) & (y <= 1 - edges[:, 1]) & (x >= edges[:, 2]) & (x <= 1 - edges[:, 3])
    return grey * inside.unsqueeze(1)
