"""The real service in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service_support import Process


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """Return the service on SQLite, not yet started; it is ended with the test."""
    made = Process(database=f"sqlite:///{tmp_path / 'demur.sqlite'}", storage=tmp_path / "files")
    yield made
    if made.is_running():
        made.kill()
