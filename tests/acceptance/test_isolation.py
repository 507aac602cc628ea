"""Who may see what, on every route there is. Routes are taken from the application, so a new one is walked without a change here."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import text
from starlette.testclient import WebSocketDenialResponse

from service.access.workflow import Role, issue_token, sign_in
from service.app import create_app
from service.settings import Settings
from service.sites.workflow import add_site, replace_token
from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import phantom

#: Routes that say the same to everybody, whatever has been stored.
OPEN = {
    "/",
    "/healthz",
    "/openapi.json",
    "/readyz",
    "/sign-in",
    "/sign-in/callback",
    "/sign-in/provider",
    "/sign-out",
    "/sign-out/provider",
    "/static/{name}",
}
#: Bodies that a request may try: none, an instance, a claim, a reader's result, a form.
BODIES: tuple[tuple[str, bytes], ...] = (
    ("", b""),
    ("application/dicom", b"not dicom"),
    (
        "application/dicom+json",
        b'{"00741000":{"vr":"CS","Value":["IN PROGRESS"]},"00081195":{"vr":"UI","Value":["1.2.3"]}}',
    ),
    ("application/json", b'{"finding":"finding","note":"","confidence":"low","reason":"a reason"}'),
    ("application/x-www-form-urlencoded", b"finding=finding&confidence=low&note="),
)
#: What a search may match, and the name whose value it is tried with.
MATCHING_KEYS = {
    "StudyInstanceUID": "study_instance_uid",
    "0020000D": "study_instance_uid",
    "00404021.0020000D": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "AccessionNumber": "accession_number",
    "study": "study_id",
    "site": "patient_id",
}


@dataclass(frozen=True)
class Names:
    """What a study of one site is called, inside and outside."""

    study_id: str
    workitem_id: str
    workitem_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    image_id: str
    patient_id: str
    patient_name: str
    accession_number: str

    def secrets(self) -> list[str]:
        return list(vars(self).values())

    def unknown(self) -> "Names":
        """Return names of the same lengths that nothing has."""
        shift = str.maketrans("0123456789abcdef", "1234567809bcdefa")
        return Names(**{name: value[:6] + value[6:].translate(shift) for name, value in vars(self).items()})

    def fill(self, path: str) -> str:
        """Return a route's path with these names in it."""

        def value(found: re.Match[str]) -> str:
            name = found[1].partition(":")[0]
            known = {
                "study_id": self.study_id,
                "workitem_id": self.workitem_id,
                "case_id": self.workitem_id,
                "uid": self.workitem_uid,
                "workitem_uid": self.workitem_uid,
                "study_instance_uid": self.study_instance_uid,
                "series_instance_uid": self.series_instance_uid,
                "sop_instance_uid": self.sop_instance_uid,
                "image_id": self.image_id,
                "instance_id": self.image_id,
                "frames": "1",
                "frame": "1",
                "name": "demur.css",
                "aet": "VIEWER",
                "site": "north",
            }
            if name not in known:
                pytest.fail(
                    f"the route {path} has a parameter {name} that this test does not know; say here what it names"
                )
            return known[name]

        return re.sub(r"{([^}]+)}", value, path)


