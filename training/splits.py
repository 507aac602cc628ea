"""Which split a patient belongs to: by a salted hash, so that it never changes and patients never cross."""

import hashlib
from dataclasses import dataclass

from models.vocabulary import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """The share of patients in each split; what is left goes to test. Another salt is another division."""

    train: float = 0.7
    tune: float = 0.1
    calibration: float = 0.1
    salt: str = "demur"

    def __post_init__(self) -> None:
        """Refuse shares that are no shares."""
        shares = (self.train, self.tune, self.calibration)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(f"shares of train, tune and calibration must be 0 to 1 in sum, not {shares}")


def uniform(site: str, patient: str, salt: str) -> float:
    """Return the patient's place in [0, 1)."""
    digest = hashlib.sha256(f"{salt}\x00{site}\x00{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(site: str, patient: str, plan: SplitPlan) -> Split:
    """Return the split of a patient of a site."""
    place = uniform(site, patient, plan.salt)
    if place < plan.train:
        return Split.TRAIN
    if place < plan.train + plan.tune:
        return Split.TUNE
    if place < plan.train + plan.tune + plan.calibration:
        return Split.CALIBRATION
    return Split.TEST
