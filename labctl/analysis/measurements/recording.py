"""A run file's steps, maps and readings as plain arrays, with readings tied to the steps they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.errors import RecordingError
from labctl.recording.layout import KINDS, AskedBy, State, is_associative
from labctl.recording.tree import STATUS

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_ROUNDING = 1e-6  # of a map in float32; a step of a converter of 16 bits is 15 times as much


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings in the order they were made, (n,) each.

    cell: flat index. conductance: S; +inf where the converter was saturated. operation, step: rows they belong to.
    time: s since 1970.
    """

    cell: Ints
    conductance: NDArray[np.float32]
    operation: Ints
    step: Ints
    time: Floats

    def cells(self) -> Ints:
        """The cells read, increasing. In linear time, as there may be millions of readings of few cells."""
        if not len(self.cell):
            return np.zeros(0, np.int64)
        found = np.zeros(int(self.cell.max()) + 1, bool)
        found[self.cell] = True
        return np.flatnonzero(found)


class Recording:
    """One run. Columns are read when first asked for."""

    def __init__(self, tree: xr.DataTree) -> None:
        self.attrs: Mapping[Any, Any] = tree.attrs
        self._tree = tree
        self._steps, self._maps, self._operations, self._events = (
            tree.children[name].to_dataset() for name in ("steps", "maps", "operations", "events")
        )

    @property
    def cells(self) -> int:
        return int(self.attrs["rows"]) * int(self.attrs["cols"])

    @property
    def is_associative(self) -> bool:
        """Whether it is of an associative array: its events are recorded passes, and it has neither pulses, nor
        readings, nor maps."""
        return is_associative(self.attrs)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.attrs["rows"]), int(self.attrs["cols"])

    def attributes(self) -> dict[str, Any]:
        """What every measurement says of its chip."""
        chip = {name: str(self.attrs.get(name, "")) for name in ("chip_serial", "cell")}
        rows, cols = self.shape
        temperature = self._temperature()
        known = {} if temperature is None else {"temperature": temperature}
        return {**chip, "rows": rows, "cols": cols, **known}

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The settings the run was made with, arrays aside; empty where the file does not say them."""
        try:
            text = self._tree.children["provenance"].attrs.get("settings", "{}")
            return msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, TypeError):
            return {}

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """What the protocol told in the end, arrays aside; empty of a run that has not ended."""
        try:
            text = self._tree.children["provenance"].to_dataset()["summary"].item()
            return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
        except (KeyError, msgspec.MsgspecError):
            return {}

    @cached_property
    def results(self) -> Mapping[str, NDArray[Any]]:
        """The arrays it told then, by name."""
        if "results" not in self._tree.children:
            return {}
        stored = self._tree.children["results"].to_dataset()
        return {str(name): each.values for name, each in stored.variables.items()}

    def setting(self, name: str) -> Floats | None:
        """(cells,) the setting `name` that is an array; None where there is none, or the file holds its digest only."""
        if self.settings.get(name) is None or name not in self._tree.children.get("settings", {}):
            return None
        return np.asarray(self._tree.children["settings"][name].values, np.float64).ravel()

    @cached_property
    def phase(self) -> NDArray[np.str_]:
        """(steps,) the phase of each step."""
        names, codes = _flags(self._steps["phase"])
        place = np.full(256, len(names))
        place[codes] = np.arange(len(names))
        phases: NDArray[np.str_] = np.array([*names, ""])[place[self._steps["phase"].values.astype(int)]]
        return phases

    @cached_property
    def is_current(self) -> NDArray[np.bool_]:
        """(steps,) whether each is part of how the run went in the end: not what came after a checkpoint that a resumed
        run went back to."""
        if "asked_by" not in self._steps:
            return np.ones(len(self.phase), bool)
        current: NDArray[np.bool_] = self._steps["asked_by"].values != AskedBy.SUPERSEDED
        return current

    def scalar(self, name: str) -> Floats:
        """(steps,) what the steps give as `name`; NaN where they do not."""
        if name not in self._steps:
            raise RecordingError(f"this {self._kind} run has no `{name}` in its steps")
        return self._steps[name].values.astype(np.float64)

    def map(self, name: str) -> Floats:
        """(cells,) the map `name`; NaN where it was not written."""
        if name not in self._maps:
            raise RecordingError(f"this {self._kind} run has no map `{name}`")
        values = self._maps[name].values
        if values.dtype.kind == "M":
            return _seconds(values).ravel()
        return values.astype(np.float64).ravel()

    def has_map(self, name: str) -> bool:
        return name in self._maps and bool(np.isfinite(self.map(name)).any())

    def written_map(self, name: str) -> Floats:
        """As `map`, but one that holds nothing is an error."""
        values = self.map(name)
        if not np.isfinite(values).any():
            raise RecordingError(f"this {self._kind} run wrote nothing into its map `{name}`: it ended before")
        return values

    def flagged(self, name: str, flag: str) -> NDArray[np.bool_]:
        """(cells,) where the map of flags `name` says `flag`."""
        if name not in self._maps:
            raise RecordingError(f"this {self._kind} run has no map `{name}`")
        names, codes = _flags(self._maps[name])
        if flag not in names:
            raise RecordingError(f"the map `{name}` of this {self._kind} run has no flag `{flag}`")
        where: NDArray[np.bool_] = self._maps[name].values.ravel() == codes[names.index(flag)]
        return where

    def at_top(self, conductance: Floats) -> NDArray[np.bool_]:
        """Which values of a map, in S at the array's own read voltage, stand where its saturated readings do."""
        own = np.ones(self._operations.sizes["operation"], bool)
        if "read_voltage" in self._operations:
            own = np.isnan(self.operation("read_voltage"))
        saturated = np.flatnonzero(self._events["status"].values & STATUS["saturated"])
        saturated = saturated[own[self._owner[saturated]]]
        if not len(saturated):
            return np.zeros(conductance.shape, bool)
        top = float(self._events["reading"].values[saturated[0]])
        at_top: NDArray[np.bool_] = conductance >= top * (1 - _ROUNDING)
        return at_top

    @property
    def top(self) -> float:
        """S, where readings at the array's own read voltage are saturated."""
        reading = self._events["reading"]
        scale = reading.encoding if "scale_factor" in reading.encoding else reading.attrs
        return float(reading.attrs["top_code"] * scale["scale_factor"] + scale["add_offset"])

    def operation(self, name: str) -> Floats:
        """(operations,) a column of operations as numbers; times in s since 1970."""
        values = self._operations[name].values
        return _seconds(values) if values.dtype.kind == "M" else values.astype(np.float64)

    def readings(self, phases: tuple[str, ...] = ()) -> Readings:
        """Every reading of the steps in `phases` (all where empty); of operations that are done and have their step.

        Those that the protocol made, or that stand in place of what it made and was lost: not how the cells were found
        when the run was resumed. Raises RecordingError where there is none.
        """
        if self.is_associative:
            raise RecordingError(f"this {self._kind} run is of an associative array, of which there are no readings")
        steps = len(self.phase)
        step = self.operation("step").astype(np.int64)
        wanted = (self.operation("state") == State.DONE) & (step < steps) & self._is_own
        if phases:
            wanted &= np.isin(self.phase, phases)[np.minimum(step, max(steps - 1, 0))] if steps else False
        owner = self._owner
        status = self._events["status"].values
        kept = np.flatnonzero(wanted[owner] & (status & STATUS["not_read"] == 0))
        if not len(kept):
            raise RecordingError(f"this {self._kind} run has no readings{_of(phases)}")
        owner = owner[kept]
        conductance = self._events["reading"].values[kept].astype(np.float32)
        conductance[status[kept] & STATUS["saturated"] != 0] = np.inf
        turn = kept - self.operation("first_event").astype(np.int64)[owner]
        seconds = np.nan_to_num(self.operation("seconds_per_cell"))
        return Readings(
            cell=self._events["cell"].values[kept].astype(np.int64),
            conductance=conductance,
            operation=owner,
            step=step[owner],
            time=self.operation("start")[owner] + turn * seconds[owner],
        )

    def pulses(self, kind: str) -> tuple[Ints, Ints]:
        """Cell and operation of every pulse of this kind (`form`, `set`, `reset`) that was applied, in order."""
        if self.is_associative:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        wanted = (self.operation("kind") == KINDS[kind]) & (self.operation("state") == State.DONE)
        owner = self._owner
        kept = np.flatnonzero(wanted[owner])
        return self._events["cell"].values[kept].astype(np.int64), owner[kept]

    @cached_property
    def _is_own(self) -> NDArray[np.bool_]:
        """(operations,) whether each was made for the protocol; a run of an older labctl has no others."""
        if "asked_by" not in self._operations:
            return np.ones(self._operations.sizes["operation"], bool)
        return np.isin(self._operations["asked_by"].values, [AskedBy.PROTOCOL, AskedBy.SETTLING])

    @cached_property
    def _owner(self) -> Ints:
        """(events,) the operation of each event: operations lie in the file one after another."""
        counts = self._operations["events"].values.astype(np.int64)
        return np.repeat(np.arange(len(counts)), counts)[: self._events.sizes["event"]]

    @property
    def _kind(self) -> str:
        return str(self.attrs.get("measurement", "")) or "unnamed"

    def _temperature(self) -> float | None:
        """K, where an instrument's snapshot has an entry for it (`SENSe:TEMPerature`, `temperature`)."""
        text = self._tree.children["provenance"].attrs.get("snapshot_before", "{}")
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, TypeError):
            return None
        return _find_temperature(found)


