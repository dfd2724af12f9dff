"""What an interrupted run did, operation by operation, for whoever goes through it again and then on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Geometry, Operation, PulseBatch, Scale
from labctl.errors import RecordingError, ResumeError
from labctl.recording import layout, skeleton
from labctl.recording.actions import NO_MATCHES, geometry_of, operations_of
from labctl.recording.checkpoint import Checkpoint, decode
from labctl.recording.full_disks import file_for_hdf5
from labctl.recording.layout import AskedBy, Commit, Outcome, State
from labctl.recording.reader import opened, read_text, text, whole
from labctl.recording.recover import copy_run
from labctl.recording.text import iso_time, json_text
from labctl.steps import Variable

_BLOCK = 1 << 20
"""Events read at a time."""

_PULSES = tuple(int(operation) for operation in Operation)
_FIRST = 1
"""The number of a board's first batch after it was switched on."""

_PLAIN = {"compression": None, "compression_opts": None, "shuffle": False}
"""What rows are added to is not compressed, though the run may have been packed."""

_BIT = Scale(1.0, 0.0, 1, "1")

_IN_DOUBT = (State.INTENDED, State.UNKNOWN_DOSE)


@dataclass(frozen=True, slots=True)
class LastKnown:
    """(cells,) each. touched: the run has read or pulsed the cell; pulsed: has pulsed it. code: of its last reading at
    the array's own voltage; `Past.not_read` where there is none, or a pulse came after it.
    """

    touched: NDArray[np.bool_]
    pulsed: NDArray[np.bool_]
    code: NDArray[np.uint32]


