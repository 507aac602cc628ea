"""The front door: what is stored, what is refused, and how each is told."""

import gzip
import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from dicomweb_client.web import _load_xml_dataset
from pydicom.dataset import Dataset

from tests.service_support import make_dicom, related, uid_of

STOW = "/dicom-web/studies"


def post(service: Any, *parts: bytes, site: str = "north", path: str = STOW, **options: Any) -> Any:
    body, content_type = related(list(parts), **options)
    return service.client(site).post(path, content=body, headers={"Content-Type": content_type})


def counts(service: Any) -> dict[str, int]:
    return {name: service.rows(f"SELECT count(*) FROM {name}")[0][0] for name in ("studies", "instances", "workitems")}


def test_a_stored_instance_is_on_the_worklist_from_the_same_transaction(service: Any) -> None:
    answer = post(service, make_dicom())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert counts(service) == {"studies": 1, "instances": 1, "workitems": 1}
    kinds = [row[0] for row in service.rows("SELECT kind FROM ledger ORDER BY sequence")]
    assert kinds[-1] == "instance_stored"


@pytest.mark.parametrize(
    "options",
    [{"quoted": False}, {"preamble": b"\r\n"}, {"preamble": b"a text before\r\n"}, {"boundary": "a-b:c/d=e"}],
    ids=str,
)
def test_every_way_of_writing_multipart_is_understood(service: Any, options: dict[str, Any]) -> None:
    data = [make_dicom(), make_dicom()]
    assert post(service, *data, **options).status_code == 200
    assert counts(service)["instances"] == 2


def test_a_chunked_body_is_understood_however_it_is_cut(service: Any) -> None:
    body, content_type = related([make_dicom(), make_dicom()])
    for size in (1, 7, 4096):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        answer = service.client("north").post(STOW, content=pieces, headers={"Content-Type": content_type})
        assert answer.status_code == 200, answer.text
    assert counts(service)["instances"] == 2


@pytest.mark.parametrize("cut", [1, 4, 6, 10, 200])
def test_a_truncated_body_stores_nothing(service: Any, cut: int) -> None:
    body, content_type = related([make_dicom(), make_dicom()])
    answer = service.client("north").post(STOW, content=body[:-cut], headers={"Content-Type": content_type})
    if cut <= 2:  # only the line break after the end boundary is missing
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert counts(service) == {"studies": 0, "instances": 0, "workitems": 0}


def test_the_same_bytes_again_are_a_success_and_change_nothing(service: Any) -> None:
    data = make_dicom()
    first, ledger = post(service, data), service.rows("SELECT count(*) FROM ledger")
    again = post(service, data)
    assert again.status_code == 200
    assert again.json() == first.json()
    assert counts(service) == {"studies": 1, "instances": 1, "workitems": 1}
    assert service.rows("SELECT count(*) FROM ledger") == ledger


def test_other_bytes_under_a_known_uid_are_a_conflict_and_both_digests_are_kept(service: Any) -> None:
    data = make_dicom()
    other = make_dicom(
        seed=1,
        SOPInstanceUID=uid_of(data, "SOPInstanceUID"),
        StudyInstanceUID=uid_of(data, "StudyInstanceUID"),
        SeriesInstanceUID=uid_of(data, "SeriesInstanceUID"),
    )
    assert post(service, data).status_code == 200
    answer = post(service, other)
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [272]
    assert "other bytes" in answer.headers["warning"]
    body = service.rows("SELECT body FROM ledger WHERE kind = 'instance_conflicted'")
    assert len(body) == 1
    assert '"refused"' in body[0][0]
    assert '"stored"' in body[0][0]
    service.clock.advance(60)
    service.settle()
    assert "conflicting_instances" in service.rows("SELECT reasons FROM studies")[0][0]
    post(service, other)
    assert service.rows("SELECT state, conflicts FROM studies") == [("decided", 2)], "a resend decides nothing again"


def test_a_mixture_is_answered_202_with_each_instances_own_fate(service: Any) -> None:
    answer = post(service, make_dicom(), b"not dicom at all" * 40, make_dicom(SOPInstanceUID=None))
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert len(answer.json()["0008119A"]["Value"]) == 2
    assert answer.json()["0008119A"]["Value"][0]["00081197"]["Value"] == [0xC000]


