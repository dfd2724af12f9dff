"""Measurements of programming to targets: how near cells came, and with how many pulses."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Recording

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
    reached = run.written_map("reached")[cells]
    saturated = run.at_top(reached)
    reached[saturated] = np.nan
    columns: _Columns = {
        "target": ("cell", target[cells].astype(np.float32), {"units": "S"}),
        "reached": ("cell", reached.astype(np.float32), {"units": "S"}),
        "pulses": ("cell", run.written_map("pulses_per_cell")[cells], {"units": "1"}),
        "success": ("cell", run.flagged("outcome", "in_window")[cells], {}),
    }
    return cells, columns, {"saturated": int(np.count_nonzero(saturated))}
