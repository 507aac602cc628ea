from pathlib import Path

import pytest

from models.errors import DataError
from models.studies import StudyRow, read_study_table, write_study_table
from models.vocabulary import Label, Split

HEADING = "path,study,patient,site,label,stratum,severity,view,age_years,split\n"
ROW = "films/a.png,s1,p1,north,abnormal,nodule,6.5,PA,61,tune\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "studies.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_is_read_with_its_types_and_an_absolute_path(tmp_path):
    read = read_study_table(table(tmp_path, HEADING + ROW))
    assert read.rows == (
        StudyRow(
            path=(tmp_path / "films/a.png").resolve(),
            study="s1",
            patient="p1",
            site="north",
            label=Label.ABNORMAL,
            stratum="nodule",
            severity=6.5,
            view="PA",
            age_years=61.0,
            split=Split.TUNE,
        ),
    )


def test_empty_cells_are_not_known(tmp_path):
    row = read_study_table(table(tmp_path, HEADING + "a.png,s,p,x,,,,,,\n")).rows[0]
    assert (row.label, row.severity, row.age_years, row.split, row.mask, row.view) == (None,) * 5 + ("",)


def test_what_is_written_reads_the_same(tmp_path):
    rows = (
        StudyRow(path=tmp_path / "x" / "a.png", study="s1", patient="p1", site="n", label=Label.HEALTHY, severity=0.1),
        StudyRow(path=tmp_path / "x" / "b.png", study="s1", patient="p1", site="n", label=Label.HEALTHY, age_years=7.5),
        StudyRow(
            path=tmp_path / "c.png",
            study='s"2',
            patient="p,2",
            site="n",
            split=Split.TEST,
            mask=tmp_path / "m" / "c.png",
        ),
    )
    written = write_study_table(tmp_path / "out" / "studies.csv", rows)
    read = read_study_table(tmp_path / "out" / "studies.csv")
    assert read == written
    assert read.rows == rows
    assert "../x/a.png" in (tmp_path / "out" / "studies.csv").read_text()
    assert [len(images) for images in read.studies().values()] == [2, 1]
    assert [row.study for row in read.only(Split.TEST)] == ['s"2']
    assert len(read) == len(list(read)) == 3


def test_other_columns_and_a_byte_order_mark_do_no_harm(tmp_path):
    read = read_study_table(table(tmp_path, "\ufeff" + "note," + HEADING + "hello," + ROW))
    assert read.rows[0].study == "s1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEADING, "no rows"),
        ("", "'path' is missing"),
        (HEADING.replace("site,", ""), "'site' is missing"),
        (HEADING + ROW.replace("s1", ""), "row 1, column 'study': empty"),
        (HEADING + ROW.replace("abnormal", "ill"), "row 1, column 'label': 'ill' is none of healthy, abnormal"),
        (HEADING + ROW.replace("tune", "validation"), "row 1, column 'split': 'validation'"),
        (HEADING + ROW.replace("6.5", "-1"), "row 1, column 'severity': '-1'"),
        (HEADING + ROW.replace("6.5", "nan"), "row 1, column 'severity': 'nan'"),
        (HEADING + ROW.replace("61", "old"), "row 1, column 'age_years': 'old'"),
        (HEADING + ROW.replace("61", "131"), "row 1, column 'age_years': '131'"),
        (HEADING + ROW.replace("abnormal", "healthy"), "row 1, column 'stratum': 'nodule' on a healthy study"),
        (HEADING + "a.png,s1\n", "row 1: another number of cells"),
        (HEADING + ROW.replace("tune", "tune,7"), "row 1: another number of cells"),
        (HEADING + ROW + ROW, "row 2, column 'path': 'a.png' is row 1 already"),
        (
            HEADING + ROW + ROW.replace("a.png", "b.png").replace("p1", "p2"),
            "row 2, column 'patient': 'p2' but 'p1' in row 1",
        ),
        (
            HEADING + ROW + ROW.replace("a.png", "b.png").replace("abnormal", ""),
            "row 2, column 'label': empty but 'abnormal'",
        ),
        (HEADING + ROW + ROW.replace("a.png", "b.png").replace("nodule", "mass"), "row 2, column 'stratum': 'mass'"),
        (
            HEADING + ROW + ROW.replace("a.png", "b.png").replace("s1", "s2").replace("tune", "test"),
            "a patient has one split",
        ),
    ],
)
def test_a_table_that_is_not_sound_is_refused_with_the_place(tmp_path, text, told):
    with pytest.raises(DataError, match=told.replace("(", r"\(")):
        read_study_table(table(tmp_path, text))


def test_a_file_that_cannot_be_read_is_told_in_one_line(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_study_table(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(HEADING.encode() + b"\xff\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_study_table(tmp_path / "latin.csv")
    with pytest.raises(DataError, match="not a CSV table"):
        read_study_table(table(tmp_path, HEADING + '"open,s1\n'))


def test_contradicting_rows_are_not_written(tmp_path):
    row = StudyRow(path=tmp_path / "a.png", study="s", patient="p", site="n")
    with pytest.raises(DataError, match="already"):
        write_study_table(tmp_path / "t.csv", [row, row])
    with pytest.raises(DataError, match="at least one row"):
        write_study_table(tmp_path / "t.csv", [])
    assert not (tmp_path / "t.csv").exists()
