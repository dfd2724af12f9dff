"""From arrays of any layout to grids with one axis for each thing that varies: cell, time, pulse, ...

A quantity stands in a file either as an array whose dimensions are named (`axes`), or as a column of a table with one
reading a row (the axis `reading`), next to columns that say of which cell, at which time, and so on. `Grids` makes the
same grid of both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import MappingError
from labctl.exchange.mapping import Cells, Place
from labctl.exchange.quantities import Dimension, Floats, numbers_of, to_si
from labctl.exchange.sources import Source

_LARGEST = 400_000_000
"""Places a grid may have: beyond, the readings of a table do not share their times."""

_COMPARISONS: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """values: one axis for each of `axes`. addresses: (cells,) of the axis `cell`. coordinates: by axis, its values (in
    SI) where a table told them.
    """

    values: Floats
    axes: tuple[str, ...]
    addresses: NDArray[np.int64]
    coordinates: Mapping[str, Floats]


class Grids:
    """The quantities of one file under one mapping."""

    def __init__(self, source: Source, cells: Cells | None, columns: int | None) -> None:
        """columns: of the array, where they are known, by which a row and a column become an address."""
        self._source = source
        self._cells = cells
        self.columns = columns
        if cells is None and source.cells is not None:
            row, col = source.cells
            self._cells = Cells(row=Place(at=row, unit="1"), col=Place(at=col, unit="1"))

    def grid(
        self,
        name: str,
        place: Place,
        dimension: Dimension,
        axes: Sequence[str],
        indices: Mapping[str, Place | None],
        *,
        bare: str = "",
    ) -> Grid:
        """The quantity at `place` on `axes` (the first is `cell`), its cells in the order of their addresses.

        name: its table in the mapping. indices: for each of the other axes, where a table says which it is, if it does.
        bare: the axis a column is along where nothing tells its cells; without, the last. Raises MappingError.
        """
        values, found = self._picked(name, place, dimension, self._default_axes(name, place, axes, bare))
        if found == ("reading",):
            return self._pivot(name, place, values, axes, indices, bare or axes[-1])
        return self._arranged(name, values, found, axes)

    def of_cells(self, name: str, place: Place, dimension: Dimension, cells: NDArray[np.int64]) -> Floats:
        """(cells,) a quantity that every cell has one of; one number stands for all. Raises MappingError.

        In a table of several readings a cell, each of them says it.
        """
        values, found = self._picked(name, place, dimension, self._default_axes(name, place, ("cell",), "cell"))
        if values.size == 1:
            return np.full(len(cells), values.ravel()[0])
        if found != ("reading",):
            grid = self._arranged(name, values, found, ("cell",))
            addresses, values = grid.addresses, grid.values
        else:
            keep = self._kept(name, place, len(values))
            told = self._addresses()
            rows = np.arange(len(values)) if told is None else self._fitting("cells", told, values)
            addresses, first, cell = np.unique(rows[keep], return_index=True, return_inverse=True)
            kept = values[keep]
            values = kept[first]
            if not np.array_equal(values[cell.ravel()], kept, equal_nan=True):
                raise MappingError(f"$.{name}: has several values for one cell")
        place_of = np.minimum(np.searchsorted(addresses, cells), len(addresses) - 1)
        if not np.array_equal(addresses[place_of], cells):
            raise MappingError(f"$.{name}: is of {len(addresses)} cells, which do not hold all {len(cells)} measured")
        return values[place_of]

    def along(self, name: str, place: Place, dimension: Dimension, length: int, axis: str) -> Floats:
        """(length,) numbers of `axis`; one number stands for all of them. Raises MappingError."""
        numbers, _ = self._picked(name, place, dimension, place.axes or (axis,))
        if numbers.size == 1:
            numbers = numbers.ravel()
            return np.full(length, numbers[0])
        if numbers.shape != (length,):
            raise MappingError(f"$.{name}: holds {numbers.shape} numbers for {length} on the axis {axis!r}")
        return numbers

    def _numbers(self, name: str, place: Place, dimension: Dimension) -> Floats:
        try:
            if place.values is not None:
                raw: NDArray[Any] = np.asarray(place.values, np.float64)
                unit = place.unit
            else:
                raw, unit = self._stored(place)
                for each in place.at if isinstance(place.at, list) else [place.at]:
                    if each is not None:
                        self._source.refuse_text(each)
            unit = unit or ("1" if dimension is Dimension.NUMBER else "")
            if not unit:
                raise ValueError(f"has no unit: say `unit`, as in {dimension.value!r}")
            volts = place.read_voltage
            numbers = numbers_of(raw) * place.scale + place.offset
            return to_si(numbers, unit, dimension, scaled=place.is_scaled, read_voltage=volts)
        except (ValueError, MappingError) as problem:
            raise MappingError(f"$.{name}: {problem}") from None

    def _stored(self, place: Place) -> tuple[NDArray[Any], str]:
        names = place.at if isinstance(place.at, list) else [place.at]
        parts = [self._source.get(each) for each in names if each is not None]
        if len({part.shape for part in parts}) > 1:
            raise ValueError(f"the arrays of `at` differ in shape: {', '.join(str(part.shape) for part in parts)}")
        said = str(names[0]).strip("/")
        unit = place.unit or self._source.units.get(said, "") or self._source.units.get(said.rpartition(":")[2], "")
        return (np.stack(parts) if isinstance(place.at, list) else parts[0]), unit

    def _default_axes(self, name: str, place: Place, axes: Sequence[str], bare: str) -> tuple[str, ...]:
        """What the dimensions of an array count where the mapping does not say: the last of `axes`; but where a column
        is along the cells, two are an image of the array.
        """
        if place.axes:
            return place.axes
        try:
            dimensions = int(isinstance(place.values, list)) if place.at is None else self._stored(place)[0].ndim
        except (ValueError, MappingError) as problem:
            raise MappingError(f"$.{name}: {problem}") from None
        if dimensions <= 1:
            return ("reading",)
        if bare == "cell" or tuple(axes) == ("cell",):
            return ("row", "col", *axes[1:])[:dimensions]
        return tuple(axes[-dimensions:])

    def _picked(
        self, name: str, place: Place, dimension: Dimension, axes: tuple[str, ...]
    ) -> tuple[Floats, tuple[str, ...]]:
        """The numbers, at the one index of every axis that is picked."""
        values = np.atleast_1d(self._numbers(name, place, dimension))
        if values.ndim != len(axes):
            raise MappingError(f"$.{name}.axes: {len(axes)} axes for an array of {values.ndim}, {values.shape}")
        for axis, index in place.pick.items():
            if axis not in axes:
                raise MappingError(f"$.{name}.pick: there is no axis {axis!r} among {', '.join(axes)}")
            position = axes.index(axis)
            if isinstance(index, str):
                chosen = slice(*(int(part) if part else None for part in index.split(":")))
                values = values[(slice(None),) * position + (chosen,)]
                continue
            if not 0 <= index < values.shape[position]:
                raise MappingError(f"$.{name}.pick.{axis}: 0 to {values.shape[position] - 1}, not {index}")
            values = np.take(values, index, axis=position)
            axes = axes[:position] + axes[position + 1 :]
        return values, axes

    def _arranged(self, name: str, values: Floats, found: tuple[str, ...], axes: Sequence[str]) -> Grid:
        """An array with named dimensions, in the order of `axes`, with one place for the axes it does not have."""
        if {"row", "col"} <= set(found):
            order = ["row", "col", *(axis for axis in found if axis not in ("row", "col"))]
            values = values.transpose([found.index(axis) for axis in order])
            rows, cols = values.shape[:2]
            values, found = values.reshape(rows * cols, *values.shape[2:]), ("cell", *order[2:])
            width = self._width(cols)
            addresses = (np.arange(rows)[:, None] * width + np.arange(cols)).ravel().astype(np.int64)
        else:
            addresses = self._wide_addresses(values.shape[found.index("cell")] if "cell" in found else 1)
        unknown = [axis for axis in found if axis not in axes]
        if unknown:
            raise MappingError(f"$.{name}.axes: {unknown[0]!r} is none of {', '.join(axes)}")
        missing = [axis for axis in axes if axis not in found]
        values = values.reshape(values.shape + (1,) * len(missing))
        whole = (*found, *missing)
        values = values.transpose([whole.index(axis) for axis in axes])
        rising = np.argsort(addresses)
        return Grid(values[rising], tuple(axes), addresses[rising], {})

    def _wide_addresses(self, count: int) -> NDArray[np.int64]:
        addresses = self._addresses()
        if addresses is None:
            return np.arange(count, dtype=np.int64)
        if len(addresses) != count:
            raise MappingError(f"$.cells: {len(addresses)} addresses for {count} cells")
        if len(np.unique(addresses)) < count:
            repeated, times = np.unique(addresses, return_counts=True)
            raise MappingError(f"$.cells: the address {repeated[times.argmax()]} stands there {times.max()} times")
        return addresses

    def _addresses(self) -> NDArray[np.int64] | None:
        """Flat addresses from 0, whole numbers; None where the mapping tells none."""
        cells = self._cells
        if cells is None:
            return None
        if cells.address is not None:
            flat = self._whole("cells.address", cells.address)
        else:
            assert cells.row is not None
            assert cells.col is not None
            row, col = self._whole("cells.row", cells.row), self._whole("cells.col", cells.col)
            width = self._width(int(col.max(initial=0)) + 1)
            if len(row) != len(col):
                raise MappingError(f"$.cells: {len(row)} rows, but {len(col)} columns")
            flat = row * width + col
        flat = flat - cells.first
        if len(flat) and flat.min() < 0:
            raise MappingError(f"$.cells: the address {flat.min() + cells.first} comes before the first, {cells.first}")
        return flat

    def _width(self, found: int) -> int:
        """The columns of the array: where nothing else says it, as many as occur."""
        self.columns = self.columns or found
        if found > self.columns:
            raise MappingError(f"$.array.cols: {self.columns} columns, but the file has {found}")
        return self.columns

    def _whole(self, name: str, place: Place) -> NDArray[np.int64]:
        numbers = self._numbers(name, place, Dimension.NUMBER).ravel()
        if not np.all(numbers == np.rint(numbers)):  # also catches NaN
            raise MappingError(f"$.{name}: not every address is a whole number")
        return numbers.astype(np.int64)

    def _pivot(
        self,
        name: str,
        place: Place,
        values: Floats,
        axes: Sequence[str],
        indices: Mapping[str, Place | None],
        bare: str,
    ) -> Grid:
        """A column of readings on `axes`. The last axis, where it has no column of its own, counts the readings of what
        comes before it; another has one place then.
        """
        keep = self._kept(name, place, len(values))
        addresses = self._addresses()
        if addresses is None:
            addresses = np.arange(len(values)) if bare == "cell" else np.zeros(len(values), np.int64)
        columns: dict[str, Floats | NDArray[np.int64]] = {axes[0]: self._fitting("cells", addresses, values)[keep]}
        for axis in axes[1:]:
            where = indices.get(axis)
            if where is not None:
                numbers = self._numbers(axis, where, _INDEX_DIMENSIONS.get(axis, Dimension.NUMBER)).ravel()
                columns[axis] = self._fitting(axis, numbers, values)[keep]
        values = values[keep]
        if axes[-1] not in columns:
            counted = _running_count([columns[axis] for axis in axes if axis in columns])
            grid = _pivoted(name, values, axes, columns | {axes[-1]: counted})
            told = {axis: each for axis, each in grid.coordinates.items() if axis in columns}
            return Grid(grid.values, grid.axes, grid.addresses, told)
        return _pivoted(name, values, axes, columns)

    def _fitting(self, name: str, numbers: NDArray[Any], values: Floats) -> NDArray[Any]:
        if len(numbers) == 1:
            return np.full(len(values), numbers[0])
        if len(numbers) != len(values):
            raise MappingError(f"$.{name}: holds {len(numbers)} numbers for {len(values)} readings")
        return numbers

    def _kept(self, name: str, place: Place, count: int) -> NDArray[np.bool_]:
        """(count,): the rows of a table that `where` asks for."""
        keep = np.ones(count, bool)
        for column, wanted in place.where.items():
            try:
                held = self._source.get(column)
            except MappingError as problem:
                raise MappingError(f"$.{name}.where: {problem}") from None
            if held.shape != (count,):
                raise MappingError(f"$.{name}.where.{column}: {held.shape} for {count} rows")
            keep &= _matching(held, wanted, f"$.{name}.where.{column}")
        if not keep.any():
            raise MappingError(f"$.{name}.where: no row of the table is such")
        return keep


_INDEX_DIMENSIONS = {"time": Dimension.TIME, "voltage": Dimension.VOLTAGE}


def _matching(held: NDArray[Any], wanted: str | float | list[str | float], path: str) -> NDArray[np.bool_]:
    if isinstance(wanted, list):
        any_of: NDArray[np.bool_] = np.any([_matching(held, each, path) for each in wanted], axis=0)
        return any_of
    comparison = next((sign for sign in _COMPARISONS if isinstance(wanted, str) and wanted.startswith(sign)), None)
    try:
        if comparison is not None:
            bound = float(str(wanted).removeprefix(comparison))
            return np.asarray(_COMPARISONS[comparison](numbers_of(held), bound), bool)
        if isinstance(wanted, str):
            return np.asarray(held.astype(str) == wanted, bool)
        return np.asarray(numbers_of(held) == wanted, bool)
    except ValueError as problem:
        raise MappingError(f"{path}: {problem}") from None


def _running_count(groups: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """(n,): the how-manieth row of its group each row is, in the order they stand in."""
    count = len(groups[0])
    _, group = np.unique(np.stack(groups, axis=1), axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    sizes = np.bincount(group.ravel())
    within = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    numbers = np.empty(count, np.int64)
    numbers[order] = within
    return numbers


def _pivoted(name: str, values: Floats, axes: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> Grid:
    shape, places = [], []
    coordinates: dict[str, Floats] = {}
    for axis in axes:
        if axis not in columns:
            shape.append(1)
            places.append(np.zeros(len(values), np.int64))
            continue
        if not np.all(np.isfinite(columns[axis])):
            raise MappingError(f"$.{axis}: a row of the table does not say which it is")
        found, place = np.unique(columns[axis], return_inverse=True)
        coordinates[axis] = found.astype(np.float64)
        shape.append(len(found))
        places.append(place.ravel())
    if float(np.prod(shape, dtype=np.float64)) > _LARGEST:
        told = " x ".join(f"{count} of {axis}" for axis, count in zip(axes, shape, strict=True))
        raise MappingError(f"$.{name}: the readings share too few of their coordinates: {told}")
    flat = np.ravel_multi_index(tuple(places), tuple(shape))
    if len(np.unique(flat)) < len(flat):
        raise MappingError(f"$.{name}: two rows of the table have the same {' and '.join(axes)}")
    grid = np.full(int(np.prod(shape)), np.nan)
    grid[flat] = values
    return Grid(grid.reshape(shape), tuple(axes), coordinates[axes[0]].astype(np.int64), coordinates)
