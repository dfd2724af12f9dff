"""A run as one Zarr store, version 3, that xarray opens as a tree: a group a table, CF attributes, compressed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from labctl.exchange.tables.columns import BLOCK_ROWS, Column, Table
from labctl.exchange.tables.conventions import attributes, global_attributes
from labctl.exchange.tables.extras import needed
from labctl.exchange.tables.origin import Origin

_CHUNKS_A_SHARD = 4
"""Chunks that share a file: a run of 100 million events would else be thousands of files."""


def write_zarr(tables: Sequence[Table], origin: Origin, path: Path) -> None:
    """All tables in the folder `path`, a block at a time. Raises ExportError where zarr is missing."""
    zarr = needed("zarr", "Zarr")
    root = zarr.create_group(path, zarr_format=3, attributes=_plain(global_attributes(origin)))
    for table in tables:
        _write_table(root.create_group(table.name), table)
    root.create_group("provenance", attributes=origin.texts())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part", UserWarning)
        zarr.consolidate_metadata(path)  # xarray warns of stores without; other readers pass over it


def _write_table(group: Any, table: Table) -> None:
    arrays = {column.name: _create(group, column, table) for column in table.columns}
    if len(table.shape) > 1:
        for column in table.columns:
            arrays[column.name][...] = column.stored(column.read(slice(None)))
        return
    for number, block in enumerate(table.blocks(_CHUNKS_A_SHARD * BLOCK_ROWS)):
        first = number * _CHUNKS_A_SHARD * BLOCK_ROWS
        for column in table.columns:
            values = column.stored(block[column.name])
            arrays[column.name][first : first + len(values)] = values


def _create(group: Any, column: Column, table: Table) -> Any:
    found = attributes(column)
    shape = tuple(table.shape[name] for name in column.dims)
    large = len(shape) == 1 and shape[0] > BLOCK_ROWS
    chunks = tuple(max(1, min(length, BLOCK_ROWS)) for length in shape)
    return group.create_array(
        column.name,
        shape=shape,
        dtype=column.stored_dtype,
        chunks=chunks,
        shards=(_CHUNKS_A_SHARD * BLOCK_ROWS,) if large else None,
        fill_value=found.get("_FillValue", np.nan if column.stored_dtype.kind == "f" else 0),
        dimension_names=column.dims,
        attributes=_plain(found),
    )


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    numpys = (np.generic, np.ndarray)
    return {name: value.tolist() if isinstance(value, numpys) else value for name, value in found.items()}
