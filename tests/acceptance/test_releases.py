"""What a service does that is started on a release which is over, or does not verify."""

import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service_support import DEMUR, ROOT, Process


@pytest.fixture(scope="module")
def films() -> Any:
    from benchmarks.storm_films import Films

    return Films(random.Random(1), phantoms=8)


@pytest.fixture(scope="module")
def over(tmp_path_factory: pytest.TempPathFactory, films: Any) -> Any:
    """Return a release whose certificate has expired, and of whose films some would be healthy."""
    pytest.importorskip("onnx")
    from benchmarks.storm_release import make_release

    folder = tmp_path_factory.mktemp("over")
    return make_release(folder, sites=("north",), films=films.plain, at=datetime.now(UTC) - timedelta(days=3))


def test_a_service_started_after_its_certificate_expired_takes_everything_in_and_clears_nothing(
    process: Process, over: Any, films: Any
) -> None:
    process.start("--bundle", str(over.path), "--trust", str(over.trust))
    assert "certificate_expired" in process.log()
    ready = httpx.get(f"{process.url}/readyz")
    assert (ready.status_code, "expired" in ready.json()["bundle"]) == (200, True)
    token = process.demur("site", "add", "north")["token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/dicom"}
    for _ in range(4):
        answer = httpx.post(f"{process.url}/v1/studies", content=films.make().data, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
        assert answer.json()["decision"] == "IDK"
        assert "certificate_expired" in answer.json()["reasons"]
    assert process.stop() == 0
    replayed = run(
        *("replay", "--bundle", str(over.path), "--trust", str(over.trust)),
        *("--database", process.database, "--storage", str(process.storage)),
    )
    assert (replayed.returncode, "4 of 4 decisions are the same" in replayed.stdout) == (0, True), replayed.stderr


def test_no_site_is_raised_by_a_certificate_that_has_expired(process: Process, over: Any) -> None:
    process.demur("site", "add", "north")
    line = ["site", "mode", "north", "autonomous", "--bundle", str(over.path), "--trust", str(over.trust)]
    done = run(*line, "--database", process.database)
    assert (done.returncode, "certificate_expired" in done.stderr) == (3, True)


def test_a_release_that_does_not_verify_is_not_served(process: Process, over: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    made = run("key", "new", "--out", str(tmp_path / "other.key"))
    other.write_text(made.stdout)
    done = run(
        "serve", "--bundle", str(over.path), "--trust", str(other), "--database", process.database, "--port", "0"
    )
    assert (done.returncode, "untrusted_key" in done.stderr) == (3, True)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*DEMUR, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
