"""Sites in SQL."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import uuid4

from sqlalchemy import Connection, Row, insert, select, update

from models.vocabulary import Mode
from service.tables import site_falls, sites


class Why(StrEnum):
    """Why a site is in shadow though it had been raised."""

    #: Its monitor raised the alarm: too many of its healthy calls were wrong.
    ALARM = "monitor_alarm"
    #: What it sends is no longer like what it sent.
    DRIFT = "inputs_drifted"
    #: A healthy call that was drawn to be read was not read in time.
    UNREAD = "audit_unread"
    #: Its certificate expired.
    EXPIRED = "certificate_expired"
    #: It was raised under another release than the one that is open.
    RELEASE = "other_release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """A site's return to shadow, under one release."""

    site_id: str
    bundle: str
    why: Why
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site: the unit of every guarantee and of every right to see something.

    ``mode`` holds under ``bundle`` only: ask a site that is ``under`` the open release.
    """

    id: str
    name: str
    mode: Mode
    bundle: str | None
    audit_probability: float
    service_level_s: float
    created_at: datetime

    def under(self, bundle: str) -> Self:
        """Return the site as it is under a release: in shadow, unless it was raised under this very one."""
        return self if bundle and bundle == self.bundle else replace(self, mode=Mode.SHADOW)


def add(connection: Connection, site: Site) -> None:
    """Insert a site."""
    connection.execute(
        insert(sites).values(
            id=site.id,
            name=site.name,
            mode=site.mode,
            bundle=site.bundle,
            audit_probability=site.audit_probability,
            service_level_s=site.service_level_s,
            created_at=site.created_at,
        )
    )


def find(connection: Connection, name: str) -> Site | None:
    """Return the site of a name."""
    row = connection.execute(select(sites).where(sites.c.name == name)).first()
    return None if row is None else _site(row)


def get(connection: Connection, site_id: str, *, lock: bool = False, hold: bool = False) -> Site:
    """Return the site of an id that is known to exist; locked for change, or held as it is until the transaction ends."""
    query = select(sites).where(sites.c.id == site_id)
    if lock or hold:
        query = query.with_for_update(read=hold, key_share=lock)
    return _site(connection.execute(query).one())


def every(connection: Connection) -> list[Site]:
    """Return all sites by name."""
    return [_site(row) for row in connection.execute(select(sites).order_by(sites.c.name))]


def set_mode(connection: Connection, site_id: str, mode: Mode, *, bundle: str | None) -> None:
    """Set a site's mode, and the release that it holds under."""
    connection.execute(update(sites).where(sites.c.id == site_id).values(mode=mode, bundle=bundle))


def add_fall(connection: Connection, fall: Fall) -> None:
    """Insert a fall."""
    connection.execute(
        insert(site_falls).values(id=uuid4().hex, site_id=fall.site_id, bundle=fall.bundle, why=fall.why, at=fall.at)
    )


def withdraw_alarms(connection: Connection, *, site_id: str, bundle: str, now: datetime) -> bool:
    """Mark the alarms of a site under a release as withdrawn; return whether there were any."""
    result = connection.execute(
        update(site_falls)
        .where(
            site_falls.c.site_id == site_id,
            site_falls.c.bundle == bundle,
            site_falls.c.why == Why.ALARM,
            site_falls.c.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now)
    )
    return result.rowcount > 0


def is_barred(connection: Connection, *, site_id: str, bundle: str) -> bool:
    """Say whether an alarm stands against a site under a release."""
    query = select(site_falls.c.id).where(
        site_falls.c.site_id == site_id,
        site_falls.c.bundle == bundle,
        site_falls.c.why == Why.ALARM,
        site_falls.c.withdrawn_at.is_(None),
    )
    return connection.execute(query.limit(1)).first() is not None


def falls(connection: Connection, *, site_id: str, bundle: str | None = None) -> list[Fall]:
    """Return a site's falls, under a release if one is named, the newest first."""
    query = select(site_falls.c.site_id, site_falls.c.bundle, site_falls.c.why, site_falls.c.at).where(
        site_falls.c.site_id == site_id
    )
    if bundle is not None:
        query = query.where(site_falls.c.bundle == bundle)
    rows = connection.execute(query.order_by(site_falls.c.at.desc(), site_falls.c.id))
    return [Fall(site_id=row.site_id, bundle=row.bundle, why=Why(row.why), at=row.at) for row in rows]


def _site(row: Row[tuple[object, ...]]) -> Site:
    values = row._asdict()
    return Site(**{**values, "mode": Mode(values["mode"])})
