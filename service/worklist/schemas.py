"""Workitems in DICOM JSON (PS3.18 Annex F), and what a request may hold of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from service.errors import RequestError
from service.worklist.readings import Confidence, Finding, Result
from service.worklist.states import State
from service.worklist.store import Search, Workitem

Json = dict[str, Any]

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
LABEL = "Chest radiograph, human read"
#: (0040,4041) *Input Readiness State*: the films are there when the workitem is.
READY = "READY"
#: Our own coding scheme for a reader's result.
SCHEME = "99DEMUR"
#: The most characters of a code value.
_SH_MAX = 16
_FINDING, _COMMENT, _CERTAINTY = ("121071", "Finding"), ("121106", "Comment"), ("111012", "Certainty of Finding")
_DATETIME = "%Y%m%d%H%M%S.%f"
_REASON_MAX, _CODES_MAX = 1000, 8

#: Matching keys by keyword and by tag, and the field of a search that each sets.
MATCHING_KEYS = {
    "SOPInstanceUID": "uids",
    "00080018": "uids",
    "ProcedureStepState": "states",
    "00741000": "states",
    "WorklistLabel": "site",
    "00741202": "site",
    "ScheduledProcedureStepPriority": "priority",
    "00741200": "priority",
    "PatientName": "patient_name",
    "00100010": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "00100030": "patient_birth_date",
    "PatientSex": "patient_sex",
    "00100040": "patient_sex",
    "PatientID": "patient_id",
    "00100020": "patient_id",
    "ReferencedRequestSequence.AccessionNumber": "accession_number",
    "0040A370.00080050": "accession_number",
    "AccessionNumber": "accession_number",
    "00080050": "accession_number",
    "InputInformationSequence.StudyInstanceUID": "study_instance_uid",
    "00404021.0020000D": "study_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "0020000D": "study_instance_uid",
    "ActualHumanPerformersSequence.HumanPerformerName": "reader",
    "00404035.00404037": "reader",
    "ScheduledProcedureStepStartDateTime": "time",
    "00404005": "time",
}
#: Every attribute is in every answer; of the others a search is told that they were not done.
_PASSED_OVER = frozenset({"includefield", "fuzzymatching", "emptyvaluematching", "multiplevaluematching"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRequest:
    """A request to change a state (PS3.4 Table CC.2.1-1)."""

    state: State
    transaction_uid: str | None


def dataset_of(workitem: Workitem, *, root: str) -> Json:
    """Return a workitem as its readers see it; the Transaction UID is never told."""
    study_url = f"{root}/studies/{workitem.study_instance_uid}"
    source = {
        "0020000D": element("UI", workitem.study_instance_uid),
        "0040E020": element("CS", "DICOM"),
        "0040E025": element("SQ", {"00081190": element("UR", study_url)}),
    }
    dataset: Json = {
        "00080016": element("UI", UPS_PUSH),
        "00080018": element("UI", workitem.uid),
        "00100010": element("PN", {"Alphabetic": workitem.patient_name} if workitem.patient_name else None),
        "00100020": element("LO", workitem.patient_id),
        "00100030": element("DA", workitem.patient_birth_date),
        "00100040": element("CS", workitem.patient_sex),
        "00400400": element("LT", ", ".join(workitem.reasons)),
        "00404005": element("DT", workitem.created_at.strftime(_DATETIME)),
        "00404011": element("DT", workitem.read_by.strftime(_DATETIME)),
        "00404010": element("DT", workitem.changed_at.strftime(_DATETIME)),
        "00404021": element("SQ", source),
        "00404041": element("CS", READY),
        "0040A370": element("SQ", {"00080050": element("SH", workitem.accession_number)}),
        "00741000": element("CS", workitem.state),
        "00741200": element("CS", workitem.priority),
        "00741202": element("LO", workitem.site),
        "00741204": element("LO", LABEL),
    }
    if workitem.reader:
        name = element("PN", {"Alphabetic": workitem.reader})
        performer = {"00404009": performer_code(workitem.reader), "00404037": name}
        # Nobody is scheduled beforehand: who claims a case has it given to them.
        dataset["00404034"] = dataset["00404035"] = element("SQ", performer)
    if workitem.cancel_reason:
        dataset["00741002"] = element("SQ", {"00741238": element("LT", workitem.cancel_reason)})
    if workitem.verdict and workitem.read_at:
        dataset["00741216"] = element("SQ", _performed(workitem, workitem.read_at))
    return dataset


def search_of(query: Sequence[tuple[str, str]], *, site_id: str | None) -> Search:
    """Return what a search's query asks for; RequestError for a value that means nothing."""
    found: dict[str, Any] = {"site_id": site_id}
    for name, value in query:
        field = MATCHING_KEYS.get(name)
        if field is not None and value in ("", "*"):
            continue  # universal matching (PS3.4 C.2.2.2.3)
        if field == "states":
            found["states"] = tuple(_state(word) for word in _listed(value))
        elif field == "uids":
            found["uids"] = _listed(value)
        elif field == "time":
            first, separator, last = value.partition("-")
            found["from_time"] = _time(first) if first else None
            found["to_time"] = _time(last, is_end=True) if last else (None if separator else _time(first, is_end=True))
        elif field is not None:
            found[field] = value
        elif name in ("limit", "offset"):
            if not value.isdecimal() or len(value) > 9:
                raise RequestError(f"{name} is a whole number")
            found[name] = min(int(value), 1000) if name == "limit" else int(value)
        elif name not in _PASSED_OVER:
            raise RequestError("a matching key is not supported; docs/worklist.md lists those that are")
    return Search(**found)


