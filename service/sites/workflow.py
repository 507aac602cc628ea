"""Adding sites and setting how far each trusts Demur.

Invariants:

- A site starts in shadow. It is raised only where a bundle's certificate certifies it and is in date, and under that bundle
  alone: whoever decides with another one decides in shadow.
- A site whose monitor raised the alarm is not raised under that bundle again, unless the readings that raised it are taken back.
- Lowering is always allowed. Every change is on the ledger.
"""

import logging
import re
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection

from calibration.certificate import Certificate
from models.vocabulary import Mode
from service import metrics
from service.access.workflow import Role, issue_token, rotate_tokens
from service.errors import MissingError, SiteError
from service.ledger.workflow import Kind, append
from service.sites import store
from service.sites.store import Fall, Site, Why

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Modes, lowest first.
RANKS = (Mode.SHADOW, Mode.PRIORITISE, Mode.AUTONOMOUS)
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
        bundle=None,
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
    """Set a site's mode; raise SiteError where nothing proves that it may be raised under this bundle."""
    site = store.get(connection, find_site(connection, name).id, lock=True)
    present = site.under(bundle) if bundle else site
    is_raised = RANKS.index(mode) > RANKS.index(present.mode)
    if is_raised:
        _check_may_rise(connection, site, certificate, bundle, now)
    store.set_mode(connection, site.id, mode, bundle=bundle if is_raised else site.bundle)
    body = {"change": "mode", "name": name, "from": present.mode, "to": mode, "bundle": bundle}
    if is_raised and certificate is not None:
        watched = {"alpha": certificate.alpha, "delta": certificate.delta, "q_min": site.audit_probability}
        body |= {"watch": watched}
    append(connection, Kind.SITE, body, at=now, site_id=site.id)
    return store.get(connection, site.id)


def fall(connection: Connection, site_id: str, *, bundle: str, why: Why, now: datetime) -> bool:
    """Put a site that was raised under a bundle back into shadow; False if nothing has changed.

    An alarm is kept though the site had been lowered meanwhile, or raised under another bundle: it bars it from this one.
    """
    site = store.get(connection, site_id, lock=True)
    is_raised = site.under(bundle).mode is not Mode.SHADOW
    if not is_raised and (why is not Why.ALARM or store.is_barred(connection, site_id=site.id, bundle=bundle)):
        return False
    if is_raised:
        store.set_mode(connection, site.id, Mode.SHADOW, bundle=site.bundle)
    _record_fall(connection, site.under(bundle), Fall(site_id=site.id, bundle=bundle, why=why, at=now))
    return True


def withdraw_alarm(connection: Connection, site_id: str, *, bundle: str, now: datetime) -> None:
    """Say that what raised the alarm at a site was taken back, if there was one; the site stays in shadow until it is raised."""
    site = store.get(connection, site_id, lock=True)
    if store.withdraw_alarms(connection, site_id=site.id, bundle=bundle, now=now):
        body = {"change": "alarm_withdrawn", "name": site.name, "bundle": bundle}
        append(connection, Kind.SITE, body, at=now, site_id=site.id)


def check_modes(connection: Connection, *, certificate: Certificate, bundle: str, now: datetime) -> None:
    """Let sites fall whose certificate has expired, and say once of those raised under another bundle that it is not open."""
    for site in store.every(connection):
        if site.mode is Mode.SHADOW:
            continue
        if site.bundle == bundle:
            if now >= certificate.expires:
                fall(connection, site.id, bundle=bundle, why=Why.EXPIRED, now=now)
            continue
        locked = store.get(connection, site.id, lock=True)  # of two processes that look at once one says it
        if not any(known.why is Why.RELEASE for known in store.falls(connection, site_id=site.id, bundle=bundle)):
            _record_fall(connection, locked, Fall(site_id=site.id, bundle=bundle, why=Why.RELEASE, at=now))


def _record_fall(connection: Connection, site: Site, fall: Fall) -> None:
    store.add_fall(connection, fall)
    body = {
        "change": "fell",
        "name": site.name,
        "from": site.mode,
        "to": Mode.SHADOW,
        "bundle": fall.bundle,
        "why": fall.why,
    }
    append(connection, Kind.SITE, body, at=fall.at, site_id=site.id)
    metrics.SITE_FALLS.labels(site.name, fall.why).inc()
    logger.warning("site fell to shadow", extra={"action": "site_fell", "site": site.name, "why": str(fall.why)})


def _check_may_rise(
    connection: Connection, site: Site, certificate: Certificate | None, bundle: str, now: datetime
) -> None:
    name = site.name
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
    if site.audit_probability <= 0.0:
        raise SiteError(
            f"no healthy call of {name} would be audited, so nothing would watch it: its audit probability is 0"
        )
    if store.is_barred(connection, site_id=site.id, bundle=bundle):
        raise SiteError(f"the monitor of {name} raised the alarm under this bundle; another one must certify it")
