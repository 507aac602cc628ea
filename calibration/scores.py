"""The score table: what a system said of each study, and what is known of it.

A table that could be read is sound and in its canonical form:

- one row per study, in the order of the study keys: identical duplicates are collapsed, conflicting ones are an error, so the
  order of a file's rows changes nothing, the digest included;
- a score is finite or +∞: NaN (no answer), −∞ and an empty cell become +∞ before anything else, so that they abstain in
  calibration as in serving, and can never make a patient look safe;
- a patient has one label and one split. Patient keys are unique in the table: where hospitals number their patients
  themselves, put the site before the number.

Extra columns are not looked at. What may be wrong with a table, and what happens:

==========================================================  ==================================================================
a column is missing, or of a wrong type; no rows            error
a study, patient or site without a key                      error
a label, or a split, that is not one of the known words     error
an empty label                                              not known: ``evaluate`` leaves it out; to ``certify``, an error
NaN, −∞, an empty score                                     +∞: abstains
a study twice, all values the same                          one study
a study twice, values not the same                          error
a patient with two labels (one of them empty), or splits    error
rows of other splits than calibration                       ``certify`` sets them aside
rows of sites that the terms do not list                    ``certify`` sets them aside
no abnormal; a listed site or stratum without any           refusal: the group cannot be tested
a site without healthy                                      the site is not certified
==========================================================  ==================================================================
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
# (pyarrow carries no types; only this module and calibration.columns touch it)

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from calibration.canonical import Json
from calibration.columns import Keys, coded, equals_previous, text_column, utf8_bytes
from models.errors import DataError
from models.vocabulary import Label, Split

REQUIRED = ("study", "patient", "site", "stratum", "label", "score")
SPLIT = "split"
#: Keys of the Parquet metadata: digest of the candidate that scored, and its scope as JSON.
CANDIDATE_KEY = "demur.candidate"
SCOPE_KEY = "demur.scope"

#: Codes in ``ScoreTable.label``.
HEALTHY, ABNORMAL, UNKNOWN = 0, 1, -1
_LABELS = {Label.HEALTHY.value: HEALTHY, Label.ABNORMAL.value: ABNORMAL, "": UNKNOWN}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """A sound score table. Made by ``score_table`` or ``read_scores``.

    Attributes
    ----------
    study : pyarrow.LargeStringArray
        Unique and sorted, shape (N,).
    patient, site, stratum : Keys
        Of each study. The stratum is the kind of the finding, empty for healthy or not known.
    label : ndarray of int8, shape (N,)
        ``HEALTHY``, ``ABNORMAL`` or ``UNKNOWN``.
    score : ndarray of float64, shape (N,)
        Higher is stranger; finite or +∞.
    split : Keys or None
        None: the table has no such column.
    candidate : str or None
        Digest of the candidate that scored.
    scope : dict or None
        Its scope, a JSON object.
    """

    study: pa.LargeStringArray
    patient: Keys
    site: Keys
    stratum: Keys
    label: NDArray[np.int8]
    score: NDArray[np.float64]
    split: Keys | None
    candidate: str | None
    scope: dict[str, Json] | None

    def __len__(self) -> int:
        """Return the number of studies."""
        return len(self.score)

    def study_at(self, row: int) -> str:
        """Return the key of the study in a row."""
        return self.study[row].as_py()

    def where(self, keep: NDArray[np.bool_]) -> "ScoreTable":
        """Return the rows that a mask keeps; names that no row has any more stay known."""
        return ScoreTable(
            study=self.study.filter(pa.array(keep)),
            patient=Keys(names=self.patient.names, codes=self.patient.codes[keep]),
            site=Keys(names=self.site.names, codes=self.site.codes[keep]),
            stratum=Keys(names=self.stratum.names, codes=self.stratum.codes[keep]),
            label=self.label[keep],
            score=self.score[keep],
            split=None if self.split is None else Keys(names=self.split.names, codes=self.split.codes[keep]),
            candidate=self.candidate,
            scope=self.scope,
        )

    def only(self, split: Split) -> "ScoreTable":
        """Return the rows of one split; the whole table if it knows no splits."""
        if self.split is None:
            return self
        return self.where(self.split.codes == self.split.code_of(split.value))

    def digest(self) -> str:
        """Return the SHA-256 of the rows in their canonical order, hexadecimal.

        For each of study, patient, site, stratum and label: the lengths of its UTF-8 values as little-endian int64, then the
        values end to end; then the scores as little-endian float64. Extra columns and the split are not part of it.
        """
        sha = hashlib.sha256()
        label_names = pa.array([Label.HEALTHY.value, Label.ABNORMAL.value, ""], pa.large_string())
        labels = label_names.take(pa.array(self.label.astype(np.int64) % 3))
        for column in (self.study, self.patient.per_row(), self.site.per_row(), self.stratum.per_row(), labels):
            sha.update(np.asarray(pc.binary_length(column)).astype("<i8").tobytes())
            sha.update(utf8_bytes(column))
        sha.update(self.score.astype("<f8").tobytes())
        return sha.hexdigest()


def read_scores(path: Path) -> ScoreTable:
    """Read a score table, Parquet by the suffix ``.parquet``, else CSV.

    Parameters
    ----------
    path : Path
        A table with at least the columns of ``REQUIRED``. An empty label is "not known"; an empty score, like NaN, abstains.

    Raises
    ------
    DataError
        If the file cannot be read or the table is not sound.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}; give a score table, as Parquet or CSV")
    try:
        columns = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as fault:
        raise DataError(f"cannot read the score table {path}: {str(fault).splitlines()[0]}") from None
    return score_table(columns)


