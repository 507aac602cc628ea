"""The verbs of service."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from models.errors import DataError
from models.vocabulary import Mode
from service.options import AsJson, BundleFolder, DatabaseUrl, StorageFolder, TrustFile, open_database, settings_from

app = typer.Typer(no_args_is_help=True)
site_app = typer.Typer(no_args_is_help=True, help="Add sites, list them, and set how far each trusts Demur.")
ledger_app = typer.Typer(no_args_is_help=True, help="Check the ledger.")
app.add_typer(site_app, name="site")
app.add_typer(ledger_app, name="ledger")


@app.command()
def serve(
    bundle: BundleFolder = None,
    trust: TrustFile = None,
    database: DatabaseUrl = None,
    storage: StorageFolder = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8480")] = None,
    as_json: AsJson = False,
) -> None:
    """Take in studies over HTTP, decide them, and keep the readers' worklist.

    Without a bundle every study is IDK. Each setting can come from an environment variable DEMUR_* as well. SIGTERM
    finishes what is under way and ends.

    Example: demur serve --bundle bundle/ --trust trusted.txt --database sqlite:///demur.sqlite --storage files/
    """
    from service.serving import run
    from service.triage.judge import Judge

    settings = settings_from(bundle=bundle, trust=trust, database=database, storage=storage, host=host, port=port)

    def announce(url: str, token: str | None, judge: Judge) -> None:
        if as_json:
            typer.echo(json.dumps({"url": url, "reader_token": token, "bundle": judge.bundle or None}))
        else:
            typer.echo(f"Demur listens at {url}")
            typer.echo(f"  release   {judge.words(datetime.now(UTC))}")
            typer.echo(f"  worklist  {url}/worklist")
            ways = (
                ("at " + str(settings.oidc_issuer), settings.oidc_issuer is not None),
                ("with the token in DEMUR_READER_TOKEN", settings.reader_token is not None),
            )
            typer.echo(f"  sign in   {token or ', or '.join(words for words, is_given in ways if is_given)}")
        sys.stdout.flush()

    run(settings, announce)


@app.command()
def receive(
    site: Annotated[
        list[str] | None,
        typer.Option(help="TITLE=SITE: a calling AE title and its site; once per title.", show_default=False),
    ] = None,
    database: DatabaseUrl = None,
    storage: StorageFolder = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default="11112")] = None,
    ae_title: Annotated[str | None, typer.Option(help="AE title of the receiver.", show_default="DEMUR")] = None,
    as_json: AsJson = False,
) -> None:
    """Take in studies over DIMSE (C-STORE, C-ECHO), for demur serve on the same database and storage to decide.

    Only the AE titles that are named may send. SIGTERM lets the associations under way end.

    Example: demur receive --site PACS=north --database sqlite:///demur.sqlite --storage files/
    """
    from service.receiving import Listening, run

    settings = settings_from(
        database=database,
        storage=storage,
        dimse_host=host,
        dimse_port=port,
        dimse_ae_title=ae_title,
        dimse_sites=",".join(site) if site else None,
    )

    def announce(listening: Listening) -> None:
        if as_json:
            shown = {"host": listening.host, "port": listening.port, "ae_title": listening.ae_title}
            typer.echo(json.dumps({**shown, "sites": dict(listening.sites)}))
        else:
            typer.echo(f"Demur listens for DICOM at {listening.host}:{listening.port} as {listening.ae_title}")
            for title, name in listening.sites.items():
                typer.echo(f"  {title:16} sends for {name}")
        sys.stdout.flush()

    run(settings, announce)


@site_app.command("add")
def add_site(
    name: Annotated[str, typer.Argument(help="As the certificate names it.")],
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add a site, in shadow, and print its token: this once only.

    Example: demur site add north
    """
    from service.sites.workflow import add_site as add

    settings = settings_from(database=database)
    opened = open_database(settings)
    with opened.writing() as connection:
        site, token = add(connection, name, audit_probability=settings.audit_probability, now=datetime.now(UTC))
    if as_json:
        typer.echo(json.dumps({"site": site.name, "mode": site.mode, "token": token}))
    else:
        typer.echo(f"The site {site.name} is added, in {site.mode}. Its token, shown only now:\n{token}")


