"""``demur doctor``: what is wrong with this deployment, and what to do about it."""

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import text

from models.errors import DataError, DemurError
from models.vocabulary import Mode
from service import schema
from service.app import open_storage
from service.database import Database
from service.ledger.store import last
from service.records.store import erased
from service.settings import Settings
from service.sites.store import every
from service.storage.store import unswept_since
from service.triage.judge import Judge, verified_bundle

_DAYS_LEFT_MIN = 30
_DRIFT_S_MAX = 5.0
_DELETED_WITHIN = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found; ``advice`` says what to do where it is not good."""

    check: str
    is_good: bool
    found: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding per check; a check that fails in a way nobody expected is a finding too."""
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("database", _database),
        ("storage", _storage),
        ("bundle", _bundle),
        ("sites", _sites),
        ("retention", _retention),
        ("clock", _clock),
        ("port", _port),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except DemurError as fault:
            yield Finding(check=name, is_good=False, found=str(fault), advice=f"set DEMUR_{name.upper()} right")
        except Exception as fault:  # noqa: BLE001 - a doctor who falls ill helps nobody
            yield Finding(
                check=name,
                is_good=False,
                found=f"the check itself failed ({type(fault).__name__})",
                advice="see the log",
            )


def _database(settings: Settings) -> Finding:
    database = Database(settings.database)
    try:
        if not schema.is_current(database):
            return Finding(
                check="database",
                is_good=False,
                found="the schema is not the newest",
                advice="start demur serve once, or any demur site verb: each brings it up to date",
            )
        with database.writing() as connection:
            connection.execute(text("SELECT 1"))
            newest = last(connection)
    finally:
        database.close()
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    return Finding(check="database", is_good=True, found=f"{kind}, {newest.sequence if newest else 0} ledger entries")


def _storage(settings: Settings) -> Finding:
    storage = open_storage(settings)
    with storage.spool() as spool:
        spool.write(b"demur doctor")
        spool.finish()
    free = shutil.disk_usage(settings.storage).free
    return Finding(check="storage", is_good=True, found=f"takes files, {free >> 30} GiB free")


def _bundle(settings: Settings) -> Finding:
    if settings.bundle is None:
        return Finding(check="bundle", is_good=True, found="none: every study is IDK")
    judge = Judge.open(settings.bundle, settings.trust)
    try:
        certificate = judge.certificate
        if certificate is None:
            raise DataError("the bundle has no certificate")
        days = (certificate.expires - datetime.now(UTC)).days
        sites = ", ".join(certificate.certified_sites)
        return Finding(
            check="bundle",
            is_good=days >= _DAYS_LEFT_MIN,
            found=f"{judge.bundle[:12]} verifies, its golden films agree, certifies {sites}, "
            + (f"expires in {days} days" if days >= 0 else f"expired at {certificate.expires.isoformat()}"),
            advice="" if days >= _DAYS_LEFT_MIN else "certify and release again: after its end every study is IDK",
        )
    finally:
        judge.close()


def _sites(settings: Settings) -> Finding:
    """Compare how far sites were raised with the open release: under another one they are in shadow."""
    release = verified_bundle(settings.bundle, settings.trust, datetime.now(UTC), may_be_over=True)
    database = Database(settings.database)
    try:
        if not schema.is_current(database):
            return Finding(check="sites", is_good=True, found="there are none yet")
        with database.reading() as connection:
            sites = every(connection)
    finally:
        database.close()
    raised = [site for site in sites if site.mode is not Mode.SHADOW]
    lowered = [site.name for site in raised if release is not None and site.bundle != release.digest]
    return Finding(
        check="sites",
        is_good=not lowered,
        found=f"{len(sites)}, of which {len(raised) - len(lowered)} are raised"
        + (f"; in shadow, since another release raised them: {', '.join(lowered)}" if lowered else ""),
        advice="raise them under this release with demur site mode, or start the other one again" if lowered else "",
    )


def _retention(settings: Settings) -> Finding:
    """Say how long studies are kept, and whether the files of those that were erased are gone."""
    database = Database(settings.database)
    try:
        with database.reading() as connection:
            studies, (files, oldest) = erased(connection), unswept_since(connection)
    finally:
        database.close()
    kept = "for ever" if settings.retention_days is None else f"{settings.retention_days} days after they were read"
    is_late = oldest is not None and datetime.now(UTC) - oldest > _DELETED_WITHIN
    return Finding(
        check="retention",
        is_good=not is_late,
        found=f"studies are kept {kept}; {studies} were erased, {files} files of theirs are still to be deleted",
        advice="look whether demur serve runs and reaches the storage: it deletes them" if is_late else "",
    )


def _clock(settings: Settings) -> Finding:
    """Compare with the database's clock, which other processes go by."""
    database = Database(settings.database)
    try:
        if not schema.is_current(database):
            return Finding(check="clock", is_good=True, found="there is nothing yet to compare it with")
        if database.is_sqlite:
            with database.reading() as connection:
                newest = last(connection)
            drift = 0.0 if newest is None else (newest.at - datetime.now(UTC)).total_seconds()
            is_good = drift <= _DRIFT_S_MAX
            found = "not behind the ledger" if is_good else f"{drift:.0f} s behind the ledger's newest entry"
        else:
            with database.reading() as connection:
                theirs: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
            drift = abs((theirs - datetime.now(UTC)).total_seconds())
            is_good, found = drift <= _DRIFT_S_MAX, f"{drift:.1f} s from the database's"
    finally:
        database.close()
    return Finding(check="clock", is_good=is_good, found=found, advice="" if is_good else "synchronise it (NTP)")


def _port(settings: Settings) -> Finding:
    try:
        with socket.create_server((settings.host, settings.port)):
            return Finding(check="port", is_good=True, found=f"{settings.host}:{settings.port} is free")
    except OSError:
        pass
    scheme = "https" if settings.tls_certificate else "http"
    try:
        answer = httpx.get(f"{scheme}://{settings.host}:{settings.port}/readyz", timeout=5)
        told = answer.json()
    except (httpx.HTTPError, ValueError):
        told = None
    if not isinstance(told, dict) or "ready" not in told:
        return Finding(check="port", is_good=False, found="another program listens", advice="choose another --port")
    if not told["ready"]:
        failed = ", ".join(name for name, word in told.items() if word == "failed")
        return Finding(
            check="port", is_good=False, found=f"demur serve answers, not ready: {failed}", advice="see its log"
        )
    return Finding(check="port", is_good=True, found="demur serve answers and is ready")
