"""What is known of a film beside its pixels, and the film: plain values that every reader of films fills in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself. It may be wrong: it can veto a decision, never support one.

    The UIDs and the patient's id are for storage and for the answer to the sender; they never go into a log or an error.
    Text is upper case without blanks around it, except UIDs and ids; empty or None: absent.

    Attributes
    ----------
    age_years : float or None
        From (0010,1010) *Patient's Age*, else from birth date and study date; None where they contradict each other.
    rows, columns : int
        At least 1 if there are pixels, else 0.
    spacing_mm : tuple of float or None
        Row and column spacing at the detector.
    lossy : bool
        The pixels were once compressed with loss.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    patient_id: str = ""
    modality: str = ""
    body_part: str = ""
    view: str = ""
    age_years: float | None = None
    presentation_intent: str = ""
    photometric: str = ""
    presentation_lut_shape: str = ""
    samples_per_pixel: int = 1
    frames: int = 1
    rows: int = 0
    columns: int = 0
    bits_stored: int = 0
    transfer_syntax: str = ""
    image_type: tuple[str, ...] = ()
    burned_in: str = ""
    conversion_type: str = ""
    lossy: bool = False
    spacing_mm: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A film as a person would see it.

    Attributes
    ----------
    pixels : ndarray of float32, shape (rows, columns)
        In [0, 1], bright is dense (bone is white, lung is black), 0 where there is no film.
    header : Header
        What the file says of itself.
    decoder : str
        Which library made pixels of bytes, with its version and codec.
    """

    pixels: NDArray[np.float32]
    header: Header
    decoder: str
