"""Frozen dataclasses as canonical JSON and back: the form in which parameters travel with an artefact.

Canonical means sorted keys, no spaces, finite numbers, UTF-8: the same value is always the same bytes, so that a digest of
them means something. Reading is strict: a missing or unknown key, or a value of another type, is a ``DataError``.
"""

import dataclasses
import json
import math
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from models.errors import DataError

T = TypeVar("T")


def to_canonical_json(value: object) -> str:
    """Return a frozen dataclass of plain fields as canonical JSON.

    Parameters
    ----------
    value : dataclass instance
        Its fields are str, bool, int, float, None or tuples of these.

    Returns
    -------
    str
        One line without a line feed.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} is not a dataclass instance")
    hints = get_type_hints(type(value))
    fields = {
        field.name: _written(hints[field.name], getattr(value, field.name)) for field in dataclasses.fields(value)
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def from_canonical_json(kind: type[T], text: str) -> T:
    """Return the dataclass ``kind`` that ``text`` describes.

    Parameters
    ----------
    kind : type
        A dataclass of plain fields.
    text : str
        JSON, canonical or not.

    Raises
    ------
    DataError
        If the text is not JSON, or a key is missing, unknown, or has a value of another type or out of range.
    """
    try:
        raw = json.loads(text)
    except ValueError:
        raise DataError(f"{kind.__name__}: not JSON") from None
    if not isinstance(raw, Mapping):
        raise DataError(f"{kind.__name__}: an object is needed, not {type(raw).__name__}")
    hints = get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(str(name) for name in raw.keys() - names):
        raise DataError(f"{kind.__name__}: unknown key {unknown[0]!r}")
    if missing := sorted(names - raw.keys()):
        raise DataError(f"{kind.__name__}: the key {missing[0]!r} is missing")
    values = {name: _parse(hints[name], raw[name], f"{kind.__name__}.{name}") for name in sorted(names)}
    try:
        return kind(**values)
    except ValueError as fault:
        raise DataError(f"{kind.__name__}: {fault}") from None


def _written(hint: Any, value: object) -> object:
    """Return whole numbers as floats where floats are meant, so that equal values are equal texts."""
    if isinstance(value, tuple):
        return [_written(get_args(hint)[0] if get_origin(hint) is tuple else _tuple_item(hint), part) for part in value]
    is_float = hint is float or float in get_args(hint)
    return float(value) if is_float and isinstance(value, int) and not isinstance(value, bool) else value


def _tuple_item(hint: Any) -> Any:
    """Return the item's type of an optional tuple."""
    return next(get_args(kind)[0] for kind in get_args(hint) if get_origin(kind) is tuple)


def _parse(hint: Any, value: object, where: str) -> Any:
    """Return ``value`` as ``hint`` wants it; JSON arrays become tuples, whole numbers become floats where wanted."""
    origin = get_origin(hint)
    if origin is tuple:
        item = get_args(hint)[0]
        if isinstance(value, list):
            return tuple(_parse(item, part, where) for part in value)
    elif origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        return _parse(next(kind for kind in get_args(hint) if kind is not type(None)), value, where)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise DataError(f"{where}: {value!r} is not what this key holds")
