"""The simulated chip called directly, as a MemoryArray: no wire, no file. The floor that benchmarks compare with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Cells, Geometry, PulseBatch, PulseLimits, Readout, Scale
from labctl.drivers.test_board import TestBoard
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.instruments.clocks import VirtualClock


class SteppedClock(VirtualClock):
    """The board's virtual clock, as protocols see it."""

    def sleep_until(self, moment: float) -> None:
        self.advance(max(moment - self.now(), 0.0))


class DirectArray:
    """`seconds_in_chip` adds up the time spent inside the chip's own calls."""

    capabilities = TestBoard.capabilities
    limits = PulseLimits()
    chip_serial = ""

    def __init__(self, chip: CrossbarMacro) -> None:
        self.chip = chip
        self.geometry = Geometry(chip.rows, chip.cols, chip.cell_kind)
        self.dac = Scale(chip.dac.step, chip.dac.offset, chip.dac.bits, "V")
        self.adc = Scale(chip.adc.step / chip.read_voltage, chip.adc.offset / chip.read_voltage, chip.adc.bits, "S")
        self.clock = SteppedClock()
        self.sequence = 1
        self.seconds_in_chip = 0.0
        self.pulses = 0

    def pulse(self, *batches: PulseBatch) -> None:
        for batch in batches:
            self._timed(self.chip.pulse, *self._arguments(batch))

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        return tuple(
            self._readout(batch.cells, self._timed(self.chip.pulse_and_read, *self._arguments(batch)))
            for batch in batches
        )

    def read(self, cells: Cells | None = None, repeats: int = 1) -> Readout:
        codes = self._timed(self.chip.read, cells, repeats, 0.0)
        return self._readout(np.arange(codes.shape[1], dtype=np.uint32) if cells is None else cells, codes)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        currents: NDArray[np.float32] = self._timed(self.chip.multiply, inputs, transpose)
        return currents

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Nothing is driven."""

    def _arguments(self, batch: PulseBatch) -> tuple[Any, ...]:
        self.pulses += len(batch.cells)
        cells = None if len(batch.cells) == self.geometry.cells else batch.cells
        return int(batch.operation), cells, batch.amplitude, batch.width, batch.gate, 0.0

    def _readout(self, cells: Cells, codes: NDArray[np.uint16]) -> Readout:
        return Readout(cells, codes, self.adc, self.clock.now(), 0.0)

    def _timed(self, call: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        result = call(*arguments)
        self.seconds_in_chip += time.perf_counter() - started
        return result
