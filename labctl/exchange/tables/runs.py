"""The tables of a recorded run, decoded as `open_run` decodes them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.errors import ExportError
from labctl.exchange.tables.columns import Column, Flags, Table
from labctl.recording import actions, layout
from labctl.recording.layout import Commit
from labctl.recording.reader import opened, whole

if TYPE_CHECKING:
    import xarray

TABLES = ("events", "operations", "steps", "maps", "auxiliaries", "results", "settings")
"""What a run may have. `results`: those of its results that are arrays; `settings`: the same of its settings."""

_APPLIED = "reading_factor"
"""Of operations: readings have been multiplied by it, and would be twice if it stood beside them."""
_FIRST = {
    "events": (
        *("time", "cell", "row", "col", "amplitude", "reading", "status"),
        *(column.name for column in actions.EVENTS),
        "operation",
    ),
    "operations": tuple(dict.fromkeys(column.name for column in (*layout.OPERATIONS, *actions.OPERATIONS))),
    "steps": ("time", "phase"),
    "maps": ("row", "col"),
    "auxiliaries": ("time",),
}
"""The columns that stand first in a table; the rest by name, as HDF5 has them."""
_OF_OPERATIONS = ("kind", "width", "gate", "repeats", "read_voltage", "program", "state", "asked_by", "step")
_UNKNOWN_PHASE = 255


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run open to be exported."""

    path: Path
    commit: Commit
    file: h5py.File
    tree: xarray.DataTree


@contextlib.contextmanager
def open_to_export(path: Path) -> Iterator[OpenRun]:
    """The run at `path`, as of its last commit. Raises RecordingError for what is not a run file."""
    from labctl.recording.tree import open_tree  # imports xarray

    with opened(path) as (file, commit):
        with whole(path):
            tree = open_tree(path, commit, swmr=file.swmr_mode)
        with tree:
            yield OpenRun(path, commit, file, tree)


def run_tables(run: OpenRun, what: Collection[str] = TABLES, *, joined: bool = False, raw: bool = False) -> list[Table]:
    """The tables of `run` named in `what`, as far as it has them.

    joined: what events share with their operation and their step stands at each event, as do row and column of the
    cell. raw: amplitudes and readings as the converters' codes, with their scale, and without `reading_factor`. Raises
    ExportError where the run has nothing of what was named.
    """
    found = []
    for name in TABLES:
        if name not in what or name not in run.tree.children:
            continue
        table = _table(name, run, raw=raw)
        if name == "events":
            columns = _with_codes(table.columns, run) if raw else table.columns
            table = replace(table, columns=(*columns, *_joined(run, joined=joined, raw=raw)))
        if table.columns:
            found.append(replace(table, columns=_in_order(table.columns, _FIRST.get(name, ()))))
    if not found:
        raise ExportError(f"{run.path} has no {' and no '.join(sorted(what))}")
    return found


def _table(name: str, run: OpenRun, *, raw: bool) -> Table:
    dataset = run.tree.children[name].to_dataset()
    variables: Mapping[Any, Any] = dataset.variables
    columns = tuple(
        _column(str(each), variable, run.path)
        for each, variable in variables.items()
        if variable.dims and (raw or (name, each) != ("operations", _APPLIED))
    )
    shape = {str(dimension): int(length) for dimension, length in dataset.sizes.items()}
    return Table(name, {each: shape[each] for each in shape if any(each in column.dims for column in columns)}, columns)


def _in_order(columns: Collection[Column], first: Sequence[str]) -> tuple[Column, ...]:
    places = {name: place for place, name in enumerate(first)}
    return tuple(sorted(columns, key=lambda column: places.get(column.name, len(places))))


def _column(name: str, variable: xarray.Variable, path: Path) -> Column:
    first = variable.dims[0]

    def read(rows: slice) -> NDArray[Any]:
        with whole(path):
            values: NDArray[Any] = variable.isel({first: rows}).values
        return values

    return Column(
        name=name,
        dims=tuple(str(each) for each in variable.dims),
        dtype=np.dtype("M8[ns]") if variable.dtype.kind == "M" else variable.dtype,
        long_name=str(variable.attrs.get("long_name", name)),
        unit=str(variable.attrs.get("units", "")),
        read=read,
        flags=_flags(variable),
        integer=_integer(variable),
    )


