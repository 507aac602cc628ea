"""A folder's manifest: every file's SHA-256 as canonical JSON, and the one reading of it that refuses.

Invariants
----------
- A manifest that exists was canonical JSON of a known format; its digest is that of its own bytes.
- ``verify_files`` passes only where the folder holds exactly the manifest's plain files, byte for byte.
- ``read_verified`` never hands out bytes whose digest the manifest does not name, even after verifying.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeGuard, cast

from models.errors import BundleError

MANIFEST = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Flaw(StrEnum):
    """Why a candidate or a bundle does not verify."""

    # The folder
    #: There is no manifest, or no signature beside it.
    NO_MANIFEST = "no_manifest"
    #: The manifest is not canonical JSON of the shape that its format has.
    MALFORMED = "malformed_manifest"
    #: The format, or its version, is not one that this release of Demur knows.
    FORMAT = "unknown_format"
    #: A name in the manifest leads out of the folder.
    ESCAPE = "path_escapes"
    #: A link, a device or a socket where a plain file must be.
    LINK = "not_a_plain_file"
    #: A file of the manifest is not there.
    MISSING = "file_missing"
    #: A file is there that the manifest does not name.
    EXTRA = "file_extra"
    #: A file has other bytes than the manifest says.
    CHANGED = "file_changed"

    # The signature
    #: The signature line cannot be read, or does not fit the manifest.
    SIGNATURE = "bad_signature"
    #: The key that signed is not in the list of trusted keys.
    UNTRUSTED = "untrusted_key"

    # The candidate
    #: A part of the candidate (graph, input spec, rule, scope, golden) is absent or cannot be read.
    CANDIDATE = "bad_candidate"
    #: The graph cannot be run, or has other inputs and outputs than a candidate's.
    GRAPH = "bad_graph"
    #: The golden inputs give other outputs here than where the candidate was exported.
    GOLDEN = "golden_differs"

    # The certificate
    #: The certificate cannot be read.
    CERTIFICATE = "bad_certificate"
    #: The certificate is a refusal.
    REFUSAL = "certificate_refused"
    #: The certificate names no candidate: its scores came from elsewhere.
    NO_CANDIDATE = "certificate_without_candidate"
    #: The certificate was computed from another candidate's scores.
    OTHER_CANDIDATE = "certificate_of_another_candidate"
    #: The certificate's scope is not the candidate's.
    SCOPE = "certificate_of_another_scope"
    #: The certificate's time has not begun.
    NOT_YET = "certificate_not_yet_valid"
    #: The certificate's time is over.
    EXPIRED = "certificate_expired"


class VerificationError(BundleError):
    """It does not verify"""

    def __init__(self, flaw: Flaw, message: str) -> None:
        super().__init__(f"{message} [{flaw}]")
        self.flaw = flaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a folder must hold.

    Parameters
    ----------
    files : Mapping[str, str]
        Relative POSIX path to SHA-256, in lower-case hexadecimal.
    about : Mapping[str, str]
        What else the maker stated, as text.
    digest : str
        SHA-256 of the manifest's own bytes: the identity of the folder.
    """

    files: Mapping[str, str]
    about: Mapping[str, str]
    digest: str


def canonical_json(value: object) -> bytes:
    """Return the one spelling of a value as JSON: sorted keys, no spaces, ASCII, finite numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_of(data: bytes | memoryview) -> str:
    """Return the SHA-256 of some bytes in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def render_manifest(folder: Path, *, form: str, about: Mapping[str, str], apart: frozenset[str]) -> bytes:
    """Return the canonical manifest of what a folder holds now.

    Parameters
    ----------
    folder : Path
        The folder; every plain file below it is listed.
    form : str
        Format and version, say ``demur-candidate/1``.
    about : Mapping[str, str]
        Further statements, as text.
    apart : frozenset[str]
        Names that the manifest does not cover: itself, and a signature of it.

    Raises
    ------
    VerificationError
        If something in the folder is not a plain file.
    """
    files = {name: _digest_of_file(path) for name, path in _plain_files(folder).items() if name not in apart}
    return canonical_json({"format": form, "files": files, "about": dict(about)})


