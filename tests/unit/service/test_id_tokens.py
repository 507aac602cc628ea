"""Forged, stale and foreign ID tokens, each wrong in one thing."""

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.access.id_tokens import Expected, UnknownKeyError, usable_keys, verify
from service.errors import UnauthenticatedError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
EXPECTED = Expected(issuer="https://provider.example", client_id="demur", nonce="the nonce")
CLAIMS = {
    "iss": "https://provider.example",
    "sub": "rita",
    "aud": "demur",
    "nonce": "the nonce",
    "iat": AT - 1,
    "exp": AT + 300,
}
OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, kid: str, **more: str) -> dict[str, str]:
    public, algorithm = key.public_key(), jwt.algorithms
    kind = algorithm.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else algorithm.RSAAlgorithm
    return {**json.loads(kind.to_jwk(public)), "kid": kid, **more}


KEYS = usable_keys({"keys": [jwk(OURS, "one"), jwk(CURVE, "curve")]})


def token(key: Any = OURS, algorithm: str = "RS256", kid: str | None = "one", **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


@pytest.mark.parametrize(
    ("signed", "algorithm", "kid"),
    [(OURS, "RS256", "one"), (OURS, "PS384", "one"), (CURVE, "ES256", "curve")],
)
def test_a_token_of_the_provider_tells_who_it_is(signed: Any, algorithm: str, kid: str) -> None:
    assert verify(token(signed, algorithm, kid), KEYS, EXPECTED, NOW)["sub"] == "rita"


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another nonce"},
        {"nonce": None},
        {"iss": "https://elsewhere.example"},
        {"iss": "https://provider.example/"},
        {"iss": None},
        {"aud": "somebody"},
        {"aud": []},
        {"aud": None},
        {"aud": ["demur", "somebody"]},
        {"aud": ["demur", "somebody"], "azp": "somebody"},
        {"azp": "somebody"},
        {"exp": AT - 61},
        {"exp": None},
        {"exp": "later"},
        {"exp": True},
        {"exp": float("nan")},
        {"iat": AT + 61},
        {"iat": None},
        {"nbf": AT + 61},
        {"sub": ""},
        {"sub": None},
    ],
    ids=str,
)
def test_a_token_that_says_one_thing_wrong_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(token(**changes), KEYS, EXPECTED, NOW)


def test_a_token_for_several_is_taken_where_we_are_the_party() -> None:
    assert verify(token(aud=["demur", "somebody"], azp="demur"), KEYS, EXPECTED, NOW)


@pytest.mark.parametrize("kid", ["one", "another", None])
def test_a_token_of_another_key_is_refused(kid: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        verify(token(THEIRS, kid=kid), KEYS, EXPECTED, NOW)


def test_a_key_that_is_not_shown_is_told_apart_so_that_keys_are_fetched_again() -> None:
    with pytest.raises(UnknownKeyError):
        verify(token(THEIRS, kid="another"), KEYS, EXPECTED, NOW)
    with pytest.raises(UnknownKeyError):
        verify(token(kid=None), KEYS, EXPECTED, NOW)
    assert verify(token(kid=None), KEYS[:1], EXPECTED, NOW), "a single key needs no name"


def test_a_token_that_is_not_signed_by_a_private_key_is_refused() -> None:
    unsigned = jwt.encode(CLAIMS, None, algorithm="none", headers={"kid": "one"})  # pyright: ignore[reportArgumentType]
    public = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header, claims, _ = jwt.encode(CLAIMS, "k" * 32, algorithm="HS256", headers={"kid": "one"}).split(".")
    seal = base64.urlsafe_b64encode(hmac.digest(public, f"{header}.{claims}".encode(), "sha256")).rstrip(b"=").decode()
    symmetric = f"{header}.{claims}.{seal}"
    for forged in (unsigned, symmetric, token(CURVE, "ES256", "one"), token() + "A", token()[:-8], "", "a.b.c"):
        with pytest.raises(UnauthenticatedError):
            verify(forged, KEYS, EXPECTED, NOW)


def test_a_token_whose_claims_were_changed_is_refused() -> None:
    header, _, signature = token().split(".")
    _, claims, _ = token(THEIRS, sub="another").split(".")
    with pytest.raises(UnauthenticatedError):
        verify(f"{header}.{claims}.{signature}", KEYS, EXPECTED, NOW)


def test_keys_that_do_not_sign_or_cannot_be_read_are_left_out() -> None:
    shown = [
        jwk(OURS, "encrypts", use="enc"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "tea", "kid": "unknown"},
        {"kid": "empty"},
        "nonsense",
        jwk(OURS, "signs", use="sig"),
    ]
    assert [key.key_id for key in usable_keys({"keys": shown})] == ["signs"]
