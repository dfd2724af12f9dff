"""Writes a run file while the run goes on: intent, then outcome, each on disk before the caller goes on.

Rows are written first; the commit that makes them count comes last, in one small write.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import BaseFileLock
from numpy.typing import NDArray

from labctl.array import Geometry, PulseBatch, Readout, Scale
from labctl.associative import AssociativeGeometry
from labctl.errors import RecordingError
from labctl.recording import layout, names, skeleton
from labctl.recording.checkpoint import encode
from labctl.recording.layout import AskedBy, Commit, Outcome, State
from labctl.recording.live import LiveFile
from labctl.recording.past import Past, continue_run
from labctl.recording.text import json_text
from labctl.steps import Result, Step, Variable


@dataclass(slots=True)
class _Products:
    """Multiplications one after another that are not in the file yet; the arguments of `record_product`."""

    vectors: int
    time: float
    voltage: float | None
    asked_by: AskedBy

    def takes(self, other: _Products) -> bool:
        """Whether the others can stand in the same row."""
        return (self.voltage, self.asked_by) == (other.voltage, other.asked_by)


class RunWriter:
    """The run file of a run going on. One exchange is open at a time: `intend`, then `complete` or `fail`.

    Every method but `record_product` returns once what it was given is in the file (with `fsync`: on the disk), and
    everything before it. After a write error it raises RecordingError, as does every later call but `close`.
    """

    def __init__(
        self,
        path: Path,
        lock: BaseFileLock,
        last: Commit,
        *,
        adc: Scale,
        phases: Sequence[str],
        variables: Sequence[Variable],
        first_operation: int = 0,
        fsync: bool,
    ) -> None:
        """Open the file at `path` for rows after those of its `last` commit; use `create` or `reopen`.

        first_operation: the row of the next step's.

        asked_by: why what is recorded from now on is done.
        """
        self.path = path
        self.asked_by = AskedBy.PROTOCOL
        self._lock = lock
        self._adc = adc
        self._phases = layout.phase_codes(phases)
        self._scalars = {variable.name for variable in variables if not variable.dims}
        self._file = LiveFile(path, last, fsync=fsync)
        self._last = last
        self._pending: list[PulseBatch] = []
        self._products: _Products | None = None
        self._first_operation = first_operation
        self._error: RecordingError | None = None
        self._closed = False

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
        auxiliaries: Mapping[str, str] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
        checkpoints: bool = False,
        associative: AssociativeGeometry | None = None,
        fsync: bool = False,
    ) -> Self:
        """Start the run file `path`. `started`: s since 1970 on the array's clock.

        provenance: text and numbers become attributes of the file, for search (`chip_serial`, `operator`,
        `labctl_version`, ...); everything else becomes JSON text in the group `provenance`.
        auxiliaries: name to unit of what `sample` will be given. arrays: path to value of the settings that are
        arrays. checkpoints: steps may carry some. associative: of an array that is one. Raises RecordingError where
        `path` exists or cannot be written. A file that has the name of a run is whole: it is written under another name
        and then renamed.
        """
        known = (provenance, auxiliaries or {}, arrays or {}, checkpoints, associative)
        image = skeleton.image(
            skeleton.RunInfo(protocol, title, phases, variables, geometry, dac, adc, started, *known)
        )
        lock = names.hold(path)
        part = path.with_name(path.name + ".part")
        try:
            if path.exists():
                raise RecordingError(f"{path} exists already")
            with _recording(path):
                part.write_bytes(image)
                part.rename(path)
                first = Commit(ended=started)
                return cls(path, lock, first, adc=adc, phases=phases, variables=variables, fsync=fsync)
        except BaseException:
            part.unlink(missing_ok=True)
            names.let_go(path, lock)
            raise

    @classmethod
    def reopen(
        cls,
        past: Past,
        *,
        phases: Sequence[str],
        variables: Sequence[Variable],
        resumption: Mapping[str, Any],
        fsync: bool = False,
    ) -> Self:
        """Go on with the run file of `past`, which somebody goes through again, under its own name.

        What was recorded is copied, with `resumption` (JSON values) added to the list of its resumptions, and the copy
        takes the place of the file when it is whole. Raises RecordingError where it cannot be written, or is not as it
        was read.
        """
        lock = names.hold(past.path)
        try:
            with _recording(past.path):
                last, first = continue_run(past, resumption), past.first_operation
                of_run: dict[str, Any] = {"adc": past.adc, "phases": phases, "variables": variables}
                return cls(past.path, lock, last, first_operation=first, fsync=fsync, **of_run)
        except BaseException:
            names.let_go(past.path, lock)
            raise

    @contextlib.contextmanager
    def asking(self, by: AskedBy) -> Iterator[None]:
        """What is recorded meanwhile is done because of `by`."""
        before, self.asked_by = self.asked_by, by
        try:
            yield
        finally:
            self.asked_by = before

    def intend(
        self, batches: Sequence[PulseBatch], *, time: float | None = None, sequences: Sequence[int] = ()
    ) -> None:
        """Record pulses about to be sent in one exchange; send them once this has returned.

        time: now, on the array's clock, which stands as the start where no verify read brings a better one.
        sequences: the board's number of each batch.
        """
        self._begin()
        columns: dict[str, Any] = {
            "kind": [batch.operation for batch in batches],
            "width": [batch.width for batch in batches],
            "gate": [batch.gate for batch in batches],
        }
        if sequences:
            columns["sequence"] = sequences
        events: list[dict[str, NDArray[Any]]]
        events = [{"cell": batch.cells, "amplitude": batch.amplitude} for batch in batches]
        self._pending = list(batches)  # first, as an interrupt may come once it is written
        self._write_intended(columns, events, [len(batch.cells) for batch in batches], time)

    def complete(self, readouts: Sequence[Readout] | None = None) -> None:
        """The intended batches were applied. `readouts`: their verify reads, one a batch, where there are."""
        if readouts is not None:
            self._check_readouts(readouts)
        self._settle([State.DONE] * len(self._pending), readouts or ())

    def fail(self, states: Sequence[State] = ()) -> None:
        """The exchange failed. `states`: what the board says of each batch; without, dose unknown."""
        self._settle(states or [State.UNKNOWN_DOSE] * self._last.unsettled, ())

    def record_read(self, readout: Readout, voltage: float | None = None) -> None:
        """Record a read, which needs no intent: it changes nothing. voltage: V, where it was not the array's own."""
        self._begin()
        factor = self._factor(readout.scale)
        if voltage is None:
            self._check_scale(readout)
        last = self._last
        repeats, cells = readout.codes.shape
        operation = {
            "kind": layout.READ,
            "first_event": last.events,
            "events": repeats * cells,
            "repeats": repeats,
            "start": readout.time,
            "seconds_per_cell": readout.seconds_per_cell,
            "step": last.steps,
            "state": State.DONE,
            "read_voltage": np.nan if voltage is None else voltage,
            "reading_factor": factor,
            "asked_by": self.asked_by,
        }
        cell = readout.cells if repeats == 1 else np.tile(readout.cells, repeats)
        self._record_settled(operation, {"cell": cell, "reading": readout.codes.reshape(-1)})

    def record_clock(self, time: float) -> None:
        """Record that the protocol was told the `time`, s since 1970: what it does next may go by it."""
        self._begin()
        last = self._last
        operation = {
            "kind": layout.CLOCK,
            "first_event": last.events,
            "start": time,
            "step": last.steps,
            "state": State.DONE,
            "asked_by": self.asked_by,
        }
        self._record_settled(operation, {})

    def record_product(self, vectors: int, *, time: float, voltage: float | None = None) -> None:
        """Record that the array multiplied so many input vectors (of bit-serial ones, planes) from `time` on, s since
        1970. What came of it is not recorded. voltage: V of the inputs, where they have one.

        Products change nothing on the chip, and many may follow one another: those at one voltage become one row, from
        the first one's time on, which is in the file before whatever is recorded next.
        """
        self._refuse_open_exchange()
        self._refuse_ended()
        products = _Products(vectors, time, voltage, self.asked_by)
        if self._products is not None and self._products.takes(products):
            self._products.vectors += vectors
        else:
            self._write_products()
            self._products = products

    def step(self, step: Step, *, time: float, generator: np.random.Generator | None = None) -> None:
        """Record a step with its scalars and its checkpoint, and overwrite the maps it carries.

        time: s since 1970. generator: the protocol's, as it stands, for the checkpoint, which needs it.
        """
        self._check_step(step)
        self._write_products()
        last = self._last
        row = {
            **step.values,
            "time": time,
            "phase": self._phases[step.phase],
            "first_operation": self._first_operation,
            "asked_by": self.asked_by,
        }
        commit = last._replace(steps=last.steps + 1, ended=time)
        checkpoint = None
        if step.checkpoint is not None and generator is not None:
            checkpoint = encode(step.checkpoint, generator)
            numbers = (last.checkpoints + 1, len(checkpoint), commit.steps)
            commit = commit._replace(checkpoints=numbers[0], checkpoint_bytes=numbers[1], checkpoint_steps=numbers[2])
        with self._writing():
            if checkpoint is not None:
                self._file.slots[last.checkpoints % len(self._file.slots)].write(checkpoint)
            for name, values in step.maps.items():
                self._file.maps[name].write(values)
            self._file.steps.write(last.steps, _one_row(row))
            self._file.commit(commit)
        self._last, self._first_operation = commit, commit.operations_intended

    def restore(self, maps: Mapping[str, NDArray[Any]]) -> None:
        """Overwrite `maps` with what they were when the file was last written."""
        with self._writing():
            for name, values in maps.items():
                self._file.maps[name].write(values)

    def sample(self, values: Mapping[str, float], *, time: float) -> None:
        """Record what the auxiliaries read at `time`, s since 1970 on the wall clock; NaN for what could not be had."""
        table = self._file.auxiliaries
        if table is None:
            raise RecordingError("the run declared no auxiliaries")
        last = self._last
        commit = last._replace(samples=last.samples + 1)
        with self._writing():
            table.write(last.samples, _one_row({"time": time, **values}))
            self._file.commit(commit)
        self._last = commit

    def close(
        self,
        outcome: Outcome,
        *,
        time: float | None = None,
        message: str = "",
        summary: Mapping[str, Any] | None = None,
        snapshot_after: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Result] | None = None,
    ) -> None:
        """End the run and make its file an ordinary one; an exchange still open is of unknown dose.

        time: when it ended, s since 1970; without, when the last step did. arrays: for the group `results`; then a
        whole copy takes the place of the file, which until then stays as a killed run's. May be called again. After a
        write error it lets go of the file, which stays as a killed run's would.
        """
        if self._closed:
            return
        snapshot = json_text(snapshot_after or {})
        texts = {"message": message, "summary": json_text(summary or {}), "snapshot_after": snapshot}
        try:
            if self._error is None:
                if self._last.unsettled:
                    self.fail()
                self._write_products()
                ended = round(self._last.ended if time is None else time, 6)  # as the commit has it
                commit = self._last._replace(outcome=outcome, ended=ended)
                with self._writing():
                    if arrays:
                        self._end_in_copy(texts, commit, arrays)
                    else:
                        self._file.finish(texts, commit)
        finally:
            self._closed = True
            self._file.close()
            names.let_go(self.path, self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A run left without `close` ends as failed, with the error's text."""
        self.close(Outcome.FAILED, message=str(error) if error else "ended without an outcome")

    def _end_in_copy(self, texts: Mapping[str, str], commit: Commit, arrays: Mapping[str, Result]) -> None:
        part = self.path.with_name(self.path.name + ".part")
        try:
            self._file.copy_ended(part, texts, commit, arrays)
            self._file.close()  # or Windows would not let it be replaced
            shutil.copymode(self.path, part)
            os.replace(part, self.path)
        finally:
            part.unlink(missing_ok=True)

    def _begin(self) -> None:
        """An operation is about to be recorded: what came before it is in the file first."""
        self._refuse_open_exchange()
        self._write_products()

    def _write_products(self) -> None:
        waiting, self._products = self._products, None
        if waiting is None:
            return
        last = self._last
        operation = {
            "kind": layout.MULTIPLY,
            "first_event": last.events,
            "repeats": waiting.vectors,
            "start": waiting.time,
            "step": last.steps,
            "state": State.DONE,
            "read_voltage": np.nan if waiting.voltage is None else waiting.voltage,
            "asked_by": waiting.asked_by,
        }
        self._record_settled(operation, {})

    def _record_settled(self, operation: Mapping[str, Any], events: Mapping[str, NDArray[Any]]) -> None:
        """One operation that was over when it was told of, with its events."""
        last = self._last
        count = len(events["cell"]) if events else 0
        commit = last._replace(
            operations_intended=last.operations + 1,
            operations=last.operations + 1,
            events_intended=last.events + count,
            events=last.events + count,
        )
        with self._writing():
            if events:
                self._file.events.write(last.events, events)
            self._file.operations.write(last.operations, _one_row(operation))
            self._file.commit(commit)
        self._last = commit

    def _settle(self, states: Sequence[State], readouts: Sequence[Readout]) -> None:
        """Write what became of the pending batches; from here on they count."""
        columns: dict[str, Any] = {"state": states}
        if readouts:
            columns["start"] = [readout.time for readout in readouts]
            columns["seconds_per_cell"] = [readout.seconds_per_cell for readout in readouts]
        sent = zip(self._pending, states, strict=True)
        pulses = sum(len(batch.cells) for batch, state in sent if state is not State.NOT_APPLIED)
        firsts = accumulate((readout.codes.shape[1] for readout in readouts), initial=self._last.events)
        events = [(first, {"reading": each.codes[0]}) for first, each in zip(firsts, readouts, strict=False)]
        self._write_settled(columns, events, pulses)
        self._pending = []

    def _write_intended(
        self,
        columns: Mapping[str, Any],
        events: Sequence[Mapping[str, NDArray[Any]]],
        sizes: Sequence[int],
        time: float | None,
    ) -> None:
        """Operations about to be done in one exchange, a value each in `columns`; what is known of their events, which
        are `sizes` many."""
        last, count = self._last, len(sizes)
        firsts = list(accumulate(sizes[:-1], initial=last.events))
        rows = {
            **columns,
            "first_event": firsts,
            "events": sizes,
            "step": [last.steps] * count,
            "asked_by": [self.asked_by] * count,
            **({} if time is None else {"start": [time] * count}),
        }
        commit = last._replace(
            operations_intended=last.operations + count,
            events_intended=last.events + sum(sizes),
        )
        with self._writing():
            for first, values in zip(firsts, events, strict=True):
                if values:
                    self._file.events.write(first, values)
            self._file.operations.write(last.operations, rows)
            self._file.commit(commit)
        self._last = commit

    def _write_settled(
        self,
        columns: Mapping[str, Any],
        events: Sequence[tuple[int, Mapping[str, NDArray[Any]]]],
        pulses: int = 0,
    ) -> None:
        """What became of the operations that were intended last; their `events` from a row of theirs on."""
        last = self._last
        commit = last._replace(
            operations=last.operations_intended,
            events=last.events_intended,
            pulses=last.pulses + pulses,
        )
        with self._writing():
            for first, values in events:
                self._file.events.write(first, values)
            self._file.operations.write(last.operations, columns)
            self._file.commit(commit)
        self._last = commit

    def _refuse_open_exchange(self) -> None:
        if self._last.unsettled:
            raise RecordingError("an exchange is open: complete or fail it first")

    def _refuse_ended(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise RecordingError(f"{self.path} is closed")

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
            raise RecordingError(f"a reading with {readout.scale}, but the run began with {self._adc}")

    def _factor(self, scale: Scale) -> float:
        """What a code means with `scale`, over what it means with the run's. They have their zero at the same code."""
        factor = scale.step / self._adc.step
        same = (scale.bits, scale.unit) == (self._adc.bits, self._adc.unit)
        if not (
            same and math.isclose(scale.offset, self._adc.offset * factor, rel_tol=1e-6, abs_tol=1e-3 * scale.step)
        ):
            raise RecordingError(f"a reading with {scale}, but the run began with {self._adc}")
        return factor

    def _check_step(self, step: Step) -> None:
        unknown = (step.values.keys() - self._scalars) | (step.maps.keys() - self._file.maps.keys())
        if unknown:
            raise RecordingError(f"the protocol did not declare `{min(unknown)}`")
        if step.checkpoint is not None and not self._file.slots:
            raise RecordingError("the protocol did not declare that its steps have checkpoints")
        if step.phase not in self._phases:
            raise RecordingError(f"the protocol did not declare the phase `{step.phase}`")
        for name, values in step.maps.items():
            if np.shape(values) != self._file.maps[name].shape:
                raise RecordingError(f"map `{name}` is {np.shape(values)}, not {self._file.maps[name].shape}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Refuse once a write has failed; remember the first failure."""
        self._refuse_ended()
        try:
            with _recording(self.path):
                yield
        except RecordingError as error:
            self._error = error
            raise


def _one_row(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [value] for name, value in values.items()}


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
