"""All members as one module, with strangeness computed beside their logits: what is exported as one graph."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.networks import Network

#: Strangeness is near 1 for films like those of training.
_FLOOR = 1e-6


class Ensemble(nn.Module):
    """Members that read the same image, and the distance of their features from those of the training films.

    Strangeness is the root mean square, over members and directions, of the features' Mahalanobis distance from the
    training films, with a covariance shrunk towards its diagonal.

    Parameters
    ----------
    members : sequence of Network
        At least one, all with the same input.
    """

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        for i, member in enumerate(members):
            count = member.feature_count
            self.register_buffer(f"centre_{i}", torch.zeros(count))
            self.register_buffer(f"whitening_{i}", torch.eye(count))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, K) and strangeness (N,) of images (N, 1, rows, columns)."""
        readouts = [member(image) for member in self.members]
        distances = [
            (((readout.features - self.get_buffer(f"centre_{i}")) @ self.get_buffer(f"whitening_{i}")) ** 2).mean(1)
            for i, readout in enumerate(readouts)
        ]
        logits = torch.stack([readout.logit for readout in readouts], dim=1)
        return logits, torch.stack(distances, dim=1).mean(1).sqrt()

    @torch.no_grad()
    def fit_strangeness(self, batches: Iterable[Tensor], shrinkage: float) -> None:
        """Set what "like the training films" means.

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
        collected = [[member(batch).features.double() for member in self.members] for batch in batches]
        if not collected:
            raise ValueError("no films to fit strangeness on")
        for i in range(len(self.members)):
            features = torch.cat([batch[i] for batch in collected])
            centre = features.mean(0)
            centred = features - centre
            covariance = centred.T @ centred / len(features)
            diagonal = torch.diag(covariance.diagonal().clamp_min(_FLOOR))
            values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance + shrinkage * diagonal)
            self.get_buffer(f"centre_{i}").copy_(centre)
            self.get_buffer(f"whitening_{i}").copy_(vectors / values.clamp_min(_FLOOR).sqrt())
