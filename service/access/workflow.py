"""Who is asking, and what they may do: tokens by digest, sign-ins, roles.

Invariants:

- A secret is kept as its SHA-256 only; secrets are 256 random bits, so that no slow hash is needed.
- A sender has exactly one site. Everything a principal may see is limited to its sites in the SQL of every query.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Connection

from service.access import store
from service.errors import ForbiddenError, UnauthenticatedError
from service.ledger.workflow import Kind, append

TOKEN_BYTES = 32
#: The name on the ledger of whoever uses the service's own local token.
LOCAL_READER = "reader"
#: How the names of people begin whom the provider of sign-ins has told us.
PROVIDED = "oidc:"


class Role(StrEnum):
    """What a principal may do."""

    #: Stores studies of one site and sees what became of them.
    SENDER = "sender"
    #: Works through the worklist.
    READER = "reader"
    #: Reads the ledger and every decision.
    AUDITOR = "auditor"
    #: Sets sites, corrects and erases.
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who proved who they are. ``site_id`` None: every site."""

    name: str
    roles: frozenset[Role]
    site_id: str | None = None
    #: How pages call them; the name if empty.
    label: str = ""

    def require(self, *roles: Role) -> None:
        """Raise ForbiddenError unless one of the roles is held."""
        if not self.roles.intersection(roles):
            raise ForbiddenError(f"this needs the role {' or '.join(roles)}")


def new_secret() -> str:
    """Return a fresh secret."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def issue_token(
    connection: Connection,
    *,
    name: str,
    role: Role,
    site_id: str | None,
    now: datetime,
    lifetime: timedelta | None = None,
) -> str:
    """Return a new token; only now can it be read."""
    if role is Role.SENDER and site_id is None:
        raise ValueError("a sender has a site")
    secret = new_secret()
    expires_at = None if lifetime is None else now + lifetime
    store.add_token(
        connection,
        digest=digest_of(secret),
        name=name,
        role=role,
        site_id=site_id,
        created_at=now,
        expires_at=expires_at,
    )
    return secret


def grant(connection: Connection, *, name: str, role: Role, now: datetime, lifetime: timedelta) -> str:
    """Return a token for a person or a monitor, who may then see every site in that role."""
    if role is Role.SENDER:
        raise ForbiddenError("a sender belongs to a site; demur site add NAME gives it its token")
    if ":" in name:
        raise ForbiddenError("a name with a colon is of somebody who signs in on the page; choose another")
    token = issue_token(connection, name=name, role=role, site_id=None, now=now, lifetime=lifetime)
    body = {"change": "access", "name": name, "role": role, "days": lifetime / timedelta(days=1)}
    append(connection, Kind.SITE, body, at=now)
    return token


def rotate_tokens(connection: Connection, *, site_id: str, now: datetime, grace: timedelta) -> None:
    """Let the tokens that a site has now expire after a time of grace."""
    store.expire_tokens(connection, site_id=site_id, expires_at=now + grace)


def authenticate(connection: Connection, *, authorization: str, cookie: str, now: datetime) -> Principal:
    """Return who sent these headers: a bearer token, a token as Basic password, or a sign-in's cookie."""
    secret = secret_in(authorization)
    if secret:
        token = store.find_token(connection, digest_of(secret), now)
        if token is None:
            raise UnauthenticatedError("the token is not known or no longer valid; ask for one of demur site add")
        return Principal(name=token.name, roles=frozenset({Role(token.role)}), site_id=token.site_id)
    if cookie:
        session = store.find_session(connection, digest_of(cookie), now)
        if session is not None:
            roles = frozenset(map(Role, session.roles.split()))
            return Principal(name=session.name, roles=roles, label=session.label)
    raise UnauthenticatedError("give a token: Authorization: Bearer TOKEN, or Basic with the token as password")


def sign_in(
    connection: Connection,
    *,
    name: str,
    roles: Iterable[Role],
    now: datetime,
    lifetime: timedelta,
    label: str = "",
) -> str:
    """Begin a session and return its cookie."""
    secret = new_secret()
    store.forget_sessions(connection, now)
    store.add_session(
        connection,
        digest=digest_of(secret),
        name=name,
        label=label,
        roles=" ".join(sorted(roles)),
        expires_at=now + lifetime,
    )
    return secret


def sign_out(connection: Connection, cookie: str) -> None:
    """End a session."""
    store.delete_session(connection, digest_of(cookie))


def saw(
    connection: Connection, principal: Principal, *, studies: Iterable[tuple[str, str]], action: str, now: datetime
) -> None:
    """Keep that somebody saw studies, each given by its id and its site's."""
    for study_id, site_id in sorted(set(studies)):
        store.add_event(
            connection,
            event_id=uuid4().hex,
            at=now,
            who=principal.name,
            role=" ".join(sorted(principal.roles)),
            action=action,
            site_id=site_id,
            study_id=study_id,
        )


def secret_in(authorization: str) -> str:
    """Return the secret in an Authorization header; empty without one."""
    scheme, _, rest = authorization.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise UnauthenticatedError("the Basic credentials are not base64") from None
    if scheme:
        raise UnauthenticatedError("give a token: Authorization: Bearer TOKEN, or Basic with the token as password")
    return ""
