"""The answer to a store in the media type that its sender wants: DICOM JSON, or the Native DICOM Model (PS3.19 A.1).

A sender that takes neither is told so (``406``, PS3.18 section 8.7.8) before anything is read: nothing is stored then, and
nothing acknowledged. What is stored is never answered with an error.
"""

from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.datadict import keyword_for_tag

from service.errors import NotAcceptableError

JSON = "application/dicom+json"
XML = "application/dicom+xml"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

#: What is offered under which names, the better first.
_OFFERS = {JSON: (JSON, "application/json"), XML: (XML, "application/xml")}


def wanted(accept: str) -> str:
    """Return the media type to answer in (RFC 9110 section 12.5.1), JSON where it is as welcome."""
    ranges = _ranges(accept) or {"*/*": 1.0}
    best = max(_OFFERS, key=lambda offer: _quality(ranges, offer))
    if _quality(ranges, best) <= 0:
        raise NotAcceptableError(f"the answer is given as {JSON} or {XML}; nothing was stored")
    return best


def native_xml(dataset: dict[str, Any]) -> bytes:
    """Return a data set of DICOM JSON as Native DICOM Model."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _fill(root, dataset)
    return tostring(root, encoding="utf-8", xml_declaration=True)


def _fill(parent: Element, dataset: dict[str, Any]) -> None:
    for tag, element in sorted(dataset.items()):
        attribute = SubElement(
            parent, "DicomAttribute", {"tag": tag, "vr": element["vr"], "keyword": keyword_for_tag(int(tag, 16))}
        )
        for number, value in enumerate(element["Value"], 1):
            if element["vr"] == "SQ":
                _fill(SubElement(attribute, "Item", {"number": str(number)}), value)
            else:
                SubElement(attribute, "Value", {"number": str(number)}).text = str(value)


def _ranges(accept: str) -> dict[str, float]:
    """Return the quality of each media range."""
    ranges: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        if name:
            ranges[name] = max((_weight(word) for word in parameters if word.startswith("q=")), default=1.0)
    return ranges


def _weight(parameter: str) -> float:
    try:
        return min(max(0.0, float(parameter.removeprefix("q="))), 1.0)
    except ValueError:
        return 1.0


def _quality(ranges: dict[str, float], offer: str) -> float:
    """Return how welcome an offer is: the most exact range that names it decides."""
    exact = [ranges[name] for name in _OFFERS[offer] if name in ranges]
    return max(exact) if exact else ranges.get("application/*", ranges.get("*/*", 0.0))