def warnings_of(query: Sequence[tuple[str, str]]) -> list[str]:
    """Return what a search is warned of because it was not done (PS3.18 section 8.3.4)."""
    asked = dict(query)
    unsupported = {
        "fuzzymatching": "The fuzzymatching parameter is not supported. Only literal matching has been performed.",
        "emptyvaluematching": "The emptyvaluematching parameter is not supported.",
        "multiplevaluematching": "The multiplevaluematching parameter is not supported.",
    }
    return [words for name, words in unsupported.items() if asked.get(name) == "true"]


def state_request_of(body: bytes) -> StateRequest:
    """Return what a request to change the state holds."""
    dataset = parse(body)
    state = _value(dataset, "00741000")
    transaction_uid = _value(dataset, "00081195")
    if state is None:
        raise RequestError("the Procedure Step State (0074,1000) is missing")
    return StateRequest(
        state=_state(str(state)), transaction_uid=None if transaction_uid is None else str(transaction_uid)
    )


def cancel_request_of(body: bytes, *, by: str) -> tuple[str, str]:
    """Return the reason in a request to cancel, and as DICOM JSON what its performer is told of the request."""
    dataset = parse(body)
    reason = str(_value(dataset, "00741238") or "")[:_REASON_MAX]
    told = {"00741236": element("AE", by.replace("\\", " ")[:16])}
    for tag, vr in (("00741238", "LT"), ("0074100A", "UR"), ("0074100C", "LO")):
        value = _value(dataset, tag)
        if value is not None:
            told[tag] = element(vr, str(value)[:_REASON_MAX])
    codes = [_plain_code(item) for item in _items(dataset, "0074100E")]
    if codes:
        told["0074100E"] = element("SQ", *codes[:_CODES_MAX])
    return reason, json.dumps(told)


def result_of(dataset: Mapping[str, Any]) -> Result | None:
    """Return the reader's result in an update, None if it holds none."""
    finding: Finding | None = None
    note, confidence = "", Confidence.MEDIUM
    for performed in _items(dataset, "00741216"):
        for content in _items(performed, "00741212"):
            name = _code(content, "0040A043")
            if name == _FINDING[0]:
                finding = _word(Finding, _code(content, "0040A168"))
            elif name == _COMMENT[0]:
                note = str(_value(content, "0040A160") or "")
            elif name == _CERTAINTY[0]:
                confidence = _word(Confidence, _code(content, "0040A168"))
    return None if finding is None else Result(finding=finding, note=note, confidence=confidence)


