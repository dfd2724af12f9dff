"""The array a resumed protocol is given: the file answers as far as it goes, then the array itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    BitProducts,
    Capability,
    Cells,
    Clock,
    Geometry,
    LineCurrents,
    LineProduct,
    MemoryArray,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
    Window,
)
from labctl.bench.limits import LimitGuard
from labctl.errors import ResumeError
from labctl.recording.layout import AskedBy
from labctl.recording.past import Past
from labctl.recording.writer import RunWriter
from labctl.runner.recorded_array import RecordedArray
from labctl.runner.rereading import Reread, reread
from labctl.runner.retracing import Retraced, Retracing


class ResumedArray:
    """A MemoryArray for the protocol of the run `past`.

    check: told how the cells read, before anything else is done; raises to stop. begin: called after it, once; gives
    the writer by which everything is recorded from there on. Calls raise ResumeError where the file has another answer
    than the protocol asks for.
    """

    def __init__(
        self,
        array: MemoryArray,
        guard: LimitGuard,
        past: Past,
        check: Callable[[Reread], None],
        begin: Callable[[], RunWriter],
    ) -> None:
        self._array = array
        self._guard = guard
        self._past = past
        self._retracing = Retracing(past)
        self._check = check
        self._begin = begin
        self._live: RecordedArray | None = None
        self._writer: RunWriter | None = None
        self.chip_serial = array.chip_serial
        self.geometry: Geometry = array.geometry
        self.capabilities: Capability = array.capabilities
        self.dac: Scale = array.dac
        self.adc: Scale = array.adc
        self.clock: Clock = _ResumedClock(self._retracing, lambda: self.live().clock)
        self.limits: PulseLimits = guard.limits
        self.began = array.clock.now()

    @property
    def time(self) -> float:
        """When the last exchange ended, s since 1970 on the array's clock."""
        return self._retracing.time if self._live is None else self._live.time

    def moment(self) -> float:
        """The time, for a step."""
        return self.time

    @property
    def sequence(self) -> int:
        return self._array.sequence

    def live(self) -> RecordedArray:
        """The array from where the file ends; the first call reads the cells again and opens the file for more."""
        if self._live is None:
            if not self._retracing.is_over:
                raise ResumeError(
                    "cannot be resumed: the protocol ends before what was recorded does; nothing was sent"
                )
            readout = reread(self._array, self._past, self._check)
            self._guard.count(*self._past.pulses_of_endings())
            self._writer = self._begin()
            self._live = RecordedArray(self._array, self._guard, self._writer)
            if readout is not None:
                with self._writer.asking(AskedBy.REREAD):
                    self._writer.record_read(readout)
        return self._live

    def pulse(self, *batches: PulseBatch) -> None:
        if self._retracing.is_over:
            self.live().pulse(*batches)
            return
        for batch, known in self._retraced(batches, verify=False):
            if not known.is_given:
                with self._settling() as live:
                    live.pulse(batch)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        if self._retracing.is_over:
            return self.live().pulse_and_verify(*batches)
        return tuple(self._verified(batch, known) for batch, known in self._retraced(batches, verify=True))

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        if self._retracing.is_over:
            return self.live().read(cells, repeats, voltage)
        return self._retracing.read(cells, repeats, voltage)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        self._refuse_unrecorded("a multiplication", "of whose products there is no record")
        return self.live().multiply(inputs, transpose)

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        self._refuse_unrecorded("a multiplication", "of whose products there is no record")
        return self.live().multiply_bits(codes, window, bits, voltage, full_scale)

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        self._refuse_unrecorded("a multiplication", "of whose products there is no record")
        return self.live().multiply_lines(*products, pulses=pulses)

    def snapshot(self) -> Mapping[str, Any]:
        self._refuse_unrecorded("a snapshot", "of which there is no record")
        return self._array.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._array.safe_state(timeout_s)

    def _refuse_unrecorded(self, what: str, why: str) -> None:
        if not self._retracing.is_over:
            raise ResumeError(f"cannot be resumed: the protocol went by {what}, {why}")

    def _retraced(self, batches: Sequence[PulseBatch], *, verify: bool) -> list[tuple[PulseBatch, Retraced]]:
        """What the file says of each batch; what was given counts towards the limits."""
        found = list(zip(batches, self._retracing.pulses(batches, verify=verify), strict=True))
        self._guard.count(*(batch for batch, known in found if known.is_given))
        return found

    def _verified(self, batch: PulseBatch, known: Retraced) -> Readout:
        if known.readout is not None:
            return known.readout
        with self._settling() as live:
            return live.read(batch.cells) if known.is_given else live.pulse_and_verify(batch)[0]

    @contextlib.contextmanager
    def _settling(self) -> Iterator[RecordedArray]:
        """The live array, for what is done in place of what was lost."""
        live = self.live()
        assert self._writer is not None
        with self._writer.asking(AskedBy.SETTLING):
            yield live


class _ResumedClock:
    """The time the protocol was told then, as far as the file goes; sleeping takes none of it."""

    def __init__(self, retracing: Retracing, live: Callable[[], Clock]) -> None:
        self._retracing = retracing
        self._live = live

    def now(self) -> float:
        return self._live().now() if self._retracing.is_over else self._retracing.now()

    def sleep_until(self, time: float) -> None:
        if self._retracing.is_over:
            self._live().sleep_until(time)
