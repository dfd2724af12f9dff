"""What a table of a run is: columns with units and flags whose values are read block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 262_144
"""Rows held in memory at a time: what a whole array of 512 x 512 cells is read in, and a chunk of its events."""

NANOSECONDS = "nanoseconds since 1970-01-01T00:00:00Z"
"""How times stand in files of numbers: whole, as floats of seconds would round them to a quarter of a microsecond."""

NO_TIME = int(np.iinfo(np.int64).min)
"""The number of a time that is not known."""

ALL_CLEAR = "ok"
"""The word of a column of bits of which none is set."""

Read = Callable[[slice], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Flags:
    """The words of a column of codes. masks: they are bits, of which any may be set."""

    values: tuple[int, ...]
    meanings: tuple[str, ...]
    masks: bool = False

    def words(self) -> dict[int, str]:
        """Every code there can be, in words; of bits all combinations."""
        if not self.masks:
            return dict(zip(self.values, self.meanings, strict=True))
        named = list(zip(self.values, self.meanings, strict=True))
        codes = range(sum(self.values) + 1)
        return {code: " ".join(word for bit, word in named if code & bit) or ALL_CLEAR for code in codes}


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity. dtype: of its values in memory, where a time is `datetime64[ns]` and NaN (NaT) is no value.

    unit: SI, "" where none makes sense. integer: of floats that are whole numbers or NaN, the integer type they are
    stored in and the number that stands for NaN there. packing: CF attributes of codes that are not decoded.
    read: the values of some rows of its first dimension.
    """

    name: str
    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    long_name: str
    unit: str
    read: Read
    flags: Flags | None = None
    integer: tuple[np.dtype[Any], int] | None = None
    packing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_time(self) -> bool:
        return self.dtype.kind == "M"

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type of `stored` values."""
        if self.is_time:
            return np.dtype(np.int64)
        if self.integer is not None:
            return self.integer[0]
        return np.dtype(np.uint8) if self.dtype == bool else self.dtype

    def stored(self, values: NDArray[Any]) -> NDArray[Any]:
        """`values` as plain numbers: times as nanoseconds, whole numbers as integers."""
        if self.is_time:
            return values.astype("M8[ns]").astype(np.int64)
        if self.integer is None:
            return values.astype(self.stored_dtype, copy=False)
        dtype, fill = self.integer
        missing = np.isnan(values)
        return np.where(missing, fill, np.where(missing, 0, values).astype(dtype)).astype(dtype)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns over the same dimensions: of most tables one, of maps row and col, whose coordinates are columns too."""

    name: str
    shape: Mapping[str, int]
    columns: tuple[Column, ...]

    @property
    def rows(self) -> int:
        """Of a table with one dimension, its length."""
        (length,) = self.shape.values()
        return length

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[dict[str, NDArray[Any]]]:
        """The values of all columns, so many rows at a time, of a table with one dimension."""
        for first in range(0, self.rows, rows):
            block = slice(first, min(self.rows, first + rows))
            yield {column.name: column.read(block) for column in self.columns}

    def flat(self) -> Table:
        """As one row a cell, where the table has more than one dimension."""
        if len(self.shape) < 2:
            return self
        (dimension, cells) = ("cell", int(np.prod(list(self.shape.values()))))
        columns = tuple(
            replace(column, dims=(dimension,), read=_flattened(column, dict(self.shape))) for column in self.columns
        )
        return Table(self.name, {dimension: cells}, columns)

    def by_dimensions(self) -> list[Table]:
        """A table for each set of dimensions that columns have, with what these count, or their coordinates, first."""
        coordinates = {column.name: column for column in self.columns if column.dims == (column.name,)}
        others = [column for column in self.columns if column.name not in coordinates]
        apart = list(dict.fromkeys(column.dims for column in others))
        alone = coordinates.keys() - {name for dims in apart for name in dims}
        found = []
        for dims in (*apart, *((name,) for name in sorted(alone))):
            first = tuple(coordinates.get(name) or _counting(name, self.shape[name]) for name in dims)
            columns = (*first, *(column for column in others if column.dims == dims))
            found.append(Table(f"{self.name}_{'_'.join(dims)}", {name: self.shape[name] for name in dims}, columns))
        return found


def _counting(name: str, length: int) -> Column:
    """Numbers from 0, of a dimension without coordinates."""

    def read(rows: slice) -> NDArray[Any]:
        return np.arange(*rows.indices(length))

    return Column(name, (name,), np.dtype(np.int64), f"number of the {name}", "1", read)


def _flattened(column: Column, shape: dict[str, int]) -> Read:
    """Reads rows of the column repeated over the dimensions it lacks. It is read whole: an array has a few MB a map."""
    kept: list[NDArray[Any]] = []

    def read(rows: slice) -> NDArray[Any]:
        if not kept:
            values = column.read(slice(0, shape[column.dims[0]]))
            places = tuple(slice(None) if name in column.dims else None for name in shape)
            kept.append(np.broadcast_to(values[places], tuple(shape.values())).reshape(-1))
        found: NDArray[Any] = kept[0][rows]
        return found

    return read
