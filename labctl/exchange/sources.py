"""Reads foreign files: tables of text, NumPy's, HDF5 and ArC TWO control's, as named arrays."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from labctl.errors import MappingError
from labctl.exchange.mapping import File, Format
from labctl.exchange.quantities import first_text, is_number

Values = NDArray[Any]

# What np.load raises for a file that is damaged, encrypted, of another kind, or holds Python objects.
_NOT_NUMPY = (OSError, EOFError, ValueError, RuntimeError, TokenError, BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The arrays of one file, by name; `units` where the file says them.

    shape: rows and columns of the array of cells, and `cells`, the columns that hold a cell's row and column, where the
    format itself says so. lines: of a table of text, the line of the file that each row stands in.
    """

    name: str
    arrays: Mapping[str, Values]
    units: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, int] | None = None
    cells: tuple[str, str] | None = None
    lines: tuple[int, ...] = ()

    def get(self, at: str | int) -> Values:
        """The array called `at`, or the column of that number of the only array. Raises MappingError."""
        if isinstance(at, int):
            return self._column(at)
        if at == "*":
            return self._all()
        whole = at.strip("/")
        if whole in self.arrays:
            return self.arrays[whole]
        name, _, column = whole.rpartition(":")
        held = self.arrays.get(name)
        if held is not None and held.dtype.names and column in held.dtype.names:
            field_values: Values = held[column]
            return field_values
        raise MappingError(f"{self.name} has no {at!r}; it holds {self._listed()}")

    def refuse_text(self, at: str | int) -> None:
        """Raises MappingError where a column of a table of text, or one of all (`*`), holds what is no number."""
        if not self.lines:
            return
        names = list(self.arrays) if at == "*" else [list(self.arrays)[at] if isinstance(at, int) else at]
        for name in names:
            place = first_text(self.arrays[name])
            if place is not None:
                held = str(self.arrays[name][place])
                raise MappingError(f"column {name!r} holds {held!r} in line {self.lines[place]}, which is not a number")

    def _column(self, number: int) -> Values:
        names = list(self.arrays)
        if len(names) == 1 and self.arrays[names[0]].ndim == 2:
            table = self.arrays[names[0]]
            if 0 <= number < table.shape[1]:
                column: Values = table[:, number]
                return column
        elif 0 <= number < len(names):
            return self.arrays[names[number]]
        raise MappingError(f"{self.name} has no column {number}; it holds {self._listed()}")

    def _all(self) -> Values:
        arrays = list(self.arrays.values())
        if len(arrays) == 1:
            return arrays[0]
        if len({array.shape for array in arrays}) != 1:
            raise MappingError(f"{self.name}: '*' needs columns of one length; it holds {self._listed()}")
        return np.stack(arrays, axis=1)

    def _listed(self, most: int = 12) -> str:
        shown = [f"{name} {array.shape}" for name, array in list(self.arrays.items())[:most]]
        more = [f"{len(self.arrays) - most} more"] if len(self.arrays) > most else []
        return ", ".join(shown + more) or "nothing"


class _LazyDatasets(Mapping[str, Values]):
    """The datasets below a group, each read when it is asked for."""

    def __init__(self, path: Path, names: Mapping[str, str]) -> None:
        self._path = path
        self._names = names
        self._read: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        import h5py

        if name not in self._read:
            with h5py.File(self._path) as file:
                self._read[name] = unpacked(file[self._names[name]])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_source(path: Path, file: File, form: Format) -> Source:
    """The file at `path`, of format `form`, as `file` says. Raises MappingError."""
    if not path.is_file():
        raise MappingError(f"there is no file {path}")
    readers: dict[Format, Callable[[Path, File], Source]] = {
        "csv": _read_table,
        "numpy": _read_numpy,
        "hdf5": _read_hdf5,
        "arc2": _read_arc_two,
    }
    return readers[form](path, file)


def unpacked(dataset: Any) -> Values:
    """A dataset's numbers, by CF's packing where it has one: offset + scale x code, NaN where the code is its fill."""
    stored = np.asarray(dataset)
    if stored.dtype.kind not in "iuf" or not {"scale_factor", "add_offset", "_FillValue"} & set(dataset.attrs):
        return stored
    codes = np.where(stored == dataset.attrs.get("_FillValue"), np.nan, stored)
    values: Values = codes * dataset.attrs.get("scale_factor", 1.0) + dataset.attrs.get("add_offset", 0.0)
    return values


