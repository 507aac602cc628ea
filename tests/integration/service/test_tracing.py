"""Spans as a collector gets them: a tree per request, links to the sender's, and no request that waits for a collector."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service.tracing import Tracing
from tests.collector import Collector, collecting
from tests.integration.service.conftest import Service
from tests.service_support import make_dicom

DICOM = {"Content-Type": "application/dicom"}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def traced(start: Callable[..., Service], collector: Collector) -> Iterator[Service]:
    service = start(otlp_endpoint=collector.url)
    yield service
    service.app.state.runtime.tracing.close()


def sent(service: Service) -> None:
    """Have everything sent that has been recorded."""
    service.app.state.runtime.tracing.close()


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_a_request_is_the_parent_of_its_stages(traced: Service, collector: Collector) -> None:
    answer = traced.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM)
    assert answer.status_code == 201
    sent(traced)
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"POST /v1/studies", "store", "decide", "settle"}
    request = spans["POST /v1/studies"]
    assert request.kind == Span.SPAN_KIND_SERVER
    assert not request.parent_span_id
    assert attributes(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/studies",
        "http.response.status_code": 201,
    }
    assert spans["store"].parent_span_id == spans["decide"].parent_span_id == request.span_id
    assert spans["settle"].parent_span_id == spans["decide"].span_id
    assert {span.trace_id for span in spans.values()} == {request.trace_id}
    for name in ("store", "decide", "settle"):
        assert attributes(spans[name]) == {"demur.study": answer.json()["id"]}


def test_the_time_in_the_engine_stands_image_by_image(collector: Collector) -> None:
    since = 1_700_000_000_000_000_000
    tracing = Tracing.open(collector.url, "0")
    with tracing.stage("decide", "a study"):
        tracing.past([("decode", 0.25), ("infer", 0.5)], "a study", since_ns=since)
    tracing.close()
    spans = {span.name: span for span in collector.spans}
    assert (spans["decode"].start_time_unix_nano, spans["decode"].end_time_unix_nano) == (since, since + 250_000_000)
    assert (spans["infer"].start_time_unix_nano, spans["infer"].end_time_unix_nano) == (
        since + 250_000_000,
        since + 750_000_000,
    )
    assert spans["infer"].parent_span_id == spans["decode"].parent_span_id == spans["decide"].span_id


def test_a_study_that_is_decided_later_has_a_trace_of_its_own(traced: Service, collector: Collector) -> None:
    traced.client("north").post("/dicom-web/studies", content=make_dicom(), headers=DICOM)
    traced.clock.advance(60)
    traced.settle()
    sent(traced)
    spans = {span.name: span for span in collector.spans}
    assert not spans["decide"].parent_span_id
    assert spans["decide"].trace_id != spans["POST /dicom-web/studies"].trace_id


def test_the_senders_trace_is_linked_and_not_joined(traced: Service, collector: Collector) -> None:
    headers = {
        "traceparent": f"00-{TRACE}-{PARENT}-00",
        "tracestate": "vendor=MUSTERMANN",
        "baggage": "patient=MUSTERMANN",
    }
    traced.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM | headers)
    sent(traced)
    request = next(span for span in collector.spans if span.name == "POST /v1/studies")
    assert request.trace_id.hex() != TRACE
    assert [(link.trace_id.hex(), link.span_id.hex(), link.trace_state) for link in request.links] == [
        (TRACE, PARENT, "")
    ]
    assert b"MUSTERMANN" not in b"".join(body for _, body in collector.bodies)


@pytest.mark.parametrize(
    "value", ["00-patient-name", f"00-{'0' * 32}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-MUSTERMANN"]
)
def test_a_malformed_trace_of_a_sender_is_passed_over(traced: Service, collector: Collector, value: str) -> None:
    traced.client("north").get("/v1/studies/1", headers={"traceparent": value})
    sent(traced)
    (request,) = collector.spans
    assert not request.links


def test_a_path_that_no_route_has_and_a_method_that_none_knows_are_not_repeated(
    traced: Service, collector: Collector
) -> None:
    traced.client("north").request("MUSTERMANN", "/studies/MUSTERMANN?PatientName=MUSTERMANN")
    sent(traced)
    assert [span.name for span in collector.spans] == ["_OTHER unmatched"]
    assert b"MUSTERMANN" not in b"".join(body for _, body in collector.bodies)


def test_of_a_fault_its_kind_is_told_and_not_its_text(
    traced: Service, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("MUSTERMANN")

    monkeypatch.setattr("service.ingest.workflow.receive", fail)
    answer = traced.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM)
    assert answer.status_code == 500
    sent(traced)
    spans = {span.name: span for span in collector.spans}
    assert spans["store"].status.code == spans["POST /v1/studies"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["store"]) == {"error.type": "KeyError"}
    assert not spans["store"].events
    assert b"MUSTERMANN" not in b"".join(body for _, body in collector.bodies)


def test_machines_that_ask_whether_it_lives_leave_no_spans(traced: Service, collector: Collector) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert traced.client("anna").get(path).status_code == 200
    sent(traced)
    assert collector.spans == []


def test_no_request_waits_for_a_collector_that_does_not_answer(
    start: Callable[..., Service], collector: Collector
) -> None:
    collector.is_open.clear()
    service = start(otlp_endpoint=collector.url)
    for number in range(600):  # more than go out at once, so that the sender of spans is held
        assert service.client("north").get(f"/v1/studies/{number}").status_code == 404
    assert service.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM).status_code == 201
    assert collector.bodies == []


def test_a_collector_that_is_away_breaks_nothing(start: Callable[..., Service]) -> None:
    service = start(otlp_endpoint="http://127.0.0.1:9")
    assert service.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM).status_code == 201
    sent(service)
    assert service.client("north").get("/healthz").status_code == 200


def test_stages_are_counted_without_a_collector_too(service: Service) -> None:
    service.client("north").post("/v1/studies", content=make_dicom(), headers=DICOM)
    told = service.client("anna").get("/metrics").text
    for stage in ("store", "decide", "settle"):
        assert f'demur_stage_seconds_count{{stage="{stage}"}}' in told
