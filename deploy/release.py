"""Candidate and certificate in, a signed bundle out; or a refusal."""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.bundle import (
    APART,
    BUNDLE_FORMAT,
    CANDIDATE,
    CERTIFICATE,
    MODEL_CARD,
    SIGNATURE,
    Bundle,
    check_dates,
    matching_certificate,
    open_bundle,
)
from deploy.candidate import Candidate
from deploy.manifest import MANIFEST, render_manifest
from deploy.model_card import render_model_card
from deploy.trust import Trust, public_key_of, sign
from models.errors import DataError


def release(candidate: Candidate, certificate_path: Path, key: Ed25519PrivateKey, out: Path, now: datetime) -> Bundle:
    """Write a signed bundle, open it again, and return it.

    Parameters
    ----------
    candidate : Candidate
        What was scored.
    certificate_path : Path
        The certificate computed from those scores.
    key : Ed25519PrivateKey
        The key that signs.
    out : Path
        The folder to make; it must not be there yet.
    now : datetime
        The time of the release, recorded in the bundle and checked against the certificate; with a time zone.

    Raises
    ------
    DataError
        If ``out`` is there already or cannot be written, or the certificate cannot be read as a file.
    VerificationError
        If the certificate is a refusal, names no candidate or another one, or is not in date.
    """
    if out.exists():
        raise DataError(f"{out} is there already; a release is never overwritten: give another folder")
    try:
        certificate_bytes = certificate_path.read_bytes()
    except OSError as error:
        raise DataError(f"no such file: {certificate_path}; give a certificate that demur certify has made") from error
    certificate = matching_certificate(certificate_bytes, candidate)
    check_dates(certificate, now)
    public = public_key_of(key)
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise DataError(f"{out.parent} cannot be written; give a folder in one that exists") from error
    try:
        shutil.copytree(candidate.path, draft / CANDIDATE)
        (draft / CERTIFICATE).write_bytes(certificate_bytes)
        (draft / MODEL_CARD).write_text(render_model_card(candidate, certificate), encoding="utf-8")
        about = {"candidate": candidate.digest, "key": public.id, "released": now.isoformat()}
        manifest = render_manifest(draft, form=BUNDLE_FORMAT, about=about, apart=APART)
        (draft / MANIFEST).write_bytes(manifest)
        (draft / SIGNATURE).write_bytes(sign(manifest, key))
        open_bundle(draft, Trust.of(public), now)
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return open_bundle(out, Trust.of(public), now)
