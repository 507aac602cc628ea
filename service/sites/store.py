"""Sites in SQL."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from models.vocabulary import Mode
from service.tables import sites


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site: the unit of every guarantee and of every right to see something."""

    id: str
    name: str
    mode: Mode
    audit_probability: float
    service_level_s: float
    created_at: datetime


def add(connection: Connection, site: Site) -> None:
    """Insert a site."""
    connection.execute(
        insert(sites).values(
            id=site.id,
            name=site.name,
            mode=site.mode,
            audit_probability=site.audit_probability,
            service_level_s=site.service_level_s,
            created_at=site.created_at,
        )
    )


def find(connection: Connection, name: str) -> Site | None:
    """Return the site of a name."""
    row = connection.execute(select(sites).where(sites.c.name == name)).first()
    return None if row is None else _site(row)


def get(connection: Connection, site_id: str) -> Site:
    """Return the site of an id that is known to exist."""
    return _site(connection.execute(select(sites).where(sites.c.id == site_id)).one())


def every(connection: Connection) -> list[Site]:
    """Return all sites by name."""
    return [_site(row) for row in connection.execute(select(sites).order_by(sites.c.name))]


def set_mode(connection: Connection, site_id: str, mode: Mode) -> None:
    """Set a site's mode."""
    connection.execute(update(sites).where(sites.c.id == site_id).values(mode=mode))


def _site(row: Row[tuple[object, ...]]) -> Site:
    values = row._asdict()
    return Site(**{**values, "mode": Mode(values["mode"])})
