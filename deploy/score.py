"""Scores of a study table by the very engine that serves, study by study and film by film."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from calibration.scores import CANDIDATE_KEY, SCOPE_KEY, write_scores
from deploy.candidate import Candidate
from deploy.runtime import RUNTIME, Assessment, Engine, Image
from models.errors import DataError
from models.studies import StudyRow, StudyTable
from models.vocabulary import Split

#: Keys of the Parquet metadata, beside those of ``calibration.scores``: digest of the study table, and what ran the graph.
STUDIES_KEY = "demur.studies"
RUNTIME_KEY = "demur.runtime"

#: Threads per compute slot: while one waits for a decoder process, the other is in the graph.
_THREADS_PER_SLOT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredStudy:
    """A study and what the engine found in it.

    Parameters
    ----------
    rows : tuple[StudyRow, ...]
        Its images as the study table has them; at least one.
    assessment : Assessment
        What the engine found.
    """

    rows: tuple[StudyRow, ...]
    assessment: Assessment


def studies_of(table: StudyTable, split: Split | None) -> list[tuple[StudyRow, ...]]:
    """Return the images of each study of a split, or of the whole table, in the table's order.

    Raises
    ------
    DataError
        If there is none, a patient has two labels or two splits (no score table may), or a file is not there. A file that is
        there and cannot be read is a film that abstains; one that is not there says nothing about any film.
    """
    chosen = [rows for rows in table.studies().values() if split is None or rows[0].split is split]
    if not chosen:
        raise DataError(f"the study table has no study in the split {split}; give another --split")
    known: dict[str, StudyRow] = {}
    for rows in chosen:
        first = known.setdefault(rows[0].patient, rows[0])
        for what, one, other in (("labels", first.label, rows[0].label), ("splits", first.split, rows[0].split)):
            if one is not other:
                raise DataError(
                    f"the patient {first.patient!r} has two {what}, in the studies {first.study!r} and {rows[0].study!r}; "
                    "a patient is wholly one or the other: correct the study table"
                )
        for row in rows:
            if not row.path.is_file():
                raise DataError(
                    f"no such file: {row.path}, an image of the study {row.study}; fetch it or drop the row"
                )
    return chosen


def score_studies(
    engine: Engine, studies: list[tuple[StudyRow, ...]], *, on_study: Callable[[], None]
) -> Iterator[ScoredStudy]:
    """Assess studies on all cores; yield them in their order.

    Parameters
    ----------
    engine : Engine
        The candidate's.
    studies : list[tuple[StudyRow, ...]]
        The images of each study.
    on_study : Callable
        Called once per study as it is yielded.
    """

    def assess(rows: tuple[StudyRow, ...]) -> ScoredStudy:
        images = [Image(data=row.path.read_bytes(), view=row.view, age_years=row.age_years) for row in rows]
        return ScoredStudy(rows=rows, assessment=engine.assess(images))

    with ThreadPoolExecutor(engine.threads * _THREADS_PER_SLOT, thread_name_prefix="score") as pool:
        for scored in pool.map(assess, studies):
            on_study()
            yield scored


def write_score_table(path: Path, scored: list[ScoredStudy], candidate: Candidate, table: StudyTable) -> None:
    """Write the score table: Parquet by the suffix ``.parquet``, else CSV, which carries no digests.

    Parameters
    ----------
    path : Path
        The file.
    scored : list[ScoredStudy]
        One row each.
    candidate : Candidate
        What scored them.
    table : StudyTable
        Where they come from.

    Raises
    ------
    DataError
        If a patient has two labels, or the file cannot be written.
    """
    first = [study.rows[0] for study in scored]
    found = [study.assessment for study in scored]
    nothing = (None,) * candidate.members
    logits = zip(*(assessment.logits or nothing for assessment in found), strict=True)
    columns = {
        "study": pa.array([row.study for row in first], pa.large_string()),
        "patient": pa.array([row.patient for row in first], pa.large_string()),
        "site": pa.array([row.site for row in first], pa.large_string()),
        "stratum": pa.array([row.stratum for row in first], pa.large_string()),
        "label": pa.array([str(row.label or "") for row in first], pa.large_string()),
        "split": pa.array([str(row.split or "") for row in first], pa.large_string()),
        "score": pa.array([assessment.score for assessment in found], pa.float64()),
        "strangeness": pa.array([assessment.strangeness for assessment in found], pa.float64()),
        "reason": pa.array([";".join(assessment.gates) for assessment in found], pa.large_string()),
        **{f"logit_{member}": pa.array(values, pa.float64()) for member, values in enumerate(logits)},
    }
    metadata = {
        CANDIDATE_KEY: candidate.digest,
        SCOPE_KEY: candidate.scope.to_json(),
        STUDIES_KEY: table.digest,
        RUNTIME_KEY: RUNTIME,
    }
    try:
        write_scores(path, pa.table(columns), metadata)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); give a file in a folder that exists") from error
