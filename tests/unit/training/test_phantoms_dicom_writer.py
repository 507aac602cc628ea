"""The DICOM files are valid, and the picture that a reader sees is the picture that was made."""

from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom import config
from pydicom.uid import UID

from models.dicom import read_picture
from models.scope import Scope, veto
from training.phantoms.dicom_writer import dicom_bytes, uid
from training.phantoms.film import make
from training.phantoms.sites import SITES, Kind

SIZE = 64
CHEST = Scope(
    modalities=("DX", "CR"),
    body_parts=("CHEST",),
    views=("PA", "AP"),
    # A CR image has no presentation intent.
    presentation_intents=("FOR PRESENTATION", ""),
    age_min=18,
    age_max=120,
    admits_unknown_age=False,
    admits_secondary_capture=False,
    images_max=1,
    companion_views=(),
)


@pytest.mark.parametrize("site", SITES)
def test_the_reader_sees_the_picture_that_was_made(site):
    film = make(7, SITES[site], 1, SIZE, Kind.MASS)
    picture = read_picture(dicom_bytes(film, modality=SITES[site].formation.modality))
    assert np.abs(picture.pixels - film.pixels).max() < 1e-6
    assert picture.header.modality == SITES[site].formation.modality
    assert picture.header.view == film.patient.view
    assert picture.header.age_years == film.patient.age


@pytest.mark.parametrize("site", ["site-01", "site-02", "site-03", "site-06"])
def test_headers_hold_what_chest_films_hold(site):
    film = make(7, SITES[site], 2, SIZE, None)
    config.settings.reading_validation_mode = config.RAISE
    try:
        ds = pydicom.dcmread(BytesIO(dicom_bytes(film, modality=SITES[site].formation.modality)))
        ds.decode()
        elements = {element.keyword: element.value for element in ds.iterall()}
    finally:
        config.settings.reading_validation_mode = config.WARN
    assert elements["BodyPartExamined"] == "CHEST"
    assert elements["PatientName"].family_name == "PHANTOM"
    assert elements["BitsStored"] == SITES[site].formation.bits
    assert elements["PhotometricInterpretation"] == ("MONOCHROME1" if film.inverted else "MONOCHROME2")
    assert ds.PatientAge == f"{film.patient.age:03d}Y"
    assert len(ds.PixelData) == SIZE * SIZE * 2
    assert ds.pixel_array.max() < 2**ds.BitsStored
    if ds.Modality == "DX":
        assert ds.PresentationIntentType == "FOR PRESENTATION"
        assert ds.file_meta.MediaStorageSOPClassUID.name == "Digital X-Ray Image Storage - For Presentation"
    else:
        assert ds.file_meta.MediaStorageSOPClassUID.name == "Computed Radiography Image Storage"


def test_a_chest_scope_of_adults_has_nothing_against_a_phantom():
    for name in ("site-01", "site-02"):
        film = make(7, SITES[name], 0, SIZE, None)
        header = read_picture(dicom_bytes(film, modality=SITES[name].formation.modality)).header
        assert veto(header, CHEST) == ()


def test_uids_are_valid_lasting_and_each_its_own():
    films = [make(7, SITES["site-01"], index, SIZE, None) for index in (0, 1)]
    levels = ("study", "series", "instance")
    uids = [uid(film, level) for film in films for level in levels]
    assert len(set(uids)) == 6
    assert all(UID(value).is_valid and len(value) <= 64 for value in uids)
    assert uids[:3] == [uid(make(7, SITES["site-01"], 0, SIZE, None), level) for level in levels]
    # Version 8, variant RFC 9562, as "2.25." asks for a UUID.
    number = int(uids[0].removeprefix("2.25."))
    assert (number >> 76) & 0xF == 8
    assert (number >> 62) & 0x3 == 2


def test_the_same_film_is_the_same_bytes():
    film = make(7, SITES["site-05"], 0, SIZE, Kind.NODULE)
    assert dicom_bytes(film, modality="DX") == dicom_bytes(film, modality="DX")
