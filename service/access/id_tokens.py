"""What a provider of sign-ins says of a person, believed only once its signature, issuer, audience, time and nonce hold.

- A key is the provider's own and for signing; a token that names no algorithm of a public key (none, HS256) is refused.
- A token is for us alone: of several audiences, or with an authorised party, that party must be us (OpenID Connect Core 3.1.3.7).
"""

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from service.errors import UnauthenticatedError

#: Signatures by a private key that only the provider has.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
#: How far the provider's clock may be from ours.
_DRIFT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token must say."""

    issuer: str
    client_id: str
    nonce: str


class UnknownKeyError(UnauthenticatedError):
    """A token is signed with a key that is not known"""


def verify(token: str, keys: Iterable[jwt.PyJWK], expected: Expected, now: datetime) -> Mapping[str, Any]:
    """Return the claims of an ID token; UnknownKeyError if none of the keys is the one that it names."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise UnauthenticatedError("the ID token cannot be read") from None
    if header.get("alg") not in ALGORITHMS:
        raise UnauthenticatedError("the ID token is not signed by a private key")
    claims = _claims(token, _key_of(header, keys), header["alg"], expected)
    at = now.timestamp()
    expires, issued, valid_from = (_seconds(claims.get(name, 0)) for name in ("exp", "iat", "nbf"))
    is_now = at < expires + _DRIFT_S and max(issued, valid_from) <= at + _DRIFT_S
    if not is_now:
        raise UnauthenticatedError("the ID token is not valid at this time")
    if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), expected.nonce.encode()):
        raise UnauthenticatedError("the ID token is of another sign-in")
    audience, party = claims["aud"], claims.get("azp")
    if (party is not None or (isinstance(audience, list) and len(audience) > 1)) and party != expected.client_id:
        raise UnauthenticatedError("the ID token was made for somebody else")
    if not claims["sub"]:
        raise UnauthenticatedError("the ID token names nobody")
    return claims


def usable_keys(document: Mapping[str, Any]) -> list[jwt.PyJWK]:
    """Return the keys of a JSON Web Key Set that sign; one that we cannot read is left out."""
    found: list[jwt.PyJWK] = []
    for entry in document.get("keys", ()):
        try:
            if entry.get("kty") != "oct" and entry.get("use", "sig") == "sig":
                found.append(jwt.PyJWK(entry))
        except (jwt.PyJWTError, AttributeError):
            continue
    return found


def _key_of(header: Mapping[str, Any], keys: Iterable[jwt.PyJWK]) -> jwt.PyJWK:
    candidates = [key for key in keys if header.get("kid") in (None, key.key_id)]
    if len(candidates) != 1:
        raise UnknownKeyError("the ID token is signed with a key that the provider does not show")
    return candidates[0]


def _claims(token: str, key: jwt.PyJWK, algorithm: str, expected: Expected) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            issuer=expected.issuer,
            audience=expected.client_id,
            # Times are held against the service's own clock, by the caller.
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise UnauthenticatedError("the signature of the ID token does not hold") from None
    except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
        raise UnauthenticatedError("the ID token was made by or for somebody else") from None
    except (jwt.PyJWTError, TypeError, ValueError):
        raise UnauthenticatedError("the ID token is not well formed") from None


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnauthenticatedError("the ID token is not well formed")
    return float(value)
