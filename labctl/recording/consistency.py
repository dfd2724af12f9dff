"""Whether the rows of a run file agree with one another and with what was committed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation
from labctl.recording import actions, layout
from labctl.recording.findings import Finding, Severity, error, warning, where
from labctl.recording.layout import Commit, State
from labctl.recording.reader import text as attribute_text

_BLOCK = 1 << 20  # events at a time: a run may have more of them than fit in memory


@dataclass(frozen=True, slots=True)
class _Operations:
    """The operations that were intended; of the last ones the outcome may be missing."""

    kind: NDArray[np.uint8]
    first_event: NDArray[np.int64]
    events: NDArray[np.int64]
    repeats: NDArray[np.int64]
    start: NDArray[np.float64]
    step: NDArray[np.int64]
    state: NDArray[np.uint8]

    @classmethod
    def of(cls, file: h5py.File, commit: Commit) -> _Operations:
        group = file["operations"]
        names = [field.name for field in fields(cls)]
        columns = {name: group[name][: commit.operations_intended] for name in names}
        signed = ("first_event", "events", "repeats", "step")  # their differences may be negative
        return cls(**{name: each.astype(np.int64) if name in signed else each for name, each in columns.items()})

    @property
    def is_pulse(self) -> NDArray[np.bool_]:
        return np.isin(self.kind, [int(each) for each in Operation])


def check_rows(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """All rows that count. Raises what h5py raises where they cannot be read, or a column is missing."""
    operations = _Operations.of(file, commit)
    covering = list(_covering(operations, commit))
    yield from covering
    yield from _commit(operations, commit)
    yield from _steps(file, operations, commit)
    yield from _times(file, operations, commit)
    yield from _flags(file, commit)
    if not covering:
        check_events = _passes if layout.is_associative(file.attrs) else _events
        yield from check_events(file, operations, commit)


def _covering(operations: _Operations, commit: Commit) -> Iterator[Finding]:
    """Each operation's events follow the last one's, to the end of those committed."""
    expected = np.cumsum(operations.events) - operations.events
    yield from where(operations.first_event != expected, "operations/first_event does not follow the events before")
    total = int(operations.events.sum())
    if total != commit.events_intended:
        yield error(f"the operations have {total:,} events, but {commit.events_intended:,} were committed")
    passes = operations.events % np.maximum(operations.repeats, 1)
    yield from where(passes != 0, "operations/events is no multiple of operations/repeats")


def _commit(operations: _Operations, commit: Commit) -> Iterator[Finding]:
    settled = slice(commit.operations)
    if commit.operations > commit.operations_intended or commit.events > commit.events_intended:
        yield error("the commit counts more that was done than was intended")
    events = int(operations.events[settled].sum())
    if events != commit.events:
        yield error(f"the operations done have {events:,} events, but {commit.events:,} were committed as done")
    yield from where(operations.state[settled] == State.INTENDED, "operations/state says `intended` of what was done")
    given = operations.is_pulse[settled] & (operations.state[settled] != State.NOT_APPLIED)
    pulses = int(operations.events[settled][given].sum())
    if pulses != commit.pulses:
        yield error(f"the operations gave {pulses:,} pulses, but {commit.pulses:,} were committed")
    if commit.checkpoint_steps > commit.steps:
        yield error("the last checkpoint is of a step that is not there")


def _steps(file: h5py.File, operations: _Operations, commit: Commit) -> Iterator[Finding]:
    """An operation belongs to the step that was recorded next, or to none yet: then to the one after the last."""
    yield from where(np.diff(operations.step, prepend=0) < 0, "operations/step goes back")
    yield from where(operations.step > commit.steps, "operations/step names a step that is not there")
    first = file["steps/first_operation"][: commit.steps].astype(np.int64)
    expected = np.searchsorted(operations.step, np.arange(commit.steps))
    yield from where(first != expected, "steps/first_operation is not the first operation of its step")


def _times(file: h5py.File, operations: _Operations, commit: Commit) -> Iterator[Finding]:
    """Never back; a clock on the wall may be set, so it only deserves a warning. So may one be that a run was resumed
    by."""
    resumed = msgspec.json.decode(attribute_text(file["provenance"].attrs.get("resumptions", "[]")))
    times = {"operations/start": operations.start, "steps/time": file["steps/time"][: commit.steps]}
    for name, key in (("operations/start", "first_operation"), ("steps/time", "first_step")):
        edges = [0, *(int(each[key]) for each in resumed), len(times[name])]
        parts = [times[name][low:high] for low, high in pairwise(edges)]
        yield from where(np.concatenate([_goes_back(part) for part in parts]), f"{name} goes back in time")
        ends = np.array([np.nanmax(part) for part in parts if np.isfinite(part).any()])
        if _goes_back(ends).any():
            yield warning(f"{name} goes back in time where the run was resumed")
    if "auxiliaries" in file:
        times = file["auxiliaries/time"][: commit.samples]
        yield from where(_goes_back(times), "auxiliaries/time goes back in time", severity=Severity.WARNING)


_ROUNDING_S = 1e-6


def _goes_back(times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Earlier than any before, by more than a double of seconds since 1970 can round; NaN is no time."""
    latest = np.fmax.accumulate(times) if len(times) else times
    return np.asarray(times < latest - _ROUNDING_S)


