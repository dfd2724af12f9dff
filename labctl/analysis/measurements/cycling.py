"""Measurements that switch cells again and again: trains of equal pulses, and cycles between two states."""

from __future__ import annotations

import numpy as np
import xarray as xr

from labctl.analysis.measurements.recording import Readings, Recording, last_of, without_saturated
from labctl.errors import RecordingError

_DIRECTIONS = ("set", "reset")
_STATES = ("lrs", "hrs")


def pulse_response(run: Recording) -> xr.Dataset:
    """The conductance after each pulse of each train; pulse 0 is the reading before the train."""
    readings = run.readings(_DIRECTIONS)
    train, pulse = (_counted(run, name, readings) for name in ("train", "pulse"))
    trains, turn = np.unique(train, return_inverse=True)
    back = (run.phase == "reset").astype(np.int64)[readings.step]
    pulses, cells = int(pulse.max()) + 1, readings.cells()
    shape = (len(cells), len(trains), len(_DIRECTIONS), pulses)
    column = (turn * len(_DIRECTIONS) + back) * pulses + pulse
    table, saturated = without_saturated(last_of(readings, cells, column, int(np.prod(shape[1:]))))
    return xr.Dataset(
        {"conductance": (("cell", "train", "direction", "pulse"), table.reshape(shape), {"units": "S"})},
        {
            "cell": cells.astype(np.uint32),
            "train": trains.astype(np.uint32),
            "direction": list(_DIRECTIONS),
            "pulse": np.arange(pulses, dtype=np.uint32),
        },
        {"saturated": saturated, **_train_pulses(run)},
    )


def endurance(run: Recording) -> xr.Dataset:
    """The last reading of each cell after SET (`lrs`) and after RESET (`hrs`) of each cycle."""
    readings = run.readings(_DIRECTIONS)
    cycles, turn = np.unique(_counted(run, "cycle", readings), return_inverse=True)
    state = (run.phase == "reset").astype(np.int64)[readings.step]
    cells = readings.cells()
    shape = (len(cells), len(_STATES), len(cycles))
    table, saturated = without_saturated(
        last_of(readings, cells, state * len(cycles) + turn, len(_STATES) * len(cycles))
    )
    return xr.Dataset(
        {"conductance": (("cell", "state", "cycle"), table.reshape(shape), {"units": "S"})},
        {"cell": cells.astype(np.uint32), "state": list(_STATES), "cycle": cycles.astype(np.uint32)},
        {"saturated": saturated},
    )


def _counted(run: Recording, name: str, readings: Readings) -> np.ndarray:
    """(readings,) the whole number that the step of each reading gives as `name`."""
    values = run.scalar(name)[readings.step]
    if not np.isfinite(values).all():
        raise RecordingError(f"this {run.attrs['measurement']} run has SET or RESET steps that do not say `{name}`")
    return values.astype(np.int64)


def _train_pulses(run: Recording) -> dict[str, float]:
    """Amplitude by direction and the width of all pulses of trains; NaN where they differ."""
    step = run.operation("step").astype(np.int64)
    known = step < len(run.phase)
    given, pulse = run.scalar("amplitude"), run.scalar("pulse")
    found = {}
    for direction in _DIRECTIONS:
        found[f"amplitude_{direction}"] = _constant(given[(run.phase == direction) & (pulse > 0)])
    in_train = np.isin(run.phase, _DIRECTIONS)[step[known]]
    return {**found, "width": _constant(run.operation("width")[known][in_train])}


def _constant(values: np.ndarray) -> float:
    """The one value of `values` (NaN left out), but for rounding; NaN where there are several or none."""
    values = values[np.isfinite(values)]
    if not len(values) or np.ptp(values) > 1e-5 * np.abs(values).max():
        return float("nan")
    return float(values[0])
