"""What a member is selected by: the share of healthy films it clears at few misses, at its worst site."""

import numpy as np
from numpy.typing import NDArray

#: Shares of abnormal films that may be missed; the merit is the mean over them.
MISS_RATES = (0.0, 0.002, 0.01)


def merit(scores: NDArray[np.float64], abnormal: NDArray[np.bool_], site: NDArray[np.int64]) -> float:
    """Return the coverage of healthy films at few misses, at the site where it is least; higher is better.

    One threshold for all sites, as a certificate has it: so many abnormal films of all sites lie below it. Sites without a
    healthy film say nothing; NaN if none has one, or there is no abnormal film.
    """
    sites = [one for one in np.unique(site) if (~abnormal & (site == one)).any()]
    if not sites or not abnormal.any():
        return float("nan")
    found = np.sort(np.where(np.isfinite(scores), scores, np.inf)[abnormal])
    coverages = []
    for rate in MISS_RATES:
        threshold = found[min(int(round(rate * len(found) * 1e6) // 1e6), len(found) - 1)]
        cleared = scores < threshold
        coverages.append(min(float(cleared[~abnormal & (site == one)].mean()) for one in sites))
    return float(np.mean(coverages))


def auroc(scores: NDArray[np.float64], abnormal: NDArray[np.bool_]) -> float:
    """Return the chance that an abnormal film scores above a healthy one, ties half; NaN without both."""
    count = int(abnormal.sum())
    if count in (0, len(abnormal)):
        return float("nan")
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return float((rank[abnormal].sum() - count * (count + 1) / 2) / (count * (len(abnormal) - count)))
