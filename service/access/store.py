"""Tokens, sign-ins, and who saw what, in SQL."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from service.tables import access_events, sessions, tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """Somebody saw a study."""

    id: str
    at: datetime
    who: str
    role: str
    action: str
    site_id: str
    study_id: str


def add_token(
    connection: Connection,
    *,
    digest: str,
    name: str,
    role: str,
    site_id: str | None,
    created_at: datetime,
    expires_at: datetime | None,
) -> None:
    """Keep a token's digest."""
    connection.execute(
        insert(tokens).values(
            digest=digest, name=name, role=role, site_id=site_id, created_at=created_at, expires_at=expires_at
        )
    )


def find_token(connection: Connection, digest: str, now: datetime) -> Any | None:
    """Return name, role and site of a valid token."""
    return connection.execute(
        select(tokens.c.name, tokens.c.role, tokens.c.site_id).where(
            tokens.c.digest == digest, or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now)
        )
    ).first()


def expire_tokens(connection: Connection, *, site_id: str, expires_at: datetime) -> None:
    """Let a site's tokens end at a time, unless they end before it."""
    connection.execute(
        update(tokens)
        .where(tokens.c.site_id == site_id, or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > expires_at))
        .values(expires_at=expires_at)
    )


def add_session(
    connection: Connection, *, digest: str, name: str, label: str, roles: str, expires_at: datetime
) -> None:
    """Keep a sign-in."""
    connection.execute(
        insert(sessions).values(digest=digest, name=name, label=label, roles=roles, expires_at=expires_at)
    )


def find_session(connection: Connection, digest: str, now: datetime) -> Any | None:
    """Return name, label and roles of a valid sign-in."""
    return connection.execute(
        select(sessions.c.name, sessions.c.label, sessions.c.roles).where(
            sessions.c.digest == digest, sessions.c.expires_at > now
        )
    ).first()


def delete_session(connection: Connection, digest: str) -> None:
    """Forget a sign-in."""
    connection.execute(delete(sessions).where(sessions.c.digest == digest))


def forget_sessions(connection: Connection, now: datetime) -> None:
    """Forget sign-ins that have ended."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))


def add_event(
    connection: Connection,
    *,
    event_id: str,
    at: datetime,
    who: str,
    role: str,
    action: str,
    site_id: str,
    study_id: str,
) -> None:
    """Keep that somebody saw a study."""
    connection.execute(
        insert(access_events).values(
            id=event_id, at=at, who=who, role=role, action=action, site_id=site_id, study_id=study_id
        )
    )


def events(connection: Connection, *, study_id: str | None, since: datetime | None, limit: int) -> list[SeenEvent]:
    """Return who saw what, newest first."""
    query = select(access_events).order_by(access_events.c.at.desc(), access_events.c.id).limit(limit)
    if study_id is not None:
        query = query.where(access_events.c.study_id == study_id)
    if since is not None:
        query = query.where(access_events.c.at >= since)
    return [SeenEvent(**row._asdict()) for row in connection.execute(query)]
