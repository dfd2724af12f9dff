"""Whether a run file has every part it should, and each part the form, dimensions and units it should."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import h5py
import numpy as np

from labctl.array import Scale
from labctl.recording import actions, layout
from labctl.recording.findings import Finding, error
from labctl.recording.layout import Column, Commit, Outcome
from labctl.recording.skeleton import is_dimension_only

DIMENSIONS = {"events": "event", "operations": "operation", "steps": "step", "auxiliaries": "sample"}
"""Of each table."""

_ANY_SCALE = Scale(1.0, 0.0, 12, "")
_COLUMNS = {
    "steps": layout.steps((), ()),
    "auxiliaries": layout.auxiliaries({}),
}
"""What each table has whatever the protocol, and the array; see `_columns`."""

_LATER = ("read_voltage", "reading_factor", "asked_by", "checksums")
"""What the runs of older labctls lack."""

_CODE_ATTRIBUTES = ("units", "scale_factor", "add_offset", "top_code", "_FillValue")


def check_structure(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """Every table, column and dimension of an open run file. Raises what h5py raises where it cannot be read."""
    columns = _columns(associative=layout.is_associative(file.attrs))
    for name in DIMENSIONS:
        if name in file:
            yield from _table(file[name], commit, columns[name])
    yield from _maps(file)
    yield from _provenance(file["provenance"], commit)
    yield from _checkpoint(file, commit)
    for dataset in file.get("results", {}).values():
        yield from _result(dataset)


def counted(table: str, commit: Commit) -> int:
    """The rows of `table` that are there."""
    rows = {"events": commit.events_intended, "operations": commit.operations_intended}
    return (rows | {"steps": commit.steps, "auxiliaries": commit.samples})[table]


def _columns(*, associative: bool) -> dict[str, tuple[Column, ...]]:
    """What each table has whatever the protocol."""
    events, operations = actions.events_of(associative, _ANY_SCALE, _ANY_SCALE), actions.operations_of(associative)
    return {"events": events, "operations": operations, **_COLUMNS}


def _table(group: h5py.Group, commit: Commit, columns: Sequence[Column]) -> Iterator[Finding]:
    name = group.name[1:]
    for column in columns:
        if column.name in group:
            yield from _known(group[column.name], column)
        elif column.name not in _LATER:
            yield error(f"{name}/{column.name} is missing")
    dimension = DIMENSIONS[name]
    if dimension not in group or not group[dimension].is_scale:
        yield error(f"{name} lacks its dimension `{dimension}`")
        return
    for column_name, dataset in group.items():
        if column_name != dimension:
            yield from _described(dataset)
            yield from _dimensions(dataset, (dimension,))
        yield from _length(dataset, counted(name, commit), commit)


def _known(dataset: h5py.Dataset, column: Column) -> Iterator[Finding]:
    """What layout says of it; the type and unit of a converter's codes are the converter's own."""
    path = dataset.name[1:]
    if column.scale:
        missing = [name for name in _CODE_ATTRIBUTES if name not in dataset.attrs]
        if missing:
            yield error(f"{path} does not say what its codes mean: it lacks `{missing[0]}`")
        if dataset.dtype not in (np.dtype("u2"), np.dtype("u4")):
            yield error(f"{path} is of type {dataset.dtype}, not codes of two or four bytes")
        return
    if dataset.dtype != np.dtype(column.dtype):
        yield error(f"{path} is of type {dataset.dtype}, not {np.dtype(column.dtype)}")
    if column.unit and dataset.attrs.get("units") != column.unit:
        yield error(f"{path} says its unit is {dataset.attrs.get('units', 'nothing')}, not {column.unit}")
    if column.flags is not None and "flag_values" not in dataset.attrs:
        yield error(f"{path} does not say what its flags mean")


def _described(dataset: h5py.Dataset) -> Iterator[Finding]:
    """A name a person can read, and a unit for what is measured."""
    path = dataset.name[1:]
    if "long_name" not in dataset.attrs:
        yield error(f"{path} does not say what it is: it lacks `long_name`")
    if "units" not in dataset.attrs and "flag_values" not in dataset.attrs:
        yield error(f"{path} has neither units nor flags")


def _dimensions(dataset: h5py.Dataset, expected: Sequence[str]) -> Iterator[Finding]:
    path = dataset.name[1:]
    if dataset.ndim != len(expected):
        yield error(f"{path} has {dataset.ndim} dimensions, not {len(expected)}")
        return
    for axis, name in enumerate(expected):
        scales = [scale.name.rpartition("/")[2] for scale in dataset.dims[axis].values()]
        if scales != [name]:
            yield error(f"{path} does not have the dimension `{name}` along axis {axis}")


def _length(dataset: h5py.Dataset, rows: int, commit: Commit) -> Iterator[Finding]:
    """Of a closed file exactly what counts; of one left by a kill at least that."""
    is_open = commit.outcome in (Outcome.LIVE, Outcome.KILLED)
    length = dataset.shape[0] if dataset.shape else 0
    if length < rows or (length > rows and not is_open):
        yield error(f"{dataset.name[1:]} has {length:,} rows, but {rows:,} were committed")


def _maps(file: h5py.File) -> Iterator[Finding]:
    if layout.is_associative(file.attrs):
        return
    shape = (int(file.attrs["rows"]), int(file.attrs["cols"]))
    for name, size in zip(("row", "col"), shape, strict=True):
        scale = file["maps"].get(name)
        if scale is None or not scale.is_scale or scale.shape != (size,):
            yield error(f"maps lack the dimension `{name}` of {size:,}")
            return
    for name, dataset in file["maps"].items():
        if name not in ("row", "col"):
            yield from _described(dataset)
            yield from _dimensions(dataset, ("row", "col"))
            if dataset.shape != shape:
                yield error(f"maps/{name} is {dataset.shape}, but the array {shape}")


def _provenance(group: h5py.Group, commit: Commit) -> Iterator[Finding]:
    is_open = commit.outcome in (Outcome.LIVE, Outcome.KILLED)
    for name in layout.TEXTS:
        if name not in group:
            if name not in _LATER:
                yield error(f"provenance/{name} is missing")
            continue
        yield from _dimensions(group[name], (f"{name}_bytes",))
        length = group.get(f"{name}_bytes")
        if length is not None and length.shape != group[name].shape and not is_open:
            yield error(f"provenance/{name} has another length than its dimension")


def _checkpoint(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    if "checkpoint" not in file:
        if commit.checkpoints:
            yield error("checkpoint is missing, though one was committed")
        return
    for slot, size in commit.slot_bytes.items():
        dataset = file["checkpoint"].get(slot)
        if dataset is None:
            yield error(f"checkpoint/{slot} is missing")
            continue
        yield from _described(dataset)
        yield from _dimensions(dataset, (f"{slot}_bytes",))
        yield from _length(dataset, size, commit)


def _result(dataset: h5py.Dataset) -> Iterator[Finding]:
    """Of any dimensions, but each with a scale."""
    if is_dimension_only(dataset):
        return
    yield from _described(dataset)
    if not dataset.is_scale and not all(len(each) == 1 for each in dataset.dims):
        yield error(f"{dataset.name[1:]} lacks a dimension")
