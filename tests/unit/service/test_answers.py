"""Which media type an answer is given in, and what it looks like as XML."""

from xml.etree.ElementTree import fromstring

import pytest

from service.errors import NotAcceptableError
from service.ingest.answers import JSON, NAMESPACE, XML, native_xml, wanted


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/dicom+xml", XML),
        ("application/xml", XML),
        ("Application/DICOM+XML", XML),
        ("application/dicom+xml, */*;q=0.1", XML),
        ("application/dicom+json;q=0.2, application/dicom+xml;q=0.9", XML),
        ("application/dicom+json, application/dicom+xml", JSON),
        ("application/dicom+json;q=0, */*", XML),
        ("text/html, application/xml ; q=0.9, */*;q=0.8", XML),
        ("application/dicom+xml;charset=utf-8;q=0.4, application/*;q=0.5", JSON),
        ("application/dicom+xml;q=nonsense", XML),
    ],
)
def test_the_more_welcome_type_is_given_and_json_where_both_are(accept: str, given: str) -> None:
    assert wanted(accept) == given


@pytest.mark.parametrize(
    "accept", ["text/html", "application/dicom", "*/*;q=0", "application/json;q=0, application/xml;q=nan", "image/*"]
)
def test_who_takes_neither_is_told_so(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="nothing was stored"):
        wanted(accept)


def test_an_element_is_an_attribute_with_its_keyword_and_numbered_values() -> None:
    data = {
        "00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}, {}]},
        "00081190": {"vr": "UR", "Value": ["https://demur/a?b=1&c=<2>"]},
    }
    root = fromstring(native_xml(data))
    name = lambda word: f"{{{NAMESPACE}}}{word}"  # noqa: E731 - a word in the model's namespace
    assert root.tag == name("NativeDicomModel")
    assert [element.attrib for element in root] == [
        {"tag": "00081190", "vr": "UR", "keyword": "RetrieveURL"},
        {"tag": "00081199", "vr": "SQ", "keyword": "ReferencedSOPSequence"},
    ]
    assert root[0].findtext(name("Value")) == "https://demur/a?b=1&c=<2>"
    assert [item.attrib["number"] for item in root[1]] == ["1", "2"]
    assert root[1][0][0].attrib == {"tag": "00081155", "vr": "UI", "keyword": "ReferencedSOPInstanceUID"}
    assert root[1][0][0].findtext(name("Value")) == "1.2.3"
