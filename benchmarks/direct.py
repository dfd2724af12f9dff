"""The simulated chip called directly, as a MemoryArray: no wire, no file. The floor that benchmarks compare with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import (
    Capability,
    Cells,
    Geometry,
    LineCurrents,
    LineProduct,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
)
from labctl.drivers.numbered_board import NumberedBoard
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro
from labctl.simulated_instruments.chips.line_products import MAX_BITS, LineWindow
from labctl.simulated_instruments.instruments.clocks import VirtualClock

PULSE_TIME = 1e-6
"""s to select a cell besides its pulse, as the simulated board takes."""

READ_TIME = 4e-6
"""s a reading, as the simulated board takes."""


class SteppedClock(VirtualClock):
    """The board's virtual clock, as protocols see it."""

    def sleep_until(self, moment: float) -> None:
        self.advance(max(moment - self.now(), 0.0))


class DirectArray:
    """`seconds_in_chip` adds up the time spent inside the chip's own calls.

    Pulses and reads take the time they take on the simulated board, one cell after another. Where `instant`, they take
    none: every cell of a batch then sees what it would if it were worked on alone.
    """

    capabilities = NumberedBoard.capabilities | Capability.MULTIPLY_LINES
    limits = PulseLimits()
    chip_serial = ""

    def __init__(self, chip: CrossbarMacro, instant: bool = False) -> None:
        self.chip = chip
        self.geometry = Geometry(chip.rows, chip.cols, chip.cell_kind)
        self.dac = Scale(chip.dac.step, chip.dac.offset, chip.dac.bits, "V")
        self.clock = SteppedClock()
        self.sequence = 1
        self.seconds_in_chip = 0.0
        self.pulses = 0
        self._instant = instant

    @property
    def adc(self) -> Scale:
        """At the chip's read voltage."""
        adc, volts = self.chip.adc, self.chip.read_voltage
        return Scale(adc.step / volts, adc.offset / volts, adc.bits, "S")

    def pulse(self, *batches: PulseBatch) -> None:
        for batch in batches:
            turn = self._turn(batch.width + PULSE_TIME)
            self._timed(self.chip.pulse, *self._arguments(batch), self.clock.now(), turn)
            self.clock.spend(len(batch.cells) * turn)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        return tuple(self._verified(batch) for batch in batches)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        turn, began, usual = self._turn(READ_TIME), self.clock.now(), self.chip.read_voltage
        self.chip.read_voltage = usual if voltage is None else voltage
        codes = self._timed(self.chip.read, cells, repeats, began, turn)
        scale = self.adc
        self.chip.read_voltage = usual
        self.clock.spend(codes.size * turn)
        read = np.arange(codes.shape[1], dtype=np.uint32) if cells is None else cells
        return Readout(read, codes, scale, began, turn)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        currents: NDArray[np.float32] = self._timed(self.chip.multiply, inputs, transpose, self.clock.now())
        self.clock.spend(currents.size * self._turn(READ_TIME))
        return currents

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        self.pulse(*pulses)
        return tuple(self._line_currents(product) for product in products)

    def _line_currents(self, product: LineProduct) -> LineCurrents:
        window, full_scale = product.window, product.full_scale
        full_scale = next(each for each in self.chip.line_ranges if each >= full_scale)
        codes, saturated = self._timed(
            self.chip.multiply_lines,
            product.vectors,
            LineWindow(window.plus, window.minus, window.outputs, window.on_columns),
            product.voltage,
            full_scale,
            product.bits,
            product.backward,
            self.clock.now(),
        )
        self.clock.spend(len(codes) * self._turn(READ_TIME))
        step = self.chip.line_adc(full_scale).step * (1 << MAX_BITS - product.bits)
        scale = Scale(step, 0.0 if product.backward else step / 2, product.bits, "A")
        return LineCurrents(codes, scale, saturated, self.clock.now())

    def snapshot(self) -> Mapping[str, Any]:
        return {}

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Nothing is driven."""

    def _verified(self, batch: PulseBatch) -> Readout:
        turn, began = self._turn(batch.width + PULSE_TIME + READ_TIME), self.clock.now()
        codes = self._timed(self.chip.pulse_and_read, *self._arguments(batch), began, turn)
        self.clock.spend(len(batch.cells) * turn)
        return Readout(batch.cells, codes, self.adc, began, turn)

    def _turn(self, seconds: float) -> float:
        return 0.0 if self._instant else seconds

    def _arguments(self, batch: PulseBatch) -> tuple[Any, ...]:
        self.pulses += len(batch.cells)
        cells = None if len(batch.cells) == self.geometry.cells else batch.cells
        return int(batch.operation), cells, batch.amplitude, batch.width, batch.gate

    def _timed(self, call: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        result = call(*arguments)
        self.seconds_in_chip += time.perf_counter() - started
        return result
