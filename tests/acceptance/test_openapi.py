"""Requests made from the OpenAPI description, in this process: whatever is sent, no answer is a fault of our own."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from service.access.workflow import Role, issue_token
from service.app import create_app
from service.settings import Settings
from service.sites.workflow import add_site
from tests.service_support import make_dicom

schemathesis = pytest.importorskip("schemathesis")


class House:
    """A service with a study, and a token of each role."""

    def __init__(self, folder: Path) -> None:
        chosen = Settings(database=f"sqlite:///{folder / 'demur.sqlite'}", storage=str(folder / "files"), quiet_s=0.0)
        self.app = create_app(chosen, reader_token="a local sign-in")
        self.tokens: dict[str, str] = {}
        with self.app.state.runtime.database.writing() as connection:
            now = datetime.now(UTC)
            _, self.tokens["sender"] = add_site(connection, "north", audit_probability=0.0, now=now)
            for role in (Role.READER, Role.AUDITOR, Role.ADMIN):
                self.tokens[role] = issue_token(connection, name=role, role=role, site_id=None, now=now)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(tmp_path_factory.mktemp("openapi"))
        client = stack.enter_context(TestClient(made.app))
        headers = {"Authorization": f"Bearer {made.tokens['sender']}", "Content-Type": "application/dicom"}
        assert client.post("/v1/studies", content=make_dicom(), headers=headers).status_code == 201
        yield made
        made.app.state.runtime.database.close()


def test_no_request_that_the_description_allows_is_answered_by_a_fault(house: House) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", house.app)
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
        )
        @given(case=operation.as_strategy())
        def try_one(case: Any) -> None:
            for role, token in house.tokens.items():
                answer = case.call(headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code < 500, f"{role}: {answer.text}"

        try_one()
        tried.append(operation.label)
    assert len(tried) > 10


def test_the_description_names_every_route_of_the_programming_interface(house: House) -> None:
    described_paths = set(house.app.openapi()["paths"])
    # OpenAPI has no word for a WebSocket.
    served = {str(context.path) for context in iter_route_contexts(house.app.routes) if context.methods}
    assert {path for path in served if path.startswith(("/v1", "/dicom-web"))} <= described_paths
