"""Current against read voltage."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Recording, mean_of, without_saturated
from labctl.errors import RecordingError

_MICROVOLT_DIGITS = 6  # what tells voltages apart


def current_voltage(run: Recording) -> xr.Dataset:
    """The mean reading of each cell at each read voltage, as conductance and as the current it stands for."""
    readings = run.readings(("read",))
    of_step = np.round(run.scalar("read_voltage"), _MICROVOLT_DIGITS)
    if not np.isfinite(of_step[readings.step]).all():
        raise RecordingError("this iv run has read steps that do not say their `read_voltage`")
    voltage, column = np.unique(of_step[readings.step], return_inverse=True)
    cells = readings.cells()
    conductance, saturated = without_saturated(mean_of(readings, cells, column, len(voltage)))
    return xr.Dataset(
        {
            "current": (("cell", "voltage"), conductance * voltage.astype(np.float32), {"units": "A"}),
            "conductance": (("cell", "voltage"), conductance, {"units": "S"}),
        },
        {"cell": cells.astype(np.uint32), "voltage": ("voltage", voltage, {"units": "V"})},
        {"saturated": saturated},
    )
