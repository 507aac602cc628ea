from dataclasses import dataclass

import pytest

from models.canonical import from_canonical_json, to_canonical_json
from models.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    name: str
    weights: tuple[float, ...]
    limit: float | None
    count: int
    is_on: bool

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is below 0")


THING = Thing(name="ä", weights=(1.0, 0.1), limit=None, count=3, is_on=True)
TEXT = '{"count":3,"is_on":true,"limit":null,"name":"ä","weights":[1.0,0.1]}'


def test_the_same_value_is_always_the_same_text_and_back():
    assert to_canonical_json(THING) == TEXT
    assert from_canonical_json(Thing, TEXT) == THING


def test_equal_values_are_equal_texts_whether_written_as_floats_or_whole_numbers():
    whole = Thing(name="ä", weights=(1, 0.1), limit=2, count=3, is_on=True)
    assert to_canonical_json(whole) == TEXT.replace("null", "2.0")


def test_whole_numbers_are_read_as_floats_where_floats_are_wanted():
    read = from_canonical_json(Thing, TEXT.replace("1.0", "1").replace("null", "2"))
    assert repr(read.weights) == "(1.0, 0.1)"
    assert repr(read.limit) == "2.0"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"count":3', '"count":"3"', "Thing.count"),
        ('"count":3', '"count":true', "Thing.count"),
        ('"count":3', '"count":-1', "below 0"),
        ('"is_on":true', '"is_on":1', "Thing.is_on"),
        ("0.1", "NaN", "Thing.weights"),
        ("[1.0,0.1]", "1.0", "Thing.weights"),
        ('"count":3,', "", "'count' is missing"),
        ('"count":3', '"count":3,"extra":1', "'extra'"),
        ('"name":"ä"', '"name":null', "Thing.name"),
    ],
)
def test_what_does_not_fit_is_named(old, new, told):
    with pytest.raises(DataError, match=told):
        from_canonical_json(Thing, TEXT.replace(old, new))


@pytest.mark.parametrize("text", ["", "[]", "7", "{"])
def test_what_is_not_an_object_is_refused(text):
    with pytest.raises(DataError):
        from_canonical_json(Thing, text)


def test_infinity_is_not_written():
    with pytest.raises(ValueError, match="JSON"):
        to_canonical_json(Thing(name="", weights=(float("inf"),), limit=None, count=0, is_on=False))


def test_only_values_of_a_dataclass_are_written():
    with pytest.raises(TypeError):
        to_canonical_json({"a": 1})
