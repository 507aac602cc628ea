"""A bundle: candidate, certificate and model card under one signed manifest. Opening it is verifying it.

A bundle object that exists is whole, signed by a key that is trusted, of one candidate and one certificate that belong
together, in scope, and in date at the time it was opened (or over, if its opener asked for that: the policy then calls
nothing healthy). Everything else is a ``VerificationError`` with its flaw.

The order of the checks is part of the guard: nothing that a stranger could have written is parsed before the signature
over the manifest's bytes holds, and nothing is taken from a file before its digest holds.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from calibration.certificate import Certificate, Refusal, certificate_from_json
from deploy.candidate import Candidate
from deploy.manifest import (
    MANIFEST,
    Flaw,
    Manifest,
    VerificationError,
    parse_manifest,
    read_plain,
    read_verified,
    verify_files,
)
from deploy.trust import PublicKey, Trust
from models.errors import DemurError

BUNDLE_FORMAT = "demur-bundle/1"
SIGNATURE = "manifest.sig"
CERTIFICATE = "certificate.json"
MODEL_CARD = "model_card.md"
CANDIDATE = "candidate"

_MOMENT = timedelta(microseconds=1)
#: What the bundle's manifest cannot cover.
APART = frozenset({MANIFEST, SIGNATURE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A verified release.

    Parameters
    ----------
    path : Path
        The folder.
    manifest : Manifest
        What it holds.
    candidate : Candidate
        The ensemble and how it is used.
    certificate : Certificate
        What is promised of it, where, and until when.
    key : PublicKey
        The trusted key that signed it.
    """

    path: Path
    manifest: Manifest
    candidate: Candidate
    certificate: Certificate
    key: PublicKey

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest's bytes: the identity of the release, as the ledger names it."""
        return self.manifest.digest


def open_bundle(path: Path, trust: Trust, now: datetime, *, may_be_over: bool = False) -> Bundle:
    """Open a bundle, which is to verify it.

    Parameters
    ----------
    path : Path
        The folder.
    trust : Trust
        The keys whose releases are opened.
    now : datetime
        The time that must lie within the certificate's; with a time zone.
    may_be_over : bool
        Open it too when the certificate's time is over.

    Raises
    ------
    VerificationError
        With the first flaw found.
    """
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    manifest_bytes = read_plain(path, MANIFEST)
    key = trust.verify(manifest_bytes, read_plain(path, SIGNATURE))
    manifest = parse_manifest(manifest_bytes, form=BUNDLE_FORMAT)
    verify_files(path, manifest, apart=APART)
    candidate = Candidate.open(path / CANDIDATE)
    certificate = matching_certificate(read_verified(path, manifest, CERTIFICATE), candidate)
    check_dates(certificate, min(now, certificate.expires - _MOMENT) if may_be_over else now)
    return Bundle(path=path, manifest=manifest, candidate=candidate, certificate=certificate, key=key)


def matching_certificate(data: bytes, candidate: Candidate) -> Certificate:
    """Return the certificate that some bytes hold, if it is one and belongs to a candidate.

    Raises
    ------
    VerificationError
        If the bytes are no certificate, or a refusal, or one without a candidate's digest, or of another candidate or
        another scope.
    """
    try:
        certificate = certificate_from_json(data.decode("utf-8"))
    except (ValueError, DemurError) as error:
        raise VerificationError(Flaw.CERTIFICATE, f"the certificate cannot be read ({error}); certify again") from error
    if isinstance(certificate, Refusal):
        raise VerificationError(
            Flaw.REFUSAL, "the certificate is a refusal, and promises nothing; it says what is short"
        )
    if certificate.candidate is None:
        raise VerificationError(
            Flaw.NO_CANDIDATE, "the certificate names no candidate; score with demur score and certify from that table"
        )
    if certificate.candidate != candidate.digest:
        raise VerificationError(
            Flaw.OTHER_CANDIDATE,
            f"the certificate is of the candidate {certificate.candidate[:12]}, not of {candidate.digest[:12]}",
        )
    if certificate.scope != json.loads(candidate.scope.to_json()):
        raise VerificationError(Flaw.SCOPE, "the certificate's scope is not the candidate's; score and certify again")
    return certificate


def check_dates(certificate: Certificate, now: datetime) -> None:
    """Check that a time lies within a certificate's: from ``issued``, until before ``expires``.

    Raises
    ------
    VerificationError
        If it does not.
    """
    if now < certificate.issued:
        raise VerificationError(Flaw.NOT_YET, f"the certificate is valid from {certificate.issued.isoformat()} only")
    if not now < certificate.expires:
        raise VerificationError(Flaw.EXPIRED, f"the certificate expired at {certificate.expires.isoformat()}")
