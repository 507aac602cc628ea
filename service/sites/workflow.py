"""Adding sites and setting how far each trusts Demur.

Invariants:

- A site starts in shadow. It is raised only where the open bundle's certificate certifies it and is in date.
- Lowering is always allowed. Every change is on the ledger.
"""

import re
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection

from calibration.certificate import Certificate
from models.vocabulary import Mode
from service.access.workflow import Role, issue_token, rotate_tokens
from service.errors import MissingError, SiteError
from service.ledger.workflow import Kind, append
from service.sites import store
from service.sites.store import Site

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ORDER = (Mode.SHADOW, Mode.PRIORITISE, Mode.AUTONOMOUS)
SERVICE_LEVEL_S = 4 * 3600.0


def add_site(connection: Connection, name: str, *, audit_probability: float, now: datetime) -> tuple[Site, str]:
    """Add a site in shadow; return it with its sender's token, which can be read only now."""
    if not _NAME.fullmatch(name):
        raise SiteError(f"{name!r} is no name for a site; use letters, digits, dots, dashes and underscores")
    if store.find(connection, name) is not None:
        raise SiteError(f"the site {name} exists already; demur site token {name} gives it a new token")
    site = Site(
        id=uuid4().hex,
        name=name,
        mode=Mode.SHADOW,
        audit_probability=audit_probability,
        service_level_s=SERVICE_LEVEL_S,
        created_at=now,
    )
    store.add(connection, site)
    token = issue_token(connection, name=name, role=Role.SENDER, site_id=site.id, now=now)
    body = {"change": "added", "name": name, "mode": site.mode, "audit_probability": audit_probability}
    append(connection, Kind.SITE, body, at=now, site_id=site.id)
    return site, token


def find_site(connection: Connection, name: str) -> Site:
    """Return the site of a name."""
    site = store.find(connection, name)
    if site is None:
        raise MissingError(f"there is no site {name!r}; demur site list names them")
    return site


def replace_token(connection: Connection, name: str, *, grace: timedelta, now: datetime) -> str:
    """Return a new token for a site; those before it end after the time of grace."""
    site = find_site(connection, name)
    rotate_tokens(connection, site_id=site.id, now=now, grace=grace)
    token = issue_token(connection, name=name, role=Role.SENDER, site_id=site.id, now=now)
    body = {"change": "token", "name": name, "grace_s": grace.total_seconds()}
    append(connection, Kind.SITE, body, at=now, site_id=site.id)
    return token


def set_mode(
    connection: Connection, name: str, mode: Mode, *, certificate: Certificate | None, bundle: str, now: datetime
) -> Site:
    """Set a site's mode; raise SiteError where nothing proves that it may be raised."""
    site = find_site(connection, name)
    if _ORDER.index(mode) > _ORDER.index(site.mode):
        _check_may_rise(name, certificate, now)
    store.set_mode(connection, site.id, mode)
    body = {"change": "mode", "name": name, "from": site.mode, "to": mode, "bundle": bundle}
    append(connection, Kind.SITE, body, at=now, site_id=site.id)
    return store.get(connection, site.id)


def _check_may_rise(name: str, certificate: Certificate | None, now: datetime) -> None:
    if certificate is None:
        raise SiteError("no bundle is open, so nothing certifies this site; give --bundle and --trust")
    if not certificate.issued <= now < certificate.expires:
        raise SiteError(
            f"the bundle's certificate is not in date: it holds from {certificate.issued} to {certificate.expires}"
        )
    certified = sorted(site.name for site in certificate.sites if site.certified)
    if name not in certified:
        raise SiteError(
            f"the bundle's certificate does not certify {name}; it certifies {', '.join(certified) or 'no site'}"
        )
