"""A minute of storm on each database; ``make storm`` runs ten."""

import subprocess
import sys

import pytest

from benchmarks.storm_processes import postgresql_programs
from tests.conftest import unavailable
from tests.service_support import ROOT


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_lost_in_a_storm(database: str) -> None:
    pytest.importorskip("onnx")
    if database == "postgresql" and postgresql_programs() is None:
        unavailable("PostgreSQL")
    command = [sys.executable, "-m", "benchmarks.storm", "--seconds", "60", "--database", database]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing was lost." in done.stdout
    assert "kills -9 of the service" in done.stdout
