"""CF attributes of a column, for the formats that hold arrays of plain numbers: netCDF and Zarr."""

from __future__ import annotations

from typing import Any

import numpy as np

from labctl.exchange.tables.columns import NANOSECONDS, NO_TIME, Column
from labctl.exchange.tables.origin import Origin


def attributes(column: Column) -> dict[str, Any]:
    """By name; those of flags are arrays of the column's stored type. `_FillValue` only where it is none of NaN."""
    found: dict[str, Any] = {"long_name": column.long_name}
    if column.is_time:
        found |= {"units": NANOSECONDS, "calendar": "proleptic_gregorian", "_FillValue": np.int64(NO_TIME)}
    elif column.unit:
        found["units"] = column.unit
    if column.integer is not None:
        found["_FillValue"] = column.integer[0].type(column.integer[1])
    if column.flags is not None:
        kind = "flag_masks" if column.flags.masks else "flag_values"
        found |= {kind: np.array(column.flags.values, column.stored_dtype)}
        found |= {"flag_meanings": " ".join(column.flags.meanings)}
    if column.dtype == bool:
        found["dtype"] = "bool"
    return {**found, **column.packing}


def global_attributes(origin: Origin) -> dict[str, Any]:
    """Of the whole file."""
    return {"Conventions": "CF-1.11", **origin.flat, "history": origin.history}
