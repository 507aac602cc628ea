"""Who saw what, in the shape of FHIR R4 AuditEvent."""

from typing import Any

from service.access.store import SeenEvent

Json = dict[str, Any]


def audit_event(event: SeenEvent) -> Json:
    """Return one event: DICOM Instances Accessed (PS3.15 A.5.3.7), the study by its internal id."""
    return {
        "resourceType": "AuditEvent",
        "id": event.id,
        "type": {
            "system": "http://dicom.nema.org/resources/ontology/DCM",
            "code": "110103",
            "display": "DICOM Instances Accessed",
        },
        "subtype": [{"display": event.action}],
        "action": "R",
        "recorded": event.at.isoformat(),
        "outcome": "0",
        "agent": [{"altId": event.who, "requestor": True, "role": [{"text": role} for role in event.role.split()]}],
        "source": {"observer": {"display": "Demur"}},
        "entity": [
            {
                "what": {"identifier": {"value": event.study_id}},
                "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2"},
                "detail": [{"type": "site", "valueString": event.site_id}],
            }
        ],
    }


def bundle_of(events: list[SeenEvent]) -> Json:
    """Return events as a FHIR searchset."""
    entries = [{"resource": audit_event(event)} for event in events]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}
