"""Score tables: what is an error, what has a meaning, and one form of everything."""

import json

import numpy as np
import pyarrow as pa
import pytest

from calibration.scores import ABNORMAL, HEALTHY, UNKNOWN, read_scores, score_table, write_scores
from models.errors import DataError
from models.vocabulary import Split


def test_nan_and_minus_infinity_become_plus_infinity(table) -> None:
    scores = table(*({"score": score} for score in (np.nan, -np.inf, np.inf, None, 1.5, -0.0))).score
    assert scores.tolist() == [np.inf, np.inf, np.inf, np.inf, 1.5, 0.0]
    assert not np.signbit(scores[-1])


def test_labels_have_codes_and_an_empty_one_is_unknown(table) -> None:
    built = table({"label": "healthy"}, {"label": "abnormal"}, {"label": ""}, {"label": None})
    assert built.label.tolist() == [HEALTHY, ABNORMAL, UNKNOWN, UNKNOWN]
    assert len(built) == 4
    assert built.study_at(1) == "s1"


@pytest.mark.parametrize("missing", ["study", "patient", "site", "stratum", "label", "score"])
def test_a_missing_column_is_an_error_that_names_it(columns, missing: str) -> None:
    with pytest.raises(DataError, match=f"no column '{missing}'"):
        score_table(columns({}).drop_columns([missing]))


def test_an_empty_table_is_an_error(columns) -> None:
    with pytest.raises(DataError, match="no rows"):
        score_table(columns({}).slice(0, 0))


@pytest.mark.parametrize("name", ["study", "patient", "site"])
@pytest.mark.parametrize("value", ["", None])
def test_an_empty_key_is_an_error(columns, name: str, value: str | None) -> None:
    with pytest.raises(DataError, match=f"empty '{name}'"):
        score_table(columns({}, {name: value, "study": "x"} if name != "study" else {"study": value}))


@pytest.mark.parametrize(("name", "value"), [("label", "sick"), ("split", "validation")])
def test_an_unknown_word_is_an_error_that_says_the_known_ones(columns, name: str, value: str) -> None:
    with pytest.raises(DataError, match=f"unknown {name} '{value}'; known are"):
        score_table(columns({name: value}))


def test_columns_of_a_wrong_type_are_errors(columns) -> None:
    good = columns({}, {})
    with pytest.raises(DataError, match="'site' holds int64"):
        score_table(good.set_column(2, "site", pa.array([1, 2])))
    for scores in (pa.array([1, 2]), pa.array(["1", "2"])):
        with pytest.raises(DataError, match="'score' holds"):
            score_table(good.set_column(5, "score", scores))


def test_dictionary_columns_and_columns_of_nulls_are_read(columns) -> None:
    good = columns({"label": "healthy"}, {"label": "healthy"})
    coded = good.set_column(2, "site", good["site"].dictionary_encode())
    assert score_table(coded).digest() == score_table(good).digest()
    empty = good.set_column(3, "stratum", pa.nulls(2)).set_column(5, "score", pa.nulls(2))
    assert score_table(empty).score.tolist() == [np.inf, np.inf]


def test_scores_of_a_narrower_type_are_widened_exactly(columns) -> None:
    good = columns({}, {})
    for kind in (np.float16, np.float32):
        values = np.array([0.1, 0.2], kind)
        assert (
            score_table(good.set_column(5, "score", pa.array(values))).score.tolist() == values.astype(float).tolist()
        )


def test_identical_duplicate_rows_collapse(table) -> None:
    twice = {"study": "x", "score": np.nan}
    built = table(twice, {"study": "y"}, {"study": "x", "score": -np.inf})
    assert len(built) == 2
    assert built.digest() == table(twice, {"study": "y"}).digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", 2.0),
        ("label", "abnormal"),
        ("site", "B"),
        ("patient", "other"),
        ("stratum", "mass"),
        ("split", "test"),
    ],
)
def test_conflicting_duplicate_rows_are_an_error(columns, name: str, value: object) -> None:
    row = {"study": "x", "patient": "p", "score": 1.0, "split": "calibration", "stratum": ""}
    with pytest.raises(DataError, match=f"'x' is given twice with different values of '{name}'"):
        score_table(columns(row, {"study": "a", "split": "test"}, {**row, name: value}))


def test_a_patient_with_two_labels_is_an_error(columns) -> None:
    with pytest.raises(DataError, match="patient 'p' has two labels"):
        score_table(columns({"patient": "p"}, {"patient": "p", "label": "abnormal"}))
    with pytest.raises(DataError, match="patient 'p' has two labels"):
        score_table(columns({"patient": "p"}, {"patient": "p", "label": ""}))


