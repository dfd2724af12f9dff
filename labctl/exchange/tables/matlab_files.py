"""A run as a MATLAB file, version 5: a struct a table, one of what its columns are, and one of provenance.

`events.reading` are values, `columns.events.reading` says their unit, meaning and flags, `provenance` where they come
from. Columns are vectors, maps matrices; times are whole nanoseconds since 1970 (`datetime(t, 'ConvertFrom',
'epochtime', 'TicksPerSecond', 1e9)`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.errors import ExportError
from labctl.exchange.tables.columns import NANOSECONDS, Column, Table
from labctl.exchange.tables.names import matlab_names
from labctl.exchange.tables.origin import Origin

_LARGEST = 2**31 - 1
"""Bytes of one variable, which is a table here: the format counts in 32 bits."""


def write_matlab(tables: Sequence[Table], origin: Origin, path: Path) -> None:
    """All tables at `path`. Raises ExportError where one of them is larger than the format allows."""
    from scipy.io import savemat

    for table in tables:
        _refuse_large(table)
    content: dict[str, Any] = {"columns": {}}
    for table in tables:
        content[table.name] = _named({column.name: _values(column) for column in table.columns})
        content["columns"][table.name] = _named({column.name: _meaning(column) for column in table.columns})
    content["provenance"] = _named({**origin.flat, **origin.texts()})
    with path.open("wb") as file:
        savemat(file, content, long_field_names=True, do_compression=True, oned_as="column")


def _refuse_large(table: Table) -> None:
    lengths = {column.name: int(np.prod([table.shape[each] for each in column.dims])) for column in table.columns}
    size = sum(lengths[column.name] * _dtype(column).itemsize for column in table.columns)
    if size > _LARGEST:
        raise ExportError(
            f"the {table.name} take {size / 2**30:.1f} GiB, and a MATLAB file of version 5 holds 2 GiB of each table: "
            "leave them out with --what, or export to netcdf, which MATLAB reads too (ncread)"
        )


def _dtype(column: Column) -> np.dtype[Any]:
    """Whole numbers that may be NaN stay floats, as MATLAB's integers have no NaN."""
    return np.dtype(np.float64) if column.integer else column.stored_dtype


def _values(column: Column) -> NDArray[Any]:
    values = column.read(slice(None))
    return values if column.integer else column.stored(values)


def _meaning(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": NANOSECONDS if column.is_time else column.unit, "long_name": column.long_name}
    if column.flags is not None:
        values = np.array(column.flags.values, column.stored_dtype)
        found |= {"masks" if column.flags.masks else "values": values}
        found |= {"meanings": np.array(column.flags.meanings, object)}
    return found | dict(column.packing)


def _named(content: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(matlab_names(content), content.values(), strict=True))
