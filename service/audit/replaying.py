"""Every decision on the ledger, made again from the stored bytes."""

import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.replay import Difference, Record, replay
from models.errors import DataError
from models.vocabulary import Decision, Mode, Reason
from service.database import Database
from service.ledger.store import Entry, entries
from service.ledger.workflow import Kind
from service.storage.store import erased
from service.storage.workflow import Storage
from service.triage.judge import verified_bundle

if TYPE_CHECKING:
    from deploy.bundle import Bundle
    from deploy.runtime import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A decision that was made again: the same if there are no differences; ``skipped`` says why it was not.

    One whose images were erased cannot be made again, which is as it should be.
    """

    sequence: int
    study_id: str
    decision: str
    differences: tuple[Difference, ...] = ()
    skipped: str = ""
    is_erased: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The ledger's decisions, oldest first, and what was erased since: sites with digests of files."""

    decisions: list[Entry]
    erased: AbstractSet[tuple[str, str]]


def history_of(database: Database) -> History:
    """Return what is to be replayed."""
    with database.reading() as connection:
        return History(decisions=list(entries(connection, kinds=(Kind.DECIDED,))), erased=erased(connection))


def replay_all(
    history: History, storage: Storage, *, bundle: Path | None, trust: Path | None, tolerance: float
) -> Iterator[Replayed]:
    """Make decisions again with a release, each of those that it made; those of others and erased ones are left out."""
    records = [(entry, record_of(json.loads(entry.body))) for entry in history.decisions]
    release, engine = _open(bundle, trust, records)
    try:
        for entry, record in records:
            told = {"sequence": entry.sequence, "study_id": entry.study_id or "", "decision": str(record.decision)}
            if any((entry.site_id, digest) in history.erased for digest in record.images):
                yield Replayed(**told, is_erased=True)
                continue
            is_ours = record.bundle is None or (release is not None and record.bundle == release.digest)
            if not is_ours:
                yield Replayed(**told, skipped=f"decided with the release {(record.bundle or '')[:12]}")
                continue
            try:
                images = [storage.view(digest) for digest in record.images]
            except DataError as gone:
                yield Replayed(**told, skipped=str(gone))
                continue
            used = (release, engine) if record.bundle is not None else (None, None)
            yield Replayed(**told, differences=replay(record, images, *used, tolerance=tolerance))
    finally:
        if engine is not None:
            engine.close()


def record_of(body: dict[str, Any]) -> Record:
    """Return the record that a ledger's body holds."""
    return Record(
        images=tuple(image["digest"] for image in body["images"]),
        bundle=body["bundle"] or None,
        decoders=tuple(image.get("decoder", "") for image in body["images"]),
        runtime=body["runtime"],
        logits=tuple(map(float, body["logits"])),
        strangeness=float(body["strangeness"]),
        score=float(body["score"]),
        gates=tuple(map(Reason, body["gates"])),
        threshold=body["threshold"],
        decision=Decision(body["decision"]),
        reasons=tuple(map(Reason, body["reasons"])),
        site=body["site"],
        studies_before=body["studies_before"],
        mode=Mode(body["mode"]),
        decided=datetime.fromisoformat(body["decided_at"]),
    )


def _open(
    bundle: Path | None, trust: Path | None, records: list[tuple[Entry, Record]]
) -> "tuple[Bundle | None, Engine | None]":
    """Open the release though it may be over: whether it was in date is judged by the time of each decision."""
    times = [record.decided for _, record in records if record.bundle is not None]
    if bundle is None or not times:
        return None, None
    from deploy.runtime import Engine

    release = verified_bundle(bundle, trust, max(times), may_be_over=True)
    assert release is not None
    return release, Engine(release.candidate)
