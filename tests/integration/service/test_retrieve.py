"""QIDO-RS and WADO-RS: what was stored is found, and comes back as it was."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.service_support import make_dicom, uid_of

DICOM = {"Content-Type": "application/dicom"}


def store(service: Any, data: bytes) -> str:
    """Store a file and return its path."""
    assert service.client("north").post("/v1/studies", content=data, headers=DICOM).status_code == 201
    study, series, instance = (
        uid_of(data, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    return f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"


def test_an_instance_comes_back_byte_for_byte(service: Any) -> None:
    data = make_dicom()
    path = store(service, data)
    answer = service.client("north").get(path, headers={"Accept": "application/dicom"})
    assert answer.content == data
    assert answer.headers["content-disposition"] == "attachment"
    whole = service.client("north").get(path.partition("/series")[0])
    assert whole.headers["content-type"].startswith('multipart/related; type="application/dicom"')
    assert data in whole.content


def test_metadata_has_every_element_but_the_pixels(service: Any) -> None:
    data = make_dicom()
    path = store(service, data)
    (found,) = service.client("north").get(f"{path}/metadata").json()
    dataset = pydicom.Dataset.from_json(found, bulk_data_uri_handler=lambda *_: b"")
    assert dataset.PatientName == "Mustermann^Erika"
    assert dataset.Rows == 64
    assert found["7FE00010"]["BulkDataURI"].endswith("/frames/1")
    assert found["00083002"]["Value"] == ["1.2.840.10008.1.2.1"]


def test_frames_are_the_stored_pixels(service: Any) -> None:
    data = make_dicom()
    path = store(service, data)
    answer = service.client("north").get(f"{path}/frames/1")
    assert pydicom.dcmread(io.BytesIO(data)).PixelData in answer.content
    assert service.client("north").get(f"{path}/frames/2").status_code == 404
    assert service.client("north").get(f"{path}/frames/x").status_code == 400


def test_a_rendered_picture_shows_the_film(service: Any) -> None:
    pixels = np.repeat(np.linspace(3800, 200, 64).astype(np.uint16)[:, np.newaxis], 64, axis=1)
    path = store(service, make_dicom(PixelData=pixels.tobytes(), WindowCenter="2048", WindowWidth="4096"))
    answer = service.client("north").get(f"{path}/rendered")
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.shape == (64, 64)
    assert picture[:8].mean() > 200
    assert picture[-8:].mean() < 50


def test_what_cannot_be_rendered_is_told_in_words(service: Any) -> None:
    path = store(service, make_dicom(PixelData=b"\0\0"))
    answer = service.client("north").get(f"{path}/rendered")
    assert answer.status_code == 406
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 2),
        ({"PatientID": "P1"}, 1),
        ({"00100020": "P1"}, 1),
        ({"PatientName": "Muster*"}, 2),
        ({"PatientName": "M%"}, 0),
        ({"StudyDate": "20260101-20260103"}, 2),
        ({"StudyDate": "-20260101"}, 0),
        ({"AccessionNumber": "ACC973?"}, 2),
        ({"ModalitiesInStudy": "DX"}, 1),
        ({"limit": "1"}, 1),
        ({"offset": "2"}, 0),
        ({"includefield": "all", "fuzzymatching": "true"}, 2),
    ],
)
def test_studies_are_found_by_the_usual_keys(service: Any, query: dict[str, str], found: int) -> None:
    store(service, make_dicom(PatientID="P1"))
    store(service, make_dicom(Modality="DX"))
    answer = service.client("north").get("/dicom-web/studies", params=query)
    assert (answer.status_code, len(answer.json() if found else [])) == (200 if found else 204, found)


def test_series_and_instances_are_found_below_their_study(service: Any) -> None:
    path = store(service, make_dicom())
    store(service, make_dicom())
    study, series = path.partition("/series")[0], path.partition("/instances")[0]
    client = service.client("north")
    for place in (f"{study}/series", f"{study}/instances", f"{series}/instances"):
        (found,) = client.get(place).json()
        assert found["00081190"]["Value"][0].endswith(path if "instances" in place else series)


def test_a_search_by_an_unknown_key_is_400(service: Any) -> None:
    assert service.client("north").get("/dicom-web/studies", params={"Nonsense": "1"}).status_code == 400
