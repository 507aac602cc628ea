"""The application: settings in, an ASGI application out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import metrics, problems, schema
from service.access.provider import Provider, Registration
from service.access.routes import Auditor
from service.access.workflow import digest_of, new_secret
from service.audit.routes import router as audit_router
from service.database import Database
from service.ingest.gate import Gate
from service.ingest.routes import router as ingest_router
from service.records.keeper import Keeper
from service.records.routes import router as records_router
from service.retrieve.routes import router as retrieve_router
from service.retrieve.workflow import Renderer
from service.runtime import Runtime
from service.settings import Settings
from service.sites import store as site_store
from service.sites.workflow import RANKS
from service.storage.workflow import Folder, Storage
from service.tracing import Tracing
from service.triage import store as triage_store
from service.triage.decider import Decider
from service.triage.judge import Judge
from service.triage.routes import router as triage_router
from service.watch import workflow as watch
from service.watch.routes import router as watch_router
from service.web.routes import router as web_router
from service.worklist import store as worklist_store
from service.worklist.channel import Channels
from service.worklist.event_routes import router as event_router
from service.worklist.routes import router as worklist_router

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
#: Everything comes from here, nothing may be framed, and an answer of another type than it says is not believed.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def create_app(
    settings: Settings,
    *,
    judge: Judge | None = None,
    reader_token: str | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> FastAPI:
    """Return the service: it migrates its database, verifies its bundle, and decides while it runs."""
    registration = Registration.of(settings)
    database = Database(settings.database)
    schema.upgrade(database)
    storage = open_storage(settings)
    tracing = Tracing.open(settings.otlp_endpoint, VERSION)
    decider = Decider(database, storage, judge or Judge(), settings, clock, tracing)
    keeper = Keeper(database, storage, clock, retention_days=settings.retention_days)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(decider.run()), asyncio.create_task(keeper.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(decider.close)
            decider.judge.close()
            app.state.renderer.close()
            database.close()
            await asyncio.to_thread(tracing.close)

    # FastAPI's own spans, measures and logs tell paths, queries and texts of errors, and so UIDs and names. Ours do not.
    app = FastAPI(
        title="Demur",
        version=VERSION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.runtime = Runtime(settings=settings, database=database, clock=clock, tracing=tracing)
    app.state.decider = decider
    app.state.keeper = keeper
    app.state.renderer = Renderer()
    app.state.channels = Channels(at_once=settings.channels_max)
    app.state.provider = Provider(registration, clock) if registration is not None else None
    app.state.reader_token_digest = digest_of(reader_token or new_secret())
    app.state.gate = open_gate(settings)
    problems.install(app)
    app.include_router(audit_router)
    app.include_router(ingest_router)
    app.include_router(records_router)
    app.include_router(retrieve_router)
    app.include_router(triage_router)
    app.include_router(worklist_router)
    app.include_router(event_router)
    app.include_router(watch_router)
    app.include_router(web_router)
    _add_health(app)
    app.add_middleware(Edge, tracing=tracing)
    return app


def open_storage(settings: Settings) -> Storage:
    """Return the place for files that the settings name."""
    if settings.storage.startswith("s3://"):
        from service.storage.bucket import Bucket

        return Bucket.open(settings)
    return Folder(Path(settings.storage), reserve_bytes=settings.reserve_bytes)


def open_gate(settings: Settings) -> Gate:
    """Return the gate that the settings describe."""
    return Gate(
        at_once=settings.requests_max,
        per_minute=settings.site_requests_per_minute,
        bytes_per_minute=settings.site_bytes_per_minute,
    )


class Edge:
    """The outermost layer: security headers, timing, and a log line and span with the route's template, never its path."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in SECURITY_HEADERS.items()
                        if name.encode() not in present
                    ),
                ]
            await send(message)

        with self._tracing.request(scope) as answered:
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                answered(route, status)
                elapsed = time.perf_counter() - started
                metrics.REQUESTS.labels(route, str(status)).observe(elapsed)
                fields = {"action": "request", "route": route, "status": status, "elapsed_ms": round(elapsed * 1000, 1)}
                logger.debug("request served", extra=fields)


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Say that the process lives."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["operation"], responses={503: {}})
    def readyz(request: Request) -> Response:
        """Say whether studies can be taken in.

        Ready means that database and storage take writes. The bundle's golden films were checked before the process
        began to listen; without a bundle the service is ready too, since it then takes in every study and calls each IDK.
        """
        decider: Decider = request.app.state.decider
        checks = {"database": _works(lambda: _write_once(decider)), "storage": _works(decider.storage.check)}
        bundle = decider.judge.words(app.state.runtime.clock())
        is_ready = all(checks.values())
        words = {name: "ok" if good else "failed" for name, good in checks.items()}
        return JSONResponse({"ready": is_ready, "bundle": bundle, **words}, status_code=200 if is_ready else 503)

    @app.get("/metrics", tags=["operation"], include_in_schema=False)
    def metrics_page(_principal: Auditor) -> Response:
        """Give the counters to Prometheus, which presents an auditor's token: they tell what each site sends."""
        _look_up(app.state.runtime, app.state.decider.judge.bundle)
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


def _look_up(runtime: Runtime, bundle: str) -> None:
    """Set the gauges to what stands in the database."""
    with runtime.database.reading() as connection:
        items, studies = worklist_store.counts(connection), triage_store.counts(connection)
        sites = site_store.every(connection)
        watches = watch.standings(connection, bundle=bundle)
    for gauge in (metrics.WORKITEMS, metrics.OLDEST, metrics.UNDECIDED, metrics.SITE_MODE, *watch.GAUGES):
        gauge.clear()
    for site, state, count, oldest in items:
        metrics.WORKITEMS.labels(site, state).set(count)
        metrics.OLDEST.labels(site, state).set((runtime.clock() - oldest).total_seconds())
    for state, count in studies:
        metrics.UNDECIDED.labels(state).set(count)
    for site in sites:
        metrics.SITE_MODE.labels(site.name).set(RANKS.index(site.under(bundle).mode))
    for standing in watches:
        watch.show(standing)


def _write_once(decider: Decider) -> None:
    with decider.database.writing() as connection:
        connection.exec_driver_sql("SELECT 1")


def _works(check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception as fault:  # noqa: BLE001 - whatever it is, the answer is not ready
        logger.warning("not ready", extra={"action": "not_ready", "fault": type(fault).__name__})
        return False
    return True
