"""Where time goes: a histogram of every stage, and OpenTelemetry spans where an endpoint for them is configured.

Invariants:

- Without an endpoint nothing of the SDK is imported and no span is made.
- A span says what was done and how long it took. Of a patient it carries at most our own id of the study: no path, query,
  header or text of an error, and so no UID, name or number.
- A thread of its own sends spans from a queue that is bounded: a collector that is slow or away costs spans, never a request.
- A sender's ``traceparent`` becomes a link and not the parent: whoever posts decides neither what is recorded here nor into
  which trace it goes. Its ``tracestate`` and ``baggage``, which are free text, are not looked at.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from starlette.types import Scope

from service import metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Tracer

#: How long the end of the process waits for the last spans to leave.
_CLOSE_S = 3.0
_EXPORT_S = 5.0
_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))
#: Asked for every few seconds by machines; nobody looks for them in a trace.
_UNTRACED = frozenset(("/healthz", "/readyz", "/metrics"))

#: Takes a route's template and a status.
Answered = Callable[[str, int], None]
#: Takes our id of the study that a stage turned out to be about.
About = Callable[[str], None]


class Tracing:
    """Times stages; makes spans of them if it has a provider."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("demur")

    @classmethod
    def open(cls, endpoint: str | None, version: str) -> Self:
        """Send spans to a collector (OTLP over HTTP); to nowhere without an endpoint."""
        if endpoint is None:
            return cls()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({"service.name": "demur", "service.version": version})
        provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    @contextlib.contextmanager
    def request(self, scope: Scope) -> Iterator[Answered]:
        """Make a span of an HTTP request; give the function that takes its route and status."""
        if self._tracer is None or scope["path"] in _UNTRACED:
            yield lambda _route, _status: None
            return
        from opentelemetry.trace import SpanKind, StatusCode

        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        with self._tracer.start_as_current_span(
            method,
            kind=SpanKind.SERVER,
            links=_links(scope),
            attributes={"http.request.method": method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def answered(route: str, status: int) -> None:
                span.update_name(f"{method} {route}")
                span.set_attributes({"http.route": route, "http.response.status_code": status})
                if status >= 500:
                    span.set_status(StatusCode.ERROR)

            yield answered

    @contextlib.contextmanager
    def stage(self, name: str, study_id: str = "") -> Iterator[About]:
        """Time a stage within the span under way; give the function that takes its study, if that comes out later."""
        started = time.perf_counter()
        try:
            if self._tracer is None:
                yield lambda _study_id: None
                return
            from opentelemetry.trace import StatusCode

            with self._tracer.start_as_current_span(
                name, attributes=_attributes(study_id), record_exception=False, set_status_on_exception=False
            ) as span:
                try:
                    yield lambda study_id: span.set_attributes(_attributes(study_id))
                except BaseException as fault:
                    span.set_attribute("error.type", type(fault).__name__)
                    span.set_status(StatusCode.ERROR)
                    raise
        finally:
            metrics.STAGES.labels(name).observe(time.perf_counter() - started)

    def past(self, stages: list[tuple[str, float]], study_id: str, *, since_ns: int) -> None:
        """Write down stages, in seconds, that came one after the other since a time of ``time.time_ns``."""
        for name, seconds in stages:
            metrics.STAGES.labels(name).observe(seconds)
            if self._tracer is not None:
                span = self._tracer.start_span(name, attributes=_attributes(study_id), start_time=since_ns)
                since_ns += round(seconds * 1e9)
                span.end(since_ns)

    def close(self) -> None:
        """Send what is left, as far as the collector takes it in good time."""
        if self._provider is not None:
            # The provider itself would wait half a minute for a collector that is away.
            last = threading.Thread(target=self._provider.shutdown, daemon=True)
            last.start()
            last.join(_CLOSE_S)


def _attributes(study_id: str) -> dict[str, Any]:
    return {"demur.study": study_id} if study_id else {}


def _links(scope: Scope) -> "list[Link]":
    """Return a link to the span of the sender that a well-formed ``traceparent`` names."""
    from opentelemetry.trace import Link, SpanContext

    for name, value in scope["headers"]:
        if name == b"traceparent" and (found := _TRACEPARENT.fullmatch(value)):
            context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True)
            return [Link(context)] if context.is_valid else []
    return []
