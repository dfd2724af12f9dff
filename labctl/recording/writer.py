"""Writes a run file while the run goes on: intent, then outcome, each on disk before the caller goes on.

The file is in SWMR mode from its first row to its last, so that others read it live and a kill at any write
leaves it readable. Rows are written first; the counters that make them count come last, in one small write.
Closing, too, happens in SWMR mode: texts, then cut columns, then the outcome; what follows only tells HDF5
that nobody writes any more.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from filelock import BaseFileLock

from labctl.array import Geometry, PulseBatch, Readout, Scale
from labctl.errors import RecordingError
from labctl.recording import layout, names, skeleton
from labctl.recording.columns import Block, Table
from labctl.recording.layout import Counter, Outcome, State
from labctl.recording.text import iso_time, json_text
from labctl.steps import Step, Variable


class RunWriter:
    """The run file of a run going on. One exchange is open at a time: `intend`, then `complete` or `fail`.

    Every method returns once what it was given is in the file (with `fsync`: on the disk). After a write
    error it raises RecordingError, as does every later call but `close`.
    """

    def __init__(self, path: Path, run: skeleton.RunInfo, lock: BaseFileLock, *, fsync: bool) -> None:
        """Open the skeleton at `path` for rows; use `create`."""
        self.path = path
        self._lock = lock
        self._fsync = fsync
        self._adc = run.adc
        self._phases = layout.phase_codes(run.phases)
        self._error: RecordingError | None = None
        self._closed = False
        self._file = _open_for_rows(path)
        self._events = Table(self._file["events"], "event")
        self._operations = Table(self._file["operations"], "operation")
        self._steps = Table(self._file["steps"], "step")
        self._scalars = {variable.name for variable in run.variables if not variable.dims}
        maps = [variable.name for variable in run.variables if variable.dims]
        self._maps = {name: Block(self._file["maps"], name) for name in maps}
        self._counters = Block(self._file["commits"], "counters")
        self._counts = np.zeros(len(Counter), np.uint64)
        self._pending: list[PulseBatch] = []
        self._first_operation = 0

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        protocol: str,
        title: str,
        phases: Sequence[str],
        variables: Sequence[Variable],
        geometry: Geometry,
        dac: Scale,
        adc: Scale,
        started: float,
        provenance: Mapping[str, Any],
        fsync: bool = False,
    ) -> Self:
        """Start the run file `path`. `started`: s since 1970 on the array's clock.

        provenance: text and numbers become attributes of the file, for search (`chip_serial`, `operator`,
        `labctl_version`, ...); everything else becomes JSON text in the group `provenance`.
        Raises RecordingError where `path` exists or cannot be written. A file that has the name of a run is
        whole: it is written under another name and then renamed.
        """
        run = skeleton.RunInfo(protocol, title, phases, variables, geometry, dac, adc, started, provenance)
        lock = names.hold(path)
        part = path.with_name(path.name + ".part")
        try:
            if path.exists():
                raise RecordingError(f"{path} exists already")
            with _recording(path):
                part.write_bytes(skeleton.image(run))
                part.rename(path)
                return cls(path, run, lock, fsync=fsync)
        except BaseException:
            part.unlink(missing_ok=True)
            names.let_go(path, lock)
            raise

    def intend(
        self, batches: Sequence[PulseBatch], *, time: float | None = None, sequences: Sequence[int] = ()
    ) -> None:
        """Record pulses about to be sent in one exchange; send them once this has returned.

        time: now, on the array's clock, which stands as the start where no verify read brings a better one.
        sequences: the board's number of each batch.
        """
        if self._pending:
            raise RecordingError("the exchange before was neither completed nor failed")
        sizes = [len(batch.cells) for batch in batches]
        first = self._count(Counter.EVENTS)
        columns: dict[str, Any] = {
            "kind": [batch.operation for batch in batches],
            "first_event": first + np.cumsum([0, *sizes[:-1]]),
            "events": sizes,
            "width": [batch.width for batch in batches],
            "gate": [batch.gate for batch in batches],
            "step": [self._count(Counter.STEPS)] * len(batches),
        }
        if time is not None:
            columns["start"] = [time] * len(batches)
        if sequences:
            columns["sequence"] = sequences
        counts = self._counts.copy()
        counts[Counter.OPERATIONS_INTENDED] += len(batches)
        counts[Counter.EVENTS_INTENDED] += sum(sizes)
        with self._writing():
            for row, batch in zip(columns["first_event"], batches, strict=True):
                self._events.write(row, {"cell": batch.cells, "amplitude": batch.amplitude})
            self._operations.write(self._count(Counter.OPERATIONS), columns)
            self._commit(counts)
        self._counts, self._pending = counts, list(batches)

    def complete(self, readouts: Sequence[Readout] | None = None) -> None:
        """The intended batches were applied. `readouts`: their verify reads, one a batch, where there are."""
        if readouts is not None:
            self._check_readouts(readouts)
        self._settle([State.DONE] * len(self._pending), readouts)

    def fail(self, states: Sequence[State] = ()) -> None:
        """The exchange failed. `states`: what the board says of each batch; without, dose unknown."""
        self._settle(states or [State.UNKNOWN_DOSE] * len(self._pending), None)

    def record_read(self, readout: Readout) -> None:
        """Record a read, which needs no intent: it changes nothing."""
        if self._pending:
            raise RecordingError("an exchange of pulses is open; complete or fail it first")
        self._check_scale(readout)
        repeats, cells = readout.codes.shape
        first = self._count(Counter.EVENTS)
        row = {
            "kind": layout.READ,
            "first_event": first,
            "events": repeats * cells,
            "repeats": repeats,
            "start": readout.time,
            "seconds_per_cell": readout.seconds_per_cell,
            "step": self._count(Counter.STEPS),
            "state": State.DONE,
        }
        counts = self._counts.copy()
        counts[[Counter.OPERATIONS_INTENDED, Counter.OPERATIONS]] += 1
        counts[[Counter.EVENTS_INTENDED, Counter.EVENTS]] += repeats * cells
        with self._writing():
            cell = readout.cells if repeats == 1 else np.tile(readout.cells, repeats)
            self._events.write(first, {"cell": cell, "reading": readout.codes.reshape(-1)})
            self._operations.write(self._count(Counter.OPERATIONS), _one_row(row))
            self._commit(counts)
        self._counts = counts

    def step(self, step: Step, *, time: float) -> None:
        """Record a step with its scalars, and overwrite the maps it carries. `time`: s since 1970."""
        unknown = (step.values.keys() - self._scalars) | (step.maps.keys() - self._maps.keys())
        if unknown:
            raise RecordingError(f"the protocol did not declare `{min(unknown)}`")
        if step.phase not in self._phases:
            raise RecordingError(f"the protocol did not declare the phase `{step.phase}`")
        for name, values in step.maps.items():
            if np.shape(values) != self._maps[name].shape:
                raise RecordingError(f"map `{name}` is {np.shape(values)}, not {self._maps[name].shape}")
        row = {
            **step.values,
            "time": time,
            "phase": self._phases[step.phase],
            "first_operation": self._first_operation,
        }
        counts = self._counts.copy()
        counts[Counter.STEPS] += 1
        with self._writing():
            for name, values in step.maps.items():
                self._maps[name].write(values)
            self._steps.write(self._count(Counter.STEPS), _one_row(row))
            self._commit(counts)
        self._counts = counts
        self._first_operation = self._count(Counter.OPERATIONS)

    def close(
        self,
        outcome: Outcome,
        *,
        time: float | None = None,
        message: str = "",
        summary: Mapping[str, Any] | None = None,
        snapshot_after: Mapping[str, Any] | None = None,
    ) -> None:
        """End the run and make its file an ordinary one; an exchange still open is of unknown dose.

        May be called again. After a write error it lets go of the file, which stays as a killed run's would.
        """
        if self._closed:
            return
        try:
            if self._error is None:
                self._finish(outcome, time, message, summary or {}, snapshot_after or {})
        finally:
            self._closed = True
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A run left without `close` ends as failed, with the error's text."""
        self.close(Outcome.FAILED, message=str(error) if error else "ended without an outcome")

    def _settle(self, states: Sequence[State], readouts: Sequence[Readout] | None) -> None:
        """Write what became of the pending batches; from here on they count."""
        first_operation = self._count(Counter.OPERATIONS)
        row = self._count(Counter.EVENTS)
        columns: dict[str, Any] = {"state": states}
        if readouts is not None:
            columns["start"] = [readout.time for readout in readouts]
            columns["seconds_per_cell"] = [readout.seconds_per_cell for readout in readouts]
        counts = self._counts.copy()
        counts[Counter.OPERATIONS] = counts[Counter.OPERATIONS_INTENDED]
        counts[Counter.EVENTS] = counts[Counter.EVENTS_INTENDED]
        for batch, state in zip(self._pending, states, strict=True):
            if state is not State.NOT_APPLIED:
                counts[Counter.PULSES] += len(batch.cells)
        with self._writing():
            for readout in readouts or ():
                self._events.write(row, {"reading": readout.codes[0]})
                row += readout.codes.shape[1]
            self._operations.write(first_operation, columns)
            self._commit(counts)
        self._counts, self._pending = counts, []

    def _commit(self, counts: np.ndarray) -> None:
        """Everything written so far first, then the counters that make it count."""
        h5py.h5f.flush(self._file.id)
        self._sync()
        self._counters.write(counts)
        self._sync()

    def _sync(self) -> None:
        if self._fsync:
            os.fsync(self._file.id.get_vfd_handle())

    def _count(self, counter: Counter) -> int:
        return int(self._counts[counter])

    def _check_readouts(self, readouts: Sequence[Readout]) -> None:
        """Verify reads must be of the intended cells: rows are matched by position."""
        if len(readouts) != len(self._pending):
            raise RecordingError(f"{len(readouts)} readouts for {len(self._pending)} intended batches")
        for readout, batch in zip(readouts, self._pending, strict=True):
            self._check_scale(readout)
            if readout.codes.shape != (1, len(batch.cells)):
                raise RecordingError(
                    f"a verify read of {readout.codes.shape} codes for {len(batch.cells)} pulsed cells"
                )
            if readout.cells is not batch.cells and not np.array_equal(readout.cells, batch.cells):
                raise RecordingError("a verify read of other cells than the pulsed ones")

    def _check_scale(self, readout: Readout) -> None:
        if readout.scale != self._adc:
            raise RecordingError(
                f"a reading with {readout.scale}, where the run was started with {self._adc}"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Refuse once a write has failed; remember the first failure."""
        if self._error is not None:
            raise self._error
        if self._closed:
            raise RecordingError(f"{self.path} is closed")
        try:
            with _recording(self.path):
                yield
        except RecordingError as error:
            self._error = error
            raise

    def _finish(
        self,
        outcome: Outcome,
        time: float | None,
        message: str,
        summary: Mapping[str, Any],
        snapshot_after: Mapping[str, Any],
    ) -> None:
        """Everything that is only known now, the outcome last, still in SWMR mode."""
        if self._pending:
            self.fail()
        texts = (message, json_text(summary), json_text(snapshot_after))
        with self._writing():
            for name, text in zip(layout.TEXTS, texts, strict=True):
                _write_text(self._file["provenance"], name, text)
            self._events.trim(self._count(Counter.EVENTS))
            self._operations.trim(self._count(Counter.OPERATIONS))
            self._steps.trim(self._count(Counter.STEPS))
            self._commit(self._counts)
            skeleton.set_text_attribute(self._file, "ended", iso_time(time) if time is not None else "")
            skeleton.set_text_attribute(self._file, "outcome", outcome.value)
            h5py.h5f.flush(self._file.id)
            self._sync()

    def _release(self) -> None:
        """Close the file and say that nobody writes it."""
        with contextlib.suppress(OSError, RuntimeError):
            self._file.close()
        names.let_go(self.path, self._lock)


def _open_for_rows(path: Path) -> h5py.File:
    """Open for SWMR writing in one go: at no moment would a kill leave it marked as open for plain writing,
    and so for nobody to open again."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    flags = h5py.h5f.ACC_RDWR | h5py.h5f.ACC_SWMR_WRITE
    return h5py.File(h5py.h5f.open(os.fsencode(path), flags, access))


def _one_row(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [value] for name, value in values.items()}


def _write_text(group: h5py.Group, name: str, text: str) -> None:
    characters = np.frombuffer(text.encode(), "S1")
    for dataset in (group[f"{name}_bytes"], group[name]):
        dataset.resize((len(characters),))
    group[name][:] = characters


@contextlib.contextmanager
def _recording(path: Path) -> Iterator[None]:
    """One sentence for whatever HDF5 says."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise RecordingError(f"cannot write the run file {path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the system said, out of HDF5's account of it."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    said = re.search(r"error message = '([^']*)'", str(error))
    return said[1] if said else str(error).partition("\n")[0]
