"""The array a protocol is given: every pulse and every read goes into the run file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
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
from labctl.errors import InstrumentError
from labctl.recording.layout import State
from labctl.recording.writer import RunWriter


class NotedClock:
    """A clock whose answers are recorded. told: the last of them, s since 1970."""

    def __init__(self, clock: Clock, writer: RunWriter) -> None:
        self._clock = clock
        self._writer = writer
        self.told = 0.0

    def now(self) -> float:
        self.told = self._clock.now()
        self._writer.record_clock(self.told)
        return self.told

    def sleep_until(self, time: float) -> None:
        self._clock.sleep_until(time)


class RecordedArray:
    """The array a protocol is given: a pulse is checked against limits, then in the file as intended, then sent."""

    def __init__(self, array: MemoryArray, guard: LimitGuard, writer: RunWriter) -> None:
        self._array = array
        self._guard = guard
        self._writer = writer
        self.chip_serial = array.chip_serial
        self.geometry: Geometry = array.geometry
        self.capabilities: Capability = array.capabilities
        self.dac: Scale = array.dac
        self.adc: Scale = array.adc
        self.clock: Clock = (noted := NotedClock(array.clock, writer))
        self._noted = noted
        self.limits: PulseLimits = guard.limits
        self.began = self.time = array.clock.now()
        """When the last exchange ended (before one, when it began), s since 1970 on the array's clock."""

    @property
    def sequence(self) -> int:
        return self._array.sequence

    def pulse(self, *batches: PulseBatch) -> None:
        with self._intended(batches):
            self._array.pulse(*batches)
        self._writer.complete()

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        with self._intended(batches):
            readouts = self._array.pulse_and_verify(*batches)
        self._writer.complete(readouts)
        self._advance(readouts[-1])
        return readouts

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        self._guard.check_read(voltage)
        readout = self._array.read(cells, repeats, voltage)
        self._writer.record_read(readout, voltage)
        self._advance(readout)
        return readout

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        self._guard.check_multiply(inputs)
        products = self._array.multiply(inputs, transpose)
        self._writer.record_product(len(inputs), time=self._latest)
        return products

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        self._guard.check_multiply_bits(voltage)
        products = self._array.multiply_bits(codes, window, bits, voltage, full_scale)
        self._writer.record_product(bits * len(codes), time=self._latest, voltage=voltage)
        self.time = products.time
        return products

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        for product in products:
            self._guard.check_multiply_bits(product.voltage)
        if pulses:
            with self._intended(tuple(pulses)):
                found = self._array.multiply_lines(*products, pulses=pulses)
            self._writer.complete()
        else:
            found = self._array.multiply_lines(*products)
        for product, currents in zip(products, found, strict=True):
            self._writer.record_product(len(product.vectors), time=self._latest, voltage=product.voltage)
            self.time = currents.time
        return found

    def snapshot(self) -> Mapping[str, Any]:
        return self._array.snapshot()

    def safe_state(self, timeout_s: float = 2.0) -> None:
        self._array.safe_state(timeout_s)

    def moment(self) -> float:
        """The time, for a step."""
        return self.time

    @property
    def _latest(self) -> float:
        """The latest time known without asking for it."""
        return max(self.time, self._noted.told)

    @contextlib.contextmanager
    def _intended(self, batches: tuple[PulseBatch, ...]) -> Iterator[None]:
        self._guard.check(batches)
        self._writer.intend(batches, time=self._latest, sequences=self._sequences(len(batches)))
        try:
            yield
        except InstrumentError as problem:
            given = problem.given
            known = [] if given is None else [State.DONE] * given + [State.NOT_APPLIED] * (len(batches) - given)
            self._writer.fail(known)
            raise
        except BaseException:
            self._writer.fail()
            raise

    def _sequences(self, count: int) -> Sequence[int]:
        """The board's numbers of the next batches; none where it does not count them."""
        if Capability.SEQUENCE not in self.capabilities:
            return ()
        first = self._array.sequence
        return range(first, first + count)

    def _advance(self, readout: Readout) -> None:
        self.time = readout.time + readout.codes.size * readout.seconds_per_cell