@site_app.command("list")
def list_sites(database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the sites, their modes, the release that each mode holds under (under any other a site is in shadow), and what
    is known of their healthy calls under each release.

    Example: demur site list
    """
    from dataclasses import asdict

    from service.sites.store import every, falls
    from service.watch.workflow import in_words, standings

    with open_database(settings_from(database=database)).reading() as connection:
        watches = standings(connection)
        sites = [(site, next(iter(falls(connection, site_id=site.id)), None)) for site in every(connection)]
    if as_json:
        rows = [
            {
                "site": site.name,
                "mode": site.mode,
                "bundle": site.bundle,
                "audit_probability": site.audit_probability,
                "fell": None if fell is None else {"at": fell.at.isoformat(), "why": fell.why, "bundle": fell.bundle},
            }
            for site, fell in sites
        ]
        typer.echo(json.dumps({"sites": rows, "watches": [asdict(item) for item in watches]}))
        return
    for site, fell in sites:
        under = "" if site.bundle is None or site.mode is Mode.SHADOW else f" under {site.bundle[:12]}"
        typer.echo(f"{site.name:24} {site.mode + under:32} audits {site.audit_probability:g} of healthy calls")
        if fell is not None:
            typer.echo(f"{'':24} fell to shadow under {fell.bundle[:12]} at {fell.at:%Y-%m-%d %H:%M} UTC: {fell.why}")
        for line in (in_words(item) for item in watches if item.site == site.name):
            typer.echo(f"{'':24} {line}")
    if not sites:
        typer.echo("There are no sites yet; demur site add NAME adds one.")


@site_app.command("mode")
def set_site_mode(
    name: Annotated[str, typer.Argument(help="The site.")],
    mode: Annotated[Mode, typer.Argument(help="How far it trusts Demur.")],
    bundle: BundleFolder = None,
    trust: TrustFile = None,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Set a site's mode; it is raised only if the bundle's certificate certifies it and is in date.

    Example: demur site mode north autonomous --bundle bundle/ --trust trusted.txt
    """
    from service.sites.workflow import set_mode
    from service.triage.judge import verified_bundle

    settings = settings_from(bundle=bundle, trust=trust, database=database)
    release = verified_bundle(settings.bundle, settings.trust, datetime.now(UTC))
    with open_database(settings).writing() as connection:
        site = set_mode(
            connection,
            name,
            mode,
            certificate=release.certificate if release is not None else None,
            bundle=release.digest if release is not None else "",
            now=datetime.now(UTC),
        )
    typer.echo(
        json.dumps({"site": site.name, "mode": site.mode})
        if as_json
        else f"The site {site.name} is now in {site.mode}."
    )


@site_app.command("token")
def replace_site_token(
    name: Annotated[str, typer.Argument(help="The site.")],
    grace_h: Annotated[float, typer.Option(help="How long the tokens before it still work, in hours.")] = 24.0,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give a site a new token and let the old ones end after a time of grace.

    Example: demur site token north --grace-h 24
    """
    from service.sites.workflow import replace_token

    with open_database(settings_from(database=database)).writing() as connection:
        token = replace_token(connection, name, grace=timedelta(hours=grace_h), now=datetime.now(UTC))
    typer.echo(
        json.dumps({"site": name, "token": token}) if as_json else f"The new token of {name}, shown only now:\n{token}"
    )


@site_app.command("grant")
def grant_access(
    name: Annotated[str, typer.Argument(help="The person or the monitor, as the ledger will name them.")],
    role: Annotated[str, typer.Option(help="reader, auditor or admin.", show_default=False)],
    days: Annotated[float, typer.Option(help="How long the token works.", min=0.0)] = 90.0,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give a person or a monitor a token for every site, in one role.

    A reader works through the worklist, an auditor (Prometheus too) sees decisions and counts.

    Example: demur site grant rita --role reader --days 90
    """
    from service.access.workflow import Role, grant

    if role not in set(Role):
        raise DataError(f"there is no role {role!r}; give reader, auditor or admin")
    with open_database(settings_from(database=database)).writing() as connection:
        token = grant(connection, name=name, role=Role(role), now=datetime.now(UTC), lifetime=timedelta(days=days))
    if as_json:
        typer.echo(json.dumps({"name": name, "role": role, "token": token}))
    else:
        typer.echo(f"The token of {name}, {role}, shown only now:\n{token}")


@app.command()
def send(
    studies: Annotated[Path, typer.Argument(help="The study table; its images must be DICOM.", show_default=False)],
    url: Annotated[str, typer.Option(help="Where Demur listens.")] = "http://127.0.0.1:8480",
    token: Annotated[
        list[str] | None, typer.Option(help="TOKEN, or SITE=TOKEN once per site.", show_default=False)
    ] = None,
    connections: Annotated[int, typer.Option(help="Studies on their way at once.", min=1, max=64)] = 4,
    limit: Annotated[int | None, typer.Option(help="Send only the first so many studies.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Post every study of a table and print what is decided, beside what is true.

    Example: demur send studies.csv --url http://127.0.0.1:8480 --token north=TOKEN --token south=TOKEN
    """
    from service.sending import print_table, send_studies, tokens_of, with_progress

    if not studies.is_file():
        raise DataError(f"no such file: {studies}; give a study table")
    results = with_progress(
        send_studies(studies, url=url, tokens=tokens_of(token or []), connections=connections, limit=limit)
    )
    if as_json:
        typer.echo(json.dumps({"studies": [result.to_json() for result in results]}))
    else:
        print_table(results)
    if any(result.error for result in results):
        raise typer.Exit(1)


@ledger_app.command("verify")
def verify_ledger(database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Walk the ledger's chain from its beginning and name the first entry that does not hold.

    Example: demur ledger verify --database sqlite:///demur.sqlite
    """
    from service.ledger.workflow import verify

    with open_database(settings_from(database=database)).reading() as connection:
        found = verify(connection)
    if as_json:
        typer.echo(json.dumps({"entries": found.entries, "head": found.head, "flaw": found.flaw or None}))
    elif found.flaw:
        typer.echo(f"The ledger does not hold: {found.flaw}.")
    else:
        typer.echo(f"The ledger holds: {found.entries} entries, head {found.head}.")
    if found.flaw:
        raise typer.Exit(3)


@app.command()
def replay(
    bundle: BundleFolder = None,
    trust: TrustFile = None,
    database: DatabaseUrl = None,
    storage: StorageFolder = None,
    tolerance: Annotated[
        float, typer.Option(help="How far scores may differ; 0 on the machine that decided.", min=0.0)
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Make every decision on the ledger again from the stored bytes, and name each difference.

    Decisions of another release than the one given are skipped and counted, and so are those whose images were erased.

    Example: demur replay --database sqlite:///demur.sqlite --storage files/ --bundle bundle/ --trust trusted.txt
    """
    from rich.console import Console
    from rich.progress import track

    from service.app import open_storage
    from service.audit.replaying import history_of, replay_all

    settings = settings_from(bundle=bundle, trust=trust, database=database, storage=storage)
    history = history_of(open_database(settings))
    work = replay_all(
        history, open_storage(settings), bundle=settings.bundle, trust=settings.trust, tolerance=tolerance
    )
    console = Console(stderr=True)
    replayed = list(
        track(work, "replaying", total=len(history.decisions), console=console, disable=not console.is_terminal)
    )
    different = [item for item in replayed if item.differences]
    skipped, erased = sum(bool(item.skipped) for item in replayed), sum(item.is_erased for item in replayed)
    same = len(replayed) - len(different) - skipped - erased
    counts = {"decisions": len(replayed), "same": same, "skipped": skipped, "erased": erased}
    if as_json:
        rows = [
            {
                "sequence": item.sequence,
                "study": item.study_id,
                "differences": {each.name: [each.recorded, each.replayed] for each in item.differences},
            }
            for item in different
        ]
        typer.echo(json.dumps({**counts, "different": rows}))
    else:
        for item in different:
            for each in item.differences:
                typer.echo(f"entry {item.sequence}: {each.name} was {each.recorded} and is {each.replayed}")
        typer.echo(
            f"{same} of {len(replayed)} decisions are the same, {skipped} skipped, {erased} erased, {len(different)} differ."
        )
    if different:
        raise typer.Exit(3)


@app.command()
def doctor(
    bundle: BundleFolder = None,
    trust: TrustFile = None,
    database: DatabaseUrl = None,
    storage: StorageFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check database, storage, bundle, clock and port; say what is wrong and what to do.

    Example: demur doctor --database sqlite:///demur.sqlite --storage files/
    """
    from service.doctor import examine

    findings = list(examine(settings_from(bundle=bundle, trust=trust, database=database, storage=storage)))
    if as_json:
        rows = [
            {"check": item.check, "good": item.is_good, "found": item.found, "advice": item.advice or None}
            for item in findings
        ]
        typer.echo(json.dumps({"findings": rows}))
    else:
        for item in findings:
            typer.echo(f"{'ok ' if item.is_good else 'BAD'}  {item.check:10} {item.found}")
            if item.advice:
                typer.echo(f"     {'':10} → {item.advice}")
    if not all(item.is_good for item in findings):
        raise typer.Exit(1)
