"""A film that comes while its case is being read is not passed over."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.access.workflow import Role, issue_token
from service.app import create_app
from service.settings import Settings
from service.sites.workflow import add_site
from service.worklist.readings import Finding, Result
from service.worklist.schemas import result_dataset
from tests.service_support import make_dicom, uid_of

LOCK = "2.25.42"


def state(value: str) -> dict[str, Any]:
    return {"00741000": {"vr": "CS", "Value": [value]}, "00081195": {"vr": "UI", "Value": [LOCK]}}


@pytest.mark.parametrize(("is_late", "behind_s"), [(False, 0), (True, 0), (True, 60)])
def test_a_film_that_comes_after_the_claim_puts_the_study_back_when_the_reading_is_final(
    tmp_path: Path, is_late: bool, behind_s: float
) -> None:
    """Also where the clock of who takes the film in is behind, or the film waited before it was written down."""
    settings = Settings(database=f"sqlite:///{tmp_path / 'demur.sqlite'}", storage=str(tmp_path / "files"), quiet_s=0.0)
    now = datetime.now(UTC)
    times = [now]
    app = create_app(settings, reader_token="a local sign-in", clock=lambda: times[-1])
    with app.state.runtime.database.writing() as connection:
        _, token = add_site(connection, "north", audit_probability=0.0, now=now)
        reader = issue_token(connection, name="rita", role=Role.READER, site_id=None, now=now)
    sends = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
    reads = {"Authorization": f"Bearer {reader}", "Content-Type": "application/dicom+json"}
    with TestClient(app) as client:
        first = make_dicom()
        assert client.post("/v1/studies", content=first, headers=sends).status_code == 201
        (case,) = client.get("/dicom-web/workitems", headers=reads).json()
        place = f"/dicom-web/workitems/{case['00080018']['Value'][0]}"
        assert client.put(f"{place}/state", json=state("IN PROGRESS"), headers=reads).status_code == 200
        if is_late:
            times.append(now - timedelta(seconds=behind_s))
            late = make_dicom(StudyInstanceUID=uid_of(first, "StudyInstanceUID"))
            assert client.post("/v1/studies", content=late, headers=sends).status_code == 201
        times.append(now)
        result = result_dataset(Result(finding=Finding.NO_FINDING))
        assert client.post(f"{place}?transaction-uid={LOCK}", json=result, headers=reads).status_code == 200
        assert client.put(f"{place}/state", json=state("COMPLETED"), headers=reads).status_code == 200
        waiting = client.get("/dicom-web/workitems?ProcedureStepState=SCHEDULED", headers=reads)
        assert waiting.status_code == (200 if is_late else 204)
    app.state.runtime.database.close()
