"""What tests in every folder may ask for."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def unavailable(what: str) -> None:
    """Skip the test, or fail it where everything is required (``DEMUR_REQUIRE=all``, as CI sets it)."""
    if os.environ.get("DEMUR_REQUIRE") == "all":
        pytest.fail(f"{what} is required here and is not to be had", pytrace=False)
    pytest.skip(f"{what} is not to be had")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real films and files beside the project; its absence always skips."""
    folder = Path(os.environ.get("DEMUR_SHARED", ROOT.parent / "shared"))
    if not (folder / "dicom").is_dir():
        pytest.skip(f"no real films at {folder}; set DEMUR_SHARED")
    return folder


@pytest.fixture(scope="session")
def needs_command():
    """Return a function that gives the path of a command, or skips (fails under DEMUR_REQUIRE=all) without it."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            unavailable(f"the command {name}")
        return str(path)

    return find
