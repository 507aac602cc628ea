"""What a member pays for: the film's label, misses dearer; where the finding is; its kind; and the order at the low end."""

import torch
from torch import Tensor
from torch.nn import functional

from models.networks import MAP_STRIDE, Readout
from training.cache import MASK_STRIDE
from training.config import Losses

#: A cell belongs to the finding if a pixel of the mask in it is covered at least so far.
_COVERED = 0.3
_LOWEST_SHARE = 4


def film_losses(logit: Tensor, abnormal: Tensor, miss_weight: float) -> Tensor:
    """Return each film's loss (B,): cross-entropy, that of abnormal films times ``miss_weight``, mean weight 1."""
    weight = torch.where(abnormal > 0.5, miss_weight, 1.0) * 2 / (1 + miss_weight)
    return weight * functional.binary_cross_entropy_with_logits(logit, abnormal, reduction="none")


def map_loss(where: Tensor, cover: Tensor, located: Tensor) -> Tensor:
    """Return the loss of the maps of the located films.

    Cells with and without the finding weigh alike within a film, so that a nodule of one cell is heard.
    """
    if not located.any():
        return where.sum() * 0
    cells = functional.max_pool2d(cover[located], MAP_STRIDE // MASK_STRIDE)
    target = (cells > _COVERED).float()
    each = functional.binary_cross_entropy_with_logits(where[located], target, reduction="none")
    inside = target.sum((1, 2, 3))
    of_finding = (each * target).sum((1, 2, 3)) / inside.clamp_min(1)
    of_rest = (each * (1 - target)).mean((1, 2, 3))
    return (0.5 * of_finding + 2 * of_rest).mean()


def ranking_loss(logit: Tensor, abnormal: Tensor) -> Tensor:
    """Return what the lowest quarter of the abnormal films pays for healthy films above them."""
    found, healthy = logit[abnormal > 0.5], logit[abnormal <= 0.5]
    if not len(found) or not len(healthy):
        return logit.sum() * 0
    lowest = torch.topk(found, max(1, len(found) // _LOWEST_SHARE), largest=False).values
    return functional.softplus(healthy[None, :] - lowest[:, None]).mean()


def total_loss(
    readout: Readout, abnormal: Tensor, kind: Tensor, cover: Tensor, located: Tensor, losses: Losses
) -> tuple[Tensor, Tensor]:
    """Return the batch's loss and, detached, each film's own (B,)."""
    each = film_losses(readout.logit, abnormal, losses.miss_weight)
    total = each.mean() + losses.localisation * map_loss(readout.map, cover, located)
    named = (kind > 0) & torch.as_tensor(losses.kind > 0)
    if readout.kinds.shape[1] and named.any():
        total = total + losses.kind * functional.cross_entropy(readout.kinds[named], kind[named] - 1)
    if losses.ranking > 0:
        total = total + losses.ranking * ranking_loss(readout.logit, abnormal)
    return total, each.detach()
