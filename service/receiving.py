"""Running the receiver of DIMSE: a process of its own beside ``demur serve``, on the same database and storage."""

import logging
import signal
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.errors import DataError
from service import logs, schema
from service.app import open_gate, open_storage, utc_now
from service.database import Database
from service.ingest.dimse import Receiver, quieten
from service.ingest.dimse_limits import Allowance
from service.settings import Settings
from service.sites.workflow import find_site

logger = logging.getLogger(__name__)

#: Connections that are not associations yet are few; each has a thread.
_CONNECTIONS_PER_ASSOCIATION = 2
_PDU_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where the receiver listens, and who may send to it: sites by calling AE title."""

    host: str
    port: int
    ae_title: str
    sites: Mapping[str, str]


def run(settings: Settings, announce: Callable[[Listening], None]) -> None:
    """Receive until SIGTERM or SIGINT, then let the associations under way end."""
    stopped = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _number, _frame: stopped.set())
    logs.configure(settings.log_level)
    quieten()
    names = sites_of(settings.dimse_sites)
    database = Database(settings.database)
    schema.upgrade(database)
    with database.reading() as connection:
        sites = {title: find_site(connection, name).id for title, name in names.items()}
    receiver = Receiver(
        database,
        open_storage(settings),
        sites,
        ae_title=settings.dimse_ae_title,
        quiet_s=settings.quiet_s,
        associations_max=settings.dimse_associations_max,
        allowance=Allowance(
            connections=_CONNECTIONS_PER_ASSOCIATION * settings.dimse_associations_max,
            message_bytes=settings.instance_bytes_max,
            total_bytes=settings.dimse_bytes_max,
            pdu_s=_PDU_S,
        ),
        gate=open_gate(settings),
        clock=utc_now,
    )
    try:
        port = receiver.start(settings.dimse_host, settings.dimse_port, _tls(settings))
    except OSError as fault:
        raise DataError(
            f"cannot listen at {settings.dimse_host}:{settings.dimse_port} ({fault.strerror}); choose another --port"
        ) from None
    announce(Listening(host=settings.dimse_host, port=port, ae_title=settings.dimse_ae_title, sites=names))
    sys.stdout.flush()
    stopped.wait()
    logger.info("receiver draining", extra={"action": "receiver_draining"})
    receiver.stop(settings.drain_s)
    database.close()


def sites_of(text: str) -> dict[str, str]:
    """Parse ``TITLE=SITE,TITLE=SITE``."""
    sites: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        title, _, site = (word.strip() for word in pair.partition("="))
        if not site or not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
            raise DataError(f"{pair!r} is not TITLE=SITE with an AE title of at most 16 characters")
        if title in sites:
            raise DataError(f"the AE title {title} is given twice; a title belongs to one site")
        sites[title] = site
    if not sites:
        raise DataError("no AE title may send; give --site TITLE=SITE, or DEMUR_DIMSE_SITES=TITLE=SITE,TITLE=SITE")
    return sites


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.dimse_tls_clients is not None:
            context.load_verify_locations(settings.dimse_tls_clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as fault:
        raise DataError(f"the TLS files cannot be used ({fault.strerror or type(fault).__name__})") from None
    return context
