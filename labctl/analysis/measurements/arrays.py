"""Measurements of whole arrays: forming, and maps of the conductance."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Recording, index_of, last_of, without_saturated
from labctl.errors import RecordingError

_OF_SAMPLE = ("chosen_voltage", *(f"breakdown_{name}{end}" for name in ("mean", "sd") for end in ("", "_low", "_high")))


def forming(run: Recording) -> xr.Dataset:
    """Where each cell tried formed, at which gate, and what it then read.

    Cells tried are those the map `gate` names; in a file without that map, those that got a FORM pulse.
    """
    gate = run.map("gate") if run.has_map("gate") else _gate_of_pulses(run)
    cells = np.flatnonzero(np.isfinite(gate))
    if not len(cells):
        raise RecordingError("this forming run tried no cell")
    voltage = run.map("forming_voltage")[cells]
    readings = run.readings()
    known = readings.cells()
    last = np.full(run.cells, np.nan, np.float32)
    last[known] = last_of(readings, known, np.zeros_like(readings.cell), 1)[:, 0]
    conductance, saturated = without_saturated(last[cells])
    return xr.Dataset(
        {
            "forming_voltage": ("cell", voltage, {"units": "V"}),
            "conductance": ("cell", conductance, {"units": "S"}),
            "gate": ("cell", gate[cells], {"units": "V"}),
        },
        {"cell": cells.astype(np.uint32)},
        {"saturated": saturated},
    )


def forming_density(run: Recording) -> xr.Dataset:
    """As `forming`, which of them were the sample, and what the sample said."""
    measured = forming(run)
    sample = np.zeros(run.cells, bool)
    if "sample" in run.phase:
        sample[run.readings(("sample",)).cells()] = True
    formed = run.flagged("forming_outcome", "formed") | run.flagged("forming_outcome", "formed_before")
    live = formed | run.flagged("forming_outcome", "left_pristine") | run.flagged("forming_outcome", "never_formed")
    measured["sample"] = ("cell", sample[measured["cell"].values])
    return measured.assign_attrs(
        {name: _last_known(run.scalar(name)) for name in _OF_SAMPLE},
        density_wanted=float(run.settings.get("density", np.nan)),
        live=int(np.count_nonzero(live)),
        formed=int(np.count_nonzero(formed)),
    )


def _last_known(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else np.nan


def region(run: Recording) -> xr.Dataset:
    """Mean and standard deviation of the readings of each cell; a cell with a saturated reading has neither."""
    readings = run.readings(("read",))
    cells = readings.cells()
    place, values = index_of(cells, readings.cell), readings.conductance.astype(np.float64)
    count = np.bincount(place)
    mean = np.bincount(place, values) / count
    values -= np.where(np.isfinite(mean), mean, 0)[place]
    with np.errstate(invalid="ignore"):
        variance = np.bincount(place, values**2) / np.maximum(count - 1, 1)
    spread = np.where((count > 1) & np.isfinite(variance), np.sqrt(variance), np.nan)
    maps = np.full((2, run.cells), np.nan, np.float32)
    maps[:, cells] = mean, spread
    found, saturated = without_saturated(maps[0])
    rows, cols = run.shape
    return xr.Dataset(
        {
            "conductance": (("row", "col"), found.reshape(rows, cols), {"units": "S"}),
            "spread": (("row", "col"), maps[1].reshape(rows, cols), {"units": "S"}),
        },
        {"row": np.arange(rows, dtype=np.uint32), "col": np.arange(cols, dtype=np.uint32)},
        {"saturated": saturated},
    )


def _gate_of_pulses(run: Recording) -> np.ndarray:
    """(cells,) V of the last FORM pulse; NaN where there was none."""
    cell, operation = run.pulses("form")
    gate = np.full(run.cells, np.nan)
    gate[cell] = run.operation("gate")[operation]
    return gate
