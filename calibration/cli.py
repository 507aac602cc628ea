"""The verbs of calibration: plan, certify, evaluate, review. Where files are read and written and the clock is looked at."""

import csv
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table

    from calibration.canonical import Json
    from calibration.certificate import Certificate
    from calibration.labels import Verdict

app = typer.Typer(no_args_is_help=True)


class UnitChoice(StrEnum):
    """Values of --unit."""

    #: Patients are counted.
    PATIENT = "patient"
    #: Studies are counted.
    STUDY = "study"


class SplitChoice(StrEnum):
    """Values of --split."""

    #: Set aside for the certificate.
    CALIBRATION = "calibration"
    #: Looked at last.
    TEST = "test"
    #: Members and rule are chosen on it.
    TUNE = "tune"
    #: Weights are fitted on it.
    TRAIN = "train"


Scores = Annotated[Path, typer.Option(help="Score table, .parquet or CSV.", dir_okay=False)]
Alpha = Annotated[float, typer.Option(help="Tolerated share of abnormal among those called healthy.")]
Delta = Annotated[float, typer.Option(help="Probability that the promise fails; four fifths go to the miss rate.")]
Prevalence = Annotated[float, typer.Option(help="The promise holds up to this share of abnormal among the patients.")]
Acceptance = Annotated[float, typer.Option(help="Share of the healthy that a site must show to be cleared.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


@app.command()
def plan(
    *,
    alpha: Alpha = 0.0005,
    delta: Delta = 0.05,
    max_prevalence: Prevalence,
    min_healthy_acceptance: Acceptance,
    misses: Annotated[int, typer.Option(help="Sizes are shown for 0 to so many misses.", min=0, max=100)] = 3,
    true_miss_rate: Annotated[float | None, typer.Option(help="Miss rate that is assumed, for --power.")] = None,
    true_acceptance: Annotated[float | None, typer.Option(help="Acceptance that is assumed, for --power.")] = None,
    power: Annotated[float, typer.Option(help="Wanted probability to pass.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Say how many patients a certificate takes, before any is scored.

    Example: demur plan --max-prevalence 0.1 --min-healthy-acceptance 0.5
    """
    from calibration.bounds import miss_rate_limit
    from calibration.canonical import canonical
    from calibration.planning import Sizing, size_for_power, sizes
    from calibration.tables import plan_tables, size_values

    delta_miss_rate, delta_acceptance = _split(delta)
    powers: list[tuple[str, Sizing]] = []
    try:
        limit = miss_rate_limit(alpha, max_prevalence, min_healthy_acceptance)
        per_group, direct = sizes(limit, delta_miss_rate, misses), sizes(alpha, delta, misses)
        if true_miss_rate is not None:
            powers.append(("abnormal", size_for_power(limit, true_miss_rate, delta_miss_rate, power)))
        if true_acceptance is not None:
            rejected = size_for_power(1 - min_healthy_acceptance, 1 - true_acceptance, delta_acceptance, power)
            powers.append(("healthy", rejected))
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None
    if as_json:
        values: Json = {
            "miss_rate_limit": limit,
            "abnormal_patients_per_group": size_values(per_group),
            "cleared_for_a_direct_check": size_values(direct),
            "with_power": {
                name: {"patients": size.trials, "events_allowed": size.events_allowed, "power": size.power}
                for name, size in powers
            },
        }
        typer.echo(canonical(values))
        return
    typer.echo(
        f"For at most {alpha:g} abnormal among those called healthy, up to a prevalence of {max_prevalence:g}, at sites that "
        f"clear at least {min_healthy_acceptance:g} of their healthy, a group's miss rate must be at most {limit:.6f}."
    )
    _print(plan_tables(per_group, direct, powers))


@app.command()
def certify(
    *,
    scores: Scores,
    out: Annotated[Path, typer.Option(help="Certificate, or refusal, to write.", dir_okay=False)],
    alpha: Alpha = 0.0005,
    delta: Delta = 0.05,
    max_prevalence: Prevalence,
    min_healthy_acceptance: Acceptance,
    sites: Annotated[list[str] | None, typer.Option(help="Sites to certify, a,b or repeated; else all.")] = None,
    strata: Annotated[list[str] | None, typer.Option(help="Strata to test, a,b or repeated; else all.")] = None,
    cross: Annotated[bool, typer.Option("--cross", help="Test each stratum at each site too.")] = False,
    unit: Annotated[UnitChoice, typer.Option(help="What the promise counts.")] = UnitChoice.PATIENT,
    studies_max: Annotated[int | None, typer.Option(help="Most studies of a patient, fixed beforehand.")] = None,
    salt: Annotated[str, typer.Option(help="Of the hash that draws studies, with --unit study.")] = "",
    reference: Annotated[str, typer.Option(help="Where the labels come from.")] = "the labels of the score table",
    issued: Annotated[datetime | None, typer.Option(help="From when it holds, UTC; else now.")] = None,
    expires: Annotated[datetime | None, typer.Option(help="Until when it holds, UTC; else after --valid-days.")] = None,
    valid_days: Annotated[int, typer.Option(help="Days that it holds, without --expires.", min=1)] = 365,
    as_json: AsJson = False,
) -> None:
    """Certify a threshold from the scores of labelled studies, or refuse and say what is short (exit code 3).

    Sites, strata and all terms must be fixed before the scores are seen; the scores are used once.

    Example: demur certify --scores scores.parquet --max-prevalence 0.1 --min-healthy-acceptance 0.5 --out certificate.json
    """
    from calibration.certificate import Refusal
    from calibration.certificate import certify as certified
    from calibration.scores import read_scores
    from calibration.tables import certificate_tables
    from calibration.terms import Terms, Unit

    _folder_exists(out)
    start = (issued or datetime.now(UTC).replace(microsecond=0)).replace(tzinfo=UTC)
    end = start + timedelta(days=valid_days) if expires is None else expires.replace(tzinfo=UTC)
    delta_miss_rate, delta_acceptance = _split(delta)
    try:
        terms = Terms(
            alpha=alpha,
            delta_miss_rate=delta_miss_rate,
            delta_acceptance=delta_acceptance,
            max_prevalence=max_prevalence,
            min_healthy_acceptance=min_healthy_acceptance,
            issued=start,
            expires=end,
            unit=Unit(unit.value),
            sites=_listed(sites),
            strata=_listed(strata),
            crossed=cross,
            studies_max=studies_max,
            salt=salt,
            reference=reference,
        )
    except ValueError as fault:
        raise typer.BadParameter(str(fault)) from None
    result = certified(read_scores(scores), terms)
    text = result.to_json()
    out.write_text(text + "\n", encoding="utf-8")
    refused = isinstance(result, Refusal)
    if as_json or refused:
        typer.echo(text)
    if not as_json:
        if not refused:
            typer.echo(
                f"Certified at {', '.join(result.certified_sites)}; healthy is a score below {result.threshold!r}."
            )
        _print(certificate_tables(result), err=refused)
    if refused:
        typer.echo("Refused: nothing is promised, and every study is IDK.", err=True)
        raise typer.Exit(3)


@app.command()
def evaluate(
    *,
    scores: Scores,
    certificate: Annotated[Path | None, typer.Option(help="Its threshold and alpha are used.", dir_okay=False)] = None,
    split: Annotated[SplitChoice | None, typer.Option(help="Only these rows, if the table has a split.")] = None,
    unit: Annotated[UnitChoice, typer.Option(help="What is counted.")] = UnitChoice.PATIENT,
    delta: Annotated[float, typer.Option(help="Each interval fails with this probability.")] = 0.05,
    direct_check: Annotated[
        int | None, typer.Option(help="Check the rate among so many cleared, fixed beforehand (a diagnostic).", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the curves, as PNG.", file_okay=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a score table in all, per site and per stratum: coverage, misses, selective risk and their curves.

    Example: demur evaluate --scores test.parquet --certificate certificate.json --out figures/
    """
    from dataclasses import asdict

    from calibration.canonical import canonical
    from calibration.evaluation import check_directly
    from calibration.evaluation import evaluate as evaluated
    from calibration.scores import read_scores
    from calibration.tables import report_tables, report_values
    from calibration.terms import Unit
    from models.vocabulary import Split

    if not 0.0 < delta < 1.0:
        raise typer.BadParameter(f"--delta lies in (0, 1), not {delta}")
    if direct_check is not None and certificate is None:
        raise typer.BadParameter("--direct-check needs --certificate: the threshold that it checks")
    promise = None if certificate is None else _read_certificate(certificate)
    table = read_scores(scores)
    if split is not None:
        table = table.only(Split(split.value))
    threshold = None if promise is None else promise.threshold
    reports = evaluated(table, threshold=threshold, delta=delta, unit=Unit(unit.value))
    alpha = 0.0005 if promise is None else promise.alpha
    checked = None
    if direct_check is not None and threshold is not None:
        checked = check_directly(table, threshold=threshold, planned=direct_check, alpha=alpha, delta=delta)
    same = promise is not None and promise.scores in (table.digest(), table.only(Split.CALIBRATION).digest())
    files: list[Path] = []
    if out is not None:
        from calibration.figures import draw_risk_coverage

        files = draw_risk_coverage(reports, out, alpha)
    if as_json:
        values: Json = {
            "groups": report_values(reports),
            "direct_check": None if checked is None else asdict(checked),
            "scores_are_those_of_the_certificate": same,
            "figures": [str(file) for file in files],
        }
        typer.echo(canonical(values))
        return
    _print(report_tables(reports))
    if checked is not None:
        typer.echo(
            f"Direct check at a prevalence of {checked.prevalence:.4f}: {checked.misses} misses among {checked.cleared:,} "
            f"cleared, rate at most {checked.false_omission_upper:.6f}: {'passed' if checked.passed else 'not passed'}. "
            "A diagnostic: it holds at this prevalence only."
        )
    if same:
        typer.echo(
            "These are the scores that the certificate was computed from: intervals at its threshold do not hold."
        )
    for file in files:
        typer.echo(f"drawn: {file}")


@app.command()
def review(
    *,
    scores: Annotated[Path | None, typer.Option(help="Score table to draw the list from.", dir_okay=False)] = None,
    certificate: Annotated[Path | None, typer.Option(help="Its threshold is used.", dir_okay=False)] = None,
    out: Annotated[Path, typer.Option(help="Folder of list.csv, for the readers, and key.json, not for them.")],
    sample: Annotated[int, typer.Option(help="Cleared patients labelled healthy to read again.", min=0)] = 6000,
    decoys: Annotated[int, typer.Option(help="Abnormal patients, not cleared, mixed in.", min=0)] = 100,
    seed: Annotated[int, typer.Option(help="Of sample, decoys and order.")] = 0,
    verdicts: Annotated[
        Path | None, typer.Option(help="The list as filled in: print the bounds instead.", dir_okay=False)
    ] = None,
    delta: Annotated[float, typer.Option(help="Each bound fails with at most this probability.")] = 0.05,
    as_json: AsJson = False,
) -> None:
    """Draw a blind list of cleared patients to read again; with --verdicts, say what the readings show.

    Readers fill the column verdict with abnormal (also where a case cannot be assessed) or healthy.

    Example: demur review --scores scores.parquet --certificate certificate.json --out review/
    """
    from dataclasses import asdict

    from calibration.canonical import canonical
    from calibration.labels import review_bounds, review_from_json
    from calibration.tables import bounds_table

    key = out / "key.json"
    if verdicts is None:
        if scores is None or certificate is None:
            raise typer.BadParameter("a list needs --scores and --certificate; its result needs --verdicts")
        _draw_review(scores, certificate, out, sample=sample, decoys=decoys, seed=seed, as_json=as_json)
        return
    if not 0.0 < delta < 1.0:
        raise typer.BadParameter(f"--delta lies in (0, 1), not {delta}")
    bounds = review_bounds(review_from_json(_read_text(key, "the key of the list")), _read_verdicts(verdicts), delta)
    if as_json:
        typer.echo(canonical(asdict(bounds)))
    else:
        _print([bounds_table(bounds)])


def _draw_review(
    scores: Path, certificate: Path, out: Path, *, sample: int, decoys: int, seed: int, as_json: bool
) -> None:
    import numpy as np

    from calibration.canonical import canonical
    from calibration.labels import plan_review
    from calibration.scores import read_scores

    if (out / "key.json").exists():
        raise DataError(f"{out} has a list already; a second draw would be a second chance. Give another --out")
    threshold = _read_certificate(certificate).threshold
    drawn = plan_review(
        read_scores(scores), threshold, sample=sample, decoys=decoys, generator=np.random.default_rng(seed)
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "key.json").write_text(drawn.to_json() + "\n", encoding="utf-8")
    with (out / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "site", "study", "verdict"))
        writer.writerows((case.number, case.site, study, "") for case in drawn.cases for study in case.studies)
    if as_json:
        typer.echo(canonical({"cases": len(drawn.cases), "list": str(out / "list.csv"), "key": str(out / "key.json")}))
    else:
        typer.echo(f"{len(drawn.cases):,} cases in {out / 'list.csv'}; keep {out / 'key.json'} from the readers.")


def _read_certificate(path: Path) -> "Certificate":
    from calibration.certificate import Refusal, certificate_from_json

    result = certificate_from_json(_read_text(path, "a certificate"))
    if isinstance(result, Refusal):
        raise DataError(f"{path} is a refusal and has no threshold; give a certificate")
    return result


def _read_verdicts(path: Path) -> "dict[int, Verdict]":
    """Return the verdict on each case: abnormal if any of its studies is."""
    from calibration.labels import Verdict

    verdicts: dict[int, Verdict] = {}
    reader = csv.DictReader(_read_text(path, "the list with verdicts").splitlines())
    for row in reader:
        try:
            case, verdict = int(row.get("case") or ""), Verdict((row.get("verdict") or "").strip())
        except ValueError:
            raise DataError(
                f"{path}: row {reader.line_num} needs a case number and a verdict: abnormal (also in doubt) or healthy"
            ) from None
        if verdicts.get(case) is not Verdict.ABNORMAL:
            verdicts[case] = verdict
    return verdicts


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"no such file: {path}; give {what}") from None
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"cannot read {path}: {fault}") from None


def _folder_exists(file: Path) -> None:
    if not file.parent.is_dir():
        raise DataError(f"no such folder: {file.parent}; make it, or give another --out")


def _listed(names: list[str] | None) -> tuple[str, ...] | None:
    """Return the names of a list option, given repeatedly, with commas, or both; None if it was not given."""
    if not names:
        return None
    return tuple(name.strip() for given in names for name in given.split(",") if name.strip())


def _split(delta: float) -> tuple[float, float]:
    """Return δ1 and δ0: four fifths for the miss rate, a fifth for the acceptance; 0.05 gives 0.04 and 0.01."""
    return 4 * delta / 5, delta / 5


def _print(tables: "Iterable[Table]", *, err: bool = False) -> None:
    from rich.console import Console

    console = Console(stderr=err, highlight=False)
    if not console.is_terminal:
        console.width = 160
    for table in tables:
        console.print(table)
