"""Canonical JSON and the strict reader."""

from datetime import datetime, timedelta, timezone

import pytest

from calibration.canonical import Fields, canonical, format_time
from calibration.terms import Unit
from models.errors import DataError


def test_the_same_value_is_always_the_same_text() -> None:
    assert canonical({"b": 1, "a": "ß"}) == canonical({"a": "ß", "b": 1}) == '{"a":"ß","b":1}'


def test_numbers_that_are_not_finite_are_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2025-12-31T23:30:00Z"
    assert Fields({"t": format_time(moment)}, "x").time("t") == moment


@pytest.mark.parametrize("text", ["[1]", "nothing", '{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', "[" * 100_000])
def test_what_is_not_a_plain_object_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match=r"^x: "):
        Fields.of_text(text, "x")


@pytest.mark.parametrize(
    ("take", "value"),
    [
        ("text", 1),
        ("text_or_none", 1),
        ("flag", 1),
        ("count", -1),
        ("count", 1.0),
        ("count", True),
        ("count_or_none", "1"),
        ("number", "1"),
        ("number", True),
        ("number", 10**400),
        ("number", float("inf")),
        ("number_or_none", "1"),
        ("rate", 1.5),
        ("rate", -0.1),
        ("time", "soon"),
        ("time", "2026-01-01T00:00:00"),
        ("time", 3),
        ("objects", {}),
        ("objects", [1]),
        ("numbers", ["1"]),
        ("rows", [1]),
        ("texts", [1]),
        ("object", []),
        ("object_or_none", []),
    ],
)
def test_a_field_of_another_type_is_an_error(take: str, value: object) -> None:
    with pytest.raises(DataError, match=r"^x"):
        getattr(Fields({"a": value}, "x"), take)("a")  # type: ignore[dict-item]
    with pytest.raises(DataError, match="'a' is missing"):
        getattr(Fields({}, "x"), take)("a")


def test_a_word_that_is_no_choice_is_an_error() -> None:
    assert Fields({"a": "study"}, "x").choice("a", Unit) is Unit.STUDY
    with pytest.raises(DataError, match="one of patient, study"):
        Fields({"a": "film"}, "x").choice("a", Unit)


def test_null_is_taken_where_it_may_be() -> None:
    fields = Fields({"a": None, "b": None, "c": None, "d": None}, "x")
    assert fields.text_or_none("a") is None
    assert fields.count_or_none("b") is None
    assert fields.number_or_none("c") is None
    assert fields.object_or_none("d") is None
    fields.end()


def test_a_key_left_over_is_an_error() -> None:
    fields = Fields({"a": 1, "b": 2}, "x")
    fields.count("a")
    with pytest.raises(DataError, match="unknown key 'b'"):
        fields.end()