def test_the_same_answer_is_given_in_xml_to_who_asks_for_it(service: Any) -> None:
    first = make_dicom()
    uids = {name: uid_of(first, name) for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")}
    for parts, status in (
        ([first, b"not dicom at all" * 40], 202),
        ([first], 200),
        ([make_dicom(seed=1, **uids)], 409),
        ([b"hello" * 99], 400),
    ):
        body, content_type = related(parts)
        plain, xml = (
            service.client("north").post(STOW, content=body, headers={"Content-Type": content_type, "Accept": accept})
            for accept in ("*/*", "application/dicom+xml")
        )
        assert (plain.status_code, xml.status_code) == (status, status)
        assert xml.headers["content-type"] == "application/dicom+xml"
        assert xml.headers.get("warning") == plain.headers.get("warning")
        assert _load_xml_dataset(fromstring(xml.content)) == Dataset.from_json(plain.json())


def test_an_instance_of_another_study_than_the_path_names_is_refused(service: Any) -> None:
    data = make_dicom()
    answer = post(service, data, path=f"{STOW}/1.2.3")
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA901]
    assert post(service, data, path=f"{STOW}/{uid_of(data, 'StudyInstanceUID')}").status_code == 200


def test_a_dangerous_preamble_is_zeroed_and_the_digest_of_what_was_sent_is_kept(service: Any) -> None:
    data = make_dicom(preamble=b"MZ" + b"\x90" * 126)
    assert post(service, data).status_code == 200
    digest, sent = service.rows("SELECT digest, sent_digest FROM instances")[0]
    assert digest != sent
    assert bytes(service.app.state.decider.storage.view(digest)[:132]) == bytes(128) + b"DICM"
    assert post(service, data).status_code == 200, "the same dangerous bytes again are the same instance"


def test_a_tiff_preamble_stays(service: Any) -> None:
    post(service, make_dicom(preamble=b"II*\0" + bytes(124)))
    digest, sent = service.rows("SELECT digest, sent_digest FROM instances")[0]
    assert digest == sent


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": 'multipart/related; type="image/png"; boundary=b'}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": "application/dicom", "Content-Encoding": "gzip"}, 415),
        ({"Content-Type": "application/dicom", "Accept": "text/html"}, 406),
        ({"Content-Type": "application/dicom", "Accept": "application/dicom+json;q=0"}, 406),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(service: Any, headers: dict[str, str], status: int) -> None:
    content = gzip.compress(make_dicom()) if "Content-Encoding" in headers else make_dicom()
    answer = service.client("north").post(STOW, content=content, headers=headers)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert counts(service)["instances"] == 0


