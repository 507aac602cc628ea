"""What a member is selected by: the share of healthy films it clears at few misses, at its worst site."""

import numpy as np
from numpy.typing import NDArray

from calibration.selective import operating_point

#: Shares of abnormal films that may be missed; the merit is the mean over them.
MISS_RATES = (0.0, 0.002, 0.01)
_DELTA = 0.05


def merit(scores: NDArray[np.float64], abnormal: NDArray[np.bool_], site: NDArray[np.int64]) -> float:
    """Return the coverage of healthy films at few misses, at the site where it is least; higher is better.

    One threshold for all sites, as a certificate has it: so many abnormal films of all sites lie below it. Sites without a
    healthy film say nothing; NaN if none has one, or there is no abnormal film.
    """
    sites = [one for one in np.unique(site) if (~abnormal & (site == one)).any()]
    if not sites or not abnormal.any():
        return float("nan")
    safe = np.where(np.isfinite(scores), scores, np.inf)
    found = np.sort(safe[abnormal])
    coverages = []
    for rate in MISS_RATES:
        # Rounded first: 0.002 * 500 is a little under one.
        threshold = float(found[min(int(np.floor(round(rate * len(found), 6))), len(found) - 1)])
        points = [operating_point(found, safe[~abnormal & (site == one)], threshold, _DELTA) for one in sites]
        coverages.append(min(point.healthy_acceptance.value or 0.0 for point in points))
    return float(np.mean(coverages))


def auroc(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float:
    """Return the chance that an abnormal film scores above a healthy one, ties half; NaN without both."""
    count = int(abnormal.sum())
    if count in (0, len(abnormal)):
        return float("nan")
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return float((rank[abnormal].sum() - count * (count + 1) / 2) / (count * (len(abnormal) - count)))
