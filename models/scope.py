"""What Demur was made for, as data. A header can take a film out of scope; it can never vouch for it.

Headers are often wrong: in one survey body part, orientation or photometric interpretation were wrong in up to 70 % of the
films that had them. So a header that names another body part or a lateral view is believed, since the price is one more film
to read, and a header that names the right ones proves nothing: strangeness and score decide.
"""

from dataclasses import dataclass
from typing import Self

from models.canonical import from_canonical_json, to_canonical_json
from models.header import Header
from models.vocabulary import Reason

#: (0008,0016) *SOP Class UID* of the Secondary Capture family.
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which films may be decided.

    Every tuple lists what is admitted, upper case; an empty string admits a header without the element.

    Attributes
    ----------
    modalities, body_parts, views, presentation_intents : tuple of str
        Values of (0008,0060), (0018,0015), (0018,5101) and (0008,0068).
    age_min, age_max : float or None
        Years, both inclusive; None: no limit.
    admits_unknown_age : bool
        A film without an age passes.
    admits_secondary_capture : bool
        Secondary captures pass.
    images_max : int
        The most images that a study may have, companions included.
    companion_views : tuple of str
        Views, none of ``views``, that are set aside beside a frontal one instead of making the study out of scope.
    """

    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    views: tuple[str, ...]
    presentation_intents: tuple[str, ...]
    age_min: float | None
    age_max: float | None
    admits_unknown_age: bool
    admits_secondary_capture: bool
    images_max: int
    companion_views: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for a scope that contradicts itself."""
        if self.images_max < 1:
            raise ValueError(f"images_max is {self.images_max}; a study has at least one image")
        if "" in self.companion_views or set(self.companion_views) & set(self.views):
            raise ValueError("companion_views must name views, and none that are decided")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise ValueError(f"age_min {self.age_min:g} is above age_max {self.age_max:g}")

    def to_json(self) -> str:
        """Return the scope as canonical JSON."""
        return to_canonical_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the scope that a JSON text holds; DataError if it does not hold one."""
        return from_canonical_json(cls, text)


#: What a hospital may use: frontal chest films of adults, from the modality, as it meant them to be seen.
CLINICAL = Scope(
    modalities=("CR", "DX"),
    body_parts=("", "CHEST"),
    views=("", "AP", "PA"),
    presentation_intents=("", "FOR PRESENTATION"),
    age_min=18.0,
    age_max=None,
    admits_unknown_age=False,
    admits_secondary_capture=False,
    images_max=2,
    companion_views=(),
)

#: For studies of the method: children and films of unknown age too, and pictures (PNG, JPEG) that say nothing of themselves.
RESEARCH = Scope(
    modalities=("", "CR", "DX"),
    body_parts=("", "CHEST"),
    views=("", "AP", "PA"),
    presentation_intents=("", "FOR PRESENTATION"),
    age_min=None,
    age_max=None,
    admits_unknown_age=True,
    admits_secondary_capture=False,
    images_max=2,
    companion_views=(),
)


def veto(header: Header, scope: Scope) -> tuple[Reason, ...]:
    """Return what the header says against deciding a film; empty: nothing.

    Parameters
    ----------
    header : Header
        Of one image.
    scope : Scope
        What is admitted.

    Returns
    -------
    tuple of Reason
        In the order of ``Reason``.
    """
    against = {
        Reason.MODALITY: header.modality not in scope.modalities,
        Reason.BODY_PART: header.body_part not in scope.body_parts,
        Reason.VIEW: header.view not in scope.views,
        Reason.AGE: not _age_is_admitted(header.age_years, scope),
        Reason.INTENT: header.presentation_intent not in scope.presentation_intents,
        Reason.FRAMES: header.frames != 1,
        Reason.PHOTOMETRIC: not _is_plain_grey(header),
        Reason.SECONDARY: _is_secondary(header) and not scope.admits_secondary_capture,
    }
    if header.burned_in == "YES":
        against[Reason.SECONDARY] = True
    return tuple(reason for reason, holds in against.items() if holds)


def is_companion(header: Header, scope: Scope) -> bool:
    """Say whether an image is set aside beside a frontal one: its declared view is all that is against it."""
    return header.view in scope.companion_views and veto(header, scope) == (Reason.VIEW,)


def _age_is_admitted(age_years: float | None, scope: Scope) -> bool:
    if age_years is None:
        return scope.admits_unknown_age
    over = scope.age_min is None or age_years >= scope.age_min
    under = scope.age_max is None or age_years <= scope.age_max
    return over and under


def _is_plain_grey(header: Header) -> bool:
    """Say whether the picture is grey and does not contradict itself about which end is black."""
    shapes = {"MONOCHROME1": ("", "INVERSE"), "MONOCHROME2": ("", "IDENTITY")}
    return header.samples_per_pixel == 1 and header.presentation_lut_shape in shapes.get(header.photometric, ())


def _is_secondary(header: Header) -> bool:
    of_the_family = header.sop_class_uid == SECONDARY_CAPTURE or header.sop_class_uid.startswith(
        f"{SECONDARY_CAPTURE}."
    )
    return of_the_family or header.conversion_type != ""
