"""Readings of the same cells over and over."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Readings, Recording, without_saturated
from labctl.errors import RecordingError


def read_noise(run: Recording) -> xr.Dataset:
    """Every pass over the cells is one sample; its time is that of its first cell's turn."""
    readings = run.readings(("read",))
    cells = readings.cells()
    samples = _passes(readings, len(cells))
    conductance, saturated = without_saturated(np.ascontiguousarray(readings.conductance[samples].T))
    begun = readings.time[samples[:, 0]]
    return xr.Dataset(
        {
            "conductance": (("cell", "sample"), conductance, {"units": "S"}),
            "time": ("sample", begun - begun[0], {"units": "s"}),
        },
        {"cell": readings.cell[samples[0]].astype(np.uint32)},
        {"saturated": saturated},
    )


def _passes(readings: Readings, cells: int) -> np.ndarray:
    """(samples, cells) which reading each is, every sample of the same cells in the same order."""
    count, rest = divmod(len(readings.cell), cells)
    order = np.arange(count * cells).reshape(count, cells)
    if rest or not (readings.cell[order] == readings.cell[:cells]).all():
        raise RecordingError("this read-noise run reads different cells at different times")
    return order
