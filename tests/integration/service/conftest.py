"""A service in this process, on SQLite and on PostgreSQL."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from calibration.certificate import Certificate, certify
from calibration.scores import score_table
from calibration.terms import Terms
from service.access.workflow import Role, issue_token
from service.app import create_app
from service.database import Database
from service.settings import Settings
from service.sites.workflow import add_site
from service.triage.judge import Judge


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class Service:
    """A running service, its clients by who they are, and a clock in the test's hands."""

    app: Any
    clock: Clock
    settings: Settings
    stack: ExitStack
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def database(self) -> Database:
        return self.app.state.runtime.database

    def client(self, name: str = "") -> TestClient:
        """Return a client that presents somebody's token; nobody's without a name."""
        client = TestClient(self.app, raise_server_exceptions=False)
        if name:
            client.headers["Authorization"] = f"Bearer {self.tokens[name]}"
        self.stack.callback(client.close)
        return client

    def add_site(self, name: str, **values: Any) -> None:
        with self.database.writing() as connection:
            _, token = add_site(
                connection, name, audit_probability=values.get("audit_probability", 0.0), now=self.clock()
            )
        self.tokens[name] = token

    def add_person(self, name: str, role: Role) -> None:
        with self.database.writing() as connection:
            self.tokens[name] = issue_token(connection, name=name, role=role, site_id=None, now=self.clock())

    def rows(self, query: str) -> list[Any]:
        with self.database.reading() as connection:
            return list(connection.execute(text(query)))

    def settle(self) -> None:
        """Decide what is due, and wait for it."""
        decider = self.app.state.decider
        decider.tick()
        decider.take_due()
        decider.wait()


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Callable[..., Service]]:
    """Return a function that starts the service, with a judge and settings of choice."""
    with ExitStack() as stack:

        def begin(judge: Judge | None = None, **settings: Any) -> Service:
            chosen = Settings(database=database_url, storage=str(tmp_path / "files"), **settings)
            clock = Clock()
            app = create_app(chosen, judge=judge, reader_token="reader-token", clock=clock)
            app.state.decider.rng = random.Random(7)
            stack.callback(app.state.runtime.database.close)
            stack.callback(app.state.decider.close)
            service = Service(app=app, clock=clock, settings=chosen, stack=stack)
            service.add_site("north")
            service.add_site("south")
            service.add_person("rita", Role.READER)
            service.add_person("rolf", Role.READER)
            service.add_person("anna", Role.AUDITOR)
            service.add_person("ada", Role.ADMIN)
            return service

        yield begin


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    """Return a service without a bundle."""
    return start()


@pytest.fixture(scope="session")
def certificate_of() -> Callable[..., Any]:
    """Return a function that gives a real certificate: threshold 0, in date for the tests' clock."""

    def make(sites: tuple[str, ...] = ("north", "south")) -> Any:
        rows = [
            (site, label, n)
            for site in sites
            for label, count in (("abnormal", 60), ("healthy", 200))
            for n in range(count)
        ]
        columns = pa.table(
            {
                "study": [f"{site}-{label}-{n}" for site, label, n in rows],
                "patient": [f"{site}-{label}-{n}" for site, label, n in rows],
                "site": [site for site, _, _ in rows],
                "stratum": ["nodule" if label == "abnormal" else "" for _, label, _ in rows],
                "label": [label for _, label, _ in rows],
                "score": [0.0 if label == "abnormal" else -2.0 for _, label, _ in rows],
            }
        )
        issued = datetime(2026, 1, 1, tzinfo=UTC)
        terms = Terms(
            alpha=0.05,
            max_prevalence=0.3,
            min_healthy_acceptance=0.5,
            issued=issued,
            expires=issued + timedelta(days=365),
        )
        found = certify(score_table(columns), terms)
        assert isinstance(found, Certificate)
        return found

    return make