def _flags(variable: xarray.Variable) -> Flags | None:
    meanings = tuple(str(variable.attrs.get("flag_meanings", "")).split())
    if not meanings:
        return None
    masks = "flag_masks" in variable.attrs
    values = np.atleast_1d(variable.attrs["flag_masks" if masks else "flag_values"])
    return Flags(tuple(int(value) for value in values), meanings, masks)


def _integer(variable: xarray.Variable) -> tuple[np.dtype[Any], int] | None:
    """What was masked integers in the file is floats once decoded."""
    stored = np.dtype(variable.encoding.get("dtype", variable.dtype))
    if variable.dtype.kind != "f" or stored.kind not in "iu" or "scale_factor" in variable.encoding:
        return None
    return stored, int(variable.encoding["_FillValue"])


def _with_codes(columns: tuple[Column, ...], run: OpenRun) -> tuple[Column, ...]:
    """amplitude and reading as the file has them."""
    events, packed = run.file["events"], ("amplitude", "reading")
    return tuple(_codes(each, events[each.name], run.path) if each.name in packed else each for each in columns)


def _codes(column: Column, dataset: h5py.Dataset, path: Path) -> Column:
    names = ("scale_factor", "add_offset", "_FillValue", "top_code")
    packing = {name: dataset.attrs[name] for name in names}

    def read(rows: slice) -> NDArray[Any]:
        with whole(path):
            codes: NDArray[Any] = dataset[rows]
        return codes

    return replace(column, dtype=dataset.dtype, read=read, packing=packing)


class _Operations:
    """The operation of each event of the block that is being read, for all columns that are joined."""

    def __init__(self, events: xarray.Dataset) -> None:
        self._operation = events["operation"].variable
        self._rows = slice(0, 0)
        self._found: NDArray[Any] = np.empty(0, np.uint32)

    def __call__(self, rows: slice) -> NDArray[Any]:
        if rows != self._rows:
            self._rows, self._found = rows, self._operation.isel(event=rows).values
        return self._found


def _joined(run: OpenRun, *, joined: bool, raw: bool) -> tuple[Column, ...]:
    """Columns of operations and steps at each event, and where its cell is, if it has one. raw: the factor that codes
    lack."""
    events, operations = (run.tree.children[name].to_dataset() for name in ("events", "operations"))
    operation_of = _Operations(events)
    names: list[str] = list(_OF_OPERATIONS) if joined else []
    if raw and _APPLIED in operations and bool((operations[_APPLIED] != 1).any()):
        names.append(_APPLIED)
    found = []
    for name in names:
        if name in operations:
            column = _column(name, operations.variables[name], run.path)
            found.append(_repeated(column, operations[name].values, operation_of))
    if not joined:
        return tuple(found)
    phase, of_operations = _phases(run, operations["step"].values)
    if layout.is_associative(run.tree.attrs):
        return (*found, _repeated(phase, of_operations, operation_of))
    places = _places(_column("cell", events.variables["cell"], run.path), int(run.tree.attrs["cols"]))
    return (*found, _repeated(phase, of_operations, operation_of), *places)


def _phases(run: OpenRun, step: NDArray[Any]) -> tuple[Column, NDArray[Any]]:
    """The column of phases, and that of each operation; of a step that was not done when the run ended: unknown."""
    variable = run.tree.children["steps"].to_dataset().variables["phase"]
    column = _column("phase", variable, run.path)
    flags = column.flags or Flags((), ())
    known = np.append(variable.values, np.full(1, _UNKNOWN_PHASE, variable.dtype))
    more = replace(flags, values=(*flags.values, _UNKNOWN_PHASE), meanings=(*flags.meanings, "step_not_done"))
    return replace(column, flags=more), known[np.minimum(step, len(known) - 1)]


def _repeated(column: Column, values: NDArray[Any], operation_of: _Operations) -> Column:
    def read(rows: slice) -> NDArray[Any]:
        found: NDArray[Any] = values[operation_of(rows)]
        return found

    return replace(column, dims=("event",), read=read)


def _places(cell: Column, cols: int) -> tuple[Column, Column]:
    def row(rows: slice) -> NDArray[Any]:
        found: NDArray[Any] = cell.read(rows) // np.uint32(cols)
        return found

    def col(rows: slice) -> NDArray[Any]:
        found: NDArray[Any] = cell.read(rows) % np.uint32(cols)
        return found

    return (
        replace(cell, name="row", long_name="row of the cell", read=row),
        replace(cell, name="col", long_name="column of the cell", read=col),
    )
