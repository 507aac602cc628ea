"""No patient's data and no UID in logs, metrics, spans, addresses of pages or error texts: a distinctive study, every route, then a search."""

import json
import logging
import re
import sqlite3
from datetime import UTC, datetime

import httpx
from fastapi.routing import iter_route_contexts

from service.access.workflow import Role, issue_token
from service.app import create_app
from service.database import Database
from service.logs import JsonFormatter
from service.settings import Settings
from tests.collector import collecting
from tests.service_support import Process, make_dicom, related

DICOM = {"Content-Type": "application/dicom"}
NAMES = {
    "PatientName": "Zyxwvut^Qwertz",
    "PatientID": "PID-83C1F7",
    "AccessionNumber": "ACCN-55Q",
    "PatientBirthDate": "19590317",
    "StudyDescription": "DESCR-77K",
    "StudyInstanceUID": "2.25.777000111222333444",
    "SeriesInstanceUID": "2.25.777000555666777888",
    "SOPInstanceUID": "2.25.777000999000111222",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _columns(process: Process) -> dict[str, str]:
    with sqlite3.connect(process.database.removeprefix("sqlite:///")) as connection:
        found = connection.execute(
            "SELECT studies.id, workitems.id, workitems.uid, instances.id FROM studies JOIN workitems "
            "ON workitems.study_id = studies.id JOIN instances ON instances.study_id = studies.id"
        ).fetchone()
    connection.close()
    return {
        "study_id": found[0],
        "workitem_id": found[1],
        "case_id": found[1],
        "uid": found[2],
        "image_id": found[3],
        "study_instance_uid": NAMES["StudyInstanceUID"],
        "series_instance_uid": NAMES["SeriesInstanceUID"],
        "sop_instance_uid": NAMES["SOPInstanceUID"],
    }


def test_of_another_libraries_message_only_the_first_line_is_logged() -> None:
    """The loop of asyncio writes an exception nobody waited for with all its text, a database's with the row in it."""
    text = "Future exception was never retrieved\nfuture: <Future exception=OperationalError('... Zyxwvut^Qwertz')>"
    record = logging.LogRecord("asyncio", logging.ERROR, "base_events.py", 1, text, None, None)
    assert json.loads(JsonFormatter().format(record))["message"] == "Future exception was never retrieved"


def test_what_names_a_patient_stays_out_of_logs_metrics_addresses_and_errors(process: Process) -> None:
    with collecting() as collector:
        process.environment = {
            "DEMUR_LOG_LEVEL": "DEBUG",
            "DEMUR_QUIET_S": "0.1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "FASTAPI_OTEL_AUTO_CONFIGURE": "true",  # whose own spans tell paths and queries
        }
        told = ask_everything(process)
        process.stop()
    log = process.log()
    assert "study_decided" in log
    assert len(log.splitlines()) > 50, "requests are logged at this level"
    secrets = [word for value in NAMES.values() for word in re.split(r"\^", value)]
    assert [word for word in secrets if word in log] == []
    whole = "\n".join(told)
    assert "demur_instances_total" in whole
    assert [word for word in secrets if word in whole] == []
    assert {path for path, _ in collector.bodies} == {"/v1/traces"}
    assert {"decide", "GET /dicom-web/studies"} <= {span.name for span in collector.spans}
    assert [word for word in secrets if any(word.encode() in body for _, body in collector.bodies)] == []


def ask_everything(process: Process) -> list[str]:
    """Start the service, send it a distinctive study, take every route in every role; return what ought to name nobody."""
    process.start()
    sender = process.demur("site", "add", "north")["token"]
    database = Database(process.database)
    tokens = {"sender": sender}
    with database.writing() as connection:
        for role in (Role.READER, Role.AUDITOR, Role.ADMIN):
            tokens[role] = issue_token(connection, name=role, role=role, site_id=None, now=datetime.now(UTC))
    database.close()
    app = create_app(Settings(database=process.database, storage=str(process.storage)), reader_token="other")
    routes = [
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in sorted(getattr(context, "methods", None) or ())
        if str(context.path) != "/sign-out"
    ]
    app.state.runtime.database.close()
    told: list[str] = []
    data = make_dicom(**NAMES)
    with httpx.Client(base_url=process.url, timeout=60) as client:
        own = {"Authorization": f"Bearer {sender}"}
        assert client.post("/v1/studies", content=data, headers=own | DICOM).status_code == 201
        broken = (data[:-100], data[:300], data.replace(b"DX", b"\xff\xfe"), data.replace(b"19590317", b"1959-ZZZ"))
        for body in (make_dicom(**{**NAMES, "Rows": 3}), *broken):
            for path in ("/v1/studies", "/dicom-web/studies", "/dicom-web/studies/2.25.1"):
                answer = client.post(path, content=body, headers=own | DICOM)
                told += [answer.text] if "problem" in answer.headers["content-type"] else []
            cut, kind = related([body])
            client.post("/dicom-web/studies", content=cut[:-9], headers=own | {"Content-Type": kind})
        names = _columns(process)
        for who in (*tokens, ""):
            headers = {"Authorization": f"Bearer {tokens[who]}"} if who else {}
            for method, path in routes:
                asked = re.sub(r"{([^}:]+)[^}]*}", lambda found: names.get(found[1], "1"), path)
                for kind in (FORM, {"Content-Type": "application/dicom+json"}):
                    answer = client.request(
                        method,
                        asked,
                        params={"PatientName": NAMES["PatientName"], "StudyInstanceUID": NAMES["StudyInstanceUID"]},
                        content=b"finding=finding&confidence=low" if kind is FORM else b"{}",
                        headers=headers | kind | {"Origin": process.url},
                    )
                    media = answer.headers.get("content-type", "")
                    if "html" in media:
                        told += re.findall(r"(?:href|src|action|data-url)=\"[^\"]*\"|<title>[^<]*", answer.text)
                    if "problem" in media or path == "/metrics":
                        told.append(answer.text)
                    if "html" in media or media == "":
                        told += [answer.headers.get("location", ""), answer.headers.get("warning", "")]
    return told
