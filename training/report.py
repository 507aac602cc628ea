"""One page on a training run: curves as PNG, and an HTML page around them."""

import html
import json
import math
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from training.checkpoints import read_run_card
from training.config import experiment_to_json
from training.member import EpochRecord, read_history

CURVES = "curves.png"
PAGE = "report.html"


def write_report(run: Path) -> Path:
    """Write the curves and the page of a run, finished or not; return the page."""
    card = read_run_card(run)
    histories = [read_history(run, index) for index in range(len(card.experiment.members))]
    names = [f"{index} {member.backbone}" for index, member in enumerate(card.experiment.members)]
    _draw(run / CURVES, names, histories)
    rows = "\n".join(_table_row(name, history) for name, history in zip(names, histories, strict=True))
    settings = html.escape(json.dumps(json.loads(experiment_to_json(card.experiment)), indent=1))
    page = run / PAGE
    page.write_text(
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Training: {html.escape(card.experiment.name)}</title>
<style>body{{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}}img{{width:100%}}
td,th{{padding:.2rem .8rem;text-align:right}}td:first-child,th:first-child{{text-align:left}}</style>
<h1>Training: {html.escape(card.experiment.name)}</h1>
<p>Sites: {html.escape(", ".join(card.sites))}. Kinds of finding: {html.escape(", ".join(card.kinds)) or "not named"}.
Study table {card.studies_digest[:16]}….</p>
<img src="{CURVES}" alt="Loss, AUROC and coverage at few misses, per member and epoch">
<table><tr><th>member<th>epochs<th>loss<th>best AUROC<th>best coverage at few misses, worst site<th>minutes</tr>
{rows}
</table>
<p>AUROC and coverage are of the tune split, by which members are selected: they flatter, and promise nothing.</p>
<details><summary>Settings</summary><pre>{settings}</pre></details>
</html>
""",
        encoding="utf-8",
    )
    return page


def _draw(place: Path, names: list[str], histories: list[tuple[EpochRecord, ...]]) -> None:
    with mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(11, 3.4), layout="constrained")
        titles = ("Loss (training, augmented)", "AUROC (tune)", "Coverage at few misses, worst site (tune)")
        for axes, title, value in zip(figure.subplots(1, 3), titles, ("loss", "auroc", "merit"), strict=True):
            for name, history in zip(names, histories, strict=True):
                axes.plot([r.epoch for r in history], [getattr(r, value) for r in history], marker=".", label=name)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
        figure.axes[0].legend(fontsize=7)
        figure.savefig(place, dpi=130)


def _table_row(name: str, history: tuple[EpochRecord, ...]) -> str:
    measured = [record for record in history if not math.isnan(record.merit)]
    best = max(measured, key=lambda record: record.merit, default=None)
    cells = [
        html.escape(name),
        str(len(history)),
        f"{history[-1].loss:.3f}" if history else "",
        f"{best.auroc:.4f}" if best else "",
        f"{best.merit:.3f}" if best else "",
        f"{sum(record.seconds for record in history) / 60:.1f}",
    ]
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "</tr>"
