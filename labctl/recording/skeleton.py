"""Builds an empty run file: every group, dataset and attribute it will ever have; SWMR can add none."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Scale
from labctl.associative import AssociativeGeometry
from labctl.errors import RecordingError
from labctl.recording import actions, layout
from labctl.recording.layout import Column, Commit, Outcome
from labctl.recording.text import iso_time, json_text
from labctl.steps import Variable

LIBVER = ("v110", "v110")  # what SWMR needs and what tools built on HDF5 1.10 still read

_OUTCOME_BYTES = 16
_TIME_BYTES = 32
_TEXT_CHUNK = 1024
_SLOT_CHUNK = 1 << 16
_DIMENSION_ONLY = "This is a netCDF dimension but not a netCDF variable."


@dataclasses.dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run before it starts; the fields of `RunWriter.create`."""

    protocol: str
    title: str
    phases: Sequence[str]
    variables: Sequence[Variable]
    geometry: Geometry
    dac: Scale
    adc: Scale
    started: float
    provenance: Mapping[str, Any]
    auxiliaries: Mapping[str, str]
    arrays: Mapping[str, NDArray[Any]]
    checkpoints: bool
    associative: AssociativeGeometry | None


def image(run: RunInfo) -> bytes:
    """The empty file of `run`, built in memory: HDF5 takes a full disk badly while it builds."""
    content = io.BytesIO()
    with h5py.File(content, "w", libver=LIBVER) as file:
        is_associative = run.associative is not None
        events = actions.events_of(is_associative, run.dac, run.adc)
        operations = actions.operations_of(is_associative)
        steps = layout.steps(run.phases, run.variables)
        maps = layout.maps(run.variables)
        _describe(file, run)
        _add_table(file, "events", "event", events, actions.event_chunk(run.geometry, is_associative))
        _add_table(file, "operations", "operation", operations, layout.ROW_CHUNK)
        _add_table(file, "steps", "step", steps, layout.ROW_CHUNK)
        if run.auxiliaries:
            _add_table(file, "auxiliaries", "sample", layout.auxiliaries(run.auxiliaries), layout.ROW_CHUNK)
        _add_maps(file, run.geometry, maps, is_associative=is_associative)
        _add_commit(file)
        if run.checkpoints:
            _add_checkpoint(file)
        _add_provenance(file, run.provenance)
        _add_settings(file, run.geometry, run.arrays)
        _choose_plot(file, maps, "matches" if is_associative else "reading")
    return content.getvalue()


def set_text_attribute(file: h5py.File, name: str, content: str) -> None:
    """Overwrite `outcome` or `ended` in place: SWMR can neither add nor resize attributes."""
    attribute = h5py.h5a.open(file.id, name.encode())
    stored = attribute.get_type()
    attribute.write(np.array(content.encode(), f"S{stored.get_size()}"), stored)


def write_text(group: h5py.Group, name: str, content: str) -> None:
    """One of the texts of `provenance`; a file of an older labctl that has no room for it goes without."""
    if name not in group:
        return
    characters = np.frombuffer(content.encode(), "S1")
    for dataset in (group[f"{name}_bytes"], group[name]):
        dataset.resize((len(characters),))
    group[name][:] = characters


def write_commit(file: h5py.File, commit: Commit) -> None:
    """Into the commit record, which of a file of an older labctl takes as many of the numbers as it has room for."""
    record = file["commit/record"]
    record[:] = commit.row()[: len(record)]


def describe_flags(group: h5py.Group, columns: Sequence[Column]) -> None:
    """Name every flag that `columns` of `group` may have from now on: an older labctl knew fewer."""
    for column in columns:
        if column.flags and column.name in group:
            _describe_flags(group[column.name], column.flags)


def is_dimension_only(dataset: h5py.Dataset) -> bool:
    """Whether `dataset` is nothing but the length of a dimension."""
    return bool(dataset.is_scale) and dataset.attrs["NAME"].startswith(_DIMENSION_ONLY.encode())