def write_scores(path: Path, columns: pa.Table, metadata: Mapping[str, str]) -> None:
    """Check a score table and write it, Parquet by the suffix ``.parquet``, else CSV.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    columns : pyarrow.Table
        At least the columns of ``REQUIRED``; others (strangeness, reason, logit_0 …) are written too.
    metadata : mapping of str to str
        For Parquet; ``CANDIDATE_KEY`` and ``SCOPE_KEY`` where they are known. CSV carries none.

    Raises
    ------
    DataError
        If the table is not sound.
    """
    described = columns.replace_schema_metadata({**(columns.schema.metadata or {}), **metadata})
    score_table(described)
    if path.suffix == ".parquet":
        parquet.write_table(described, path)
    else:
        csv.write_csv(columns, path)


def score_table(columns: pa.Table) -> ScoreTable:
    """Return the sound table that some columns hold.

    Parameters
    ----------
    columns : pyarrow.Table
        As in a file; the schema's metadata may hold ``CANDIDATE_KEY`` and ``SCOPE_KEY``.

    Raises
    ------
    DataError
        If a column is missing or of a wrong type, a key is empty, a label unknown, a study given twice with different values,
        or a patient has two labels or two splits.
    """
    if missing := [name for name in REQUIRED if name not in columns.column_names]:
        raise DataError(f"the score table has no column {missing[0]!r}; it needs {', '.join(REQUIRED)}")
    if len(columns) == 0:
        raise DataError("the score table has no rows")
    text = [name for name in (*REQUIRED, SPLIT) if name != "score" and name in columns.column_names]
    plain = pa.table({**{name: text_column(columns, name) for name in text}, "score": _scores(columns)})
    _check_names(plain)
    plain = _one_row_per_study(plain)
    label = coded(plain["label"])
    table = ScoreTable(
        study=plain["study"].combine_chunks(),
        patient=coded(plain["patient"]),
        site=coded(plain["site"]),
        stratum=coded(plain["stratum"]),
        label=np.array([_LABELS[name] for name in label.as_tuple()], np.int8)[label.codes],
        score=np.array(plain["score"], np.float64),
        split=coded(plain[SPLIT]) if SPLIT in text else None,
        candidate=_metadata(columns, CANDIDATE_KEY),
        scope=_scope(columns),
    )
    _one_value_per_patient(table, table.label.astype(np.int64), "labels")
    if table.split is not None:
        _one_value_per_patient(table, table.split.codes, "splits")
    return table


def _read_parquet(path: Path) -> pa.Table:
    with parquet.ParquetFile(path) as file:
        known = set(file.schema_arrow.names)
        return file.read(columns=[name for name in (*REQUIRED, SPLIT) if name in known])


def _read_csv(path: Path) -> pa.Table:
    kinds = dict.fromkeys((*REQUIRED, SPLIT), pa.large_string()) | {"score": pa.float64()}
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=False),
    )


def _scores(columns: pa.Table) -> NDArray[np.float64]:
    """Return the scores, widened exactly to float64; what is no number or −∞ becomes +∞, and −0.0 becomes 0.0."""
    column = columns["score"]
    if not (pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise DataError(
            f"the column 'score' holds {column.type}; it needs floating-point numbers, as the served binary gives them"
        )
    score = np.array(column.cast(pa.float64()).to_numpy(), np.float64)
    score[~(score > -np.inf)] = np.inf
    return score + 0.0


def _check_names(plain: pa.Table) -> None:
    for name in ("study", "patient", "site"):
        if pc.any(pc.equal(plain[name], "")).as_py():
            raise DataError(f"a row of the score table has an empty {name!r}; each study needs one")
    for name, known in (("label", set(_LABELS)), (SPLIT, {*Split, ""})):
        if name in plain.column_names:
            for value in pc.unique(plain[name]).to_pylist():
                if value not in known:
                    raise DataError(
                        f"unknown {name} {value!r}; known are {', '.join(sorted(known - {''}))} and an empty cell"
                    )


def _one_row_per_study(plain: pa.Table) -> pa.Table:
    """Return the rows in the order of the studies, identical duplicates collapsed."""
    plain = plain.take(pc.sort_indices(plain["study"]))
    if len(plain) < 2:
        return plain
    same_study = equals_previous(plain["study"])
    if not same_study.any():
        return plain
    for name in plain.column_names:
        differs = same_study & ~equals_previous(plain[name])
        if differs.any():
            study = plain["study"][int(np.flatnonzero(differs)[0])].as_py()
            raise DataError(f"the study {study!r} is given twice with different values of {name!r}; keep the right row")
    return plain.filter(pa.array(~same_study))


def _one_value_per_patient(table: ScoreTable, values: NDArray[np.int64], what: str) -> None:
    first = np.empty(len(table.patient), np.int64)
    first[table.patient.codes] = values
    differs = np.flatnonzero(values != first[table.patient.codes])
    if len(differs):
        patient = table.patient.name_of(int(table.patient.codes[differs[0]]))
        raise DataError(f"the patient {patient!r} has two {what}; a patient is wholly one or the other")


def _metadata(columns: pa.Table, key: str) -> str | None:
    value = (columns.schema.metadata or {}).get(key.encode())
    return None if value is None else value.decode()


def _scope(columns: pa.Table) -> dict[str, Json] | None:
    text = _metadata(columns, SCOPE_KEY)
    if text is None:
        return None
    try:
        scope: Json = json.loads(text)
    except ValueError:
        raise DataError(f"the metadata {SCOPE_KEY!r} is not JSON") from None
    if not isinstance(scope, dict):
        raise DataError(f"the metadata {SCOPE_KEY!r} is not a JSON object")
    return scope
