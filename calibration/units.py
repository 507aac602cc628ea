"""From studies to the units of the promise: patients, or one drawn study of a patient.

A patient's score is the one that can do harm: an abnormal patient is missed if *any* of his studies is accepted, so his score
is the least of them; a healthy one is spared the reader only if *all* are accepted, so his is the greatest. Films are never
units: four films of one patient would turn a 5 % error into 47 %.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN, ScoreTable
from calibration.terms import Group
from models.errors import DataError


def abnormal_scores(table: ScoreTable, group: Group) -> NDArray[np.float64]:
    """Return the score of each abnormal patient of a group, in no particular order.

    A group with a stratum has the patients with at least one study of that stratum, each with the least score of *all* his
    abnormal studies at the group's site: a patient is missed through any of them.

    Parameters
    ----------
    table : ScoreTable
        Without unknown labels.
    group : Group
        Which patients.

    Returns
    -------
    ndarray of float64, shape (n1,)
    """
    rows = table.label == ABNORMAL
    if group.site is not None:
        rows &= table.site.codes == table.site.code_of(group.site)
    patients, scores = table.patient.codes[rows], table.score[rows]
    if group.stratum is not None:
        with_finding = patients[table.stratum.codes[rows] == table.stratum.code_of(group.stratum)]
        theirs = np.isin(patients, with_finding)
        patients, scores = patients[theirs], scores[theirs]
    return _per_patient(patients, scores, np.minimum, np.inf)


def healthy_scores(table: ScoreTable, site: str | None) -> NDArray[np.float64]:
    """Return the score of each healthy patient of a site (None: of all), the greatest of his studies there, in no order."""
    rows = table.label == HEALTHY
    if site is not None:
        rows &= table.site.codes == table.site.code_of(site)
    return _per_patient(table.patient.codes[rows], table.score[rows], np.maximum, -np.inf)


def decided_patients(table: ScoreTable, threshold: float) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return of each patient, by code, the label and whether he is called healthy.

    An abnormal patient is if *any* of his studies is below the threshold, another if *all* are.
    """
    label = np.full(len(table.patient), UNKNOWN, np.int8)
    label[table.patient.codes] = table.label
    studies = np.bincount(table.patient.codes, minlength=len(label))
    below = np.bincount(table.patient.codes[table.score < threshold], minlength=len(label))
    return label, np.where(label == ABNORMAL, below > 0, (below == studies) & (studies > 0))


def studies_per_patient(table: ScoreTable) -> int:
    """Return the most studies that a patient has; 0 for an empty table."""
    return int(np.bincount(table.patient.codes).max(initial=0))


def draw_studies(table: ScoreTable, studies_max: int, salt: str) -> ScoreTable:
    """Return at most one study per patient, so that every study of the table is drawn with the same probability.

    A patient with m studies is kept with probability m / studies_max, and one of his studies is drawn: each study stays with
    probability 1 / studies_max, whoever's it is. Both draws are a salted hash of the patient's key, so that they are the same in
    every run and nobody can try again for a better one.

    Parameters
    ----------
    table : ScoreTable
        Any.
    studies_max : int
        M, fixed beforehand.
    salt : str
        Of the hash.

    Raises
    ------
    DataError
        If a patient has more than ``studies_max`` studies.

    References
    ----------
    Dunn, Wasserman & Ramdas (2018), arXiv:1809.07441; Lee, Barber & Willett (2023), arXiv:2306.06342: one observation per
    patient makes hierarchical data exchangeable.
    """
    counts = np.bincount(table.patient.codes, minlength=len(table.patient))
    if len(counts) and counts.max() > studies_max:
        patient = table.patient.name_of(int(counts.argmax()))
        raise DataError(
            f"the patient {patient!r} has {counts.max()} studies, more than the {studies_max} fixed beforehand"
        )
    draws = np.array([_two_draws(salt, name) for name in table.patient.as_tuple()], np.float64).reshape(-1, 2)
    kept = draws[:, 0] * studies_max < counts
    chosen = np.floor(draws[:, 1] * counts).astype(np.int64)
    by_patient = np.argsort(table.patient.codes, kind="stable")  # each patient's studies in the order of their keys
    starts = np.cumsum(counts) - counts
    keep = np.zeros(len(table), np.bool_)
    keep[by_patient[(starts + chosen)[kept]]] = True
    return table.where(keep)


def _two_draws(salt: str, patient: str) -> tuple[float, float]:
    """Return two numbers in [0, 1), as good as independent and uniform, from a patient's key."""
    digest = hashlib.sha256(f"{len(salt)}:{salt}{patient}".encode()).digest()
    first, second = (int.from_bytes(digest[i : i + 8]) >> 11 for i in (0, 8))
    return first / 2**53, second / 2**53


def _per_patient(
    patients: NDArray[np.int64], scores: NDArray[np.float64], extreme: np.ufunc, start: float
) -> NDArray[np.float64]:
    found, place = np.unique(patients, return_inverse=True)
    out = np.full(len(found), start)
    extreme.at(out, place, scores)
    return out