def _is_flat(item: object) -> bool:
    return isinstance(item, str | int | float | np.generic)


def _describe(file: h5py.File, run: RunInfo) -> None:
    """Attributes of the file: what a search asks for, and the two that closing overwrites in place."""
    flat = {name: item for name, item in run.provenance.items() if _is_flat(item)}
    shape = actions.geometry_attributes(run.associative)
    if taken := (layout.OWN_ATTRIBUTES | shape.keys()) & flat.keys():
        raise RecordingError(f"provenance may not use the run file's own attribute `{min(taken)}`")
    attributes = {
        "format": layout.FORMAT,
        "format_version": layout.FORMAT_VERSION,
        "Conventions": "CF-1.11",
        "title": run.title,
        "protocol": run.protocol,
        "rows": run.geometry.rows,
        "cols": run.geometry.cols,
        "cell": run.geometry.cell,
        "started": iso_time(run.started),
        "NX_class": "NXroot",
    }
    file.attrs.update(attributes | shape | flat)
    for name, text, length in (
        ("outcome", Outcome.RUNNING.value, _OUTCOME_BYTES),
        ("ended", "", _TIME_BYTES),
    ):
        file.attrs.create(name, text.encode(), dtype=h5py.string_dtype("utf-8", length))


def _add_table(file: h5py.File, group_name: str, dimension: str, columns: Sequence[Column], chunk: int) -> None:
    group = file.create_group(group_name)
    group.attrs["NX_class"] = "NXcollection"
    scale = add_dimension(group, dimension, 0, None, chunk)
    for column in columns:
        dataset = _add_column(group, column, (0,), (None,), (chunk,))
        dataset.dims[0].attach_scale(scale)


def _add_maps(file: h5py.File, geometry: Geometry, columns: Sequence[Column], *, is_associative: bool) -> None:
    """None of an associative array, whose cells are too many, and have no values of their own."""
    group = file.create_group("maps")
    group.attrs["NX_class"] = "NXcollection"
    if is_associative:
        if columns:
            raise RecordingError(f"the protocol declares the map `{columns[0].name}`, but associative arrays have none")
        return
    scales = []
    for name, size in (("row", geometry.rows), ("col", geometry.cols)):
        scale = group.create_dataset(name, data=np.arange(size, dtype="u4"))
        scale.attrs.update({"long_name": f"{name} of the array", "units": "1"})
        scale.make_scale(name)
        scales.append(scale)
    shape = (geometry.rows, geometry.cols)
    for column in columns:
        dataset = _add_column(group, column, shape, shape, shape)
        for axis, scale in enumerate(scales):
            dataset.dims[axis].attach_scale(scale)


def _add_commit(file: h5py.File) -> None:
    """The commit record, on disk from the start, so that each later one is one small write in place."""
    group = file.create_group("commit")
    group.attrs["NX_class"] = "NXcollection"
    fields = Commit._fields
    shape = (len(fields),)
    scale = add_dimension(group, "field", len(fields), len(fields), len(fields))
    column = Column("record", "u8", "how far this file is; what it does not count is not there")
    dataset = _add_column(group, column, shape, shape, shape)
    dataset.attrs["field_meanings"] = " ".join(fields)
    dataset.dims[0].attach_scale(scale)
    dataset[:] = Commit().row()


def _add_provenance(file: h5py.File, provenance: Mapping[str, Any]) -> None:
    """Nested provenance as JSON attributes, and room for the texts that come at the end."""
    group = file.create_group("provenance")
    group.attrs["NX_class"] = "NXcollection"
    for name, content in provenance.items():
        if not _is_flat(content):
            group.attrs[name] = json_text(content)
    for name in layout.TEXTS:
        scale = add_dimension(group, f"{name}_bytes", 0, None, _TEXT_CHUNK)
        text = group.create_dataset(name, (0,), "S1", maxshape=(None,), chunks=(_TEXT_CHUNK,))
        text.attrs["_Encoding"] = "utf-8"
        text.dims[0].attach_scale(scale)


