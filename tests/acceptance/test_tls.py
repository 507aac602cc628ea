"""TLS as it is configured: HTTPS, and DIMSE with client certificates, each with real clients and certificates made here."""

import gc
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path

import httpx
import pydicom
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from tests.service_support import DEMUR, Process, Receiving, make_dicom, related

# Where a handshake fails, pynetdicom as client leaves its socket to the collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")
CR = "1.2.840.10008.5.1.4.1.1.1"


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have what is left to the collector collected here, not in the midst of another file's test."""
    yield
    gc.collect()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.file = self._write(name, self._sign(name, self._key, is_authority=True), self._key).certificate

    def issue(self, name: str) -> Pair:
        """Return a certificate for this machine."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._write(name, self._sign(name, key, is_authority=False), key)

    def _sign(self, name: str, key: rsa.RSAPrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(own, critical=False)
            .add_extension(issuer, critical=False)
        )
        if not is_authority:
            here = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> Pair:
        pair = Pair(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "hospital")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def test_a_study_is_posted_over_https_and_not_in_the_clear(
    process: Process, authority: Authority, stranger: Authority
) -> None:
    own = authority.issue("demur")
    process.environment = {"DEMUR_TLS_CERTIFICATE": str(own.certificate), "DEMUR_TLS_KEY": str(own.key)}
    process.authority = authority.file
    process.start()
    assert process.url.startswith("https://127.0.0.1:")
    token = process.demur("site", "add", "north")["token"]
    body, content_type = related([make_dicom(), make_dicom()])
    headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
    with httpx.Client(verify=process.trust(), headers=headers, timeout=60) as client:
        answer = client.post(f"{process.url}/dicom-web/studies", content=body)
    assert answer.status_code == 200, answer.text
    places = [item["00081190"]["Value"][0] for item in answer.json()["00081199"]["Value"]]
    assert all(place.startswith(process.url) for place in places), places
    with pytest.raises(httpx.TransportError):
        httpx.get(process.url.replace("https", "http") + "/healthz")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{process.url}/healthz", verify=ssl.create_default_context(cafile=stranger.file))
    assert process.stop() == 0


@pytest.fixture
def receiving(tmp_path: Path, authority: Authority) -> Iterator[Receiving]:
    """Give a receiver that demands a certificate of its authority."""
    own = authority.issue("receiver")
    found = Receiving(
        folder=tmp_path,
        database=f"sqlite:///{tmp_path / 'demur.sqlite'}",
        environment={
            "DEMUR_TLS_CERTIFICATE": str(own.certificate),
            "DEMUR_TLS_KEY": str(own.key),
            "DEMUR_DIMSE_TLS_CLIENTS": str(authority.file),
        },
    )
    subprocess.run([*DEMUR, "site", "add", "north", "--database", found.database], check=True, capture_output=True)
    yield found.start()
    found.end()


def store(receiving: Receiving, tls: ssl.SSLContext | None) -> int | None:
    """Store a film and return its status; None if there was no association to store it over."""
    entity = AE(ae_title="PACS")
    entity.add_requested_context(CR, ExplicitVRLittleEndian)
    arguments = None if tls is None else (tls, "localhost")
    association = entity.associate("127.0.0.1", receiving.port, ae_title="DEMUR", tls_args=arguments)
    if not association.is_established:
        if association.dul.socket is not None and association.dul.socket.socket is not None:
            association.dul.socket.socket.close()  # pynetdicom leaves it open where the handshake fails
        return None
    try:
        return association.send_c_store(pydicom.dcmread(BytesIO(make_dicom()))).get("Status")
    finally:
        association.release()


def test_over_dimse_a_client_is_let_in_by_its_certificate(
    receiving: Receiving, authority: Authority, stranger: Authority
) -> None:
    trusted = ssl.create_default_context(cafile=authority.file)
    assert store(receiving, None) is None, "in the clear"
    assert store(receiving, trusted) is None, "without a certificate"
    foreign, own = stranger.issue("foreign"), authority.issue("pacs")
    trusted.load_cert_chain(foreign.certificate, foreign.key)
    assert store(receiving, trusted) is None, "with another authority's certificate"
    assert receiving.query("SELECT count(*) FROM instances") == [(0,)]
    trusted.load_cert_chain(own.certificate, own.key)
    assert store(receiving, trusted) == 0
    assert receiving.query("SELECT count(*) FROM instances") == [(1,)]


def test_dcmtk_stores_over_tls(
    receiving: Receiving, authority: Authority, stranger: Authority, needs_command: Callable[[str], str]
) -> None:
    film = receiving.folder / "film.dcm"
    film.write_bytes(make_dicom())
    for issuer, is_stored in ((stranger, False), (authority, True)):
        own = issuer.issue("modality")
        tls = ["+tls", str(own.key), str(own.certificate), "+cf", str(authority.file)]
        line = [needs_command("storescu"), "-v", *tls, "-aet", "PACS", "-aec", "DEMUR"]
        done = subprocess.run(
            [*line, "localhost", str(receiving.port), str(film)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode == 0) == is_stored, done.stdout + done.stderr
        assert receiving.query("SELECT count(*) FROM instances") == [(int(is_stored),)]
