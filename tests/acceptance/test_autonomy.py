"""A site earns autonomy by a certificate and loses it by what its readers find, over HTTP from end to end."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from calibration.certificate import Certificate, certify
from calibration.scores import score_table
from calibration.terms import Terms
from deploy.runtime import Assessment, Timings
from models.vocabulary import Mode
from service.access.workflow import Role, issue_token
from service.app import create_app
from service.settings import Settings
from service.sites.workflow import add_site, set_mode
from service.triage.judge import Judge
from service.worklist.readings import Finding, Result
from service.worklist.schemas import result_dataset
from tests.service_support import make_dicom, wait_until

LOCK = "1.2.840.1"


class Engine:
    """Calls every film healthy, as a network might that has gone wrong; all the rest is real."""

    def assess(self, images: Any) -> Assessment:
        return Assessment(
            score=-1.0, gates=(), logits=(-1.0,), strangeness=0.0, images=(), runtime="r", timings=Timings()
        )

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    labels = ["abnormal"] * 60 + ["healthy"] * 200
    names = [f"p-{n}" for n in range(len(labels))]
    columns = pa.table(
        {
            "study": names,
            "patient": names,
            "site": ["north"] * len(labels),
            "stratum": ["nodule" if label == "abnormal" else "" for label in labels],
            "label": labels,
            "score": [0.0 if label == "abnormal" else -2.0 for label in labels],
        }
    )
    issued = datetime.now(UTC) - timedelta(days=1)
    terms = Terms(
        alpha=0.05, max_prevalence=0.3, min_healthy_acceptance=0.5, issued=issued, expires=issued + timedelta(days=90)
    )
    found = certify(score_table(columns), terms)
    assert isinstance(found, Certificate)
    return found


class Hospital:
    """The running service, a sender at north, and a reader."""

    def __init__(self, client: TestClient, tokens: dict[str, str]) -> None:
        self._client = client
        self._tokens = tokens

    def ask(self, who: str, method: str, path: str, kind: str = "application/dicom+json", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._tokens[who]}", "Content-Type": kind}
        return self._client.request(method, path, headers=headers, **options)

    def send(self) -> Any:
        return self.ask("north", "POST", "/v1/studies", "application/dicom", content=make_dicom()).json()

    def waiting(self) -> list[str]:
        """Return the cases that wait for a reader."""
        answer = self.ask("rita", "GET", "/dicom-web/workitems?ProcedureStepState=SCHEDULED")
        return [case["00080018"]["Value"][0] for case in answer.json()] if answer.status_code == 200 else []

    def read(self, case: str, finding: Finding) -> None:
        place = f"/dicom-web/workitems/{case}"
        for state in ("IN PROGRESS", "COMPLETED"):
            if state == "COMPLETED":
                result = result_dataset(Result(finding=finding))
                given = self.ask("rita", "POST", f"{place}?transaction-uid={LOCK}", json=result)
                assert given.status_code == 200, given.text
            change = {"00741000": {"vr": "CS", "Value": [state]}, "00081195": {"vr": "UI", "Value": [LOCK]}}
            assert self.ask("rita", "PUT", f"{place}/state", json=change).status_code == 200

    def stands(self) -> Any:
        (north,) = self.ask("anna", "GET", "/v1/watches").json()["watches"]
        return north


@pytest.fixture
def hospital(tmp_path: Path, certificate: Certificate) -> Iterator[Hospital]:
    judge = Judge(bundle="b" * 64, certificate=certificate, engine=Engine())  # pyright: ignore[reportArgumentType]
    settings = Settings(
        database=f"sqlite:///{tmp_path / 'demur.sqlite'}", storage=str(tmp_path / "files"), heartbeat_s=0.05
    )
    app = create_app(settings, judge=judge, reader_token="a local sign-in")
    now, tokens = datetime.now(UTC), {}
    with app.state.runtime.database.writing() as connection:
        _, tokens["north"] = add_site(connection, "north", audit_probability=0.5, now=now)
        for name, role in (("rita", Role.READER), ("anna", Role.AUDITOR)):
            tokens[name] = issue_token(connection, name=name, role=role, site_id=None, now=now)
        set_mode(connection, "north", Mode.AUTONOMOUS, certificate=certificate, bundle=judge.bundle, now=now)
    with TestClient(app) as client:
        yield Hospital(client, tokens)
    app.state.runtime.database.close()


def test_findings_on_audited_calls_put_the_site_back_into_shadow(hospital: Hospital) -> None:
    sent = [hospital.send() for _ in range(14)]
    drawn = hospital.waiting()
    assert {study["mode"] for study in sent} == {"autonomous"}
    assert 0 < len(drawn) < len(sent)
    for case in drawn:
        hospital.read(case, Finding.FINDING)
    wait_until(lambda: hospital.stands()["mode"] == "shadow")
    after = hospital.send()
    assert (after["decision"], after["mode"], after["is_cleared"]) == ("healthy", "shadow", False)
    # What was cleared before the alarm waits for a reader too, and the new study with it.
    wait_until(lambda: len(hospital.waiting()) == len(sent) - len(drawn) + 1)
    wait_until(lambda: not hospital.stands()["is_recalling"])


def test_a_site_whose_audited_calls_are_right_stays_autonomous(hospital: Hospital) -> None:
    for _ in range(14):
        hospital.send()
    for case in hospital.waiting():
        hospital.read(case, Finding.NO_FINDING)
    wait_until(lambda: hospital.stands()["read"] == hospital.stands()["drawn"] > 0)
    assert (hospital.stands()["mode"], hospital.stands()["errors"]) == ("autonomous", 0)
    assert hospital.send()["mode"] == "autonomous"
    assert hospital.stands()["evidence"] < 1.0