def _flags(file: h5py.File, commit: Commit) -> Iterator[Finding]:
    """Every code is one that is declared."""
    rows = {"operations": commit.operations_intended, "steps": commit.steps}
    for name in ("operations", "steps", "maps", "results"):
        for column, dataset in file.get(name, {}).items():
            values = dataset.attrs.get("flag_values")
            if values is not None:
                codes = dataset[: rows.get(name)].reshape(-1)
                yield from where(~np.isin(codes, values), f"{name}/{column} holds a flag that is not declared")


def _events(file: h5py.File, operations: _Operations, commit: Commit) -> Iterator[Finding]:
    """Cells on the array, increasing within a batch of pulses; codes a converter gives; amplitudes of pulses alone."""
    found: dict[str, tuple[int, int]] = {}
    for first in range(0, commit.events_intended, _BLOCK):
        rows = slice(first, min(first + _BLOCK, commit.events_intended))
        for text, wrong in _block(file, operations, rows):
            if wrong.any():
                count, place = found.get(text, (0, first + int(np.argmax(wrong))))
                found[text] = (count + int(wrong.sum()), place)
    for text, (count, place) in found.items():
        yield error(f"{text} ({f'{count:,} rows, the first' if count > 1 else 'row'} {place:,})")


def _block(file: h5py.File, operations: _Operations, rows: slice) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """What may be wrong with the events in `rows`, and where it is."""
    before = max(rows.start - 1, 0)
    cell = file["events/cell"][before : rows.stop].astype(np.int64)
    previous, cell = cell[: len(cell) - 1], cell[rows.start - before :]
    is_pulse, is_first = _of_events(operations, rows)
    yield "events/cell is not on the array", cell >= int(file.attrs["rows"]) * int(file.attrs["cols"])
    if rows.start == before:
        previous = np.concatenate([[-1], previous])
    yield "events/cell does not increase within a batch of pulses", is_pulse & ~is_first & (cell <= previous)
    for name in ("amplitude", "reading"):
        column = file["events"][name]
        codes = column[rows]
        is_none = codes == column.attrs["_FillValue"]
        yield f"events/{name} is beyond the converter's range", ~is_none & (codes > column.attrs["top_code"])
        if name == "amplitude":
            yield "events/amplitude is missing for a pulse", is_pulse & is_none
            yield "events/amplitude is given for a read", ~is_pulse & ~is_none


def _passes(file: h5py.File, operations: _Operations, commit: Commit) -> Iterator[Finding]:
    """Of programs alone, each with all of its passes, in order; no more rows tagged than there are."""
    traced = operations.events > 0
    is_program = operations.kind == actions.PROGRAM
    yield from where(traced & ~is_program, "operations/events of what is no program")
    is_short = traced & is_program & (operations.events != operations.repeats)
    yield from where(is_short, "operations/events are not all passes of the program")
    begins = np.zeros(commit.events_intended, bool)
    begins[operations.first_event[traced]] = True
    last = np.zeros((3, 1), np.int64)
    for first in range(0, commit.events_intended, _BLOCK):
        rows = slice(first, min(first + _BLOCK, commit.events_intended))
        place = np.stack([file["events"][name][rows].astype(np.int64) for name in ("instruction", "bit", "pass")])
        moved = np.sign(np.diff(place, axis=1, prepend=last))
        order, last = moved[0] * 4 + moved[1] * 2 + moved[2], place[:, -1:]
        yield from where(begins[rows] & place.any(axis=0), "events do not begin with a first pass", first)
        yield from where(~begins[rows] & (order <= 0), "events are not in the order of their program", first)
        matches = file["events/matches"][rows]
        beyond = (matches != actions.NO_MATCHES) & (matches > int(file.attrs["rows"]))
        yield from where(beyond, "events/matches is more than the array has rows", first)


def _of_events(operations: _Operations, rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each event in `rows` is of a pulse, and whether it is the first of its operation."""
    ends = operations.first_event + operations.events
    low, high = np.searchsorted(ends, rows.start, "right"), np.searchsorted(operations.first_event, rows.stop)
    counts = np.minimum(ends[low:high], rows.stop) - np.maximum(operations.first_event[low:high], rows.start)
    is_pulse: NDArray[np.bool_] = np.repeat(operations.is_pulse[low:high], np.maximum(counts, 0))
    is_first = np.zeros(rows.stop - rows.start, bool)
    starts: NDArray[Any] = operations.first_event[low:high]
    is_first[starts[(starts >= rows.start) & (starts < rows.stop)] - rows.start] = True
    return is_pulse, is_first
