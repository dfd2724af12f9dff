"""Answers a protocol's calls from the file of its run, as far as that goes: the same calls get the same answers.

A protocol learns of the world through the array alone: from readings and from the clock. Given again what it was given
the first time, with the same settings and the same random numbers, it comes to the state it was in when the run ended,
and to the very call with which the array has to go on. A call that is not the one in the file shows that it is another
protocol now, or other settings: then nothing is pulsed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Cells, PulseBatch, Readout, Scale
from labctl.errors import ResumeError, RunError
from labctl.recording.layout import CLOCK, READ, AskedBy, State
from labctl.recording.past import Past


@dataclass(frozen=True, slots=True)
class Retraced:
    """What the file says of one batch: whether it is to be given (again), and its verify read where there is one."""

    is_given: bool
    readout: Readout | None


class Retracing:
    """Goes through the operations of `past`, from the first on. Every call raises RunError where it is another one."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._columns = past.operations
        self._adc = past.adc
        self._all = np.arange(past.geometry.cells, dtype=np.uint32)
        self._order = np.flatnonzero(self._columns["asked_by"] == AskedBy.PROTOCOL)
        self._next = 0
        self._time = 0.0
        self._problem: RunError | None = None

    @property
    def is_over(self) -> bool:
        """Whether the protocol has been given all that is in the file. Raises RunError once it has asked for else."""
        if self._problem is not None:
            raise self._problem
        return self._next >= len(self._order)

    @property
    def time(self) -> float:
        """When the last exchange ended, s since 1970 on the array's clock."""
        return self._time

    def pulses(self, batches: Sequence[PulseBatch], *, verify: bool) -> list[Retraced]:
        """What became of each of the `batches`."""
        rows = [self._take("pulses") for _ in batches]
        settling = self._settling(rows[-1])
        for row, batch in zip(rows, batches, strict=True):
            self._check_batch(row, batch)
        return [self._retraced(row, batch, settling, verify) for row, batch in zip(rows, batches, strict=True)]

    def read(self, cells: Cells | None, repeats: int, voltage: float | None) -> Readout:
        row = self._take("a read")
        count = len(self._all) if cells is None else len(cells)
        recorded = float(self._columns["read_voltage"][row])
        self._check(row, "kind", READ)
        self._check(row, "repeats", repeats)
        self._check(row, "events", repeats * count)
        if np.float32(recorded if voltage is None else voltage) != np.float32(recorded) and not np.isnan(recorded):
            raise self._parted(row, f"a read at {voltage} V where the file has one at {recorded:g} V")
        if np.isnan(recorded) != (voltage is None):
            raise self._parted(row, "a read at another voltage")
        readout = self._readout(row, repeats)
        if not np.array_equal(readout.cells, self._all if cells is None else cells):
            raise self._parted(row, "a read of other cells")
        return readout

    def now(self) -> float:
        row = self._take("the time")
        self._check(row, "kind", CLOCK)
        return float(self._columns["start"][row])

    def _take(self, what: str) -> int:
        if self.is_over:
            raise ResumeError(f"cannot be resumed: the protocol asks for {what} after the end of what was recorded")
        row = int(self._order[self._next])
        self._next += 1
        return row

    def _settling(self, last: int) -> deque[int]:
        """The rows of what resuming did in place of pulses or reads of the exchange that ends with row `last`."""
        end = len(self._columns["kind"]) if self.is_over else int(self._order[self._next])
        asked_by = self._columns["asked_by"][last + 1 : end]
        return deque((last + 1 + np.flatnonzero(asked_by == AskedBy.SETTLING)).tolist())

    def _retraced(self, row: int, batch: PulseBatch, settling: deque[int], verify: bool) -> Retraced:
        """Through the later rows that stand for what was lost, to what is known now."""
        state = State(int(self._columns["state"][row]))
        while state is State.NOT_APPLIED:
            if not settling:
                return Retraced(False, None)
            row = settling.popleft()
            self._check_batch(row, batch)
            state = State(int(self._columns["state"][row]))
        if not verify:
            return Retraced(True, None)
        readout = self._readout(row, 1)
        if np.any(readout.codes == self._past.not_read):
            if not settling:
                return Retraced(True, None)
            readout = self._readout(settling.popleft(), 1)
        return Retraced(True, readout)

    def _check_batch(self, row: int, batch: PulseBatch) -> None:
        self._check(row, "kind", int(batch.operation))
        self._check(row, "events", len(batch.cells))
        self._check(row, "width", batch.width)
        self._check(row, "gate", batch.gate)
        cells, amplitude, _ = self._events(row)
        if not np.array_equal(cells, batch.cells):
            raise self._parted(row, "pulses on other cells")
        if not np.array_equal(amplitude, batch.amplitude):
            raise self._parted(row, "pulses of other amplitudes")

    def _check(self, row: int, column: str, value: float) -> None:
        recorded = self._columns[column][row]
        if recorded != value:
            raise self._parted(row, f"{column} {value:g} where the file has {recorded:g}")

    def _parted(self, row: int, what: str) -> RunError:
        self._problem = ResumeError(
            f"cannot be resumed: at operation {row} the protocol asks for {what}: it is not what it was when the run "
            "was recorded; nothing was sent"
        )
        return self._problem

    def _events(self, row: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        return self._past.events(int(self._columns["first_event"][row]), int(self._columns["events"][row]))

    def _readout(self, row: int, repeats: int) -> Readout:
        cells, _, reading = self._events(row)
        codes = reading.reshape(repeats, -1)
        factor, per_cell = float(self._columns["reading_factor"][row]), float(self._columns["seconds_per_cell"][row])
        start = float(self._columns["start"][row])
        if not np.isnan(per_cell):
            self._time = start + codes.size * per_cell
        if not np.any(codes == self._past.not_read):
            codes = codes.astype(self._adc.dtype)
        return Readout(cells[: codes.shape[1]].copy(), codes, _scaled(self._adc, factor), start, per_cell)


def _scaled(adc: Scale, factor: float) -> Scale:
    return adc if factor == 1 else replace(adc, step=adc.step * factor, offset=adc.offset * factor)
