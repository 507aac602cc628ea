"""The verbs of deploy."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from models.errors import BundleError, DataError
from models.vocabulary import Split

app = typer.Typer(no_args_is_help=True)
key_app = typer.Typer(no_args_is_help=True, help="Make the keys that releases are signed with.")
app.add_typer(key_app, name="key")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The folder that demur train wrote.", show_default=False)],
    studies: Annotated[Path, typer.Option(help="The study table that it was trained on.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Candidate folder to make.", show_default=False)],
    hold_out: Annotated[
        list[str] | None, typer.Option(help="A site that training did not look at; repeatable.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded films; RUN/cache if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a candidate of a run's checkpoints: one ONNX graph, the score's rule, the scope, golden films, digests.

    Members without a checkpoint are left out, so that a run that is still under way can be tried. Rule and limit of
    strangeness come from the splits train and tune alone. The graph is checked against torch before it is sealed.

    Example: demur export run/ --studies studies.csv --out candidate/
    """
    from deploy.export import export_run
    from models.studies import read_study_table
    from training.cache import usable_cores
    from training.progress import shown_progress
    from training.train import CACHE

    table = read_study_table(studies)
    with shown_progress(quiet=as_json) as on_progress:
        summary = export_run(
            _folder(run, "a run that demur train has made"),
            table,
            out,
            cache=cache or run / CACHE,
            hold_out=tuple(hold_out or ()),
            workers=usable_cores(),
            on_progress=on_progress,
        )
    members = [f"{state.spec.backbone} (epoch {state.epoch})" for state in summary.members]
    if as_json:
        result = {
            "candidate": summary.digest,
            "members": members,
            "merit": summary.merit,
            "disagreement_weight": summary.rule.disagreement_weight,
            "strangeness_limit": summary.rule.strangeness_limit,
            "parity": {"logits": summary.parity.logits, "strangeness": summary.parity.strangeness},
        }
        typer.echo(json.dumps({**result, "out": str(out)}, sort_keys=True))
        return
    typer.echo(f"candidate    {summary.digest}")
    typer.echo(f"members      {', '.join(members)}")
    typer.echo(f"tune split   {summary.merit:.3f} of healthy films cleared at few misses at the worst site")
    typer.echo(f"rule         disagreement weight {summary.rule.disagreement_weight:g}")
    typer.echo(f"strangeness  at most {summary.rule.strangeness_limit:.3f}")
    typer.echo(
        f"parity       logits {summary.parity.logits:.1e}, strangeness {summary.parity.strangeness:.1e} from torch"
    )
    typer.echo(f"written to   {out}")


