import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from deploy.manifest import Flaw, VerificationError
from deploy.trust import PublicKey, Trust, new_key, public_key_of, read_private_key, sign
from models.errors import DataError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DATA = b'{"format":"demur-test/1"}'


def flaw_of(trust: Trust, data: bytes, signature: bytes) -> Flaw:
    with pytest.raises(VerificationError) as caught:
        trust.verify(data, signature)
    return caught.value.flaw


def test_a_signature_of_a_trusted_key_gives_the_key() -> None:
    public = public_key_of(KEY, owner="ward 3")
    assert Trust.of(public).verify(DATA, sign(DATA, KEY)) == public


def test_every_flipped_bit_of_the_signature_line_refuses() -> None:
    trust = Trust.of(public_key_of(KEY))
    line = sign(DATA, KEY)
    for position in range(len(line)):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[position] ^= 1 << bit
            assert flaw_of(trust, DATA, bytes(flipped)) in {Flaw.SIGNATURE, Flaw.UNTRUSTED}


@pytest.mark.parametrize("change", [bytes.upper, bytes.strip, lambda line: line + b"\n", lambda line: b" " + line])
def test_a_signature_has_one_spelling(change) -> None:
    assert flaw_of(Trust.of(public_key_of(KEY)), DATA, change(sign(DATA, KEY))) is Flaw.SIGNATURE


def test_other_bytes_do_not_fit_the_signature() -> None:
    assert flaw_of(Trust.of(public_key_of(KEY)), DATA + b" ", sign(DATA, KEY)) is Flaw.SIGNATURE


def test_a_key_that_is_not_in_the_list_is_untrusted() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert flaw_of(Trust.of(public_key_of(KEY)), DATA, sign(DATA, stranger)) is Flaw.UNTRUSTED


def test_a_stranger_who_claims_a_trusted_key_id_is_refused() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    forged = sign(DATA, stranger).replace(public_key_of(stranger).id.encode(), public_key_of(KEY).id.encode())
    assert flaw_of(Trust.of(public_key_of(KEY)), DATA, forged) is Flaw.SIGNATURE


def test_a_list_of_keys_reads_what_the_keys_print() -> None:
    one = public_key_of(KEY, owner="ward 3, second floor")
    two = PublicKey(raw=bytes(32))
    trust = Trust.parse(f"# ours\n\n{one.line}\n  {two.line}\t\n")
    assert list(trust.keys.values()) == [one, two]
    assert trust.keys[one.id] == one


@pytest.mark.parametrize("text", ["", "# nobody\n", "\n"])
def test_a_list_without_keys_is_an_error_rather_than_trust_in_nobody(text: str) -> None:
    with pytest.raises(DataError, match="holds no key"):
        Trust.parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "rsa 00",
        "ed25519 00",
        f"ed25519 {'0' * 63}g",
        f"ed25519 {'A' * 64}",
        f"ed25519  {'0' * 64}",
        f"ed25519 {'0' * 65}",
    ],
)
def test_a_line_that_is_no_key_is_named(line: str) -> None:
    with pytest.raises(DataError, match="line 2"):
        Trust.parse(f"# first\n{line}\n")


def test_a_list_that_is_not_there_or_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("nowhere", "binary", "."):
        with pytest.raises(DataError, match="no list of trusted keys"):
            Trust.read(tmp_path / name)


def test_a_list_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(public_key_of(KEY).line)
    assert Trust.read(tmp_path / "keys.txt") == Trust.of(public_key_of(KEY))


def test_a_new_key_signs_what_its_public_half_verifies_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    public = new_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Trust.of(public).verify(DATA, sign(DATA, read_private_key(path))) == public


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    new_key(path)
    before = path.read_bytes()
    with pytest.raises(DataError, match="never overwritten"):
        new_key(path)
    assert path.read_bytes() == before
    with pytest.raises(DataError, match="cannot be written"):
        new_key(tmp_path / "no" / "folder")


def test_what_is_not_an_unencrypted_ed25519_key_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    with pytest.raises(DataError, match="no such file"):
        read_private_key(path)
    path.write_bytes(b"not a key")
    with pytest.raises(DataError, match="not an unencrypted PEM key"):
        read_private_key(path)
    path.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    with pytest.raises(DataError, match="not an unencrypted PEM key"):
        read_private_key(path)
    path.write_bytes(X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(DataError, match="not an Ed25519 key"):
        read_private_key(path)
