"""An S3-compatible bucket as the place for files: ``prefix/ab/cdef…`` by digest; what is on its way lies in a folder.

Invariants:

- What ``keep`` returned from the store has acknowledged; it is given the SHA-256 to check what it got.
- The same rules as of a folder hold: an object's name is made of a digest of our own and of nothing that a sender wrote.
- Nothing in the bucket is changed. A bucket that keeps old versions keeps what was erased too: switch that off.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import DataError
from service.errors import OverloadedError
from service.settings import Settings
from service.storage.workflow import Folder, Spool

_PLACE = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MISSING = ("404", "NoSuchKey", "NotFound")
#: As many as threads that decide and requests that store; short, since a sender waits.
_POOL, _CONNECT_S, _READ_S, _TRIES = 64, 5, 60, 3


class Bucket:
    """A bucket of an S3-compatible store."""

    def __init__(self, client: Any, bucket: str, prefix: str, spool: Path, *, reserve_bytes: int) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix
        self._spool = Folder(spool, reserve_bytes=reserve_bytes)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the bucket that the settings name; DataError if they are no good."""
        place = urlsplit(settings.storage)
        if not _PLACE.fullmatch(place.netloc):
            raise DataError(f"{settings.storage!r} names no bucket; give s3://bucket or s3://bucket/prefix")
        secret = settings.storage_secret_key
        try:
            client = botocore.session.Session().create_client(
                "s3",
                endpoint_url=settings.storage_endpoint,
                region_name=settings.storage_region,
                aws_access_key_id=settings.storage_access_key,
                aws_secret_access_key=secret.get_secret_value() if secret is not None else None,
                config=Config(
                    max_pool_connections=_POOL,
                    connect_timeout=_CONNECT_S,
                    read_timeout=_READ_S,
                    retries={"total_max_attempts": _TRIES, "mode": "standard"},
                    s3={"addressing_style": "path" if settings.storage_endpoint else "auto"},
                ),
            )
        except (BotoCoreError, ValueError) as fault:
            raise DataError(f"the storage cannot be opened ({type(fault).__name__}); check its settings") from None
        prefix = place.path.strip("/")
        return cls(
            client,
            place.netloc,
            f"{prefix}/" if prefix else "",
            settings.storage_spool,
            reserve_bytes=settings.reserve_bytes,
        )

    def spool(self) -> Spool:
        """Begin to take in a file; OverloadedError when the disk is nearly full."""
        return self._spool.spool()

    def keep(self, spool: Spool) -> None:
        """Make a finished file durable under its digest; OverloadedError if the store is not reached."""
        checksum = base64.b64encode(bytes.fromhex(spool.digest)).decode()
        try:
            with spool.path.open("rb") as file:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key(spool.digest),
                    Body=file,
                    ContentLength=spool.path.stat().st_size,
                    ChecksumSHA256=checksum,
                    ContentType="application/dicom",
                )
        except (BotoCoreError, ClientError) as fault:
            raise _not_reached(fault) from None

    def view(self, digest: str) -> memoryview:
        """Return the bytes of a kept file; DataError if it is not there."""
        try:
            return memoryview(self._client.get_object(Bucket=self._bucket, Key=self._key(digest))["Body"].read())
        except ClientError as fault:
            if _code(fault) in _MISSING:
                raise DataError(f"the stored file {digest[:12]} is gone") from None
            raise _not_reached(fault) from None
        except BotoCoreError as fault:
            raise _not_reached(fault) from None

    def kept(self, older_than: float) -> Iterator[str]:
        """Yield the digests of files kept before a time (seconds since the epoch)."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        try:
            for page in pages:
                for item in page.get("Contents", ()):
                    digest = item["Key"].removeprefix(self._prefix).replace("/", "", 1)
                    if _DIGEST.fullmatch(digest) and item["LastModified"].timestamp() < older_than:
                        yield digest
        except (BotoCoreError, ClientError) as fault:
            raise _not_reached(fault) from None

    def delete(self, digest: str) -> None:
        """Delete a kept file, if it is there; for ``erasing`` alone."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))
        except (BotoCoreError, ClientError) as fault:
            raise _not_reached(fault) from None

    def check(self) -> None:
        """Raise OverloadedError if nothing can be taken in."""
        self._spool.check()
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except (BotoCoreError, ClientError) as fault:
            raise _not_reached(fault) from None

    def sweep(self, older_than: float) -> int:
        """Delete what never finished coming in before a time (seconds since the epoch); return how many files."""
        return self._spool.sweep(older_than)

    def _key(self, digest: str) -> str:
        return f"{self._prefix}{digest[:2]}/{digest[2:]}"


def _code(fault: ClientError) -> str:
    return str(fault.response.get("Error", {}).get("Code", ""))


def _not_reached(fault: Exception) -> OverloadedError:
    word = _code(fault) if isinstance(fault, ClientError) else type(fault).__name__
    return OverloadedError(f"the storage cannot be reached ({word}); send again later")
