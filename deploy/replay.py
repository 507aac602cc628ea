"""A decision made again: the same, or the differences by name. Pure: record, bytes and release in, differences out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from calibration.policy import Ruling, decide
from deploy.bundle import Bundle
from deploy.manifest import digest_of
from deploy.runtime import Engine, Image
from models.vocabulary import Decision, Mode, Reason

#: Gates that the service sets for what happened to it; the bytes of the study do not tell them again.
SERVICE_GATES = frozenset({Reason.ATTEMPT_LOST, Reason.CONFLICT, Reason.FAULT, Reason.REOPENED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the ledger has of one decision.

    Parameters
    ----------
    images : tuple[str, ...]
        SHA-256 of the bytes of each image, in the order in which they were assessed.
    bundle : str or None
        Digest of the release; None where none was open.
    decoders : tuple[str, ...]
        One per image; empty text where it was not decoded.
    runtime : str
        What ran the graph.
    logits : tuple[float, ...]
        Of the image that decided; empty where none was scored.
    strangeness : float
        Of the same image; NaN where none was scored.
    score : float
        The study's.
    gates : tuple[Reason, ...]
        What the policy was given.
    threshold : float or None
        The certificate's; None where the policy did not come to it.
    decision : Decision
        What was decided.
    reasons : tuple[Reason, ...]
        Why it was IDK; empty for healthy.
    site : str
        Where it came from.
    studies_before : int or None
        How many other studies of the patient had been decided; None where the patient had no identifier.
    mode : Mode
        How far the site trusted Demur then.
    decided : datetime
        When; the certificate's dates are compared with it.
    """

    images: tuple[str, ...]
    bundle: str | None
    decoders: tuple[str, ...]
    runtime: str
    logits: tuple[float, ...]
    strangeness: float
    score: float
    gates: tuple[Reason, ...]
    threshold: float | None
    decision: Decision
    reasons: tuple[Reason, ...]
    site: str
    studies_before: int | None
    mode: Mode
    decided: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not as recorded.

    Parameters
    ----------
    name : str
        The field of ``Record``.
    recorded, replayed : str
        Both values, as text.
    """

    name: str
    recorded: str
    replayed: str


def replay(
    record: Record,
    images: Sequence[bytes | memoryview],
    bundle: Bundle | None,
    engine: Engine | None,
    *,
    tolerance: float = 0.0,
) -> tuple[Difference, ...]:
    """Decide again and compare.

    Parameters
    ----------
    record : Record
        What was decided.
    images : Sequence
        The stored bytes, in the record's order.
    bundle : Bundle or None
        The release to decide with, which may have expired since; None for a record that names none.
    engine : Engine or None
        That release's; None with it.
    tolerance : float
        How far logits, strangeness and score may be from the recorded ones, absolutely and relatively. On the machine and
        versions that decided it is 0; ``deploy.golden.OUTPUT_TOLERANCE`` is what another CPU may need.

    Returns
    -------
    tuple[Difference, ...]
        Empty: the same. Where bytes or bundle are not those of the record, that alone is named, as the rest follows from it.
    """
    if (bundle is None) != (engine is None) or (
        engine is not None and bundle is not None and engine.candidate.digest != bundle.candidate.digest
    ):
        raise ValueError("engine and bundle must be of one candidate")
    inputs = (
        ("images", record.images, tuple(digest_of(data) for data in images)),
        ("bundle", record.bundle, bundle.digest if bundle else None),
    )
    if foreign := tuple(_differences(inputs)):
        return foreign
    if engine is None or SERVICE_GATES & set(record.gates):
        return tuple(_differences(_ruled(record, _decide(record, record.score, record.gates, bundle))))
    found = engine.assess([Image(data=data) for data in images])
    pairs = (
        ("decoders", record.decoders, found.decoders),
        ("runtime", record.runtime, found.runtime),
        ("logits", record.logits, _snapped(found.logits, record.logits, tolerance)),
        ("strangeness", (record.strangeness,), _snapped((found.strangeness,), (record.strangeness,), tolerance)),
        ("score", (record.score,), _snapped((found.score,), (record.score,), tolerance)),
        ("gates", record.gates, found.gates),
        *_ruled(record, _decide(record, found.score, found.gates, bundle)),
    )
    return tuple(_differences(pairs))


def _decide(record: Record, score: float, gates: tuple[Reason, ...], bundle: Bundle | None) -> Ruling:
    return decide(
        score=score,
        gates=gates,
        certificate=bundle.certificate if bundle else None,
        site=record.site,
        studies_before=record.studies_before,
        mode=record.mode,
        now=record.decided,
    )


def _ruled(record: Record, ruling: Ruling) -> tuple[tuple[str, object, object], ...]:
    return (
        ("threshold", record.threshold, ruling.threshold),
        ("reasons", record.reasons, ruling.reasons),
        ("decision", record.decision, ruling.decision),
    )


def _snapped(found: tuple[float, ...], recorded: tuple[float, ...], tolerance: float) -> tuple[float, ...]:
    """Return the recorded numbers if the found ones are within the tolerance, else the found ones."""
    if len(found) == len(recorded) and all(_is_same(a, b, tolerance) for a, b in zip(found, recorded, strict=True)):
        return recorded
    return found


def _is_same(found: float, recorded: float, tolerance: float) -> bool:
    if math.isfinite(found) and math.isfinite(recorded):
        return abs(found - recorded) <= tolerance * (1 + abs(recorded))
    return repr(found) == repr(recorded)


def _differences(pairs: Sequence[tuple[str, object, object]]) -> Iterator[Difference]:
    for name, recorded, replayed in pairs:
        # By their text: NaN is the same as NaN here, and 0.1 as 0.1.
        if repr(recorded) != repr(replayed):
            yield Difference(name=name, recorded=repr(recorded), replayed=repr(replayed))
