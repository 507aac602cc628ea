"""What tests in every folder may ask for."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from benchmarks.storm_processes import Postgresql, postgresql_programs

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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Return the URL of a PostgreSQL server: the wheel's, or the one whose programs DEMUR_TEST_POSTGRESQL names."""
    if postgresql_programs() is None:
        unavailable("PostgreSQL")
    with TemporaryDirectory(prefix="demur-") as folder:  # pytest's own folders admit no other user, as whom it may run
        Path(folder).chmod(0o755)
        server = Postgresql(Path(folder) / "postgresql")
        server.start()
        yield server.url
        server.stop()


def new_database(server: str) -> str:
    """Make an empty database on a PostgreSQL server and return its URL."""
    url = make_url(server).set(drivername="postgresql+psycopg")
    name = f"t{uuid4().hex[:12]}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'demur.sqlite'}"
    return new_database(request.getfixturevalue("postgresql"))
