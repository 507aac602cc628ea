"""What decides: the open bundle with its engine, or nothing, whereupon everything is IDK."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from models.errors import DataError

if TYPE_CHECKING:
    from calibration.certificate import Certificate
    from deploy.bundle import Bundle
    from deploy.runtime import Assessment, Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A verified bundle, ready to assess studies; without one every field is empty."""

    bundle: str = ""
    certificate: "Certificate | None" = None
    engine: "Engine | None" = None

    @classmethod
    def open(cls, bundle: Path | None, trust: Path | None, now: datetime | None = None) -> Self:
        """Verify and open a bundle, and check its golden films; VerificationError if anything is wrong.

        One whose certificate has expired is opened: a service that starts again then does as one that went on does, which
        takes in every study and calls each IDK.
        """
        opened = verified_bundle(bundle, trust, now or datetime.now(UTC), may_be_over=True)
        if opened is None:
            return cls()
        from deploy.runtime import Engine

        engine = Engine(opened.candidate)
        judge = cls(bundle=opened.digest, certificate=opened.certificate, engine=engine)
        try:
            engine.check_golden()
        except BaseException:
            engine.close()
            raise
        return judge

    def assess(self, images: Sequence[memoryview]) -> "Assessment | None":
        """Score a study; None without a bundle."""
        if self.engine is None:
            return None
        from deploy.runtime import Image

        return self.engine.assess([Image(data=image) for image in images])

    def is_over(self, now: datetime) -> bool:
        """Say whether the certificate's time is over."""
        return self.certificate is not None and now >= self.certificate.expires

    def words(self, now: datetime) -> str:
        """Say which release decides, for an operator."""
        if self.certificate is None:
            return "none: every study is IDK"
        if self.is_over(now):
            return f"{self.bundle[:12]}, expired at {self.certificate.expires.isoformat()}: every study is IDK"
        return self.bundle[:12]

    def close(self) -> None:
        """End the decoder processes."""
        if self.engine is not None:
            self.engine.close()


def verified_bundle(
    bundle: Path | None, trust: Path | None, now: datetime, *, may_be_over: bool = False
) -> "Bundle | None":
    """Open a bundle, which is to verify it; None if none is named."""
    if bundle is None:
        return None
    from deploy.bundle import open_bundle
    from deploy.trust import Trust

    if not bundle.is_dir():
        raise DataError(f"no such folder: {bundle}; give a bundle that demur release has made")
    if trust is None:
        raise DataError("a bundle needs the keys that are trusted; give their file with --trust")
    if not trust.is_file():
        raise DataError(f"no such file: {trust}; give a list of trusted keys with --trust")
    return open_bundle(bundle, Trust.parse(trust.read_text(encoding="utf-8")), now, may_be_over=may_be_over)
