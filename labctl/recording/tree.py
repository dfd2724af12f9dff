"""A run file as an `xarray.DataTree`, with what follows from its columns derived where it is asked for.

Imported only when a run is opened: xarray takes longer to import than most commands to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from labctl.recording import layout
from labctl.recording.layout import Commit, Outcome, State
from labctl.recording.text import iso_time

STATUS = {"saturated": 1, "not_read": 2, "unknown_dose": 4, "not_applied": 8}
"""Bits of `events/status`, of memory arrays."""


def open_tree(path: Path, commit: Commit, *, swmr: bool) -> xarray.DataTree:
    """The file at `path` as of `commit`, as a tree. swmr: whether it is open in that mode, which must not differ."""
    tree = xarray.open_datatree(path, engine="h5netcdf", driver_kwds={"swmr": swmr}, decode_timedelta=False)
    groups: Mapping[str, xarray.DataTree] = tree.children
    unsettled = State.UNKNOWN_DOSE if commit.outcome is Outcome.KILLED else State.INTENDED
    operations = groups["operations"].to_dataset().isel(operation=slice(commit.operations_intended))
    operations = _with_states(operations, commit.operations, unsettled)
    events = groups["events"].to_dataset().isel(event=slice(commit.events_intended))
    groups["operations"].dataset = operations
    derived = _Derived(events, operations)
    added = derived.of_passes() if layout.is_associative(tree.attrs) else derived.variables()
    groups["events"].dataset = events.assign(added)
    groups["steps"].dataset = groups["steps"].to_dataset().isel(step=slice(commit.steps))
    if "auxiliaries" in groups:
        groups["auxiliaries"].dataset = groups["auxiliaries"].to_dataset().isel(sample=slice(commit.samples))
    if commit.outcome in (Outcome.LIVE, Outcome.KILLED):
        groups["provenance"].dataset = groups["provenance"].to_dataset().assign(dict.fromkeys(layout.TEXTS, ""))
    for name in ("commit", "checkpoint"):
        if name in groups:
            del tree[name]
    tree.attrs |= {
        "outcome": commit.outcome.value,
        "ended": iso_time(commit.ended),
        "unsettled": commit.unsettled,
    }
    return tree


def _with_states(operations: xarray.Dataset, settled: int, otherwise: State) -> xarray.Dataset:
    """`state` as the commit tells it: what an uncommitted row says itself was not finished being written."""
    rows = np.arange(operations.sizes["operation"])
    return operations.assign(state=operations["state"].where(rows < settled, np.uint8(otherwise)))


class _Derived:
    """Per-event columns that follow from `reading` and from the operations."""

    def __init__(self, events: xarray.Dataset, operations: xarray.Dataset) -> None:
        self._events = events
        self._operations = operations

    def variables(self) -> dict[str, xarray.Variable]:
        flags = {
            "flag_masks": np.array(list(STATUS.values()), np.uint8),
            "flag_meanings": " ".join(STATUS),
        }
        return {
            **self.of_passes(),
            "time": self._lazy(self.time, "M8[ns]", {"long_name": "when the cell's turn began"}),
            "status": self._lazy(self.status, "u1", {"long_name": "what is known of it", **flags}),
            **self._readings(),
        }

    def of_passes(self) -> dict[str, xarray.Variable]:
        """Of an associative array, whose passes have no times of their own."""
        return {"operation": self._lazy(self.operation, "u4", {"long_name": "row of its operation"})}

    def _readings(self) -> dict[str, xarray.Variable]:
        """`reading` anew where some of it was read at other voltages than the one its scale is for.

        Runs recorded before there was a choice of voltage have no factors.
        """
        stored = self._events["reading"]
        if "reading_factor" not in self._operations or np.all(self._column("reading_factor") == 1):
            return {}
        return {"reading": self._lazy(self.reading, stored.dtype.str, stored.attrs)}

    def reading(self, rows: slice) -> NDArray[Any]:
        factor = self._column("reading_factor")[self._operation(_indices(rows))]
        corrected: NDArray[Any] = self._events["reading"].isel(event=rows).values * factor
        return corrected

    def operation(self, rows: slice) -> NDArray[Any]:
        return self._operation(_indices(rows)).astype(np.uint32)

    def time(self, rows: slice) -> NDArray[Any]:
        """Start of the operation plus the turns before; the start alone where there is no time per cell."""
        indices = _indices(rows)
        operation = self._operation(indices)
        turns = indices - self._column("first_event")[operation]
        seconds = turns * np.nan_to_num(self._column("seconds_per_cell"))[operation]
        start: NDArray[Any] = self._column("start")[operation]
        moment: NDArray[Any] = start + np.rint(seconds * 1e9).astype("m8[ns]")
        return moment

    def status(self, rows: slice) -> NDArray[Any]:
        reading = self._events["reading"].isel(event=rows)
        codes: NDArray[Any] = reading.values - reading.encoding["add_offset"]
        codes /= reading.encoding["scale_factor"]
        state = self._column("state")[self._operation(_indices(rows))]
        status: NDArray[Any] = np.zeros(len(codes), np.uint8)
        status[np.rint(codes) >= reading.attrs["top_code"]] |= STATUS["saturated"]
        status[np.isnan(codes)] |= STATUS["not_read"]
        status[state == State.UNKNOWN_DOSE] |= STATUS["unknown_dose"]
        status[state == State.NOT_APPLIED] |= STATUS["not_applied"]
        return status

    def _operation(self, indices: NDArray[np.int64]) -> NDArray[np.intp]:
        after: NDArray[np.intp] = np.searchsorted(self._column("first_event"), indices, side="right")
        return after - 1

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._operations[name].values  # read once: xarray keeps it
        return column.astype(np.int64) if name == "first_event" else column

    def _lazy(
        self, compute: Callable[[slice], NDArray[Any]], dtype: str, attributes: Mapping[str, Any]
    ) -> xarray.Variable:
        array = _LazyColumn(self._events.sizes["event"], np.dtype(dtype), compute)
        return xarray.Variable(("event",), indexing.LazilyIndexedArray(array), attributes)


def _indices(rows: slice) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)


class _LazyColumn(BackendArray):
    """A column computed for the rows that are asked for."""

    def __init__(self, length: int, dtype: np.dtype[Any], compute: Callable[[slice], NDArray[Any]]) -> None:
        self.shape = (length,)
        self.dtype = dtype
        self._compute = compute

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._rows)

    def _rows(self, key: tuple[int | slice, ...]) -> Any:
        (rows,) = key
        if isinstance(rows, slice):
            return self._compute(slice(*rows.indices(self.shape[0])))
        return self._compute(slice(int(rows), int(rows) + 1, 1))[0]
