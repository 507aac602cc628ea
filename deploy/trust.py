"""Ed25519 keys: who may sign a release, and the list of those who are trusted.

A public key is one line, ``ed25519 <64 hexadecimal digits> [whose it is]``; a list of them is a text file where blank
lines and lines that begin with ``#`` are left out. A private key is a PKCS #8 PEM file that only its owner can read.
A signature is the line ``ed25519 <key id> <128 hexadecimal digits>``. Each has one spelling; any other is refused.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.manifest import Flaw, VerificationError, digest_of
from models.errors import DataError

_PUBLIC_LINE = re.compile(r"ed25519 ([0-9a-f]{64})(?: .*)?")
_SIGNATURE_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The public half of a key.

    Parameters
    ----------
    raw : bytes
        32 bytes.
    owner : str
        Whose it is, as the list says; not part of the key.
    """

    raw: bytes
    owner: str = ""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the key's SHA-256."""
        return digest_of(self.raw)[:16]

    @property
    def line(self) -> str:
        """The key as a line of a list of trusted keys."""
        return f"ed25519 {self.raw.hex()} {self.owner}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The keys whose releases are opened.

    Parameters
    ----------
    keys : Mapping[str, PublicKey]
        By key id.
    """

    keys: Mapping[str, PublicKey]

    @classmethod
    def of(cls, *keys: PublicKey) -> "Trust":
        """Trust these keys."""
        return cls(keys={key.id: key for key in keys})

    @classmethod
    def parse(cls, text: str, *, source: str = "the list of trusted keys") -> "Trust":
        """Read a list of public keys.

        Raises
        ------
        DataError
            If a line is not a key, or the list is empty.

        Examples
        --------
        >>> trust = Trust.parse("# the radiology department's" + chr(10) + "ed25519 " + "00" * 32 + " example")
        >>> [key.owner for key in trust.keys.values()]
        ['example']
        """
        keys: list[PublicKey] = []
        for number, line in enumerate(text.splitlines(), start=1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            match = _PUBLIC_LINE.fullmatch(stripped)
            if match is None:
                raise DataError(f"{source}, line {number}: not 'ed25519 <64 hexadecimal digits> [owner]'")
            keys.append(PublicKey(raw=bytes.fromhex(match[1]), owner=stripped[73:].strip()))
        if not keys:
            raise DataError(f"{source} holds no key; add a line that demur key new has printed")
        return cls.of(*keys)

    @classmethod
    def read(cls, path: Path) -> "Trust":
        """Read a list of public keys from a file.

        Raises
        ------
        DataError
            If there is no such file, a line is not a key, or the list is empty.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"no list of trusted keys at {path}; give a text file of public keys") from error
        return cls.parse(text, source=str(path))

    def verify(self, data: bytes, signature: bytes) -> PublicKey:
        """Return the trusted key that signed some bytes.

        Parameters
        ----------
        data : bytes
            What was signed.
        signature : bytes
            The signature line.

        Raises
        ------
        VerificationError
            If the line has another spelling, the key is not trusted, or the signature does not fit.
        """
        match = _SIGNATURE_LINE.fullmatch(signature)
        if match is None:
            raise VerificationError(Flaw.SIGNATURE, "the signature cannot be read; fetch the release anew")
        key = self.keys.get(match[1].decode("ascii"))
        if key is None:
            raise VerificationError(
                Flaw.UNTRUSTED,
                f"signed by the key {match[1].decode('ascii')}, which is not in the list of trusted keys",
            )
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(bytes.fromhex(match[2].decode("ascii")), data)
        except InvalidSignature as error:
            raise VerificationError(
                Flaw.SIGNATURE, f"the signature of the key {key.id} does not fit; fetch the release anew"
            ) from error
        return key


def public_key_of(key: Ed25519PrivateKey, *, owner: str = "") -> PublicKey:
    """Return the public half of a private key."""
    return PublicKey(raw=key.public_key().public_bytes_raw(), owner=owner)


def sign(data: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signature line for some bytes."""
    return f"ed25519 {public_key_of(key).id} {key.sign(data).hex()}\n".encode("ascii")


def new_key(path: Path) -> PublicKey:
    """Make a key pair, write its private half where only its owner can read it, and return the public half.

    Raises
    ------
    DataError
        If something is there already, or the file cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise DataError(f"{path} is there already; a key is never overwritten: give another name") from error
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); give a file in a folder that exists") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return public_key_of(key)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key.

    Raises
    ------
    DataError
        If there is no such file, or it is not an unencrypted Ed25519 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise DataError(f"no such file: {path}; give a key that demur key new has made") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(f"{path} is not an unencrypted PEM key; give one that demur key new has made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{path} is not an Ed25519 key; give one that demur key new has made")
    return key