def test_a_patient_in_two_splits_is_an_error(columns) -> None:
    rows = ({"patient": "p", "split": "calibration"}, {"patient": "p", "split": "train"})
    with pytest.raises(DataError, match="patient 'p' has two splits"):
        score_table(columns(*rows))


def test_a_study_duplicated_across_splits_is_an_error(columns) -> None:
    rows = ({"study": "x", "split": "calibration"}, {"study": "x", "split": "train"})
    with pytest.raises(DataError, match="'x' is given twice with different values of 'split'"):
        score_table(columns(*rows))


def test_only_keeps_one_split_or_everything_where_none_is_known(table) -> None:
    built = table({"split": "calibration"}, {"split": "test"}, {"split": ""})
    assert built.only(Split.TEST).study.to_pylist() == ["s1"]
    assert len(built.only(Split.TRAIN)) == 0
    plain = table({}, {})
    assert plain.only(Split.TEST) is plain


def test_the_order_of_rows_changes_nothing_the_digest_included(columns, generator) -> None:
    rows = columns(*({"score": float(s), "label": ("healthy", "abnormal")[s % 2]} for s in range(50)))
    shuffled = rows.take(generator.permutation(50))
    assert score_table(rows).digest() == score_table(shuffled).digest()
    assert score_table(rows).score.tolist() == score_table(shuffled).score.tolist()


@pytest.mark.parametrize(
    ("name", "value"),
    [("score", 2.0), ("label", ""), ("site", "B"), ("patient", "q"), ("stratum", "x"), ("study", "t")],
)
def test_the_digest_depends_on_every_value(columns, name: str, value: object) -> None:
    row = {"study": "s", "patient": "p"}
    assert score_table(columns(row)).digest() != score_table(columns({**row, name: value})).digest()


def test_the_digest_tells_where_one_value_ends_and_the_next_begins(columns) -> None:
    one, other = columns({"study": "ab", "patient": "c"}), columns({"study": "a", "patient": "bc"})
    assert score_table(one).digest() != score_table(other).digest()


def test_a_filtered_table_has_the_digest_of_its_rows(table) -> None:
    whole = table({"site": "A"}, {"site": "B", "study": "é"}, {"site": "A"})
    assert whole.where(whole.site.codes == 0).digest() == table({}, {"study": "s2", "patient": "p2"}).digest()
    assert len(whole.where(whole.site.codes > 5).digest()) == 64


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_comes_back_as_it_was_written(tmp_path, columns, suffix: str) -> None:
    rows = columns(
        {"score": np.inf, "reason": 'a "quoted",\nvalue', "strangeness": 0.5, "split": "test"},
        {"score": 1 / 3, "reason": "", "strangeness": 1.5, "split": "test", "site": "NA", "label": ""},
    )
    path = tmp_path / f"scores{suffix}"
    write_scores(path, rows, {"demur.candidate": "d1", "demur.scope": json.dumps({"views": ["PA"]})})
    back = read_scores(path)
    assert back.digest() == score_table(rows).digest()
    assert back.site.as_tuple() == ("A", "NA")
    assert back.split is not None
    if suffix == ".parquet":
        assert (back.candidate, back.scope) == ("d1", {"views": ["PA"]})
    else:
        assert (back.candidate, back.scope) == (None, None)


def test_csv_scores_may_be_words_for_no_number(tmp_path) -> None:
    path = tmp_path / "scores.csv"
    rows = ["study,patient,site,stratum,label,score"]
    rows += [f"s{i},p{i},A,,healthy,{score}" for i, score in enumerate(["inf", "-inf", "nan", "", "1e-3"])]
    path.write_text("\n".join(rows))
    assert read_scores(path).score.tolist() == [np.inf, np.inf, np.inf, np.inf, 0.001]


def test_a_table_that_is_not_sound_is_not_written(tmp_path, columns) -> None:
    with pytest.raises(DataError):
        write_scores(tmp_path / "x.csv", columns({"label": "sick"}), {})
    assert not (tmp_path / "x.csv").exists()


def test_files_that_cannot_be_read_are_errors_in_one_line(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_scores(tmp_path / "none.csv")
    for name, data in (("x.parquet", b"nonsense"), ("x.csv", b"study,score\n1,2,3\n"), ("y.csv", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match="cannot read") as caught:
            read_scores(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scope", ["not json", "[1]"])
def test_a_scope_that_is_no_object_is_an_error(columns, scope: str) -> None:
    with pytest.raises(DataError, match=r"'demur\.scope' is not"):
        score_table(columns({}).replace_schema_metadata({"demur.scope": scope}))
