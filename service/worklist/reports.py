"""Event reports in DICOM JSON: PS3.18 section 11.13, with the attributes of PS3.4 Table CC.2.4-1.

A report names a workitem and says what happened to it. It holds nothing of a patient.
"""

import json
from dataclasses import dataclass
from enum import IntEnum

from service.ledger.workflow import Kind
from service.worklist.feed import Event
from service.worklist.schemas import READY, UPS_PUSH, Json, element, performer_code
from service.worklist.states import State
from service.worklist.store import Workitem

#: (0000,0100) *Command Field* of an N-EVENT-REPORT request, and (0000,0800): a dataset follows.
_EVENT_REPORT, _WITH_DATASET = 0x0100, 0x0001
#: (0000,0110) *Message ID* has 16 bits.
_MESSAGES = 1 << 16


class EventType(IntEnum):
    """(0000,1002) *Event Type ID*."""

    #: The state of a workitem is this (now, or when somebody subscribed to it).
    STATE = 1
    #: Somebody asks its performer to cancel it.
    CANCEL_REQUESTED = 2
    #: Its performer has come so far.
    PROGRESS = 3
    #: The service itself restarted or goes down.
    SERVICE = 4
    #: It was given to somebody.
    ASSIGNED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One event report."""

    kind: EventType
    #: The UID of what it is about.
    about: str
    attributes: Json

    def text(self, message: int) -> str:
        """Return the payload of a frame; ``message`` counts the reports of a connection."""
        command: Json = {
            "00000002": element("UI", UPS_PUSH),
            "00000100": element("US", _EVENT_REPORT),
            "00000110": element("US", message % _MESSAGES),
            "00000800": element("US", _WITH_DATASET),
            "00001000": element("UI", self.about),
            "00001002": element("US", int(self.kind)),
        }
        return json.dumps(command | self.attributes, separators=(",", ":"))


def state_report(uid: str, state: str, *, reason: str | None = None) -> Report:
    """Return the report of a workitem's state."""
    attributes = {"00404041": element("CS", READY), "00741000": element("CS", state)}
    if reason:
        attributes["00741238"] = element("LT", reason)
    return Report(kind=EventType.STATE, about=uid, attributes=attributes)


def service_report(about: str, status: str) -> Report:
    """Return the report that the service is up again, with what it knew before, or goes down."""
    attributes = {"00741242": element("CS", status)}
    if status == "RESTARTED":
        attributes |= {"00741244": element("CS", "WARM START"), "00741246": element("CS", "WARM START")}
    return Report(kind=EventType.SERVICE, about=about, attributes=attributes)


def reports_of(event: Event, workitem: Workitem) -> list[Report]:
    """Return what is reported of something that happened; nothing of what DICOM has no report for."""
    if event.kind == Kind.WORKITEM and event.state is not None:
        is_canceled = event.state == State.CANCELED
        reports = [state_report(workitem.uid, event.state, reason=workitem.cancel_reason if is_canceled else None)]
        if event.state == State.IN_PROGRESS and workitem.reader:
            attributes = {"00404009": performer_code(workitem.reader)}
            reports.append(Report(kind=EventType.ASSIGNED, about=workitem.uid, attributes=attributes))
        return reports
    if event.kind == Kind.CANCEL_ASKED and workitem.cancel_request:
        asked: Json = json.loads(workitem.cancel_request)
        return [Report(kind=EventType.CANCEL_REQUESTED, about=workitem.uid, attributes=asked)]
    if event.kind in (Kind.VERDICT, Kind.UNDONE):
        percent, words = (100, "result given") if event.kind == Kind.VERDICT else (0, "result taken back")
        progress = {"00741004": element("DS", percent), "00741006": element("ST", words)}
        return [Report(kind=EventType.PROGRESS, about=workitem.uid, attributes={"00741002": element("SQ", progress)})]
    return []
