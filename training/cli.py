"""The verbs of training."""

import json
import math
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from models.vocabulary import Label, Split
from training.importers.names import DataSet
from training.phantoms.formats import Format
from training.splits import SplitPlan

app = typer.Typer(no_args_is_help=True)


@app.command()
def phantoms(
    *,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    sites: Annotated[int, typer.Option(help="The first so many of the sixteen sites.")] = 8,
    site: Annotated[
        list[str] | None, typer.Option(help="These sites instead, such as site-09; repeatable.", show_default=False)
    ] = None,
    studies: Annotated[int, typer.Option(help="Studies in all.", min=1)] = 4000,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share abnormal; each site's own if not given.", min=0, max=1, show_default=False),
    ] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Every kind of finding equally often.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed, other patients.")] = 7,
    first: Annotated[int, typer.Option(help="First index at each site; other indices, other patients.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Pixels along a side, a multiple of 16.", min=64, max=1024)] = 256,
    file_format: Annotated[Format, typer.Option("--format", help="How pictures are stored.")] = Format.DICOM,
    split: Annotated[
        Split | None, typer.Option(help="One split for all; by a hash of the patient if not given.", show_default=False)
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 is one a core. The files are the same.", min=0)] = 0,
    contact_sheet: Annotated[
        bool, typer.Option("--contact-sheet", help="Write contact sheets of every site and finding instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Make chest radiographs whose truth is known: pictures, masks of the findings, and their study table.

    A film depends on seed, site and index alone. Healthy films have no mask.

    Example: demur phantoms --out phantoms/ --sites 8 --studies 4000 --prevalence 0.5
    """
    if size % 16:
        raise typer.BadParameter(f"{size} is not a multiple of 16", param_hint="--size")
    if contact_sheet:
        from training.phantoms.contact_sheet import write_sheets

        paths = [str(path) for path in write_sheets(out, seed=seed)]
        print(json.dumps({"sheets": paths}) if as_json else "\n".join(paths))
        return
    from training.phantoms.generate import Order, chosen_sites, generate
    from training.progress import counted

    order = Order(
        sites=chosen_sites(sites, site or ()),
        studies=studies,
        seed=seed,
        size=size,
        prevalence=prevalence,
        balanced=balanced,
        format=file_format,
        first=first,
        split=split,
        plan=SplitPlan(),
    )
    began = time.perf_counter()
    with counted("films", studies) as progress:
        rows = generate(order, out, workers=workers or os.cpu_count() or 1, progress=progress)
    took = time.perf_counter() - began
    summary = {
        "table": str(out / "studies.csv"),
        "studies": len(rows),
        "abnormal": sum(row.label == Label.ABNORMAL for row in rows),
        "sites": list(order.sites),
        "seconds": round(took, 2),
        "films_per_second": round(len(rows) / took, 1),
    }
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{summary['table']}: {len(rows)} studies of {len(order.sites)} sites, {summary['abnormal']} abnormal,", end=" "
    )
    print(f"{summary['films_per_second']} films a second")


@app.command(name="import")
def import_films(
    data_set: Annotated[DataSet, typer.Argument(help="Which data set.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Its folder, laid out as it is published.")],
    out: Annotated[Path, typer.Option(help="Study table to write; the films stay where they are.")],
    partial: Annotated[bool, typer.Option("--partial", help="Leave out images that are listed but absent.")] = False,
    train_share: Annotated[float, typer.Option(help="Share of patients for training.", min=0, max=1)] = 0.7,
    tune_share: Annotated[float, typer.Option(help="Share of patients for tuning.", min=0, max=1)] = 0.1,
    calibration_share: Annotated[
        float, typer.Option(help="Share for calibration; the rest is for tests.", min=0, max=1)
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="Tell the result as JSON.")] = False,
) -> None:
    """Make the study table of a public data set, or of a folder of films with a CSV file.

    Healthy: no finding, said so, and a frontal film. Uncertain: neither. Missing stays missing. Lateral films are left out.
    A published split is kept; the shares are for data sets without one.

    Example: demur import nih ChestX-ray14/ --out studies.csv
    """
    from training.importers.account import print_account, summary_of
    from training.importers.catalogue import import_data_set, source_of
    from training.progress import counted

    if train_share + tune_share + calibration_share > 1 + 1e-9:
        raise typer.BadParameter("the shares are more than 1 together", param_hint="--train-share")
    place = source_of(data_set, source, out)
    place.partial = partial
    place.plan = SplitPlan(train=train_share, tune=tune_share, calibration=calibration_share)
    with counted("images") as advance:
        table = import_data_set(data_set, place, advance)
    if as_json:
        print(json.dumps(summary_of(table, place)))
    else:
        print_account(table, place)


@app.command()
def train(
    studies: Annotated[Path, typer.Option(help="Study table with films of the splits train and tune.")],
    config: Annotated[Path, typer.Option(help="Experiment, as training/configs/NAME.toml.")],
    out: Annotated[Path, typer.Option(help="Run folder; a run in it goes on where it stopped.")],
    hold_out: Annotated[list[str] | None, typer.Option(help="A site never to look at; repeatable.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of decoded films; default: OUT/cache.")] = None,
    workers: Annotated[int, typer.Option(help="Members trained side by side; 0 is one a core.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Tell the result as JSON.")] = False,
) -> None:
    """Train an ensemble on films of many sites; writes checkpoints and a report.

    Example: demur train --studies runs/reference/studies.csv --config training/configs/phantoms.toml --out runs/ensemble

    Under torchrun each process trains its share of the members, on a graphics card of its own where there are some.
    """
    from models.studies import read_study_table
    from training.cache import usable_cores
    from training.config import read_experiment
    from training.progress import shown_progress
    from training.ranks import started_rank
    from training.report import write_report
    from training.train import CACHE, train_run

    table, experiment = read_study_table(studies), read_experiment(config)
    with started_rank() as rank, shown_progress(quiet=as_json or not (rank is None or rank.is_first)) as on_progress:
        summary = train_run(
            table,
            experiment,
            out,
            cache=cache or out / CACHE,
            workers=min(workers or usable_cores(), len(experiment.members)),
            hold_out=tuple(hold_out or ()),
            on_progress=on_progress,
            rank=rank,
        )
    if rank is not None and not rank.is_first:
        return
    page = write_report(out)
    last = [
        {
            "backbone": member.backbone,
            "epochs": history[-1].epoch,
            "merit": _shown(history[-1].merit),
            "auroc": _shown(history[-1].auroc),
        }
        for member, history in zip(experiment.members, summary.members, strict=True)
    ]
    if as_json:
        print(json.dumps({"run": str(out), "members": last, "report": str(page)}))
        return
    for number, one in enumerate(last):
        print(
            f"member {number} {one['backbone']}: AUROC {one['auroc']}, coverage at few misses at the worst site {one['merit']}"
        )
    print(f"report: {page}")


def _shown(value: float) -> float | None:
    """Return a figure as it is told: rounded; None where it was not measured."""
    return None if math.isnan(value) else round(value, 4)
