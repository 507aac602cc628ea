"""Columns of text, as Arrow keeps them: coded, compared and written out without a Python loop."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportAttributeAccessIssue=false
# (pyarrow carries no types; only this module and calibration.scores touch it)

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """A column of names, coded.

    Attributes
    ----------
    names : pyarrow.LargeStringArray
        The distinct names, in the order in which they first come.
    codes : ndarray of int64, shape (N,)
        Per row the place of its name in ``names``.
    """

    names: pa.LargeStringArray
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of distinct names."""
        return len(self.names)

    def code_of(self, name: str) -> int:
        """Return the code of a name; -1 if no row has it."""
        return int(pc.index(self.names, pa.scalar(name, pa.large_string())).as_py())

    def as_tuple(self) -> tuple[str, ...]:
        """Return the distinct names, by code."""
        return tuple(self.names.to_pylist())

    def name_of(self, code: int) -> str:
        """Return a name by its code."""
        return self.names[code].as_py()

    def used(self) -> tuple[str, ...]:
        """Return the distinct names that some row has, sorted."""
        present = np.bincount(self.codes, minlength=len(self)) > 0
        return tuple(sorted(self.names.filter(pa.array(present)).to_pylist()))

    def per_row(self) -> pa.LargeStringArray:
        """Return the name of each row."""
        return self.names.take(pa.array(self.codes))


def text_column(columns: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column of a table as text, nulls as empty text; DataError if it holds something else."""
    column = columns[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.fill_null(column.cast(pa.large_string()), "")
    raise DataError(f"the column {name!r} holds {column.type}, not text")


def equals_previous(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say of each value whether it equals the one before; the first does not."""
    equal = np.zeros(len(column), np.bool_)
    equal[1:] = np.asarray(pc.equal(column[1:], column[:-1]))
    return equal


def coded(column: pa.ChunkedArray) -> Keys:
    """Code a column by its distinct names, in the order in which they first come."""
    encoded = column.combine_chunks().dictionary_encode()
    return Keys(names=encoded.dictionary, codes=np.asarray(encoded.indices).astype(np.int64))


def utf8_bytes(column: pa.LargeStringArray) -> memoryview:
    """Return the UTF-8 of all values, end to end."""
    whole = pa.concat_arrays([column])
    offsets = (
        np.frombuffer(whole.buffers()[1], np.int64, len(whole) + 1, offset=8 * whole.offset)
        if len(whole)
        else np.zeros(1, np.int64)
    )
    data = whole.buffers()[2]
    return memoryview(b"") if data is None else memoryview(data)[int(offsets[0]) : int(offsets[-1])]