def said_unit(dataset: Any) -> str:
    """The text of the attribute `units` or `unit` of a dataset, else nothing."""
    said = dataset.attrs.get("units", dataset.attrs.get("unit", ""))
    return said.decode() if isinstance(said, bytes) else str(said)


def _read_arc_two(path: Path, file: File) -> Source:
    from labctl.exchange.arc_two import read_store

    store = read_store(path, file.table)
    return Source(path.name, store.columns, store.units, store.shape, ("row", "col"))


def _read_hdf5(path: Path, file: File) -> Source:
    import h5py

    names: dict[str, str] = {}
    units: dict[str, str] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names[name] = item.name
            units[name] = said_unit(item)

    try:
        with h5py.File(path) as root:
            group = root.get(file.group or "/")
            if not isinstance(group, h5py.Group):
                raise MappingError(f"{path.name}: $.file.group: there is no group {file.group!r}")
            group.visititems(note)
    except OSError:
        raise MappingError(f"{path.name} is not an HDF5 file that can be read") from None
    return Source(path.name, _LazyDatasets(path, names), units)


def _read_numpy(path: Path, file: File) -> Source:  # noqa: ARG001
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream)
            if isinstance(loaded, np.ndarray):
                return Source(path.name, _fields(loaded))
            return Source(path.name, {name: loaded[name] for name in loaded.files})
    except _NOT_NUMPY:
        raise MappingError(f"{path.name} is not a NumPy file of plain numbers") from None


def _fields(array: Values) -> dict[str, Values]:
    """A structured array by its fields; any other under one name."""
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    return {"array": array}


def _read_table(path: Path, file: File) -> Source:
    """A table of text: a row a line. Its names are those of the header, else `0`, `1`, ..."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise MappingError(f"{path.name} is not a text file that can be read") from None
    told = {number: line for number, line in enumerate(text.splitlines(), 1) if number > file.skip and line.strip()}
    if file.comment:
        told = {number: line for number, line in told.items() if not line.lstrip().startswith(file.comment)}
    if not told:
        raise MappingError(f"{path.name} holds no rows")
    rows = _split(path, file, told)
    names = [name.strip() for name in rows.pop(next(iter(rows)))] if file.header else None
    width = len(names) if names else len(next(iter(rows.values()), []))
    for number, row in rows.items():
        if len(row) != width:
            raise MappingError(f"{path.name}: line {number} has {len(row)} fields where {width} are expected")
    if not rows or len(set(names or [])) < len(names or []):
        raise MappingError(f"{path.name}: {'two columns share a name' if rows else 'there is no row below the header'}")
    labels = names or [str(number) for number in range(width)]
    columns = zip(labels, zip(*rows.values(), strict=True), strict=True)
    arrays = {name: _numbers(column, file.decimal) for name, column in columns}
    return Source(path.name, arrays, lines=tuple(rows))


def _split(path: Path, file: File, told: Mapping[int, str]) -> dict[int, list[str]]:
    first = next(iter(told.values()))
    delimiter = file.delimiter or next((mark for mark in "\t;" if mark in first), ",")
    if delimiter == " ":
        return {number: line.split() for number, line in told.items()}
    try:
        return dict(zip(told, csv.reader(told.values(), delimiter=delimiter, skipinitialspace=True), strict=True))
    except (csv.Error, ValueError, TypeError) as problem:
        raise MappingError(f"{path.name} is not a table with the delimiter {delimiter!r}: {problem}") from None


def _numbers(column: tuple[str, ...], decimal: str) -> Values:
    """Numbers, NaN where a field is empty; where any is not a number, the texts as they are."""
    texts = [each.strip() for each in column]
    try:
        return np.array([float(each.replace(decimal, ".")) if each else np.nan for each in texts])
    except ValueError:
        return np.array([_with_point(each, decimal) for each in texts])


def _with_point(text: str, decimal: str) -> str:
    """A number with a decimal point; any other text as it is."""
    pointed = text.replace(decimal, ".")
    return pointed if is_number(pointed) else text
