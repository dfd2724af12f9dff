"""Everything that was done to one cell, in one run or in many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis.studies.arguments import cell_named
from labctl.analysis.studies.many import OF_RUN, Run, Runs, chosen_runs, of_run, path_of
from labctl.recording.history import Cell, CellEvents, cell_events
from labctl.recording.layout import KINDS, State
from labctl.recording.tree import STATUS


def cell_history(runs: Runs, cell: Cell) -> xr.Dataset:
    """Every pulse and reading of one cell, oldest first; dimension `event`.

    cell: its flat index, or (row, col). Coordinates `time` (when its turn began), and `event_row` and `operation`, its
    rows in the file's `events` and `operations`. kind: flags `read`, `form`, `set`, `reset`. amplitude: V, NaN of a
    read. reading: S, NaN where not read, the top of the converter where saturated. width: s, gate: V; NaN of a read.
    status: flags as of the file's events, `saturated`, `not_read`, `unknown_dose`, `not_applied`.

    Of many runs the events of one after another, oldest run first, with chip_serial, started and path along `event`.
    Takes a part of a second in a run of a hundred million events (benchmarks/big_run.py), and memory for what it finds.
    Raises UsageError for a cell the array has not, and for what names none.
    """
    cell = cell_named(cell)
    chosen = chosen_runs(runs)
    if not isinstance(chosen, list):
        return _of_one(chosen, cell)
    found = sorted((_of_one(each, cell) for each in chosen), key=lambda each: each["started"].item())
    return xr.concat(
        [_along_events(each) for each in found],
        "event",
        data_vars="all",
        coords="different",
        compat="equals",
        join="exact",
        combine_attrs="override",
    )


def _along_events(found: xr.Dataset) -> xr.Dataset:
    """Which run it was, said of each of its events."""
    count = found.sizes["event"]
    return found.assign_coords({name: ("event", np.repeat(found[name].values, count)) for name in OF_RUN})


def _of_one(run: Run, cell: Cell) -> xr.Dataset:
    path = path_of(run)
    found = cell_events(path, cell)
    told = {
        "kind": ("event", found.kind, _flags("flag_values", KINDS, "what was done to the cell")),
        "amplitude": ("event", found.amplitude, {"units": "V", "long_name": "pulse amplitude"}),
        "reading": ("event", found.reading, {"units": "S", "long_name": "conductance"}),
        "width": ("event", found.width, {"units": "s", "long_name": "pulse width"}),
        "gate": ("event", found.gate, {"units": "V", "long_name": "gate voltage of the pulse"}),
        "status": ("event", _status(found), _flags("flag_masks", STATUS, "what is known of it")),
    }
    coords = {
        "time": ("event", _time(found), {"long_name": "when the cell's turn began"}),
        "event_row": ("event", found.row, {"units": "1", "long_name": "row in `events`"}),
        "operation": ("event", found.operation, {"units": "1", "long_name": "row in `operations`"}),
        **of_run(found.attributes, path),
    }
    return xr.Dataset(told, coords)


def _time(found: CellEvents) -> NDArray[np.datetime64]:
    """Whole nanoseconds, NaT where nobody said when."""
    known = np.isfinite(found.start)
    start = np.where(known, found.start, 0.0)
    time = np.rint(start * 1e9).astype(np.int64) + np.rint(found.turn * 1e9).astype(np.int64)
    moments: NDArray[np.datetime64] = time.astype("M8[ns]")
    moments[~known] = np.datetime64("NaT")
    return moments


def _status(found: CellEvents) -> NDArray[np.uint8]:
    status = np.zeros(len(found.row), np.uint8)
    for name, where in (
        ("saturated", found.saturated),
        ("not_read", np.isnan(found.reading)),
        ("unknown_dose", found.state == State.UNKNOWN_DOSE),
        ("not_applied", found.state == State.NOT_APPLIED),
    ):
        status[where] |= STATUS[name]
    return status


def _flags(which: str, codes: Mapping[str, int], long_name: str) -> dict[str, Any]:
    return {"long_name": long_name, which: np.array(list(codes.values()), np.uint8), "flag_meanings": " ".join(codes)}
