"""Reads the HDF5 stores of ArC TWO control, the program of the ArC TWO board.

The layout, as of its version 0.2: the root has the attributes `words` and `bits`; `crossbar/current` and
`crossbar/voltage` hold the last read of every crosspoint, at [bit, word]; `crosspoints/W00B00/timeseries` is the
history of one, a table of current, voltage, pulse_width, read_voltage and op_type (1 read, 2 pulse, 3 both) whose
attribute `NROWS` says how many of its rows count; `crosspoints/W00B00/experiments/RET_<time>` and `CT_<time>` are
tables of its retention module (read_voltage, current, tstamp_s, tstamp_us) and of its curve tracer (voltage, current,
read_voltage).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.errors import MappingError

_CROSSPOINT = re.compile(r"W(\d+)B(\d+)")
_UNITS = {
    "current": "A",
    "voltage": "V",
    "read_voltage": "V",
    "pulse_width": "s",
    "conductance": "S",
    "time": "s",
}


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """One table of a store, of all its crosspoints: columns of one length, and the crossbar's (words, bits).

    A row of the array is a word line, a column a bit line.
    """

    columns: dict[str, NDArray[Any]]
    units: dict[str, str]
    shape: tuple[int, int]


def read_store(path: Path, table: str) -> Store:
    """The `table` of the store at `path`: `crossbar`, `timeseries`, or the tag of a module, as in `RET`.

    Raises MappingError where it is no such store, or holds no such table.
    """
    try:
        with h5py.File(path) as file:
            if not {"words", "bits"} <= set(file.attrs) or not {"crossbar", "crosspoints"} <= set(file):
                raise MappingError(f"{path.name} is not a file of ArC TWO control")
            shape = (int(file.attrs["words"]), int(file.attrs["bits"]))
            columns = _crossbar(file, shape) if table == "crossbar" else _crosspoints(file, table, path.name)
    except OSError:
        raise MappingError(f"{path.name} is not an HDF5 file that can be read") from None
    return Store(columns, {name: _UNITS[name] for name in columns if name in _UNITS}, shape)


def _crossbar(file: h5py.File, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """The last read of every crosspoint; one that was never read has current and voltage 0."""
    words, bits = shape
    current, voltage = (file[f"crossbar/{name}"][:].T[:words, :bits] for name in ("current", "voltage"))
    row, col = (index.ravel() for index in np.indices(current.shape))
    columns = {"row": row, "col": col, "current": current.ravel(), "voltage": voltage.ravel()}
    return columns | {"conductance": _ratio(columns["current"], columns["voltage"])}


def _crosspoints(file: h5py.File, table: str, name: str) -> dict[str, NDArray[Any]]:
    parts = list(_tables(file["crosspoints"], table))
    if not parts:
        found = sorted({tag for crosspoint in file["crosspoints"].values() for tag in _tags(crosspoint)})
        there = ", ".join(["crossbar", *found])
        raise MappingError(f"{name}: $.file.table: there is no table {table!r}; there are: {there}")
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if {"current", "read_voltage"} <= set(columns):
        columns["conductance"] = _ratio(columns["current"], columns["read_voltage"])
    return columns


def _tables(crosspoints: h5py.Group, tag: str) -> Iterator[dict[str, NDArray[Any]]]:
    """The columns of every table with this tag, with the crosspoint they are of and, where it is told, the time."""
    for name, crosspoint in crosspoints.items():
        found = _CROSSPOINT.fullmatch(name)
        if not found:
            continue
        for number, dataset in enumerate(_named(crosspoint, tag)):
            rows = dataset[: int(dataset.attrs["NROWS"])] if _is_filled(dataset, tag) else dataset[:]
            columns = {field: rows[field] for field in rows.dtype.names}
            if "tstamp_s" in columns:
                seconds, micros = columns["tstamp_s"].astype("i8"), columns["tstamp_us"].astype("i8")
                columns["time"] = (seconds - seconds[0]) + (micros - micros[0]) * 1e-6
            count = len(rows)
            place = {"row": int(found[1]), "col": int(found[2]), "experiment": number}
            yield {key: np.full(count, item) for key, item in place.items()} | columns


def _named(crosspoint: h5py.Group, tag: str) -> Iterator[h5py.Dataset]:
    if tag == "timeseries":
        if "timeseries" in crosspoint:
            yield crosspoint["timeseries"]
        return
    for name, dataset in crosspoint.get("experiments", {}).items():
        if isinstance(dataset, h5py.Dataset) and name.partition("_")[0] == tag and len(dataset):
            yield dataset


def _tags(crosspoint: h5py.Group) -> set[str]:
    tags = {name.partition("_")[0] for name in crosspoint.get("experiments", {})}
    return tags | ({"timeseries"} & set(crosspoint))


def _is_filled(dataset: h5py.Dataset, tag: str) -> bool:
    """Whether `NROWS` counts its rows: tables of modules are written whole, and leave it at 0."""
    return tag == "timeseries" or int(dataset.attrs.get("NROWS", 0)) > 0


def _ratio(current: NDArray[Any], voltage: NDArray[Any]) -> NDArray[Any]:
    """Current over voltage; NaN at no voltage."""
    ratio = np.full(current.shape, np.nan)
    np.divide(current, voltage, out=ratio, where=voltage != 0)
    return ratio
