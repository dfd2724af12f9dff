"""A run as one netCDF-4 file with CF attributes: a group a table, compressed, with decoded values or codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from labctl.exchange.tables.columns import BLOCK_ROWS, Column, Table
from labctl.exchange.tables.conventions import attributes, global_attributes
from labctl.exchange.tables.origin import Origin
from labctl.recording.full_disks import file_for_hdf5

_STORAGE = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def write_netcdf(tables: Sequence[Table], origin: Origin, path: Path) -> None:
    """All tables at `path`, a block at a time."""
    import h5netcdf

    with file_for_hdf5(path) as disk, h5netcdf.File(disk, "w") as file:
        found = global_attributes(origin)
        file.attrs.update({name: int(each) if isinstance(each, bool) else each for name, each in found.items()})
        for table in tables:
            _write_table(file.create_group(table.name), table, disk.check)
        file.create_group("provenance").attrs.update(origin.texts())


def _write_table(group: Any, table: Table, check: Callable[[], None]) -> None:
    group.dimensions = dict(table.shape)
    variables = {}
    for column in table.columns:
        found = attributes(column)
        fill = found.pop("_FillValue", None)
        chunks = tuple(min(length, BLOCK_ROWS) for length in _shape(column, table))
        storage = {**_STORAGE, "chunks": chunks} if all(chunks) else {}
        variable = group.create_variable(column.name, column.dims, column.stored_dtype, fillvalue=fill, **storage)
        variable.attrs.update(found)
        variables[column.name] = variable
    if len(table.shape) > 1:
        for column in table.columns:
            if all(_shape(column, table)):
                variables[column.name][...] = column.stored(column.read(slice(None)))
        return
    for number, block in enumerate(table.blocks()):
        for column in table.columns:
            values = column.stored(block[column.name])
            variables[column.name][number * BLOCK_ROWS : number * BLOCK_ROWS + len(values)] = values
        check()


def _shape(column: Column, table: Table) -> tuple[int, ...]:
    return tuple(table.shape[name] for name in column.dims)