def _add_checkpoint(file: h5py.File) -> None:
    """Room for the bytes of two checkpoints, which grows."""
    group = file.create_group("checkpoint")
    group.attrs["NX_class"] = "NXcollection"
    for name in layout.SLOTS:
        scale = add_dimension(group, f"{name}_bytes", 0, None, _SLOT_CHUNK)
        column = Column(name, "u1", "bytes of an .npz file: what the protocol goes on from", "1")
        _add_column(group, column, (0,), (None,), (_SLOT_CHUNK,)).dims[0].attach_scale(scale)


def _add_settings(file: h5py.File, geometry: Geometry, arrays: Mapping[str, NDArray[Any]]) -> None:
    """The settings that are arrays, by their paths; booleans as netCDF has them, bytes that say so."""
    group = file.create_group("settings")
    group.attrs["NX_class"] = "NXcollection"
    for name, values in arrays.items():
        dataset = group.create_dataset(name, data=values.astype("u1") if values.dtype == bool else values)
        dataset.attrs["long_name"] = f"the setting {name}"
        if values.dtype == bool:
            dataset.attrs["dtype"] = "bool"
        is_map = values.shape == (geometry.rows, geometry.cols)
        for axis, size in enumerate(values.shape):
            dimension = ("row", "col")[axis] if is_map else f"{name}_{axis}"
            scale = group[dimension] if dimension in group else add_dimension(group, dimension, size, size, size or 1)
            dataset.dims[axis].attach_scale(scale)


def add_dimension(group: h5py.Group, name: str, size: int, limit: int | None, chunk: int) -> h5py.Dataset:
    """A dimension without coordinates, the netCDF-4 way: a dataset of nothing but its length."""
    chunks: dict[str, Any] = {} if limit == 0 else {"maxshape": (limit,), "chunks": (chunk,)}
    scale = group.create_dataset(name, (size,), "f4", **chunks)
    scale.make_scale(f"{_DIMENSION_ONLY} {size:9d}")
    return scale


def _add_column(
    group: h5py.Group,
    column: Column,
    shape: tuple[int, ...],
    limits: tuple[int | None, ...],
    chunks: tuple[int, ...],
) -> h5py.Dataset:
    if column.name in group:
        raise RecordingError(f"the protocol declares `{column.name}`, which {group.name[1:]} have already")
    dataset = group.create_dataset(
        column.name, shape, column.dtype, maxshape=limits, chunks=chunks, fillvalue=column.fill
    )
    dtype = dataset.dtype
    dataset.attrs["long_name"] = column.long_name
    if column.unit:
        dataset.attrs["units"] = column.unit
    if column.masked:
        dataset.attrs["_FillValue"] = dtype.type(column.fill)
    if column.flags:
        _describe_flags(dataset, column.flags)
    if column.scale:
        dataset.attrs["scale_factor"] = np.float64(column.scale.step)
        dataset.attrs["add_offset"] = np.float64(column.scale.offset)
        dataset.attrs["top_code"] = dtype.type(column.scale.top)
    return dataset


def _describe_flags(dataset: h5py.Dataset, flags: Mapping[str, int]) -> None:
    dataset.attrs["flag_values"] = np.array(list(flags.values()), dataset.dtype)
    dataset.attrs["flag_meanings"] = " ".join(name.replace(" ", "_") for name in flags)


def _choose_plot(file: h5py.File, maps: Sequence[Column], otherwise: str) -> None:
    """NeXus viewers open on the protocol's first map, else on one column of events, under the title of the run.

    `default` names the NXdata itself, as NeXus allows since 2018; an NXentry between them would be one more group to
    every other reader. The axis `.` is one without values: the rows of events are only counted.
    """
    group, signal, axes = ("maps", maps[0].name, ["row", "col"]) if maps else ("events", otherwise, ["."])
    file.attrs["default"] = group
    plot = {"NX_class": "NXdata", "signal": signal, "axes": axes, "title": file.attrs["title"]}
    file[group].attrs.update(plot)
