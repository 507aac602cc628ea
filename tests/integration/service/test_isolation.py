"""Every route with every role: who gets in, and that no site learns of another's studies."""

import base64
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.service_support import make_dicom, uid_of

OPEN = {"/healthz", "/readyz", "/metrics"}
#: What a role may call; everything else is 403.
ALLOWED = {
    "north": {"store", "look", "ask"},
    "rita": {"look", "read"},
    "anna": {"look", "ask", "audit"},
    "ada": {"ask", "audit", "keep"},
}


def routes(service: Any) -> list[tuple[str, str]]:
    found = []
    for path, operations in service.app.openapi()["paths"].items():
        found += [(method.upper(), path) for method in operations]
    return sorted(found)


def filled(path: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        path = path.replace("{" + name + "}", value)
    return path


@pytest.fixture
def names(service: Any) -> dict[str, str]:
    """Return the names of a study of the north as they stand in paths."""
    data = make_dicom()
    answer = service.client("north").post("/v1/studies", content=data, headers={"Content-Type": "application/dicom"})
    workitem, uid = service.rows("SELECT id, uid FROM workitems")[0]
    return {
        "study_id": answer.json()["id"],
        "workitem_id": workitem,
        "uid": uid,
        "study_instance_uid": uid_of(data, "StudyInstanceUID"),
        "series_instance_uid": uid_of(data, "SeriesInstanceUID"),
        "sop_instance_uid": uid_of(data, "SOPInstanceUID"),
        "frames": "1",
    }


def test_nobody_without_a_token_gets_anywhere(service: Any, names: dict[str, str]) -> None:
    for method, path in routes(service):
        if path in OPEN or path.startswith("/worklist"):
            continue
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic bm86"}):
            answer = service.client().request(method, filled(path, names), headers=headers)
            assert answer.status_code == 401, (method, path)
            assert "www-authenticate" in answer.headers


def test_another_site_learns_nothing_by_any_route(service: Any, names: dict[str, str]) -> None:
    unknown = {name: "1.2.3.4" if "uid" in name else "0" * 32 for name in names} | {"frames": "1"}
    south = service.client("south")
    for method, path in routes(service):
        if "{" not in path or (method == "POST" and path.startswith("/dicom-web/studies")):
            continue
        real = south.request(method, filled(path, names))
        made_up = south.request(method, filled(path, unknown))
        assert real.status_code in (403, 404, 204), (method, path, real.status_code)
        assert real.status_code == made_up.status_code, (method, path)
        assert real.content == made_up.content, (method, path)


def test_another_sites_search_finds_nothing(service: Any, names: dict[str, str]) -> None:
    for path in ("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances"):
        assert service.client("north").get(path).status_code == 200
        assert service.client("south").get(path).status_code == 204
        query = {"StudyInstanceUID": names["study_instance_uid"]}
        assert service.client("south").get(path, params=query).status_code == 204


def test_storing_under_another_sites_uid_tells_nothing(service: Any, names: dict[str, str]) -> None:
    data = make_dicom(StudyInstanceUID=names["study_instance_uid"], SOPInstanceUID=names["sop_instance_uid"], seed=5)
    answer = service.client("south").post("/v1/studies", content=data, headers={"Content-Type": "application/dicom"})
    assert answer.status_code == 201


def test_each_role_gets_in_where_it_belongs_and_nowhere_else(service: Any, names: dict[str, str]) -> None:
    def kind(method: str, path: str) -> str:
        if "workitem" in path:
            return "read"
        if path.startswith(("/v1/ledger", "/v1/audit", "/v1/watches")):
            return "audit"
        if path.endswith(("/images", "/erasure", "/correction")):
            return "keep"
        if path == "/v1/studies/{study_id}":
            return "ask"
        return "store" if method == "POST" else "look"

    for method, path in routes(service):
        if path in OPEN or path.startswith("/worklist"):
            continue
        for who, allowed in ALLOWED.items():
            status = service.client(who).request(method, filled(path, names)).status_code
            assert (status == 403) == (kind(method, path) not in allowed), (who, method, path, status)


def test_every_route_is_walked(service: Any) -> None:
    served = {route.path for route in service.app.routes if isinstance(route, APIRoute) and route.include_in_schema}
    assert served <= {path for _, path in routes(service)}


def test_basic_credentials_with_the_token_as_password_are_taken(service: Any, names: dict[str, str]) -> None:
    client = service.client()
    path = f"/v1/studies/{names['study_id']}"
    assert client.get(path, auth=("anything", service.tokens["north"])).status_code == 200
    assert client.get(path, auth=("anything", "wrong")).status_code == 401


def test_a_replaced_token_ends_after_its_time_of_grace(service: Any, names: dict[str, str]) -> None:
    from datetime import timedelta

    from service.sites.workflow import replace_token

    old = service.client("north")
    with service.database.writing() as connection:
        service.tokens["north"] = replace_token(connection, "north", grace=timedelta(hours=1), now=service.clock())
    path = f"/v1/studies/{names['study_id']}"
    assert (old.get(path).status_code, service.client("north").get(path).status_code) == (200, 200)
    service.clock.advance(3601)
    assert (old.get(path).status_code, service.client("north").get(path).status_code) == (401, 200)


def test_another_page_cannot_use_what_a_browser_sends_by_itself(service: Any, names: dict[str, str]) -> None:
    client = service.client()
    basic = "Basic " + base64.b64encode(f"north:{service.tokens['north']}".encode()).decode()
    path = f"/v1/studies/{names['study_id']}/complete"
    for told, status in (({}, 200), ({"Sec-Fetch-Site": "same-origin"}, 200), ({"Sec-Fetch-Site": "cross-site"}, 403)):
        assert client.post(path, headers={"Authorization": basic, **told}).status_code == status, told
