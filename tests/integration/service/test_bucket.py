"""Files in an S3-compatible bucket, against moto's server as a process of its own."""

import base64
import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from models.errors import DataError
from service.app import create_app, open_storage
from service.errors import OverloadedError
from service.settings import Settings
from service.storage.bucket import Bucket
from service.storage.workflow import Folder, Storage
from tests.service_support import make_dicom, wait_until

pytest.importorskip("moto", reason="moto's server is not installed")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of an S3-compatible store."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url))
        yield url
        process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code < 500
    except httpx.TransportError:
        return False


@pytest.fixture
def settings(endpoint: str, tmp_path: Path) -> Settings:
    """Return settings that name an empty bucket."""
    name = f"demur-{uuid4().hex[:12]}"
    settings = Settings(
        database=f"sqlite:///{tmp_path / 'demur.sqlite'}",
        storage=f"s3://{name}/films",
        storage_endpoint=endpoint,
        storage_access_key="key",
        storage_secret_key=SecretStr("secret"),
        storage_spool=tmp_path / "spool",
    )
    Bucket.open(settings)._client.create_bucket(Bucket=name)
    return settings


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Return an empty storage of each kind."""
    if request.param == "folder":
        return Folder(tmp_path / "files", reserve_bytes=0)
    return open_storage(request.getfixturevalue("settings"))


def keep(storage: Storage, data: bytes) -> str:
    with storage.spool() as spool:
        spool.write(data)
        spool.finish()
        storage.keep(spool)
        return spool.digest


def test_what_is_kept_comes_back_byte_for_byte(storage: Storage) -> None:
    data = make_dicom(side=700)
    assert bytes(storage.view(keep(storage, data))) == data


def test_keeping_twice_is_keeping_once(storage: Storage) -> None:
    data = make_dicom()
    assert keep(storage, data) == keep(storage, data)
    assert bytes(storage.view(hashlib.sha256(data).hexdigest())) == data


def test_a_missing_file_is_told(storage: Storage) -> None:
    with pytest.raises(DataError, match="is gone"):
        storage.view("ab" * 32)


def test_a_deleted_file_is_gone(storage: Storage) -> None:
    digest = keep(storage, make_dicom())
    storage.delete(digest)
    storage.delete(digest)
    with pytest.raises(DataError, match="is gone"):
        storage.view(digest)


def test_a_storage_that_works_says_so(storage: Storage) -> None:
    storage.check()


def test_an_object_is_named_by_prefix_and_digest_alone(settings: Settings) -> None:
    bucket = Bucket.open(settings)
    digest = keep(bucket, make_dicom())
    listed = bucket._client.list_objects_v2(Bucket=bucket._bucket)["Contents"]
    assert [item["Key"] for item in listed] == [f"films/{digest[:2]}/{digest[2:]}"]
    assert list((settings.storage_spool / "incoming").iterdir()) == []


def test_the_store_is_given_the_digest_to_check(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket.open(settings)
    sent: dict[str, Any] = {}
    put = bucket._client.put_object
    monkeypatch.setattr(bucket._client, "put_object", lambda **fields: sent.update(fields) or put(**fields))
    digest = keep(bucket, make_dicom())
    assert base64.b64decode(sent["ChecksumSHA256"]).hex() == digest


def test_a_bucket_that_is_away_takes_nothing_in(settings: Settings) -> None:
    away = settings.model_copy(update={"storage_endpoint": "http://127.0.0.1:9"})
    bucket = Bucket.open(away)
    for what in (bucket.check, lambda: keep(bucket, make_dicom()), lambda: bucket.view("ab" * 32)):
        with pytest.raises(OverloadedError, match="cannot be reached"):
            what()


def test_a_bucket_that_is_not_there_is_not_ready(settings: Settings) -> None:
    other = settings.model_copy(update={"storage": "s3://no-such-bucket/films"})
    with pytest.raises(OverloadedError, match="cannot be reached"):
        Bucket.open(other).check()


@pytest.mark.parametrize("storage", ["s3://", "s3://A/b", "s3://a/b", "s3://../x"])
def test_what_names_no_bucket_is_refused(settings: Settings, storage: str) -> None:
    with pytest.raises(DataError, match="names no bucket"):
        Bucket.open(settings.model_copy(update={"storage": storage}))


def test_the_service_stores_and_decides_from_a_bucket(settings: Settings) -> None:
    from datetime import UTC, datetime

    from fastapi.testclient import TestClient

    from service.sites.workflow import add_site

    app = create_app(settings)
    with app.state.runtime.database.writing() as connection:
        _, token = add_site(connection, "north", audit_probability=0.0, now=datetime.now(UTC))
    data = make_dicom()
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:
        headers = {"Content-Type": "application/dicom"}
        answer = client.post("/v1/studies", content=data, headers=headers)
        assert (answer.status_code, answer.json()["decision"]) == (201, "IDK")
        assert client.post("/v1/studies", content=data, headers=headers).status_code == 200
        assert client.get("/readyz").json()["storage"] == "ok"
    assert bytes(open_storage(settings).view(hashlib.sha256(data).hexdigest())) == data


def test_a_bucket_that_is_away_is_a_503_to_the_sender(settings: Settings) -> None:
    from datetime import UTC, datetime

    from fastapi.testclient import TestClient

    from service.sites.workflow import add_site

    app = create_app(settings.model_copy(update={"storage_endpoint": "http://127.0.0.1:9"}))
    with app.state.runtime.database.writing() as connection:
        _, token = add_site(connection, "north", audit_probability=0.0, now=datetime.now(UTC))
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.post("/v1/studies", content=make_dicom(), headers={"Content-Type": "application/dicom"})
        assert answer.status_code == 503
        assert client.get("/readyz").status_code == 503
