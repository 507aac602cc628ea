"""How visible a finding is: the ideal observer's d′ in quantum noise, and its contrast against anatomical clutter."""

from dataclasses import dataclass

import numpy as np

from training.phantoms.canvas import Map, blur

#: The Rose criterion; nothing below it is made.
DETECTABILITY_FLOOR = 5.0
#: Least contrast of a finding over the standard deviation of the healthy picture around it.
CONTRAST_FLOOR = 3.5
#: Least change of a finding as a share of the range of densities that the film shows.
SHADE_FLOOR = 0.16
#: Upper ends of the first two bands of severity.
BANDS = (1000.0, 2500.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """What two observers would say of a finding whose shape and place they know."""

    #: d′ against quantum and electronic noise alone.
    detectability: float
    #: Contrast over the clutter of the anatomy around.
    contrast: float
    #: Contrast as a share of the range from black to white.
    shade: float

    @property
    def lacking(self) -> float:
        """Return the factor by which the change must grow until every floor is met; 1 and below is visible."""
        return max(DETECTABILITY_FLOOR / self.detectability, CONTRAST_FLOOR / self.contrast, SHADE_FLOOR / self.shade)


def ideal_observer(healthy: Map, abnormal: Map, electronic: float) -> float:
    """Return d′ of the ideal observer, signal and background known exactly.

    The maps are expected quanta per pixel, detector blur included; the noise is white with the variance of the
    quanta and the electronics, so d′² is the sum of squared signal over variance (Barrett and Myers 2004, 13.2.8).
    """
    signal = abnormal - healthy
    variance = (abnormal + healthy) * np.float32(0.5) + np.float32(electronic**2)
    return float(np.sqrt(np.sum(signal * signal / variance, dtype=np.float64)))


def contrast_to_clutter(healthy: Map, abnormal: Map) -> tuple[float, float]:
    """Return the mean change of density where the finding is, and that over the healthy film's local standard deviation.

    "Where the finding is": where the change is at least half of its greatest. The healthy film is taken less its own
    structure much broader than the finding (or than ribs and vessels, for large findings), under the finding and
    around it as far as half its breadth.
    """
    change = np.abs(abnormal - healthy)
    there = change >= np.float32(0.5) * change.max()
    size = change.shape[0]
    breadth = float(np.sqrt(there.sum()))
    around = blur(there.astype(np.float32), float(np.clip(breadth * 0.25, 1.5, size / 24))) > np.float32(0.05)
    detail = healthy - blur(healthy, float(np.clip(breadth * 0.5, 2, size / 40)))
    mean = float(change[there].mean())
    return mean, mean / float(detail[around].std())


def band(detectability: float) -> int:
    """Return 0, 1 or 2: the band of severity in which d′ lies."""
    return sum(detectability >= limit for limit in BANDS)
