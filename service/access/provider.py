"""Sign-in of people by an OpenID provider: the authorization code flow, with PKCE.

Invariants:

- State, nonce and code verifier come from one secret, which only the browser has that began; another browser's answer is refused.
- The provider's addresses come from its own description, over HTTPS (plain HTTP on this machine alone).
- Who has no mapped role is nobody here. Neither a token, a claim nor the provider's words are logged or kept.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx
import jwt

from models.errors import DataError
from service.access.id_tokens import Expected, UnknownKeyError, usable_keys, verify
from service.access.workflow import PROVIDED, Role, new_secret
from service.errors import ForbiddenError, OverloadedError, UnauthenticatedError
from service.settings import Settings

_TIMEOUT_S = 5.0
#: How long the provider's description and keys are believed.
_FRESH = timedelta(hours=1)
#: The provider is asked again no sooner: for keys that a token names in vain, or when it did not answer.
_PAUSE = timedelta(seconds=5)
#: The longest subject that is used as it is; a principal's name has 64 characters.
_SUBJECT_MAX = 64 - len(PROVIDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to the provider and back, of one browser."""

    secret: str
    #: Where to go after it.
    wanted: str

    @classmethod
    def begin(cls, wanted: str) -> Self:
        """Begin one."""
        return cls(secret=new_secret(), wanted=wanted)

    @classmethod
    def parse(cls, cookie: str) -> Self:
        """Return the attempt that a cookie is of; one that nothing matches if it is of none."""
        secret, _, wanted = cookie.partition(":")
        return cls(secret=secret or new_secret(), wanted=wanted)

    @property
    def cookie(self) -> str:
        """What the browser keeps of it."""
        return f"{self.secret}:{self.wanted}"

    def derive(self, purpose: str) -> str:
        """Return a value that nobody can guess, nor another one from it."""
        return _base64(hmac.digest(self.secret.encode(), purpose.encode(), "sha256"))

    @property
    def challenge(self) -> str:
        """The code challenge of RFC 7636, method S256."""
        return _base64(hashlib.sha256(self.derive("verifier").encode()).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who signed in: ``name`` stays the same and goes on the ledger, ``label`` is for the pages."""

    name: str
    label: str
    roles: frozenset[Role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How the provider knows us, and what its words mean here."""

    issuer: str
    client_id: str
    client_secret: str
    scope: str
    groups_claim: str
    name_claim: str
    roles: Mapping[str, Role]
    public_url: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Read the settings; None if they name no provider."""
        if settings.oidc_issuer is None:
            return None
        if not settings.oidc_client_id or not settings.public_url:
            raise DataError("DEMUR_OIDC_ISSUER needs DEMUR_OIDC_CLIENT_ID and DEMUR_PUBLIC_URL too")
        for name, url in (("DEMUR_OIDC_ISSUER", settings.oidc_issuer), ("DEMUR_PUBLIC_URL", settings.public_url)):
            if not _is_safe(url):
                raise DataError(f"{name} must begin with https:// (http:// only on this machine), and is {url!r}")
        return cls(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else "",
            scope=settings.oidc_scope,
            groups_claim=settings.oidc_groups_claim,
            name_claim=settings.oidc_name_claim,
            roles=roles_of(settings.oidc_roles),
            public_url=settings.public_url.rstrip("/"),
        )

    @property
    def callback(self) -> str:
        """Where the provider sends people back to."""
        return f"{self.public_url}/sign-in/callback"


class Provider:
    """The provider of sign-ins. OverloadedError: it does not answer. UnauthenticatedError: what it says does not hold."""

    def __init__(self, registration: Registration, clock: Callable[[], datetime]) -> None:
        self._registration = registration
        self._clock = clock
        self._description: Mapping[str, Any] = {}
        self._keys: list[jwt.PyJWK] = []
        self._described_at: datetime | None = None
        self._keys_at: datetime | None = None
        self._silent_until: datetime | None = None

    async def address(self, attempt: Attempt) -> str:
        """Return where a browser signs in."""
        description = await self._described()
        query = {
            "response_type": "code",
            "client_id": self._registration.client_id,
            "redirect_uri": self._registration.callback,
            "scope": self._registration.scope,
            "state": attempt.derive("state"),
            "nonce": attempt.derive("nonce"),
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(description["authorization_endpoint"], query)

    async def farewell(self) -> str:
        """Return where a browser signs out of the provider too; empty if it has no such place."""
        description = await self._described()
        place = description.get("end_session_endpoint", "")
        back = f"{self._registration.public_url}/sign-in"
        query = {"client_id": self._registration.client_id, "post_logout_redirect_uri": back}
        return _with_query(place, query) if _is_safe(place) else ""

    async def person(self, attempt: Attempt, answer: Mapping[str, str]) -> Person:
        """Return who the provider's answer is of; ForbiddenError if none of their groups has a role."""
        state = answer.get("state", "")
        if not secrets.compare_digest(state.encode(), attempt.derive("state").encode()):
            raise UnauthenticatedError("the answer is of another sign-in")
        description = await self._described()
        must_name_itself = description.get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", "" if must_name_itself else self._registration.issuer) != self._registration.issuer:
            raise UnauthenticatedError("the answer is of another provider")
        if "code" not in answer:
            raise UnauthenticatedError("the provider did not sign the person in")
        tokens = await self._redeem(description, answer["code"], attempt)
        claims = await self._verified(str(tokens.get("id_token", "")), attempt)
        if self._registration.groups_claim not in claims:
            claims = {**await self._user_info(description, tokens, claims["sub"]), **claims}
        groups = claims.get(self._registration.groups_claim, ())
        named = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        roles = frozenset(
            self._registration.roles[each] for each in map(str, named) if each in self._registration.roles
        )
        if not roles:
            raise ForbiddenError("no group of this person has a role")
        label = " ".join(str(claims.get(self._registration.name_claim, "")).split())[:64]
        name = name_of(str(claims["sub"]))
        return Person(name=name, label=label or name, roles=roles)

    async def _described(self) -> Mapping[str, Any]:
        now = self._clock()
        if self._described_at is None or now - self._described_at > _FRESH:
            found = await self._ask("GET", self._registration.issuer.rstrip("/") + "/.well-known/openid-configuration")
            needed = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if found.get("issuer") != self._registration.issuer or not all(
                _is_safe(found.get(name)) for name in needed
            ):
                raise OverloadedError("the provider of sign-ins describes itself as another one")
            self._description, self._described_at = found, now
        return self._description

    async def _redeem(self, description: Mapping[str, Any], code: str, attempt: Attempt) -> Mapping[str, Any]:
        ours = self._registration
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": ours.callback,
            "code_verifier": attempt.derive("verifier"),
        }
        supported = description.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if ours.client_secret and "client_secret_basic" in supported:
            # RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
            auth = httpx.BasicAuth(quote(ours.client_id, safe=""), quote(ours.client_secret, safe=""))
            return await self._ask("POST", description["token_endpoint"], data=form, auth=auth)
        form |= {"client_id": ours.client_id} | ({"client_secret": ours.client_secret} if ours.client_secret else {})
        return await self._ask("POST", description["token_endpoint"], data=form)

    async def _verified(self, token: str, attempt: Attempt) -> Mapping[str, Any]:
        ours, now = self._registration, self._clock()
        expected = Expected(issuer=ours.issuer, client_id=ours.client_id, nonce=attempt.derive("nonce"))
        if self._keys_at is None or now - self._keys_at > _FRESH:
            await self._fetch_keys()
        try:
            return verify(token, self._keys, expected, now)
        except UnknownKeyError:
            if self._keys_at is not None and now - self._keys_at < _PAUSE:
                raise
        # The provider has taken another key since.
        await self._fetch_keys()
        return verify(token, self._keys, expected, now)

    async def _fetch_keys(self) -> None:
        description = await self._described()
        self._keys = usable_keys(await self._ask("GET", description["jwks_uri"]))
        self._keys_at = self._clock()

    async def _user_info(
        self, description: Mapping[str, Any], tokens: Mapping[str, Any], subject: str
    ) -> Mapping[str, Any]:
        """Return what a provider tells beside the ID token; nothing of anybody else."""
        place, token = description.get("userinfo_endpoint"), tokens.get("access_token")
        if not _is_safe(place) or not isinstance(token, str):
            return {}
        found = await self._ask("GET", str(place), headers={"Authorization": f"Bearer {token}"})
        return found if found.get("sub") == subject else {}

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: httpx.BasicAuth | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON object that the provider answers; after a silence it is left alone for a while."""
        now = self._clock()
        if self._silent_until is not None and now < self._silent_until:
            raise OverloadedError("the provider of sign-ins does not answer")
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                answer = await client.request(
                    method, url, data=data, headers={"Accept": "application/json", **(headers or {})}, auth=auth
                )
        except httpx.HTTPError:
            self._silent_until = now + _PAUSE
            raise OverloadedError("the provider of sign-ins does not answer") from None
        self._silent_until = None
        if method == "POST" and answer.status_code in (400, 401):
            raise UnauthenticatedError("the provider does not know the code, or not us")
        try:
            found = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            raise OverloadedError("the provider of sign-ins does not answer as one") from None
        if not isinstance(found, dict):
            raise OverloadedError("the provider of sign-ins does not answer as one")
        return found


def roles_of(text: str) -> dict[str, Role]:
    """Parse ``GROUP=ROLE,GROUP=ROLE``."""
    roles: dict[str, Role] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        group, _, role = (word.strip() for word in pair.rpartition("="))
        if not group or role not in (Role.READER, Role.AUDITOR, Role.ADMIN):
            raise DataError(f"DEMUR_OIDC_ROLES: {pair!r} is not GROUP=ROLE with reader, auditor or admin")
        if roles.setdefault(group, Role(role)) != role:
            raise DataError(
                f"DEMUR_OIDC_ROLES: the group {group} is given two roles; a person with two needs two groups"
            )
    if not roles:
        raise DataError("DEMUR_OIDC_ISSUER needs DEMUR_OIDC_ROLES too: GROUP=ROLE,GROUP=ROLE")
    return roles


def name_of(subject: str) -> str:
    """Return the name of a person whom the provider calls so: marked as the provider's, and the same every time."""
    fits = len(subject) <= _SUBJECT_MAX and subject.isascii() and subject.isprintable()
    return PROVIDED + (subject if fits else hashlib.sha256(subject.encode()).hexdigest()[:_SUBJECT_MAX])


def _is_safe(url: object) -> bool:
    """Say whether nobody between can read or change what is sent there."""
    if not isinstance(url, str):
        return False
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))
    )


def _with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
