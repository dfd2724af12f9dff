"""A chip's record as an `xarray.Dataset` of maps; xarray is imported when one is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.chips.defects import Defect
from labctl.chips.record import ChipRecord


def dataset_of(record: ChipRecord) -> xr.Dataset:
    """(row, col) maps with units and CF flags."""
    flags = [each for each in Defect if each is not Defect.GOOD]
    meanings = {
        "flag_values": np.array(flags, np.uint8),
        "flag_meanings": " ".join(each.name.lower() for each in flags),
    }
    maps: dict[str, tuple[NDArray[Any], str, str]] = {
        "pulses": (record.pulses, "1", "pulses of every kind"),
        **{
            f"{operation.name.lower()}_pulses": (count, "1", f"{operation.name} pulses")
            for operation, count in record.by_operation.items()
        },
        "unknown_dose": (record.unknown_dose, "1", "pulses that may or may not have been given"),
        "dose": (record.dose, "V s", "sum of amplitude times width"),
        "conductance": (record.conductance, "S", "conductance at the last reading"),
        "read_at": (record.read_at, "s", "time of the last reading, s since 1970-01-01T00:00:00Z"),
        "forming_voltage": (record.forming_voltage, "V", "amplitude at which the cell formed"),
        "formed": (record.formed.astype(np.uint8), "1", "whether the cell has formed"),
        "defect": (record.defects, "", "what is wrong with the cell"),
        "excluded": (record.excluded.astype(np.uint8), "1", "whether protocols leave the cell alone"),
    }
    variables = {
        name: (("row", "col"), record.map(values), {"long_name": text, **({"units": unit} if unit else meanings)})
        for name, (values, unit, text) in maps.items()
    }
    lines = {"row": np.arange(record.rows, dtype=np.uint32), "col": np.arange(record.cols, dtype=np.uint32)}
    attributes = {"chip_serial": record.serial, "cell": record.cell, "runs": len(record.runs)}
    return xr.Dataset(variables, lines, attributes)
