"""Measurements of programming to targets: how near cells came, and with how many pulses."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis.measurements.recording import Floats, Recording, last_readings
from labctl.analysis.measurements.windows import half_widths
from labctl.errors import RecordingError

_Columns = dict[str, tuple[str, np.ndarray, dict[str, str]]]


def programming(run: Recording) -> xr.Dataset:
    """Cells with a target: what they were to reach and reached, and the pulses that took."""
    cells, columns, attrs = _results(run)
    initial = run.map("initial")[cells] if run.has_map("initial") else np.full(len(cells), np.nan)
    columns["initial"] = ("cell", initial.astype(np.float32), {"units": "S"})
    return xr.Dataset(columns, {"cell": cells.astype(np.uint32)}, attrs)


def step_size(run: Recording) -> xr.Dataset:
    """As `programming`, with the step of the pulse amplitude that each cell was programmed with."""
    cells, columns, attrs = _results(run)
    columns["step_voltage"] = ("cell", run.written_map("step_voltage")[cells], {"units": "V"})
    found = xr.Dataset(columns, {"cell": cells.astype(np.uint32)}, attrs)
    return found.isel(cell=np.isfinite(found["step_voltage"].values))


def _results(run: Recording) -> tuple[np.ndarray, _Columns, dict[str, Any]]:
    """Cells with a target, what became of them, and the attribute `saturated`."""
    target = run.written_map("target")
    cells = np.flatnonzero(np.isfinite(target))
    all_reached, all_pulses, all_success = _ended(run, target)
    reached, pulses, success = all_reached[cells], all_pulses[cells], all_success[cells]
    saturated = run.at_top(reached)
    reached[saturated] = np.nan
    columns: _Columns = {
        "target": ("cell", target[cells].astype(np.float32), {"units": "S"}),
        "reached": ("cell", reached.astype(np.float32), {"units": "S"}),
        "pulses": ("cell", pulses, {"units": "1"}),
        "success": ("cell", success, {}),
    }
    return cells, columns, {"saturated": int(np.count_nonzero(saturated))}


def _ended(run: Recording, target: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(cells,) last reading, SET and RESET pulses, and whether in window: as the run's maps say. Where it broke off
    before they were written: as its events say, in window being what last read so.
    """
    if run.has_map("reached"):
        return run.map("reached"), run.written_map("pulses_per_cell"), run.flagged("outcome", "in_window")
    widths = half_widths(run)
    if widths is None:
        raise RecordingError(
            "this run ended before it wrote what was reached, and does not say the windows of its cells"
        )
    reached = last_readings(run)
    pulses = np.zeros(run.cells)
    for kind in ("set", "reset"):
        pulses += np.bincount(run.pulses(kind)[0], minlength=run.cells)
    error = reached - target
    with np.errstate(invalid="ignore"):
        return reached, pulses, (error >= -widths[0]) & (error <= widths[1])
