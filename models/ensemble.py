"""All members as one module, with strangeness computed beside their logits: what is exported as one graph.

Strangeness asks two independent questions and believes the worse answer: do the members see what they saw in training, and
does the picture as a whole, at a glance, look like those of training? The second needs no member to be well trained, and
sees what features made for findings forget: turned, mirrored, cut or foreign pictures.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks import Network

#: The glance has so many cells along a side.
GLANCE = 16
#: Least variance along a direction of features, and of normalised grey values: what differs by less than a sixtieth of the
#: film's grey scale, such as the shade of collimated corners, is not strange.
_FEATURES_FLOOR, _GLANCE_FLOOR = 1e-6, 4e-3


class Ensemble(nn.Module):
    """Members that read the same image, and how unlike the training films it is.

    Strangeness is the greater of two distances from the training films, each divided by its own unit, which is what films like
    those of training reach at most, up to a small share: 1 is the border of both.

    - *features*: root mean square, over members and directions, of the Mahalanobis distance of the members' features;
    - *glance*: the Mahalanobis distance of the image averaged over ``GLANCE`` x ``GLANCE`` cells.

    Both with a covariance shrunk towards its diagonal.

    Parameters
    ----------
    members : sequence of Network
        At least one, all with the same input, of at least ``GLANCE`` pixels along each side.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        for name, count in (
            *((f"{i}", member.feature_count) for i, member in enumerate(members)),
            ("glance", GLANCE**2),
        ):
            self.register_buffer(f"centre_{name}", torch.zeros(count))
            self.register_buffer(f"whitening_{name}", torch.eye(count))
        self.register_buffer("units", torch.ones(2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, K) and strangeness (N,) of images (N, 1, rows, columns)."""
        readouts = [member(image) for member in self.members]
        logits = torch.stack([readout.logit for readout in readouts], dim=1)
        distances = self._distances([readout.features for readout in readouts], glance(image))
        return logits, (distances / self.get_buffer("units")).amax(1)

    @torch.no_grad()
    def fit_strangeness(self, batches: Iterable[Tensor], shrinkage: float) -> None:
        """Set what "like the training films" means; the units become 1.

        Parameters
        ----------
        batches : iterable of Tensor
            Images of the training films.
        shrinkage : float
            In [0, 1]: how far the covariance is drawn towards its diagonal.

        Raises
        ------
        ValueError
            If there are no films.
        """
        collected = [
            ([member(batch).features.double() for member in self.members], glance(batch).double()) for batch in batches
        ]
        if not collected:
            raise ValueError("no films to fit strangeness on")
        for i in range(len(self.members)):
            self._fit(f"{i}", torch.cat([features[i] for features, _ in collected]), shrinkage, _FEATURES_FLOOR)
        self._fit("glance", torch.cat([seen for _, seen in collected]), shrinkage, _GLANCE_FLOOR)
        self.get_buffer("units").fill_(1.0)

    @torch.no_grad()
    def set_units(self, batches: Iterable[Tensor], unit_of: Callable[[Tensor], float]) -> None:
        """Set the units of the two distances, after ``fit_strangeness``.

        Parameters
        ----------
        batches : iterable of Tensor
            Images that were not fitted on: fitted ones are nearer than others.
        unit_of : callable
            Given one distance of all those films (N,), says what its unit is; above 0.
        """
        found = [
            self._distances([member(batch).features for member in self.members], glance(batch)) for batch in batches
        ]
        units = [unit_of(distance) for distance in torch.cat(found).T]
        self.get_buffer("units").copy_(torch.tensor(units))

    def _distances(self, features: Sequence[Tensor], seen: Tensor) -> Tensor:
        """Return both distances (N, 2)."""
        squares = torch.stack([self._square(f"{i}", found) for i, found in enumerate(features)], dim=1)
        return torch.stack([squares.mean(1), self._square("glance", seen)], dim=1).sqrt()

    def _square(self, name: str, found: Tensor) -> Tensor:
        white = (found - self.get_buffer(f"centre_{name}")) @ self.get_buffer(f"whitening_{name}")
        return (white**2).mean(1)

    def _fit(self, name: str, found: Tensor, shrinkage: float, floor: float) -> None:
        centre = found.mean(0)
        centred = found - centre
        covariance = centred.T @ centred / len(found)
        diagonal = torch.diag(covariance.diagonal().clamp_min(floor))
        values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance + shrinkage * diagonal)
        self.get_buffer(f"centre_{name}").copy_(centre)
        self.get_buffer(f"whitening_{name}").copy_(vectors / values.clamp_min(floor).sqrt())


def glance(image: Tensor) -> Tensor:
    """Return images (N, 1, rows, columns) averaged over ``GLANCE`` x ``GLANCE`` cells, (N, GLANCE²)."""
    return functional.adaptive_avg_pool2d(image, GLANCE).flatten(1)