def last_readings(run: Recording) -> Floats:
    """(all cells,) S: the last reading of each; NaN of a cell that was never read, the converter's top if saturated."""
    readings = run.readings()
    last = np.full(run.cells, np.nan)
    last[readings.cell] = np.minimum(readings.conductance, run.top)  # of equal places the last one stays
    return last


def last_of(readings: Readings, cells: Ints, column: Ints, columns: int) -> NDArray[np.float32]:
    """(cells, columns): the last reading of each cell in each column; NaN where there is none, +inf if saturated."""
    table = np.full(len(cells) * columns, np.nan, np.float32)
    table[_places(readings, cells, column, columns)] = readings.conductance  # of equal places the last one stays
    return table.reshape(len(cells), columns)


def mean_of(readings: Readings, cells: Ints, column: Ints, columns: int) -> NDArray[np.float32]:
    """(cells, columns): the mean reading of each cell in each column; NaN where there is none, +inf if saturated."""
    place = _places(readings, cells, column, columns)
    count = np.bincount(place, minlength=len(cells) * columns)
    total = np.bincount(place, readings.conductance, minlength=len(cells) * columns)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean.reshape(len(cells), columns).astype(np.float32)


def without_saturated(table: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """`table` with NaN for what was saturated, and how many that were."""
    saturated = np.isposinf(table)
    return np.where(saturated, np.float32(np.nan), table), int(np.count_nonzero(saturated))


def index_of(cells: Ints, wanted: Ints) -> Ints:
    """Where each of `wanted` stands in the increasing `cells`, which hold them all."""
    place = np.zeros(int(cells[-1]) + 1, np.int64)
    place[cells] = np.arange(len(cells))
    return place[wanted]


def _places(readings: Readings, cells: Ints, column: Ints, columns: int) -> Ints:
    return index_of(cells, readings.cell) * columns + column


def _flags(values: xr.DataArray) -> tuple[list[str], Ints]:
    return str(values.attrs["flag_meanings"]).split(), np.atleast_1d(values.attrs["flag_values"]).astype(np.int64)


def _seconds(times: NDArray[Any]) -> Floats:
    seconds: Floats = times.astype("M8[ns]").astype(np.int64) * np.float64(1e-9)
    seconds[np.isnat(times)] = np.nan
    return seconds


def _of(phases: tuple[str, ...]) -> str:
    return f" in its steps of {' or '.join(phases)}" if phases else ""


def _find_temperature(entries: Any) -> float | None:
    if not isinstance(entries, dict):
        return None
    for name, entry in entries.items():
        if re.fullmatch(r"(.*[:_ ])?temperature", str(name), re.IGNORECASE):
            try:
                return float(entry)
            except (TypeError, ValueError):
                continue
        inner = _find_temperature(entry)
        if inner is not None:
            return inner
    return None