def test_a_body_over_the_limit_is_refused_and_nothing_is_left_behind(start: Callable[..., Any], tmp_path: Any) -> None:
    service = start(instance_bytes_max=4096)
    answer = service.client("north").post(STOW, content=make_dicom(), headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 413
    assert list((tmp_path / "files" / "incoming").iterdir()) == []


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_request_over_the_limit_is_refused(start: Callable[..., Any], is_announced: bool) -> None:
    service = start(request_bytes_max=10_000)
    body, content_type = related([make_dicom(), make_dicom()])
    content = body if is_announced else iter([body[:9_000], body[9_000:]])
    answer = service.client("north").post(STOW, content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    assert counts(service)["instances"] == 0


def test_a_request_of_too_many_parts_is_refused(start: Callable[..., Any]) -> None:
    service = start(request_parts_max=2)
    assert post(service, make_dicom(), make_dicom(), make_dicom()).status_code == 413
    assert counts(service)["instances"] == 0
    assert post(service, make_dicom(), make_dicom()).status_code == 200


def test_a_part_of_another_type_is_refused_with_the_whole_request(service: Any) -> None:
    body, content_type = related([make_dicom(), make_dicom()])
    at = body.rindex(b"application/dicom")
    other = body[:at] + b"application/json " + body[at + 17 :]
    answer = service.client("north").post(STOW, content=other, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["detail"]) == (415, "a part is not application/dicom")
    assert counts(service)["instances"] == 0


def test_parts_may_say_their_length(service: Any) -> None:
    data = make_dicom()
    body, content_type = related([data, make_dicom()])
    told = body.replace(b"\r\n\r\n", f"\r\nContent-Length: {len(data)}\r\n\r\n".encode(), 1)
    assert told != body
    answer = service.client("north").post(STOW, content=told, headers={"Content-Type": content_type})
    assert answer.status_code == 200
    assert counts(service)["instances"] == 2


@pytest.mark.parametrize("kind", ["application/dicom", "application/octet-stream"])
def test_one_bare_instance_is_stored_too(service: Any, kind: str) -> None:
    answer = service.client("north").post(STOW, content=make_dicom(), headers={"Content-Type": kind})
    assert (answer.status_code, len(answer.json()["00081199"]["Value"])) == (200, 1)
    assert service.client("north").post(STOW, content=b"", headers={"Content-Type": kind}).status_code == 400


def test_a_nearly_full_disk_is_told_before_anything_is_lost(start: Callable[..., Any]) -> None:
    service = start(reserve_bytes=1 << 60)
    answer = post(service, make_dicom())
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert counts(service)["instances"] == 0
    assert service.client().get("/readyz").status_code == 503


def test_a_site_that_sends_too_much_is_asked_to_wait(start: Callable[..., Any]) -> None:
    service = start(site_requests_per_minute=2)
    assert [post(service, make_dicom()).status_code for _ in range(3)] == [200, 200, 429]
    assert post(service, make_dicom(), site="south").status_code == 200, "another site is not held up"


def test_a_site_that_sends_too_many_bytes_is_asked_to_wait(start: Callable[..., Any]) -> None:
    service = start(site_bytes_per_minute=5000)
    assert [post(service, make_dicom()).status_code for _ in range(2)] == [200, 429]
    assert post(service, make_dicom(), site="south").status_code == 200, "another site is not held up"


def test_a_script_gets_the_decision_at_once(service: Any) -> None:
    client = service.client("north")
    answer = client.post("/v1/studies", content=make_dicom(), headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 201
    assert answer.json()["decision"] == "IDK"
    assert answer.json()["reasons"] == ["no_bundle"]
    found = client.get(answer.headers["location"])
    assert found.json() == answer.json()


def test_a_file_that_is_not_dicom_is_acknowledged_nothing(service: Any) -> None:
    answer = service.client("north").post(
        "/v1/studies", content=b"hello", headers={"Content-Type": "application/dicom"}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"] == "not a DICOM file"
    assert counts(service) == {"studies": 0, "instances": 0, "workitems": 0}


def test_two_sites_may_use_the_same_uids_without_knowing(service: Any) -> None:
    data = make_dicom()
    assert post(service, data, site="north").status_code == 200
    assert post(service, data, site="south").status_code == 200
    assert counts(service) == {"studies": 2, "instances": 2, "workitems": 2}


def test_a_study_whose_images_name_different_patients_is_read(service: Any) -> None:
    first = make_dicom(PatientID="P-1")
    second = make_dicom(PatientID="P-2", StudyInstanceUID=uid_of(first, "StudyInstanceUID"))
    assert post(service, first, second).status_code == 200
    service.clock.advance(60)
    service.settle()
    assert service.rows("SELECT conflicts, reasons FROM studies") == [(1, "conflicting_instances no_bundle")]


@pytest.mark.parametrize(
    ("elements", "age_years", "shown"),
    [
        ({"PatientAge": "050Y", "PatientBirthDate": None}, 50.0, "50 y F"),
        ({"PatientAge": "018M", "PatientBirthDate": None}, 1.5, "1 y F"),
        ({"PatientAge": None, "PatientBirthDate": "19760102"}, 50.0, "50 y F"),
        ({"PatientAge": "050Y", "PatientBirthDate": "19600102"}, None, "66 y F"),
        ({"PatientAge": "old", "PatientBirthDate": None}, None, "F"),
    ],
)
def test_the_worklist_shows_the_age_that_a_film_tells(
    service: Any, elements: dict[str, Any], age_years: float | None, shown: str
) -> None:
    with warnings.catch_warnings(action="ignore"):  # pydicom, of what is no age
        data = make_dicom(**elements)
    assert post(service, data).status_code == 200
    assert service.rows("SELECT age_years FROM studies") == [(age_years and pytest.approx(age_years, abs=0.01),)]
    page = service.client("rita").get("/worklist").text
    assert re.search(rf"<td[^>]*>{shown}</td>", page), page
