"""The arrays a protocol returns, in the group `results` of the run file: netCDF-4 variables with their dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from labctl.errors import RecordingError
from labctl.recording.layout import Column
from labctl.recording.skeleton import add_dimension, describe_flags, is_dimension_only
from labctl.steps import Result

_LONGEST_CONTIGUOUS = 1 << 14
"""Bytes: more are chunked, so that packing compresses them."""


def split(summary: Mapping[str, Any], within: str = "") -> tuple[dict[str, Any], dict[str, Result]]:
    """The plain values of a protocol's `summary`, and its arrays; those of tables within it by their paths.

    Raises RecordingError where a name is none that a file can have.
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, Result] = {}
    for name, value in summary.items():
        if isinstance(value, Result):
            _check_name(f"{within}{name}")
            arrays[f"{within}{name}"] = value
        elif isinstance(value, Mapping):
            plain[name], further = split(value, f"{within}{name}.")
            arrays |= further
        else:
            plain[name] = value
    return plain, arrays


def add_results(file: h5py.File, results: Mapping[str, Result]) -> None:
    """Write `results` into the group `results`, which `file` does not have yet.

    Dimensions are shared where name and size agree; one whose name stands for something else is given another.
    """
    group = file.create_group("results")
    group.attrs["NX_class"] = "NXcollection"
    dimensions = _dimensions(results)
    coordinates = {name for (_, _), name in dimensions.items() if name in results}
    for (_, size), name in dimensions.items():
        if name in coordinates:
            _add(group, name, results[name]).make_scale(name)
        else:
            add_dimension(group, name, size, size, size or 1)
    for name, result in results.items():
        dataset = group[name] if name in coordinates else _add(group, name, result)
        if name in coordinates:
            continue
        for axis, key in enumerate(zip(result.dims, dataset.shape, strict=True)):
            dataset.dims[axis].attach_scale(group[dimensions[key]])


def described(file: h5py.File) -> dict[str, dict[str, Any]]:
    """What the results of an open run file are, by name: `dims`, `shape`, `dtype`, `unit` and `long_name`."""
    found = {}
    for name, dataset in file.get("results", {}).items():
        if is_dimension_only(dataset):
            continue
        scales = [name] if dataset.is_scale else [each[0].name.rpartition("/")[2] for each in dataset.dims]
        own = {"unit": str(dataset.attrs.get("units", "")), "long_name": str(dataset.attrs["long_name"])}
        found[name] = {"dims": scales, "shape": list(dataset.shape), "dtype": str(dataset.dtype), **own}
    return found


def _dimensions(results: Mapping[str, Result]) -> dict[tuple[str, int], str]:
    """The name in the file of every dimension, by its own and its size."""
    sizes = {name: np.shape(result.values) for name, result in results.items()}
    named = {(name, sizes[name][0]): name for name, result in results.items() if result.dims == (name,)}
    for name, result in results.items():
        for dimension, size in zip(result.dims, sizes[name], strict=True):
            free = dimension
            while (dimension, size) not in named and (free in results or free in named.values()):
                free = f"{dimension}_{size}" if free == dimension else f"{free}_"
            named.setdefault((dimension, size), free)
    return named


def _add(group: h5py.Group, name: str, result: Result) -> h5py.Dataset:
    """Truths as netCDF has them, bytes that say so; half floats, which it has not, as floats."""
    values = np.asarray(result.values)
    stored = values.astype({"b1": "u1", "f2": "f4"}.get(values.dtype.str[1:], values.dtype))
    dataset = group.create_dataset(name, data=stored, chunks=True if stored.nbytes > _LONGEST_CONTIGUOUS else None)
    dataset.attrs["long_name"] = result.long_name
    if values.dtype == bool:
        dataset.attrs["dtype"] = "bool"
    if result.flags:
        describe_flags(group, [Column(name, "", "", flags=result.flags)])
    else:
        dataset.attrs["units"] = result.unit
    if stored.dtype.kind == "f" and result.dims != (name,):
        dataset.attrs["_FillValue"] = stored.dtype.type(np.nan)
    return dataset


def _check_name(name: str) -> None:
    if "/" in name or not name.strip("."):
        raise RecordingError(f"a result cannot be named {name!r}")