@dataclass
class House:
    """A service with two sites and everybody who may ask it."""

    app: Any
    stack: ExitStack
    tokens: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str, method: str, path: str, kind: str = "", body: bytes = b"", **options: Any) -> Any:
        headers = {"Content-Type": kind} if kind else {}
        return self.client.request(method, path, content=body, headers=headers | self.headers(who), **options)

    def headers(self, who: str) -> dict[str, str]:
        headers = {"Origin": "http://testserver"}
        if who in self.tokens:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        if who in self.cookies:
            headers["Cookie"] = f"demur_session={self.cookies[who]}"
        return headers

    def open(self) -> None:
        client = TestClient(self.app, raise_server_exceptions=False, follow_redirects=False)
        self.client = self.stack.enter_context(client)

    def routes(self) -> list[tuple[str, str]]:
        """Return method and path of every route."""
        found = [
            (method, str(context.path))
            for context in iter_route_contexts(self.app.routes)
            for method in sorted(getattr(context, "methods", None) or ())
        ]
        assert len(found) > 10
        return found

    def sockets(self) -> list[str]:
        """Return the path of every WebSocket."""
        contexts = iter_route_contexts(self.app.routes)
        return [str(context.path) for context in contexts if not getattr(context, "methods", None)]

    def names(self, study_instance_uid: str) -> Names:
        query = """
            SELECT studies.id, workitems.id, workitems.uid, studies.study_instance_uid, instances.series_instance_uid,
              instances.sop_instance_uid, instances.id, studies.patient_id, studies.patient_name, studies.accession_number
            FROM studies JOIN workitems ON workitems.study_id = studies.id JOIN instances ON instances.study_id = studies.id
            WHERE studies.study_instance_uid = :uid ORDER BY workitems.created_at DESC, instances.id"""
        with self.app.state.runtime.database.reading() as connection:
            return Names(*connection.execute(text(query), {"uid": study_instance_uid}).first())

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return all that is kept of studies, cases and decisions."""
        tables = ("sites", "studies", "instances", "workitems", "attempts", "ledger")
        with self.app.state.runtime.database.reading() as connection:
            return {name: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))] for name in tables}


def film(index: int, **elements: object) -> bytes:
    """Return a small film; other elements make another instance of it."""
    found = pydicom.dcmread(BytesIO(dicom_bytes(phantom(7, "site-01", index, 64), modality="DX")))
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    file = BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


def related(*parts: bytes) -> tuple[str, bytes]:
    """Return the content type and body of a STOW-RS request."""
    body = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts)
    return 'multipart/related; type="application/dicom"; boundary=cut', body + b"--cut--\r\n"


def study_of(data: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(data), stop_before_pixels=True).StudyInstanceUID)


def seen(answer: Any, names: Names) -> tuple[int, list[tuple[str, str]], str]:
    """Return an answer with the names that were asked for taken out."""

    def blank(value: str) -> str:
        for name in names.secrets():
            value = value.replace(name, "NAME")
        return value

    headers = sorted((name, blank(value)) for name, value in answer.headers.items() if name != "date")
    return answer.status_code, headers, blank(answer.text)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        settings = Settings(
            database=f"sqlite:///{tmp_path / 'demur.sqlite'}", storage=str(tmp_path / "files"), quiet_s=0.0, lease_s=1e6
        )
        found = House(app=create_app(settings, reader_token="a local sign-in"), stack=stack)
        stack.callback(found.app.state.runtime.database.close)
        now = datetime.now(UTC)
        with found.app.state.runtime.database.writing() as connection:
            for site in ("north", "south"):
                _, found.tokens[site] = add_site(connection, site, audit_probability=0.0, now=now)
            for role in (Role.READER, Role.AUDITOR, Role.ADMIN):
                found.tokens[str(role)] = issue_token(connection, name=f"the {role}", role=role, site_id=None, now=now)
                cookie = sign_in(connection, name=f"the {role}", roles=[role], now=now, lifetime=timedelta(hours=1))
                found.cookies[f"{role} signed in"] = cookie
        found.tokens["a wrong token"] = "A" * 43
        found.cookies["a wrong cookie"] = "A" * 43
        found.open()
        yield found


@pytest.fixture
def north_study(house: House) -> Names:
    """Return the names of a study that north has sent and that is on the worklist."""
    data = film(1, PatientID="NORTHERN-PATIENT", PatientName="Northern^Nora", AccessionNumber="NACC-77")
    assert house.ask("north", "POST", "/v1/studies", "application/dicom", data).status_code == 201
    return house.names(study_of(data))


STRANGERS = ("nobody", "a wrong token", "a wrong cookie", "south")


@pytest.mark.parametrize("who", STRANGERS)
def test_a_foreign_study_looks_like_one_that_is_not_there_on_every_route(
    house: House, north_study: Names, who: str
) -> None:
    unknown = north_study.unknown()
    before = house.contents()
    for method, path in house.routes():
        for kind, body in BODIES if method in ("POST", "PUT", "PATCH", "DELETE") else BODIES[:1]:
            foreign = house.ask(who, method, north_study.fill(path), kind, body)
            absent = house.ask(who, method, unknown.fill(path), kind, body)
            assert seen(foreign, north_study) == seen(absent, unknown), f"{who} learns of a study by {method} {path}"
            assert foreign.status_code < 500
            assert foreign.status_code != 200 or path in OPEN or "{" not in path
    assert house.contents() == before


@pytest.mark.parametrize("who", STRANGERS)
def test_no_search_finds_or_hints_at_a_foreign_study(house: House, north_study: Names, who: str) -> None:
    unknown = north_study.unknown()
    for path in [path for method, path in house.routes() if method == "GET"]:
        for key, value in MATCHING_KEYS.items():
            foreign = house.ask(who, "GET", north_study.fill(path), params={key: getattr(north_study, value)})
            absent = house.ask(who, "GET", unknown.fill(path), params={key: getattr(unknown, value)})
            assert seen(foreign, north_study) == seen(absent, unknown), f"{who} learns by {path}?{key}"


@pytest.mark.parametrize("who", STRANGERS)
def test_no_page_or_list_changes_for_a_stranger_when_another_site_sends(house: House, who: str) -> None:
    lists = [path for method, path in house.routes() if method == "GET" and "{" not in path]

    def everything() -> dict[str, Any]:
        return {path: seen(house.ask(who, "GET", path), names) for path in lists}

    names = Names(*[f"no such name {n}" for n in range(10)])
    before = everything()
    sent = film(2, PatientID="NORTHERN-PATIENT")
    assert house.ask("north", "POST", "/v1/studies", "application/dicom", sent).status_code == 201
    after = everything()
    assert [path for path in lists if before[path] != after[path]] == []


def test_the_same_names_and_bytes_of_two_sites_are_two_studies(house: House, north_study: Names) -> None:
    data = film(1, PatientID="NORTHERN-PATIENT", PatientName="Northern^Nora", AccessionNumber="NACC-77")
    other = film(1, PatientName="Southern^Sue")
    fresh = film(9, PatientName="Southern^Sue")
    for body, named in ((other, north_study), (fresh, north_study.unknown())):
        kind, parts = related(body)
        answer = house.ask("south", "POST", "/dicom-web/studies", kind, parts)
        assert answer.status_code == 200, "other bytes under a UID of another site are no conflict"
        assert "warning" not in answer.headers
        assert set(answer.json()) == {"00081190", "00081199"}
        assert named.study_id not in answer.text
    first = house.ask("north", "POST", "/v1/studies", "application/dicom", data)
    assert first.status_code == 200, "what north has stored is as it was"
    assert first.json()["id"] == north_study.study_id
    conflict = house.ask("south", "POST", "/v1/studies", "application/dicom", data)
    assert conflict.status_code == 409, "the conflict is with what south itself has sent"
    with house.app.state.runtime.database.reading() as connection:
        rows = connection.execute(text("SELECT conflicts FROM studies WHERE id = :id"), {"id": north_study.study_id})
        assert rows.scalar() == 0


def test_a_sender_sees_its_own_study_and_nothing_that_only_people_may(house: House, north_study: Names) -> None:
    own = house.ask("north", "GET", f"/v1/studies/{north_study.study_id}")
    assert own.status_code == 200
    assert own.json()["decision"] == "IDK"
    foreign = house.ask("south", "GET", f"/v1/studies/{north_study.study_id}")
    assert foreign.status_code == 404
    for method, path in house.routes():
        if path.startswith(("/dicom-web/workitems", "/v1/workitems", "/cases", "/worklist")):
            answer = house.ask("north", method, north_study.fill(path), "application/json", BODIES[3][1])
            assert answer.status_code == 403, f"a sender may {method} {path}"


def test_who_has_no_credentials_is_told_so_on_every_route_that_is_not_open(house: House, north_study: Names) -> None:
    for method, path in house.routes():
        if path in OPEN:
            continue
        for who in STRANGERS[:3]:
            answer = house.ask(who, method, north_study.fill(path), "application/x-www-form-urlencoded", BODIES[4][1])
            to_sign_in = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
            assert answer.status_code == 401 or to_sign_in, (
                f"{who} was answered {answer.status_code} by {method} {path}"
            )


def test_every_route_answers_every_role_without_a_fault_of_its_own(house: House, north_study: Names) -> None:
    reached: dict[tuple[str, str], set[int]] = {}
    for who in (*house.tokens, *house.cookies, "nobody"):
        for method, path in house.routes():
            if path == "/sign-out":
                continue  # it would end the walk of who signed in
            for names in (north_study, north_study.unknown()):
                for kind, body in BODIES if method != "GET" else BODIES[:1]:
                    answer = house.ask(who, method, names.fill(path), kind, body)
                    assert answer.status_code < 500, f"{who}: {method} {path} gave {answer.status_code}"
                    if not answer.headers.get("location", "").startswith("/sign-in"):
                        reached.setdefault((method, path), set()).add(answer.status_code)
    # A film is shown only to who holds its case; everything else must have been reached by somebody.
    refused = [route for route, statuses in reached.items() if statuses <= {401, 403, 404, 405}]
    assert [route for route in refused if not route[1].endswith(".png")] == []


def test_answers_to_strangers_hold_no_name_of_a_patient_or_study(house: House, north_study: Names) -> None:
    for who in STRANGERS:
        for method, path in house.routes():
            asked = north_study.fill(path)
            answer = house.ask(who, method, asked)
            told = answer.text + json.dumps(dict(answer.headers))
            leaked = [name for name in north_study.secrets() if name in told and name not in asked]
            assert leaked == [], f"{method} {path}"


def test_every_socket_opens_for_readers_and_nobody_else(house: House, north_study: Names) -> None:
    opened: set[str] = set()
    refusals: set[int] = set()
    for path in house.sockets():
        for who in (*house.tokens, *house.cookies, "nobody"):
            try:
                with house.client.websocket_connect(north_study.fill(path), headers=house.headers(who)) as socket:
                    text = socket.receive_text()
                    assert not any(name in text for name in north_study.secrets())
                    opened.add(who)
            except WebSocketDenialResponse as refused:
                refusals.add(refused.status_code)
    assert refusals == {401, 403}
    assert opened == {"reader", "reader signed in"}


def test_a_problem_never_repeats_what_it_was_asked_with(house: House, north_study: Names) -> None:
    for who in ("north", "reader", "auditor", "admin"):
        for method, path in house.routes():
            for kind, body in BODIES:
                answer = house.ask(who, method, north_study.unknown().fill(path), kind, body)
                if answer.headers.get("content-type") == "application/problem+json":
                    told = answer.text + str(answer.headers)
                    assert [name for name in north_study.unknown().secrets() if name in told] == [], f"{method} {path}"


def test_tokens_that_have_ended_open_nothing(house: House, north_study: Names) -> None:
    with house.app.state.runtime.database.writing() as connection:
        replace_token(connection, "north", grace=timedelta(0), now=datetime.now(UTC) - timedelta(seconds=1))
    time.sleep(0.01)
    answer = house.ask("north", "GET", f"/v1/studies/{north_study.study_id}")
    assert answer.status_code == 401