def parse_manifest(data: bytes, *, form: str) -> Manifest:
    """Read a manifest, strictly.

    Raises
    ------
    VerificationError
        If it is not canonical, is of another format or version, or names a path outside of the folder.
    """
    try:
        value: object = json.loads(data)
        canonical = canonical_json(value) == data
    except (ValueError, RecursionError) as error:
        raise VerificationError(Flaw.MALFORMED, f"{MANIFEST} is not JSON; make the folder anew") from error
    if not isinstance(value, dict) or not canonical:
        raise VerificationError(Flaw.MALFORMED, f"{MANIFEST} is not canonical JSON; make the folder anew")
    fields = cast("dict[str, object]", value)
    if fields.get("format") != form:
        raise VerificationError(
            Flaw.FORMAT, f"{MANIFEST} has format {fields.get('format')!r}; this release reads {form}"
        )
    files, about = fields.get("files"), fields.get("about")
    if fields.keys() != {"format", "files", "about"} or not _is_text_map(files) or not _is_text_map(about):
        raise VerificationError(Flaw.MALFORMED, f"{MANIFEST} has not the fields of {form}; make the folder anew")
    for name, digest in files.items():
        if not _stays_inside(name):
            raise VerificationError(Flaw.ESCAPE, f"{MANIFEST} names {name!r}, which is not inside the folder")
        if not _SHA256.fullmatch(digest):
            raise VerificationError(Flaw.MALFORMED, f"{MANIFEST} gives {name!r} the digest {digest!r}")
    return Manifest(files=files, about=about, digest=digest_of(data))


def verify_files(folder: Path, manifest: Manifest, *, apart: frozenset[str]) -> None:
    """Check that a folder holds exactly the manifest's files, byte for byte.

    Raises
    ------
    VerificationError
        With the first flaw found, in the order of the names: a link, a missing, an extra, a changed file.
    """
    found = {name: path for name, path in _plain_files(folder).items() if name not in apart}
    for name in sorted(manifest.files.keys() | found.keys()):
        if name not in found:
            raise VerificationError(Flaw.MISSING, f"{name} is missing from {folder}; fetch the folder anew")
        if name not in manifest.files:
            raise VerificationError(Flaw.EXTRA, f"{name} in {folder} is not in its manifest; remove it")
        if _digest_of_file(found[name]) != manifest.files[name]:
            raise VerificationError(Flaw.CHANGED, f"{name} in {folder} has been changed; fetch the folder anew")


def read_verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Return a file's bytes, checked against the manifest as they are read.

    Raises
    ------
    VerificationError
        If the manifest does not name the file, or it is gone, or its bytes are others.
    """
    if name not in manifest.files:
        raise VerificationError(Flaw.CANDIDATE, f"{folder} has no {name}; make it anew")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise VerificationError(Flaw.MISSING, f"{name} is missing from {folder}; fetch the folder anew") from error
    if digest_of(data) != manifest.files[name]:
        raise VerificationError(Flaw.CHANGED, f"{name} in {folder} has been changed; fetch the folder anew")
    return data


def read_plain(folder: Path, name: str) -> bytes:
    """Return the bytes of a manifest or a signature, which nothing but itself vouches for yet.

    Raises
    ------
    VerificationError
        If it is absent or not a plain file.
    """
    path = folder / name
    try:
        plain = stat.S_ISREG(path.lstat().st_mode)
    except OSError as error:
        raise VerificationError(Flaw.NO_MANIFEST, f"{folder} has no {name}; give the folder that holds it") from error
    if not plain:
        raise VerificationError(Flaw.LINK, f"{name} in {folder} is not a plain file; fetch the folder anew")
    return path.read_bytes()


def _plain_files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISREG(mode):
                raise VerificationError(Flaw.LINK, f"{relative} in {folder} is not a plain file; fetch the folder anew")
            found[relative] = path
    return found


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = not ({".", "..", ""} & set(name.split("/"))) and "\\" not in name and "\0" not in name
    return plain and not path.is_absolute() and str(path) == name


def _is_text_map(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(isinstance(item, str) for item in cast("dict[str, object]", value).values())
