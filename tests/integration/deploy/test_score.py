import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from calibration.scores import read_scores
from deploy.runtime import RUNTIME, Engine, Image
from deploy.score import score_studies, studies_of, write_score_table
from models.errors import DataError
from models.studies import StudyRow, StudyTable, write_study_table
from models.vocabulary import Label, Split


@pytest.fixture
def table(tmp_path: Path, film) -> StudyTable:
    rows = []
    for number in range(12):
        files = [film(number)] if number else [film(100), film(101)]
        if number == 3:
            files = [b"no film"]
        if number == 4:
            files = [film(4, ViewPosition="LL")]
        for image, data in enumerate(files):
            path = tmp_path / "films" / f"{number}-{image}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            rows.append(
                StudyRow(
                    path=path,
                    study=f"s{number:02}",
                    patient=f"p{number:02}",
                    site="A",
                    label=(Label.HEALTHY, Label.ABNORMAL, None)[number % 3],
                    stratum="nodule" if number % 3 == 1 else "",
                    split=Split.TEST if number == 11 else Split.CALIBRATION,
                )
            )
    return write_study_table(tmp_path / "studies.csv", rows)


@pytest.fixture
def engine(make_candidate):
    with Engine(make_candidate()) as engine:
        yield engine


def scored_by(engine: Engine, table: StudyTable, split: Split | None = Split.CALIBRATION):
    seen: list[None] = []
    scored = list(score_studies(engine, studies_of(table, split), on_study=lambda: seen.append(None)))
    assert len(seen) == len(scored)
    return scored


def test_every_study_has_one_row_in_the_order_of_the_table_with_the_score_that_serving_gives(
    engine: Engine, table: StudyTable
) -> None:
    scored = scored_by(engine, table)
    assert [study.rows[0].study for study in scored] == [f"s{number:02}" for number in range(11)]
    for study in scored:
        served = engine.assess([Image(data=row.path.read_bytes()) for row in study.rows])
        assert (study.assessment.score, study.assessment.logits) == (served.score, served.logits)


def test_the_table_carries_scores_reasons_logits_and_digests(engine: Engine, table: StudyTable, tmp_path: Path) -> None:
    scored = scored_by(engine, table)
    write_score_table(tmp_path / "scores.parquet", scored, engine.candidate, table)
    written = pq.read_table(tmp_path / "scores.parquet")
    assert written.column_names == [
        "study", "patient", "site", "stratum", "label", "split", "score", "strangeness", "reason", "logit_0", "logit_1",
        "logit_2",
    ]  # fmt: skip
    metadata = {key.decode(): value.decode() for key, value in written.schema.metadata.items()}
    assert metadata["demur.candidate"] == engine.candidate.digest
    assert metadata["demur.studies"] == table.digest
    assert metadata["demur.runtime"] == RUNTIME
    assert json.loads(metadata["demur.scope"])["modalities"] == ["CR", "DX"]
    rows = written.to_pylist()
    assert rows[3] | {"strangeness": None} == {
        "study": "s03", "patient": "p03", "site": "A", "stratum": "", "label": "healthy", "split": "calibration",
        "score": math.inf, "strangeness": None, "reason": "unreadable", "logit_0": None, "logit_1": None, "logit_2": None,
    }  # fmt: skip
    assert math.isnan(rows[3]["strangeness"])
    assert rows[4]["reason"] == "out_of_scope_view"
    assert rows[5]["label"] == ""
    assert rows[7]["stratum"] == "nodule"
    for row, study in zip(rows, scored, strict=True):
        assert row["score"] == study.assessment.score
        if study.assessment.logits:
            assert tuple(row[f"logit_{k}"] for k in range(3)) == study.assessment.logits
            assert row["strangeness"] == study.assessment.strangeness


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_calibration_reads_back_the_very_scores(engine: Engine, table: StudyTable, tmp_path: Path, suffix: str) -> None:
    scored = scored_by(engine, table)
    write_score_table(tmp_path / f"scores.{suffix}", scored, engine.candidate, table)
    back = read_scores(tmp_path / f"scores.{suffix}")
    np.testing.assert_array_equal(back.score, [study.assessment.score for study in scored])
    assert back.candidate == (engine.candidate.digest if suffix == "parquet" else None)


def test_without_a_split_every_study_is_scored(engine: Engine, table: StudyTable) -> None:
    assert len(scored_by(engine, table, None)) == 12
    assert len(scored_by(engine, table, Split.TEST)) == 1


def test_a_split_without_studies_is_told(table: StudyTable) -> None:
    with pytest.raises(DataError, match="no study in the split tune"):
        studies_of(table, Split.TUNE)


@pytest.mark.parametrize(("what", "other"), [("labels", {"label": Label.ABNORMAL}), ("splits", {"split": Split.TEST})])
def test_a_patient_with_two_labels_or_splits_is_told_before_any_film_is_read(
    table: StudyTable, what: str, other: dict[str, Label | Split]
) -> None:
    twice = replace(table.rows[4], patient=table.rows[7].patient, label=table.rows[7].label)
    rows = (*table.rows[:4], replace(twice, **other), *table.rows[5:])  # pyright: ignore[reportArgumentType]
    assert studies_of(replace(table, rows=(*table.rows[:4], twice, *table.rows[5:])), None)
    with pytest.raises(DataError, match=rf"two {what}, in the studies 's03' and 's06'"):
        studies_of(replace(table, rows=rows), None)


def test_a_film_that_is_not_there_is_an_error_of_the_table_and_not_a_film_that_abstains(table: StudyTable) -> None:
    table.rows[5].path.unlink()
    with pytest.raises(DataError, match=r"no such file: .*4-0\.dcm"):
        studies_of(table, None)


def test_a_table_that_cannot_be_written_is_told(engine: Engine, table: StudyTable, tmp_path: Path) -> None:
    scored = scored_by(engine, table, Split.TEST)
    with pytest.raises(DataError, match="cannot be written"):
        write_score_table(tmp_path / "no" / "folder.parquet", scored, engine.candidate, table)
