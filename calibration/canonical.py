"""Canonical JSON, and a strict reader of what was written: the same value is always the same bytes."""

import json
import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias, TypeVar

from models.errors import DataError

#: A plain JSON value.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Choice = TypeVar("Choice", bound=StrEnum)


def canonical(value: object) -> str:
    """Return JSON with sorted keys, no spaces, finite numbers, as UTF-8 text without a line feed.

    Examples
    --------
    >>> canonical({"b": 0.5, "a": [1, None]})
    '{"a":[1,null],"b":0.5}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def format_time(moment: datetime) -> str:
    """Return a moment as UTC in ISO 8601.

    Examples
    --------
    >>> format_time(datetime(2026, 11, 21, 8, 0, tzinfo=UTC))
    '2026-11-21T08:00:00Z'
    """
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Fields:
    """The fields of a JSON object, each taken once; what is missing, of another type, or left over is a DataError."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise DataError(f"{where}: an object is needed")
        self._left = dict(value)
        self._where = where

    @classmethod
    def of_text(cls, text: str, where: str) -> "Fields":
        """Return the fields of the object that a JSON text holds; no key may be given twice and no number be infinite."""
        try:
            value: Json = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{where}: not JSON as Demur writes it: {fault}") from None
        return cls(value, where)

    def end(self) -> None:
        """Raise if fields are left over."""
        if self._left:
            raise DataError(f"{self._where}: unknown key {min(self._left)!r}")

    def value(self, key: str) -> Json:
        """Take a field of any type."""
        if key not in self._left:
            raise DataError(f"{self._where}: the key {key!r} is missing")
        return self._left.pop(key)

    def text(self, key: str) -> str:
        """Take a text."""
        value = self.value(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def text_or_none(self, key: str) -> str | None:
        """Take a text or null."""
        return None if self._is_null(key) else self.text(key)

    def flag(self, key: str) -> bool:
        """Take true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def count(self, key: str) -> int:
        """Take a whole number of at least 0."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(key, "a whole number of at least 0")
        return value

    def count_or_none(self, key: str) -> int | None:
        """Take a whole number of at least 0, or null."""
        return None if self._is_null(key) else self.count(key)

    def number(self, key: str) -> float:
        """Take a finite number."""
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a finite number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(key, "a finite number")
        return number

    def number_or_none(self, key: str) -> float | None:
        """Take a finite number or null."""
        return None if self._is_null(key) else self.number(key)

    def rate(self, key: str) -> float:
        """Take a number in [0, 1]."""
        value = self.number(key)
        if not 0.0 <= value <= 1.0:
            raise self._wrong(key, "a number in [0, 1]")
        return value

    def time(self, key: str) -> datetime:
        """Take a moment with a time zone."""
        try:
            moment = datetime.fromisoformat(self.text(key))
        except ValueError:
            raise self._wrong(key, "a moment in ISO 8601") from None
        if moment.tzinfo is None:
            raise self._wrong(key, "a moment with a time zone")
        return moment

    def choice(self, key: str, kind: type[Choice]) -> Choice:
        """Take one of an enumeration's values."""
        try:
            return kind(self.text(key))
        except ValueError:
            raise self._wrong(key, f"one of {', '.join(kind)}") from None

    def objects(self, key: str) -> list["Fields"]:
        """Take a list of objects."""
        return [Fields(item, f"{self._where}.{key}[{i}]") for i, item in enumerate(self._list(key))]

    def numbers(self, key: str) -> tuple[float, ...]:
        """Take a list of finite numbers."""
        items = self._list(key)
        return tuple(Fields({key: item}, self._where).number(key) for item in items)

    def rows(self, key: str) -> tuple[tuple[float, ...], ...]:
        """Take a list of lists of finite numbers."""
        items = self._list(key)
        return tuple(Fields({key: item}, self._where).numbers(key) for item in items)

    def texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts."""
        items = self._list(key)
        return tuple(Fields({key: item}, self._where).text(key) for item in items)

    def object(self, key: str) -> "Fields":
        """Take an object."""
        return Fields(self.value(key), f"{self._where}.{key}")

    def object_or_none(self, key: str) -> dict[str, Json] | None:
        """Take an object as it is, or null."""
        value = self.value(key)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(key, "an object or null")
        return value

    def _list(self, key: str) -> list[Json]:
        value = self.value(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def _is_null(self, key: str) -> bool:
        if self._left.get(key, 0) is None:
            del self._left[key]
            return True
        return False

    def _wrong(self, key: str, needed: str) -> DataError:
        return DataError(f"{self._where}: {key!r} must be {needed}")


def _distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is given twice")
    return fields


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no number")
