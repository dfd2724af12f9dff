"""Reads a run file into a ledger: what the run did to each cell of its chip, and what it says of it.

In blocks of events, so that memory does not grow with the run, and by columns: some 40 ns an event.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from labctl.chips.defects import FORMED_AT, Tally, judge
from labctl.chips.ledger import NO_RUN, OPERATIONS, Ledger
from labctl.recording.layout import AskedBy, Commit, Outcome, State, is_associative
from labctl.recording.reader import opened, read_text, text, whole

_BLOCK = 1 << 21


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run file says of itself. began, wall_start: s since 1970 on the board's clock, which may be virtual, and
    on the wall's. identity: the same for copies of one run. not_counted: why its pulses are not the chip's history,
    empty where they are.
    """

    protocol: str
    title: str
    measurement: str
    outcome: str
    serial: str
    cell: str
    rows: int
    cols: int
    wall_start: float
    began: float
    pulses: int
    events: int
    identity: str
    not_counted: str


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Of the cells a run tried, how many it found bad; more than most are not believed."""

    tried: int
    bad: int


def run_facts(path: Path) -> RunFacts:
    """Of the run at `path`; its events are not read. Raises RecordingError."""
    with opened(path) as (file, commit), whole(path):
        return _facts(file, commit)


def read_run(path: Path, number: int) -> tuple[RunFacts, Ledger, Suspicion]:
    """The run at `path` as of its last commit, its ledger with `number` for the run. Raises RecordingError."""
    with opened(path) as (file, commit), whole(path):
        facts = _facts(file, commit)
        ended = min(facts.wall_start + _elapsed(file, commit, facts), path.stat().st_mtime)
        ledger, suspicion = _Reading(file, commit, facts).ledger(number, max(ended, facts.wall_start))
        return facts, ledger, suspicion


def _facts(file: h5py.File, commit: Commit) -> RunFacts:
    said = {name: text(content) for name, content in file.attrs.items()}
    wall = str(said.get("wall_time_start", said["started"]))
    parts = (said["protocol"], said["started"], wall, said.get("host", ""), said.get("seed", ""))
    return RunFacts(
        protocol=said["protocol"],
        title=said["title"],
        measurement=str(said.get("measurement", "")),
        outcome=commit.outcome.value,
        serial=str(said.get("chip_serial", "")),
        cell=str(said.get("cell", "")),
        rows=int(said["rows"]),
        cols=int(said["cols"]),
        wall_start=_seconds(wall),
        began=_seconds(said["started"]),
        pulses=commit.pulses,
        events=commit.events,
        identity="|".join(map(str, parts)),
        not_counted=_not_counted(said),
    )


def _not_counted(said: dict[str, Any]) -> str:
    if said.get("replay_of"):
        return "a recording answered, not the chip"
    if is_associative(said):
        return "of an associative array, whose cells get no pulses"
    if said.get("chip_volatile", False):
        return "a simulated chip that is fresh each time: it has no state file"
    return ""


def _elapsed(file: h5py.File, commit: Commit, facts: RunFacts) -> float:
    """s that the run took on the wall; infinite where the file does not say, as of one that was resumed later."""
    if commit.outcome in (Outcome.LIVE, Outcome.KILLED) or "resumptions" in file["provenance"].attrs:
        return float("inf")
    try:
        return float(json.loads(read_text(file, "summary"))["elapsed_s"])
    except (ValueError, KeyError, TypeError):
        return max(commit.ended - facts.began, 0.0)


def _seconds(iso: str) -> float:
    return dt.datetime.fromisoformat(iso).timestamp()


class _Operations:
    """Columns of operations, (n,), as far as they count: those that were settled, and in a killed run the last intent.

    slot: 0 for what is no pulse that counts, else one more than its place in OPERATIONS. width: s, 0 in slot 0.
    is_evidence: not how resuming found the cells, by which nothing was decided.
    """

    def __init__(self, file: h5py.File, commit: Commit) -> None:
        group = file["operations"]
        killed = commit.outcome is Outcome.KILLED
        self.count = commit.operations_intended if killed else commit.operations
        self.end = commit.events_intended if killed else commit.events
        self.first = self._column(group, "first_event", 0).astype(np.int64)
        kind, state = self._column(group, "kind", 0), self._column(group, "state", 0)
        state[commit.operations :] = State.UNKNOWN_DOSE
        pulse = np.zeros(256, np.uint8)
        pulse[[int(each) for each in OPERATIONS]] = range(1, len(OPERATIONS) + 1)
        self.slot = np.where(np.isin(state, (State.DONE, State.UNKNOWN_DOSE)), pulse[kind], np.uint8(0))
        self.unknown = (state == State.UNKNOWN_DOSE) & (self.slot > 0)
        self.width = np.where(self.slot > 0, np.nan_to_num(self._column(group, "width", np.nan)), 0.0)
        self.readable = (state == State.DONE) & np.isnan(self._column(group, "read_voltage", np.nan))
        self.is_evidence = self._column(group, "asked_by", AskedBy.PROTOCOL) != AskedBy.REREAD
        self.start = self._column(group, "start", np.nan)
        self.seconds_per_cell = np.nan_to_num(self._column(group, "seconds_per_cell", np.nan))

    def _column(self, group: h5py.Group, name: str, otherwise: float) -> NDArray[Any]:
        """Runs recorded before there was a choice of read voltage, or resuming, have no such column."""
        if name not in group:
            return np.full(self.count, otherwise)
        values: NDArray[Any] = group[name][: self.count]
        return values

    def within(self, first: int, last: int) -> tuple[slice, NDArray[np.int64]]:
        """The operations that the events `first` to `last` belong to, and how many of these each has."""
        low = int(np.searchsorted(self.first, first, side="right")) - 1
        high = int(np.searchsorted(self.first, last, side="left"))
        edges = np.append(self.first[low:high], last)
        edges[0] = first
        return slice(low, high), np.diff(edges)


class _Reading:
    """One run being added up."""

    def __init__(self, file: h5py.File, commit: Commit, facts: RunFacts) -> None:
        self._file, self._commit, self._facts = file, commit, facts
        self._operations = _Operations(file, commit)
        self._cells = facts.rows * facts.cols
        self._events = file["events"]
        self._amplitude, self._reading = (dict(self._events[name].attrs) for name in ("amplitude", "reading"))
        slots = len(OPERATIONS) + 1
        self._counts = np.zeros(slots * self._cells, np.int64)
        self._unknown = np.zeros(self._cells, np.int64)
        self._dose = np.zeros(self._cells)
        self._last_event = np.full(self._cells, -1, np.int64)
        self._last_code = np.zeros(self._cells, np.float64)
        self._evident_code = np.full(self._cells, np.nan)  # the last that is evidence
        self._wants_response = "outcome" not in file["maps"]
        self._read_counts = np.zeros(slots * self._cells if self._wants_response else 0, np.int64)
        self._read_sums = np.zeros(slots * self._cells if self._wants_response else 0)

    def ledger(self, number: int, wall_end: float) -> tuple[Ledger, Suspicion]:
        """wall_end: s since 1970, when the run was over at the latest."""
        for first in range(0, self._operations.end, _BLOCK):
            self._add(first, min(first + _BLOCK, self._operations.end))
        pulses = self._counts.reshape(-1, self._cells)[1:].astype(np.uint64)
        conductance, read_at = self._last_readings(wall_end)
        last = self._siemens(self._evident_code)
        switched = bool(pulses[1:].any())
        tally = Tally(pulses[0].astype(np.uint32), self._response(), last, switched)
        found = judge(self._file, self._commit, tally)

        def of(known: NDArray[np.bool_]) -> NDArray[np.int32]:
            return np.where(known, np.int32(number), np.int32(NO_RUN))

        ledger = Ledger(
            pulses=pulses,
            unknown=self._unknown.astype(np.uint64),
            dose=self._dose,
            conductance=conductance,
            read_at=read_at,
            reading_run=of(self._last_event >= 0),
            forming_voltage=found.forming_voltage,
            forming_run=of(np.isfinite(found.forming_voltage)),
            verdict=found.verdict,
            verdict_run=of(found.verdict > 0),
            doubted=found.doubted,
            doubted_run=of(found.doubted > 0),
            conducted=np.isfinite(found.forming_voltage) | (last >= FORMED_AT),
        )
        return ledger, Suspicion(found.tried, found.bad)

    def _add(self, first: int, last: int) -> None:
        """The events `first` to `last`."""
        operations = self._operations
        rows, counts = operations.within(first, last)
        cell = self._events["cell"][first:last].astype(np.int64)
        key = cell + np.repeat(operations.slot[rows].astype(np.int64) * self._cells, counts)
        if operations.slot[rows].any():
            self._counts += np.bincount(key, minlength=len(self._counts))
            self._add_dose(first, last, cell, np.repeat(operations.width[rows], counts))
        if operations.unknown[rows].any():
            self._unknown += np.bincount(cell[np.repeat(operations.unknown[rows], counts)], minlength=self._cells)
        if operations.readable[rows].any():
            readable, is_evidence = (
                np.repeat(each[rows], counts) for each in (operations.readable, operations.is_evidence)
            )
            self._add_readings(first, cell, key, readable, is_evidence)

    def _add_dose(self, first: int, last: int, cell: NDArray[np.int64], width: NDArray[np.float64]) -> None:
        volts = self._events["amplitude"][first:last] * self._amplitude["scale_factor"]
        if self._amplitude["add_offset"]:
            volts += self._amplitude["add_offset"]
        volts *= width
        self._dose += np.bincount(cell, volts, minlength=self._cells)

    def _add_readings(
        self,
        first: int,
        cell: NDArray[np.int64],
        key: NDArray[np.int64],
        readable: NDArray[np.bool_],
        is_evidence: NDArray[np.bool_],
    ) -> None:
        codes = self._events["reading"][first : first + len(cell)]
        readable &= codes != self._reading["_FillValue"]
        where = np.flatnonzero(readable) if not readable.all() else np.arange(len(codes))
        read, event = self._latest(cell, where)
        self._last_event[read] = first + event
        self._last_code[read] = codes[event]
        if not is_evidence.all():
            where = where[is_evidence[where]]
            read, event = self._latest(cell, where)
        self._evident_code[read] = codes[event]
        if self._wants_response:
            self._read_counts += np.bincount(key[where], minlength=len(self._read_counts))
            self._read_sums += np.bincount(key[where], codes[where], minlength=len(self._read_sums))

    def _latest(self, cell: NDArray[np.int64], where: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of the events `where`, each cell's last: the cells, and their events."""
        place = np.full(self._cells, -1, np.int64)
        place[cell if len(where) == len(cell) else cell[where]] = where  # of several the last stays
        read = np.flatnonzero(place >= 0)
        return read, place[read]

    def _siemens(self, codes: NDArray[np.float64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = codes * self._reading["scale_factor"] + self._reading["add_offset"]
        return found.astype(np.float32)

    def _last_readings(self, wall_end: float) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """S and s since 1970 on the wall, to which the board's clock runs alike, but not beyond `wall_end`."""
        conductance = np.full(self._cells, np.nan, np.float32)
        read_at = np.full(self._cells, np.nan)
        known = np.flatnonzero(self._last_event >= 0)
        if len(known):
            operations, event = self._operations, self._last_event[known]
            row = np.searchsorted(operations.first, event, side="right") - 1
            passed = operations.start[row] + (event - operations.first[row]) * operations.seconds_per_cell[row]
            passed = np.nan_to_num(passed - self._facts.began).clip(0)
            conductance[known] = self._siemens(self._last_code[known])
            read_at[known] = np.minimum(self._facts.wall_start + passed, wall_end)
        return conductance, read_at

    def _response(self) -> NDArray[np.float32]:
        """(cells,) S, mean reading after SET less that after RESET pulses."""
        if not self._wants_response:
            return np.full(self._cells, np.nan, np.float32)
        count, total = (each.reshape(-1, self._cells) for each in (self._read_counts, self._read_sums))
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan) * self._reading["scale_factor"]
        after = dict(zip(OPERATIONS, mean[1:], strict=True))
        change: NDArray[np.float32] = (after[OPERATIONS[1]] - after[OPERATIONS[2]]).astype(np.float32)
        return change
