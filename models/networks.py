"""One member of the ensemble: a timm backbone, a map of where the finding is, and one logit per film.

Small findings are learnt from the map: the film's logit is a joint function of pooled features and of the map, so that the
gradient of "abnormal" reaches the few pixels that say so. Torch lives here and in ``ensemble`` alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.errors import DataError

#: The map has a cell for so many pixels of the input, squared.
MAP_STRIDE = 8
#: Reductions of the backbone's stages that the head looks at.
_REDUCTIONS = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """What a network is built from.

    Attributes
    ----------
    backbone : str
        Name of a timm model that gives features at reductions 4 to 32.
    channels : tuple of int
        Widths of its stages, where the backbone takes them; empty: its own.
    width : int
        Channels of the top-down head.
    kinds : int
        Kinds of finding that are told apart during training; may be 0.
    dropout : float
        Share of the head's channels and features that are dropped in training.
    """

    backbone: str
    channels: tuple[int, ...] = ()
    width: int = 64
    kinds: int = 0
    dropout: float = 0.0


class Readout(NamedTuple):
    """What a network says of a batch: logit (N,), map (N, 1, h, w), kinds (N, kinds), features (N, F)."""

    logit: Tensor
    map: Tensor
    kinds: Tensor
    features: Tensor


class Network(nn.Module):
    """A backbone with a top-down localisation head.

    Parameters
    ----------
    spec : NetworkSpec
        What to build.
    weights : str
        Empty: from scratch. ``timm``: the weights that timm knows for the backbone, from its cache or the network.
        Else a local file, as ``torch.save`` or safetensors writes a state dict of the backbone.

    Raises
    ------
    DataError
        If the backbone is not known or does not fit, or the weights cannot be had.
    """

    def __init__(self, spec: NetworkSpec, weights: str = "") -> None:
        super().__init__()
        self.spec = spec
        self.backbone = _backbone(spec, weights)
        widths = self.backbone.feature_info.channels()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        if len(widths) != len(_REDUCTIONS):
            raise DataError(f"backbone {spec.backbone!r} has no features at reductions {_REDUCTIONS}; name another")
        self.fine = nn.Conv2d(widths[0], spec.width, 3, stride=2, padding=1)
        self.lateral = nn.ModuleList(nn.Conv2d(width, spec.width, 1) for width in widths[1:])
        self.smooth = nn.Sequential(
            nn.BatchNorm2d(spec.width),
            nn.ReLU(),
            nn.Conv2d(spec.width, spec.width, 3, padding=1, bias=False),
            nn.BatchNorm2d(spec.width),
            nn.ReLU(),
        )
        self.drop_channels = nn.Dropout2d(spec.dropout) if spec.dropout else nn.Identity()
        self.drop_features = nn.Dropout(spec.dropout) if spec.dropout else nn.Identity()
        self.map = nn.Conv2d(spec.width, 1, 1)
        self.feature_count = widths[-1] + 2 * spec.width
        self.film = nn.Linear(self.feature_count, 1)
        self.kind = nn.Linear(self.feature_count, spec.kinds) if spec.kinds else None
        self.map_weight = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.film.weight)
        nn.init.constant_(self.map.bias, -3.0)  # pyright: ignore[reportArgumentType]

    def forward(self, image: Tensor) -> Readout:
        """Return the readout of a batch of images (N, 1, rows, columns)."""
        return self.read(*self.look(image))

    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the head reads: joined stages (N, width, h, w) and the deepest one."""
        finest, *stages = self.backbone(image)
        joined = self.lateral[-1](stages[-1])
        for lateral, stage in zip(reversed(list(self.lateral[:-1])), reversed(stages[:-1]), strict=True):
            joined = functional.interpolate(joined, size=stage.shape[-2:], mode="nearest") + lateral(stage)
        return self.smooth(joined + self.fine(finest)), stages[-1]

    def read(self, joined: Tensor, deepest: Tensor) -> Readout:
        """Return the readout of what was seen; with dropout active, each call drops others."""
        joined = self.drop_channels(joined)
        where = self.map(joined).float()
        features = torch.cat(
            [deepest.float().mean((2, 3)), joined.float().mean((2, 3)), joined.float().amax((2, 3))], dim=1
        )
        features = self.drop_features(features)
        seen = torch.logsumexp(where.flatten(1), dim=1)
        with torch.autocast(joined.device.type, enabled=False):
            logit = self.film(features).squeeze(1) + self.map_weight * seen
            kinds = self.kind(features) if self.kind is not None else features[:, :0]
        return Readout(logit=logit, map=where, kinds=kinds, features=features)


def _backbone(spec: NetworkSpec, weights: str) -> nn.Module:
    """Build the backbone and fill it."""
    options: dict[str, Any] = {"channels": spec.channels} if spec.channels else {}
    try:
        probe: Any = timm.create_model(spec.backbone, features_only=True, in_chans=1, **options)
        reductions: list[int] = probe.feature_info.reduction()
        indices = tuple(i for i, reduction in enumerate(reductions) if reduction in _REDUCTIONS)
        return timm.create_model(
            spec.backbone,
            features_only=True,
            in_chans=1,
            out_indices=indices,
            pretrained=bool(weights),
            pretrained_cfg_overlay={"file": weights} if weights not in ("", "timm") else None,
            **options,
        )
    except (RuntimeError, TypeError, ValueError, AttributeError, OSError) as fault:
        what = (str(fault) or type(fault).__name__).splitlines()[0][:200]
        if weights and (weights == "timm" or not Path(weights).is_file()):
            raise DataError(f"no weights for backbone {spec.backbone!r} from {weights!r}: {what}") from None
        raise DataError(f"cannot build backbone {spec.backbone!r}: {what}; name a timm model with stages") from None
