"""Films for the storm: phantoms under ever new names, made faster than they can be sent."""

import random
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from training.phantoms.dicom_writer import dicom_bytes
from training.phantoms.film import phantom

SIZE = 128
#: What stands in a template where a film has its own; as long as what takes its place.
_STUDY, _SERIES, _INSTANCE = (f"2.25.{digit * 38}".encode() for digit in "123")
_NAME = b"STORM^AAAAAAAAAAAA"
_PATIENT = b"P-AAAAAAAA"


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One file and what it is called."""

    data: bytes
    study: str
    instance: str


class Films:
    """Makes films from a few phantoms: plain, compressed, out of scope, and broken."""

    def __init__(self, rng: random.Random, *, phantoms: int = 16) -> None:
        self._rng = rng
        self.plain = [_template(rng.randrange(1 << 20), f"site-{1 + n % 6:02d}") for n in range(phantoms)]
        odd = pydicom.dcmread(BytesIO(self.plain[0]))
        odd.Modality = "CT"
        broken = _compressed(self.plain[1], JPEG2000Lossless)
        self.odd = [
            *(_compressed(template, RLELossless) for template in self.plain[:4]),
            *(_compressed(template, JPEG2000Lossless) for template in self.plain[4:6]),
            _bytes_of(odd),
            broken[:-2000] + bytes(1000) + broken[-1000:],
        ]

    def make(self, study: str = "", instance: str = "") -> Film:
        """Return a film; of a study that has some already, or other bytes under an instance's name, if asked."""
        template = self._rng.choice(self.odd if self._rng.random() < 0.25 else self.plain)
        study, instance = study or self.uid(), instance or self.uid()
        data = template.replace(_STUDY, study.encode()).replace(_INSTANCE, instance.encode())
        data = data.replace(_SERIES, self.uid().encode()).replace(_PATIENT, _patient_of(study).encode())
        data = data.replace(_NAME, f"STORM^{self._rng.randrange(16**12):012X}".encode())
        return Film(data=data, study=study, instance=instance)

    def uid(self) -> str:
        """Return a new UID."""
        return f"2.25.{self._rng.randrange(10**37, 10**38)}"


def _patient_of(study: str) -> str:
    """Return whose study it is: mostly nobody's whom another study has, now and then one of a few who come again."""
    number = int(study.rpartition(".")[2])
    return f"P-{number % 100_000_000:08d}" if number % 10 else f"P-{number // 10 % 20:08d}"


def _template(seed: int, site: str) -> bytes:
    film = pydicom.dcmread(BytesIO(dicom_bytes(phantom(seed, site, 0, SIZE), modality="DX")))
    film.StudyInstanceUID, film.SeriesInstanceUID = _STUDY.decode(), _SERIES.decode()
    film.SOPInstanceUID, film.PatientName = _INSTANCE.decode(), _NAME.decode()
    film.PatientID = _PATIENT.decode()
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return _bytes_of(film)


def _compressed(template: bytes, syntax: str) -> bytes:
    film = pydicom.dcmread(BytesIO(template))
    if syntax == RLELossless:
        film.compress(syntax, generate_instance_uid=False)
    else:
        stream = imagecodecs.jpeg2k_encode(film.pixel_array, level=0, codecformat="j2k", reversible=True)
        film.PixelData = encapsulate([stream])
        film["PixelData"].is_undefined_length = True
        film.file_meta.TransferSyntaxUID = syntax
    return _bytes_of(film)


def _bytes_of(film: pydicom.FileDataset) -> bytes:
    file = BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()