class Past:
    """The run file at `path`, which nobody writes; close it, or use it in `with`.

    attributes: of the file. settings: plain JSON values, arrays as they were. operations: column to (n,) values; the
    `state` of those in flight when the run was killed is INTENDED. phases: of the steps that the protocol did before it
    was told to stop. auxiliaries: names of what was read along. associative: the geometry of an array that is one.

    Raises NoRunError or RecordingError, and ResumeError for a run that is going on, is finished, or was recorded
    without what it takes to go on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = path.resolve()  # what takes the file's place must not take that of a link to it
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as undoing:
            self._file, self.commit = undoing.enter_context(opened(path))
            self._stamp = _stamp(path)
            with whole(path):
                self._read()
            self._closing = undoing.pop_all()
        self._block = slice(0, 0)
        self._columns: dict[str, NDArray[Any]] = {}

    def _read(self) -> None:
        self.attributes: dict[str, Any] = {name: text(each) for name, each in self._file.attrs.items()}
        self._refuse()
        provenance = self._file["provenance"]
        self.outcome = self.commit.outcome
        texts = {} if self.outcome is Outcome.KILLED else {name: read_text(self._file, name) for name in layout.TEXTS}
        self.message = texts.get("message", "")
        self._ended = {name: msgspec.json.decode(texts.get(name) or "{}") for name in ("summary", "snapshot_after")}
        self.resumptions: list[dict[str, Any]] = msgspec.json.decode(provenance.attrs.get("resumptions", "[]"))
        self.settings: dict[str, Any] = self._with_arrays(msgspec.json.decode(provenance.attrs["settings"]))
        rows, steps = self.commit.operations_intended, self._file["steps"]
        operations = self._file["operations"]
        self.operations: dict[str, NDArray[Any]] = {
            name: operations[name][:rows] for name in operations if name != "operation"
        }
        self.operations["state"][self.commit.operations :] = State.INTENDED
        regular = steps["asked_by"][: self.commit.steps] == AskedBy.PROTOCOL
        names = dict(enumerate(str(steps["phase"].attrs["flag_meanings"]).split()))
        self.phases: list[str] = [names[code] for code in steps["phase"][: self.commit.steps][regular].tolist()]
        around = self._file.get("auxiliaries", {})
        self.has_checkpoints = "checkpoint" in self._file
        self.checkpoint: Checkpoint | None = decode(self._file, self.commit) if self.commit.checkpoints else None
        self.auxiliaries = sorted(name for name in around if name not in ("sample", "time"))
        self.associative = geometry_of(self.attributes) if layout.is_associative(self.attributes) else None
        self.adc = self._scale("reading")
        self.dac = self._scale("amplitude")

    @property
    def geometry(self) -> Geometry:
        return Geometry(int(self.attributes["rows"]), int(self.attributes["cols"]), str(self.attributes["cell"]))

    @property
    def doubtful(self) -> slice:
        """The rows of the last pulses (of an associative array, actions) of which it is not known whether they were
        applied; none may follow them."""
        kinds, states = self.operations["kind"], self.operations["state"]
        doubtful = np.isin(states, _IN_DOUBT)
        if self.associative is None:
            doubtful &= np.isin(kinds, _PULSES)
        known = np.flatnonzero(~doubtful)
        return slice(int(known[-1]) + 1 if len(known) else 0, len(kinds))

    @property
    def first_operation(self) -> int:
        """The row of the first operation that no step has been recorded after."""
        return int(np.searchsorted(self.operations["step"], self.commit.steps))

    def settle(self, next_sequence: int | None) -> int | None:
        """Find out what became of the `doubtful` operations; the number applied, None where nobody can say.

        next_sequence: the number the board gives its next batch, where it counts them and nobody else is known to have
        pulsed since. A number that does not fit those of the operations means that somebody has. The first number of
        all may be that of a board that was switched off meanwhile, so that it says nothing. Of actions of an
        associative array nobody can say, as one may take several numbers.
        """
        rows = self.doubtful
        state = self.operations["state"]
        count = rows.stop - rows.start
        if not count:
            return 0
        if self.associative is not None:
            state[rows] = State.UNKNOWN_DOSE
            return None
        sequences = self.operations["sequence"][rows]
        applied = -1 if next_sequence is None else next_sequence - int(sequences[0])
        if (
            next_sequence == _FIRST
            or not 0 <= applied <= count
            or np.any(np.diff(sequences) != 1)
            or sequences[0] == layout.NOT_COUNTED
        ):
            state[rows] = State.UNKNOWN_DOSE
            return None
        state[rows.start : rows.start + applied] = State.DONE
        state[rows.start + applied : rows.stop] = State.NOT_APPLIED
        return applied

    def pulses_of_endings(self) -> Iterator[PulseBatch]:
        """Pulses that the protocol gave once it was told to stop: it does not ask for them when it goes on."""
        return self._pulses(self.operations["asked_by"] == AskedBy.ENDING)

    def pulses(self) -> Iterator[PulseBatch]:
        """All that the cells got, or may have got."""
        return self._pulses(np.ones(len(self.operations["kind"]), bool))

    def _pulses(self, wanted: NDArray[np.bool_]) -> Iterator[PulseBatch]:
        columns = self.operations
        given = np.isin(columns["kind"], _PULSES) & (columns["state"] != State.NOT_APPLIED)
        for row in np.flatnonzero(given & wanted).tolist():
            cells, amplitude, _ = self.events(int(columns["first_event"][row]), int(columns["events"][row]))
            shape = (float(columns["width"][row]), float(columns["gate"][row]))
            yield PulseBatch(Operation(int(columns["kind"][row])), cells, amplitude, *shape)

    def events(self, first: int, count: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """(count,) cells, codes of amplitudes and codes of readings, from event `first` on; views."""
        if first < self._block.start or first + count > self._block.stop:
            self._block = slice(first, min(first + max(count, _BLOCK), self.commit.events_intended))
            table = self._file["events"]
            self._columns = {name: table[name][self._block] for name in ("cell", "amplitude", "reading")}
            unsure = max(self.commit.events - first, 0)  # readings from here on were not finished being written
            self._columns["reading"][unsure:] = self.not_read
        rows = slice(first - self._block.start, first - self._block.start + count)
        return self._columns["cell"][rows], self._columns["amplitude"][rows], self._columns["reading"][rows]

    @property
    def not_read(self) -> int:
        """The code that stands where nothing was read."""
        return int(self._file["events/reading"].attrs["_FillValue"])

    def last_known(self) -> LastKnown:
        """How the run left its cells."""
        cells = self.geometry.cells
        last = np.full(cells, self.not_read, np.uint32)
        touched, pulsed = np.zeros(cells, bool), np.zeros(cells, bool)
        kind, counts = self.operations["kind"], self.operations["events"].astype(np.int64)
        given = np.isin(kind, _PULSES) & (self.operations["state"] != State.NOT_APPLIED)
        tells = given | ((kind == layout.READ) & np.isnan(self.operations["read_voltage"]))
        begins = self.operations["first_event"].astype(np.int64)
        for first in range(0, self.commit.events_intended, _BLOCK):
            count = min(_BLOCK, self.commit.events_intended - first)
            cell, _, reading = self.events(first, count)
            within = (begins + counts).clip(first, first + count) - begins.clip(first, first + count)
            touched[cell] = True
            pulsed[cell[np.repeat(given, within)]] = True
            telling = np.repeat(tells, within)
            last[cell[telling]] = reading[telling]
        return LastKnown(touched, pulsed, last)

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ending(self) -> dict[str, Any]:
        """How the run ended, for the record of its next beginning."""
        return {
            "outcome": self.outcome.value,
            "message": self.message,
            "ended": iso_time(self.commit.ended),
            **self._ended,
        }

    def is_as_it_was(self) -> bool:
        """Whether the file is still the one that was read."""
        return _stamp(self.path) == self._stamp

    def was_declared_by(self, phases: Sequence[str], variables: Sequence[Variable]) -> bool:
        """Whether the file has columns and maps for what a protocol declares so."""
        steps = layout.steps(phases, variables)
        names = [{each.name for each in columns} for columns in (steps, layout.maps(variables))]
        there = [set(self._file[group]) - own for group, own in (("steps", {"step"}), ("maps", {"row", "col"}))]
        known = str(self._file["steps/phase"].attrs["flag_meanings"]).split()
        return names == there and known == [phase.replace(" ", "_") for phase in phases]

    @property
    def superseded(self) -> tuple[slice, slice]:
        """The rows of operations and of steps after the last checkpoint; all of them where there was none."""
        steps = self.commit.checkpoint_steps
        first = int(np.searchsorted(self.operations["step"], steps))
        return slice(first, len(self.operations["step"])), slice(steps, self.commit.steps)

    def copy_to(self, part: Path, resumption: Mapping[str, Any]) -> Commit:
        """A whole copy of the file without its end, `resumption` added to the list; its commit.

        Where the run goes on from a checkpoint, what its protocol did since then is marked.
        """
        with file_for_hdf5(part) as disk, h5py.File(disk, "w", libver=skeleton.LIBVER) as copy:
            copy_run(self._file, copy, self.commit, with_end=False, filters=_PLAIN)
            states = self.operations["state"]
            copy["operations/state"][:] = states
            name, unknown = ("reading", self.not_read) if self.associative is None else ("matches", NO_MATCHES)
            copy[f"events/{name}"][self.commit.events :] = unknown
            skeleton.describe_flags(copy["operations"], operations_of(self.associative is not None))
            if self.has_checkpoints:
                self._mark_superseded(copy)
            copy["provenance"].attrs["resumptions"] = json_text([*self.resumptions, resumption])
            sent = np.isin(self.operations["kind"], _PULSES) & (states != State.NOT_APPLIED)
            commit = self.commit._replace(
                operations=self.commit.operations_intended,
                events=self.commit.events_intended,
                pulses=int(self.operations["events"][sent].sum()),
                outcome=Outcome.RUNNING,
            )
            skeleton.write_commit(copy, commit)
            skeleton.set_text_attribute(copy, "outcome", Outcome.RUNNING.value)
            skeleton.set_text_attribute(copy, "ended", "")
        return commit

    def _mark_superseded(self, copy: h5py.File) -> None:
        """How resuming found the cells remains what it is."""
        operations, steps = self.superseded
        asked_by = self.operations["asked_by"][operations]
        copy["operations/asked_by"][operations] = np.where(asked_by == AskedBy.REREAD, asked_by, AskedBy.SUPERSEDED)
        copy["steps/asked_by"][steps] = AskedBy.SUPERSEDED

    def _refuse(self) -> None:
        if self.commit.outcome is Outcome.LIVE:
            raise ResumeError(f"{self.path} is being written: there is nothing to resume yet")
        if self.commit.outcome is Outcome.FINISHED:
            raise ResumeError(f"{self.path} is finished: there is nothing to resume")
        if self.attributes.get("replay_of"):
            raise RecordingError(
                f"{self.path} was recorded while a wire log answered: there is no chip to resume it on"
            )
        if "asked_by" not in self._file["operations"] or "settings" not in self._file:
            raise ResumeError(f"{self.path} was recorded by a labctl whose runs could not be resumed yet")

    def _with_arrays(self, settings: dict[str, Any]) -> dict[str, Any]:
        for name, dataset in self._file["settings"].items():
            if skeleton.is_dimension_only(dataset):
                continue
            *outer, last = name.split(".")
            table = settings
            for key in outer:
                table = table[key]
            table[last] = dataset[:].astype(bool) if dataset.attrs.get("dtype") == "bool" else dataset[:]
        return settings

    def _scale(self, name: str) -> Scale:
        """The converter's, as the codes of a column of events have it; of an associative array a bit."""
        if self.associative is not None:
            return _BIT
        attributes = self._file["events"][name].attrs
        bits = int(attributes["top_code"]).bit_length()
        return Scale(
            float(attributes["scale_factor"]), float(attributes["add_offset"]), bits, text(attributes["units"])
        )


def continue_run(past: Past, resumption: Mapping[str, Any]) -> Commit:
    """Put a copy of the file of `past` to which rows can be added in its place, and close `past`; the copy's commit.

    Whoever calls holds the run. Raises RecordingError where the file is not the one that was read any more; OSError.
    """
    part = past.path.with_name(past.path.name + ".part")
    try:
        if not past.is_as_it_was():
            raise RecordingError(f"{past.path} has changed since it was read: somebody else has resumed it")
        commit = past.copy_to(part, resumption)
        past.close()
        shutil.copymode(past.path, part)
        os.replace(part, past.path)
        return commit
    finally:
        part.unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
