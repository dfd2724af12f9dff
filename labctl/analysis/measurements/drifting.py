"""How programmed conductances change with time."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import (
    Floats,
    Ints,
    Readings,
    Recording,
    index_of,
    mean_of,
    without_saturated,
)
from labctl.errors import RecordingError


def retention(run: Recording) -> xr.Dataset:
    """Column 0 is what the cell read after its last pulse, the others the scheduled reads since."""
    readings = run.readings(("read",))
    scheduled = run.scalar("scheduled")[readings.step]
    if not np.isfinite(scheduled).all():
        raise RecordingError("this retention run has read steps that do not say when they were `scheduled`")
    times, column = np.unique(scheduled, return_inverse=True)
    programmed, programmed_at = run.written_map("programmed"), run.map("programmed_at")
    programmed[run.at_top(programmed)] = np.inf
    read = np.zeros(run.cells, bool)
    read[readings.cell] = True
    cells = np.flatnonzero(read | ~np.isnan(programmed))
    later = mean_of(readings, cells, column, len(times))
    table = np.concatenate([programmed[cells, None].astype(np.float32), later], axis=1)
    conductance, saturated = without_saturated(table)
    elapsed = _elapsed(readings, cells, column, len(times), programmed_at)
    target = run.map("target")[cells] if run.has_map("target") else np.full(len(cells), np.nan)
    return xr.Dataset(
        {
            "conductance": (("cell", "time"), conductance, {"units": "S"}),
            "elapsed": (("cell", "time"), elapsed, {"units": "s"}),
            "target": ("cell", target.astype(np.float32), {"units": "S"}),
        },
        {"cell": cells.astype(np.uint32), "time": ("time", np.concatenate([[0.0], times]), {"units": "s"})},
        {"saturated": saturated},
    )


def _elapsed(readings: Readings, cells: Ints, column: Ints, columns: int, programmed_at: Floats) -> Floats:
    """(cells, 1 + columns) s from programming to each cell's own turn; 0 in the first column."""
    elapsed = np.full((len(cells), 1 + columns), np.nan)
    elapsed[:, 0] = 0.0
    elapsed[index_of(cells, readings.cell), 1 + column] = readings.time - programmed_at[readings.cell]
    return elapsed