@app.command()
def score(
    candidate: Annotated[Path, typer.Argument(help="The folder that demur export made.", show_default=False)],
    studies: Annotated[Path, typer.Option(help="The study table.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Score table to write: .parquet, or .csv.", show_default=False)],
    split: Annotated[
        Split | None, typer.Option(help="Score one split only; every study if not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score studies with a candidate, film by film, exactly as the service does.

    Writes one row per study: study, patient, site, stratum, label, score (+inf: a gate failed), strangeness, reason and
    the members' logits. Only a Parquet file carries the digests of the candidate and the study table, without which a
    certificate cannot be released.

    Example: demur score candidate/ --studies studies.csv --split calibration --out scores.parquet
    """
    from deploy.candidate import Candidate
    from deploy.runtime import Engine
    from deploy.score import score_studies, studies_of, write_score_table
    from models.studies import read_study_table

    if not studies.is_file():
        raise DataError(f"no such file: {studies}; give a study table with --studies")
    _folder(out.parent, "a file in a folder that exists with --out")
    table = read_study_table(studies)
    chosen = studies_of(table, split)
    with Engine(Candidate.open(_folder(candidate, "a candidate that demur export has made"))) as engine:
        engine.check_golden()
        with _progress("scoring", len(chosen)) as on_study:
            scored = list(score_studies(engine, chosen, on_study=on_study))
        write_score_table(out, scored, engine.candidate, table)
    gates = Counter(str(gate) for study in scored for gate in study.assessment.gates)
    finite = sum(not study.assessment.gates for study in scored)
    if as_json:
        result = {"studies": len(scored), "scored": finite, "gates": gates, "candidate": engine.candidate.digest}
        typer.echo(json.dumps({**result, "out": str(out)}, sort_keys=True))
        return
    typer.echo(f"{len(scored)} studies, {finite} with a score, written to {out}")
    for gate, count in gates.most_common():
        typer.echo(f"  {count} {gate}")


@key_app.command("new")
def key_new(
    out: Annotated[
        Path, typer.Option(help="Private key to write; keep it off the service's machine.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Make an Ed25519 key pair: write the private half, print the public one.

    The printed line goes into the list of trusted keys that demur serve and demur verify take.

    Example: demur key new --out release.key >> trusted_keys.txt
    """
    from deploy.trust import new_key

    public = new_key(out)
    typer.echo(json.dumps({"id": public.id, "public_key": public.line}) if as_json else public.line)


@app.command()
def release(
    candidate: Annotated[Path, typer.Argument(help="The folder that demur export made.", show_default=False)],
    certificate: Annotated[Path, typer.Argument(help="What demur certify made of its scores.", show_default=False)],
    key: Annotated[Path, typer.Option(help="Private key that signs; demur key new makes one.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Bundle folder to make.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Join a candidate and its certificate in one signed bundle; print its digest and the public key.

    Refuses (exit code 3) where the certificate is a refusal, is out of date, or was computed from another candidate's
    scores or from scores of no candidate.

    Example: demur release candidate/ certificate.json --key release.key --out bundle/
    """
    from deploy.candidate import Candidate
    from deploy.release import release as make_release
    from deploy.trust import read_private_key

    signing_key = read_private_key(key)
    opened = Candidate.open(_folder(candidate, "a candidate that demur export has made"))
    bundle = make_release(opened, certificate, signing_key, out, datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"bundle": bundle.digest, "public_key": bundle.key.line, "out": str(out)}))
        return
    typer.echo(f"bundle      {bundle.digest}\npublic key  {bundle.key.line}\nwritten to  {out}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    trust: Annotated[
        Path | None,
        typer.Option(envvar="DEMUR_TRUST", help="List of trusted public keys, one a line.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a bundle as the service does before it is ready, and print what was checked.

    Signature by a trusted key, every file, candidate, golden films run from file to logits on this machine, certificate
    and its dates. What does not verify is refused with its reason (exit code 3).

    Example: demur verify bundle/ --trust trusted_keys.txt
    """
    from deploy.bundle import open_bundle
    from deploy.runtime import RUNTIME, Engine
    from deploy.trust import Trust

    if trust is None:
        raise DataError("no list of trusted keys; give --trust KEYS, a text file of public keys")
    keys = Trust.read(trust)
    try:
        opened = open_bundle(_folder(bundle, "a bundle that demur release has made"), keys, datetime.now(UTC))
        with Engine(opened.candidate) as engine:
            engine.check_golden()
    except BundleError as refusal:
        if as_json:
            typer.echo(json.dumps({"verified": False, "flaw": getattr(refusal, "flaw", ""), "message": str(refusal)}))
        raise
    checks = {
        "signature": f"key {opened.key.id} {opened.key.owner}".rstrip(),
        "files": f"{len(opened.manifest.files)}, all as signed",
        "bundle": opened.digest,
        "candidate": opened.candidate.digest,
        "golden films": f"{len(opened.candidate.golden())} as at the export, on {RUNTIME}",
        "certificate": ", ".join(site.name for site in opened.certificate.sites if site.certified),
        "valid": f"{opened.certificate.issued.isoformat()} to {opened.certificate.expires.isoformat()}",
    }
    if as_json:
        typer.echo(json.dumps({"verified": True, **checks}))
        return
    for name, found in checks.items():
        typer.echo(f"ok  {name:<13} {found}")


def _folder(path: Path, what: str) -> Path:
    if not path.is_dir():
        raise DataError(f"no such folder: {path}; give {what}")
    return path


@contextmanager
def _progress(doing: str, total: int) -> Iterator[Callable[[], None]]:
    """Show progress on stderr, as a bar on a terminal and as a line every tenth elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if done * 10 // total != (done - 1) * 10 // total:
            typer.echo(f"{doing}: {done} of {total}", err=True)

    if not sys.stderr.isatty():
        yield tell
        return
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda: progress.advance(task)
