"""Curves on paper: risk against coverage, and miss rate against the acceptance of healthy."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (matplotlib's types are partial)

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from calibration.evaluation import GroupReport, Kind

#: At most so many lines in a picture can be told apart.
_LINES_MAX = 10


def draw_risk_coverage(reports: Sequence[GroupReport], folder: Path, alpha: float) -> list[Path]:
    """Draw the risk–coverage curves of sites and of strata; return the files.

    Parameters
    ----------
    reports : sequence of GroupReport
        As ``evaluation.evaluate`` gives them; the worst areas are drawn first where there are many.
    folder : Path
        Made if need be.
    alpha : float
        Tolerated false omission rate, drawn as a line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for kind in (Kind.SITE, Kind.STRATUM):
        of_kind = sorted((r for r in reports if r.kind is kind), key=lambda r: -r.augrc.value)
        if of_kind:
            files.append(folder / f"risk_coverage_by_{kind.value}.png")
            _draw([reports[0], *of_kind[:_LINES_MAX]], files[-1], alpha, kind)
    return files


def _draw(reports: Sequence[GroupReport], file: Path, alpha: float, kind: Kind) -> None:
    figure, axes = plt.subplots(figsize=(7.0, 4.6), layout="constrained")
    lowest = alpha
    for report in reports:
        end = report.curve.reachable
        if end == 0:
            continue
        risk = report.curve.selective_risk[:end]
        lowest = min(lowest, float(risk[risk > 0].min(initial=alpha)))
        color, width = ("black", 2.0) if report.kind is Kind.ALL else (None, 1.0)
        (line,) = axes.plot(report.curve.coverage[1 : end + 1], risk, label=report.name, color=color, linewidth=width)
        if report.point is not None and report.point.false_omission_rate.trials:
            cleared, omitted = report.point.coverage, report.point.false_omission_rate
            place = [cleared.count / cleared.trials], [omitted.count / omitted.trials]
            axes.plot(*place, marker="o", markersize=5, color=line.get_color())
    axes.axhline(alpha, color="tab:red", linestyle="--", linewidth=1.0, label=f"α = {alpha:g}")
    axes.set_yscale("symlog", linthresh=lowest, linscale=0.4)
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("coverage: share called healthy")
    axes.set_ylabel("selective risk: share of these that is abnormal\n(at the prevalence of this table)")
    axes.set_title(f"Risk–coverage by {kind.value} (circles: at the certified threshold)", fontsize=10)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(file, dpi=140)
    plt.close(figure)
