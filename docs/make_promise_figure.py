"""Draw the figure of the-promise.md from the library itself: how a threshold is found, and what it promises."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from calibration.bounds import miss_rate_limit, misses_allowed, upper_bound
from calibration.threshold import group_threshold

ALPHA, MAX_PREVALENCE, ACCEPTANCE = 0.0005, 0.1, 0.5
SITES = ("site A", "site B", "site C")


def draw(file: Path) -> None:
    """Draw both panels."""
    generator = np.random.default_rng(4)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    limit = miss_rate_limit(ALPHA, MAX_PREVALENCE, ACCEPTANCE)
    thresholds = []
    for row in range(len(SITES)):
        abnormal = generator.normal(7.2 + 0.35 * row, 1.1, 2300)
        healthy = generator.normal(1.5, 1.0, 500)
        allowed = misses_allowed(len(abnormal), limit, 0.04)
        thresholds.append(group_threshold(abnormal, allowed or 0))
        height = -row + generator.uniform(-0.26, 0.26, 2300)
        left.plot(healthy, height[:500], ".", color="tab:green", markersize=2)
        left.plot(abnormal, height, ".", color="tab:red", markersize=2)
        left.plot([thresholds[-1]] * 2, [-row - 0.36, -row + 0.36], color="black", linewidth=1.2)
    least = min(thresholds)
    left.axvline(least, color="tab:blue", linewidth=1.8)
    left.text(least - 0.15, 0.52, "called healthy", ha="right", color="tab:blue")
    left.text(least + 0.15, 0.52, "IDK: a reader", ha="left", color="tab:blue")
    left.set_yticks([-row for row in range(len(SITES))], SITES)
    left.set_ylim(-2.6, 0.75)
    left.set_xlabel("score of a patient (higher is stranger)")
    left.set_title("One threshold: the least of the sites' own", fontsize=10)
    prevalence = np.linspace(0.001, 0.3, 300)
    for misses, style in ((limit, "-"), (upper_bound(0, 2300, 0.04), "--")):
        omitted = prevalence * misses / (prevalence * misses + (1 - prevalence) * ACCEPTANCE)
        label = "at the limit of the test" if style == "-" else "at the bound shown by 2,300 patients, none missed"
        right.plot(prevalence, omitted * 1e4, style, color="tab:blue", label=label)
    right.axhline(ALPHA * 1e4, color="tab:red", linewidth=1.0)
    right.text(0.298, ALPHA * 1e4 + 0.25, "1 in 2,000", color="tab:red", ha="right")
    right.axvspan(0.0, MAX_PREVALENCE, color="tab:green", alpha=0.12)
    right.text(0.004, 17.3, "promised", color="tab:green")
    right.text(0.104, 17.3, "not promised", color="tab:gray")
    right.set_xlim(0, 0.3)
    right.set_ylim(0, 19)
    right.set_xlabel("prevalence of disease among the patients")
    right.set_ylabel("diseased per 10,000 called healthy")
    right.set_title("What it promises: up to the stated prevalence", fontsize=10)
    right.legend(fontsize=8, loc="lower right")
    figure.savefig(file, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_name("the-promise.png"))