def result_dataset(result: Result) -> Json:
    """Return a result as an update holds it."""
    contents = [_coded(_FINDING, result.finding), _coded(_CERTAINTY, result.confidence)]
    if result.note:
        contents.append(
            {
                "0040A043": _code_item(*_COMMENT, "DCM"),
                "0040A040": element("CS", "TEXT"),
                "0040A160": element("UT", result.note),
            }
        )
    return {"00741216": element("SQ", {"00741212": element("SQ", *contents)})}


def parse(body: bytes) -> Json:
    """Return the one dataset of a DICOM JSON body."""
    try:
        found = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise RequestError("the body is not JSON") from None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        raise RequestError("the body is not one DICOM JSON dataset")
    return found


def performer_code(reader: str) -> Json:
    """Return (0040,4009) *Human Performer Code Sequence* for a reader."""
    return _code_item(reader, reader, SCHEME)


def _plain_code(item: Mapping[str, Any]) -> Json:
    """Return a coded entry with what identifies it, and nothing else of what was sent."""
    parts = (("00080100", "SH"), ("00080102", "SH"), ("00080104", "LO"))
    return {tag: element(vr, str(_value(item, tag) or "")[:64]) for tag, vr in parts}


def _performed(workitem: Workitem, read_at: datetime) -> Json:
    result = Result(
        finding=Finding(str(workitem.verdict)),
        note=workitem.note or "",
        confidence=Confidence(str(workitem.confidence)),
    )
    item: Json = dict(result_dataset(result)["00741216"]["Value"][0])
    begun = workitem.claimed_at or read_at
    item["00404050"] = element("DT", begun.strftime(_DATETIME))
    item["00404051"] = element("DT", read_at.strftime(_DATETIME))
    item["00404033"] = element("SQ")
    return item


def _coded(name: tuple[str, str], value: str) -> Json:
    return {
        "0040A040": element("CS", "CODE"),
        "0040A043": _code_item(*name, "DCM"),
        "0040A168": _code_item(str(value), str(value).replace("_", " "), SCHEME),
    }


def _code_item(code: str, meaning: str, scheme: str) -> Json:
    """Return a coded entry; a code of more than 16 characters is a Long Code Value (PS3.3 8.1)."""
    value = {"00080100": element("SH", code)} if len(code) <= _SH_MAX else {"00080119": element("UC", code)}
    return element("SQ", value | {"00080102": element("SH", scheme), "00080104": element("LO", meaning)})


def element(vr: str, *values: object) -> Json:
    """Return an element in DICOM JSON, without the values that are empty."""
    present = [value for value in values if value not in (None, "")]
    return {"vr": vr, "Value": present} if present else {"vr": vr}


def _value(dataset: Mapping[str, Any], tag: str) -> object:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _items(dataset: Mapping[str, Any], tag: str) -> Iterator[Json]:
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    for item in values if isinstance(values, list) else ():
        if isinstance(item, dict):
            yield item


def _code(content: Mapping[str, Any], tag: str) -> str:
    return next((str(_value(item, "00080100") or "") for item in _items(content, tag)), "")


def _word(kind: Any, word: str) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise RequestError(f"a result is coded in {SCHEME} by one of {', '.join(kind)}") from None


def _listed(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.replace("\\", ",").split(","))


def _state(word: str) -> State:
    try:
        return State(word.strip())
    except ValueError:
        raise RequestError(f"a Procedure Step State is one of {', '.join(State)}") from None


def _time(text: str, *, is_end: bool = False) -> datetime:
    """Return the beginning of what a DICOM date or time names, or for the end of a range its end."""
    digits, _, fraction = text.partition(".")
    forms = {
        8: ("%Y%m%d", timedelta(days=1)),
        12: ("%Y%m%d%H%M", timedelta(minutes=1)),
        14: ("%Y%m%d%H%M%S", timedelta(seconds=1)),
    }
    try:
        form, span = forms[len(digits)]
        found = datetime.strptime(digits, form).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        raise RequestError("a time is written YYYYMMDD or YYYYMMDDHHMMSS, a range with a dash between") from None
    if fraction:
        return found + timedelta(seconds=float(f"0.{fraction}") if fraction.isdecimal() else 0.0)
    return found + span if is_end else found
