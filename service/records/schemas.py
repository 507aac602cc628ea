"""What is asked and said about a study's record over HTTP."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.records.store import Image, Patient

#: DICOM text (PS3.5 section 6.2): no control characters, and no backslash, which separates values.
_Text = StringConstraints(strip_whitespace=True, pattern=r"^[^\x00-\x1f\x7f\\]*$")
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3, max_length=200, pattern=r"^[^\x00-\x1f]*$")
]


class ErasureRequest(BaseModel):
    """An erasure: it cannot be undone."""

    model_config = ConfigDict(extra="forbid")

    #: Kept on the ledger for ever: it must not name the patient or the study.
    reason: Reason
    #: Nobody has read it, and it is erased all the same.
    unread_too: bool = False


class PatientRequest(BaseModel):
    """Whose a study is: all four elements, empty where they are not known."""

    model_config = ConfigDict(extra="forbid")

    patient_id: Annotated[str, Field(max_length=64), _Text]
    patient_name: Annotated[str, Field(max_length=256), _Text]
    patient_birth_date: Annotated[str, Field(pattern=r"^(\d{8})?$")]
    patient_sex: Annotated[str, Field(pattern=r"^[MFO]?$")]

    def patient(self) -> Patient:
        """Return the patient."""
        return Patient(**self.model_dump(include=set(Patient.__dataclass_fields__)))


class CorrectionRequest(PatientRequest):
    """A correction: whose the study is, and why that was not known."""

    #: Kept on the ledger for ever: it must name no patient.
    reason: Reason


class ErasedAnswer(BaseModel):
    """What was erased."""

    #: Internal.
    id: str
    #: 0 if it was erased before.
    images: int
    #: Files that are still to be deleted, by this or another erasure; they are within minutes.
    files_left: int


class ImageAnswer(BaseModel):
    """An image by its internal id."""

    id: str
    digest: str
    modality: str
    view: str
    bytes: int
    received_at: datetime

    @classmethod
    def of(cls, image: Image) -> "ImageAnswer":
        """Return what is said of an image."""
        return cls(**{name: getattr(image, name) for name in Image.__dataclass_fields__})
