"""The Store Instances Response (PS3.18 Annex I.2) in DICOM JSON."""

from collections.abc import Sequence
from typing import Any

from service.ingest.workflow import Outcome, Receipt

#: (0008,1197) *Failure Reason* (PS3.18 Table I.2-2).
FAILURE_REASONS = {
    Outcome.UNREADABLE: 0xC000,
    Outcome.CONFLICT: 0x0110,
    Outcome.OTHER_STUDY: 0xA901,
}
Json = dict[str, Any]


def store_response(receipts: Sequence[Receipt], *, root: str) -> Json:
    """Return what became of each instance."""
    stored = [receipt for receipt in receipts if receipt.is_stored]
    failed = [receipt for receipt in receipts if not receipt.is_stored]
    named = [receipt for receipt in failed if receipt.sop_instance_uid]
    nameless = [receipt for receipt in failed if not receipt.sop_instance_uid]
    body: Json = {}
    studies = {receipt.study_instance_uid for receipt in stored}
    if len(studies) == 1:
        body["00081190"] = _element("UR", f"{root}/studies/{studies.pop()}")
    if named:
        body["00081198"] = _element("SQ", *({**_reference(receipt), **_failure(receipt)} for receipt in named))
    if stored:
        body["00081199"] = _element("SQ", *({**_reference(receipt), **_location(receipt, root)} for receipt in stored))
    if nameless:
        body["0008119A"] = _element("SQ", *(_failure(receipt) for receipt in nameless))
    return body


def status_of(receipts: Sequence[Receipt]) -> int:
    """Return 200 if all were stored, 202 for some, 409 for none, 400 if nothing was DICOM at all."""
    stored = sum(receipt.is_stored for receipt in receipts)
    if stored == len(receipts):
        return 200
    if stored:
        return 202
    return 400 if all(receipt.outcome is Outcome.UNREADABLE for receipt in receipts) else 409


def warning_of(receipts: Sequence[Receipt]) -> str:
    """Return what went wrong in words, for the Warning header."""
    return "; ".join(sorted({receipt.explanation for receipt in receipts if not receipt.is_stored}))


def _element(vr: str, *values: object) -> Json:
    return {"vr": vr, "Value": list(values)}


def _reference(receipt: Receipt) -> Json:
    reference: Json = {"00081155": _element("UI", receipt.sop_instance_uid)}
    if receipt.sop_class_uid:
        reference["00081150"] = _element("UI", receipt.sop_class_uid)
    return reference


def _failure(receipt: Receipt) -> Json:
    return {"00081197": _element("US", FAILURE_REASONS[receipt.outcome])}


def _location(receipt: Receipt, root: str) -> Json:
    place = f"{root}/studies/{receipt.study_instance_uid}/series/{receipt.series_instance_uid}"
    return {"00081190": _element("UR", f"{place}/instances/{receipt.sop_instance_uid}")}
