"""What a memory-array test board does, whatever language it is spoken to in: settings, limits, pulses and readings.

The board refuses what is beyond its limits before anything is applied, gives pulses only while its outputs are on,
and numbers every batch: the number that follows the last is applied, the last batch again is answered but not applied
again, anything else is an error. Its work it numbers as other boards do (`numbered_work`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chips.bit_serial import MAX_BITS, Window
from ..chips.crossbar import CrossbarMacro
from ..chips.line_products import MAX_BITS as MAX_LINE_BITS
from ..chips.line_products import MIN_BITS as MIN_LINE_BITS
from ..chips.line_products import UNIT, LineWindow
from ..scpi import ScpiError
from .chip_socket import ChipOptions, chip_socket
from .clocks import BoardClock
from .numbered_work import OUT_OF_SEQUENCE, FaceT, NumberedWork, PoweredBoard, within

Codes = NDArray[np.uint16]
Cells = NDArray[np.uint32]

FIRMWARE = "1.0"
OPERATIONS = {"FORM": 1, "SET": 2, "RES": 3}
MAX_VOLTS = {"FORM": 4.5, "SET": 4.0, "RES": 4.0}
MAX_GATE = 3.3
WIDTHS = (10e-9, 1e-3)
PULSE_TIME = 1e-6
"""s to select a cell and settle its lines, besides the pulse."""
READ_TIME = 4e-6
"""s to settle and convert one reading."""
READ_VOLTAGE = 0.2
"""V after a reset."""
MAX_REPEATS = 10_000
_TEMPERATURES = (250.0, 400.0)  # K, outside of which the self-test fails
_MAX_READINGS = 1 << 26  # of one answer
_WORD = 15  # bits of an i16 number that is none below 0
_WINDOWS = 64  # that are known to be good
_NAMES = {number: name for name, number in OPERATIONS.items()}


class MemoryBoard(NumberedWork):
    """The board around one chip. Whoever calls holds the lock of the language it is spoken to in.

    Its work is pulse batches, reads, multiplications and safe states.

    Attributes:
        sequence: number of the last batch applied, 0 after power-on.
    """

    def __init__(self, chip: CrossbarMacro, clock: BoardClock) -> None:
        super().__init__(clock)
        self.chip = chip
        self.sequence = 0
        self._windows: dict[tuple[bytes, int, bool], LineWindow] = {}  # those checked lately
        self._last: tuple[Any, ...] = ()
        self._last_readings: Codes | None = None
        self.reset()

    # -- settings -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The settings after power-on; numbers, what is kept, and the chip's temperature stay."""
        self._output = False
        self.chip.read_voltage = READ_VOLTAGE
        self.chip.current_range = self.chip.ranges[2]

    @property
    def read_voltage(self) -> float:
        return self.chip.read_voltage

    @read_voltage.setter
    def read_voltage(self, volts: float) -> None:
        self._check_valid()
        self.chip.read_voltage = within(volts, *self.chip.read_voltages, "V")

    @property
    def current_range(self) -> float:
        return self.chip.current_range

    @current_range.setter
    def current_range(self, wanted: float) -> None:
        """The smallest range that holds `wanted`, as autoranging fronts do."""
        self.chip.current_range = _range_of(wanted, self.chip.ranges)

    @property
    def chuck(self) -> float:
        """Temperature the chip is held at, K; a reset leaves it."""
        return self.chip.temperature

    @chuck.setter
    def chuck(self, temperature: float) -> None:
        self.chip.heat(within(temperature, *self.chip.temperatures, "K"), self.clock.now())

    @property
    def reading_scale(self) -> tuple[float, float, int]:
        """Code -> S at the present read voltage and current range: step, offset, bits."""
        adc, volts = self.chip.adc, self.chip.read_voltage
        return adc.step / volts, adc.offset / volts, adc.bits

    def product_scale(self, wanted: float) -> tuple[float, float, int]:
        """Code -> A of a bit-serial product on the smallest range that holds `wanted`, A: step, offset, bits."""
        adc = self.chip.product_adc(_range_of(wanted, self.chip.product_ranges))
        return adc.step, adc.offset, adc.bits

    # -- work ---------------------------------------------------------------------------------------------------

    def pulse(
        self,
        number: int,
        operation: int,
        width: float,
        gate: float,
        cells: Cells | None,
        codes: NDArray[Any],
        verify: bool,
    ) -> Codes | None:
        """Batch `number`: a pulse on each of `cells` (None: all) with its own amplitude; with `verify` their readings.

        codes: (n,) DAC codes. width: s. gate: V. Returns (n,) ADC codes, or None. The last batch again is not applied:
        what it read when it was is the answer.
        """
        self._check_valid()
        within(width, *WIDTHS, "s")
        within(gate, 0.0, MAX_GATE, "V")
        amplitudes = self._checked_amplitudes(operation, cells, codes)
        batch = (operation, cells, amplitudes, width, gate)
        if not self._is_next(number, batch):
            if verify and self._last_readings is None:
                raise ScpiError(OUT_OF_SEQUENCE, f"Sequence number out of order;{number} was not read when applied")
            return self._last_readings if verify else None
        turn = width + PULSE_TIME + (READ_TIME if verify else 0.0)
        readings = None
        if verify:
            readings = self.chip.pulse_and_read(*batch, self.clock.now(), turn)[0]
        else:
            self.chip.pulse(*batch, self.clock.now(), turn)
        self.sequence, self._last_readings = number, readings
        self._last = tuple(each.copy() if isinstance(each, np.ndarray) else each for each in batch)
        self._worked(self._count(cells) * turn, readings)
        return readings

    def read(self, cells: Cells | None, repeats: int = 1, voltage: float | None = None) -> Codes:
        """(repeats, n) ADC codes of `cells` (None: all), at `voltage` V where that is not the one that is set."""
        self._check_valid()
        within(repeats, 1, MAX_REPEATS)
        usual = self.chip.read_voltage
        if self._count(cells) * repeats > _MAX_READINGS:
            raise ScpiError(-223, f"an answer holds {_MAX_READINGS} readings at most")
        if voltage is not None:
            self.read_voltage = voltage
        try:
            readings = self.chip.read(cells, repeats, self.clock.now(), READ_TIME)
        finally:
            self.chip.read_voltage = usual
        self._worked(readings.size * READ_TIME, readings)
        return readings

    def multiply(self, volts: NDArray[Any], transpose: bool = False) -> NDArray[np.float32]:
        """(vectors, outputs) A for `volts`, (vectors * lines,), whole vectors one after another."""
        self._check_valid()
        lines = self.chip.cols if transpose else self.chip.rows
        if len(volts) == 0 or len(volts) % lines:
            raise ScpiError(-161, f"{len(volts)} voltages are no whole number of vectors of {lines}")
        vectors = np.require(volts, np.float32, "A").reshape(-1, lines)
        if not np.all(np.abs(vectors) <= self.chip.read_voltages[1]):
            raise ScpiError(-222, f"an input is beyond +-{self.chip.read_voltages[1]:g} V")
        currents = self.chip.multiply(vectors, transpose, self.clock.now())
        self._worked(currents.size * READ_TIME, currents)
        return currents

    def multiply_bits(
        self,
        bits: int,
        volts: float,
        full_scale: float,
        plus: NDArray[Any],
        minus: NDArray[Any],
        cols: NDArray[Any],
        codes: NDArray[Any],
    ) -> NDArray[np.uint32]:
        """(vectors + 1, outputs) for `codes`, (vectors * inputs,) u8: sums, and how often a column was at either end.

        All columns are converted together, so a plane of a vector takes the time of one reading.
        """
        self._check_valid()
        within(bits, 1, MAX_BITS)
        within(volts, 0.0, self.chip.read_voltages[1], "V")
        full_scale = _range_of(full_scale, self.chip.product_ranges)
        window = self._window(plus, minus, cols)
        inputs, outputs = len(plus), len(cols)
        if len(codes) == 0 or len(codes) % inputs:
            raise ScpiError(-161, f"{len(codes)} codes are no whole number of vectors of {inputs}")
        vectors = codes.reshape(-1, inputs)
        if (len(vectors) + 1) * outputs > _MAX_READINGS:
            raise ScpiError(-223, f"an answer holds {_MAX_READINGS} numbers at most")
        if int(codes.max()) >> bits:
            raise ScpiError(-222, f"code {codes.max()} is above {(1 << bits) - 1}")
        products = self.chip.multiply_bits(vectors, window, bits, volts, full_scale, self.clock.now())
        self._worked(len(vectors) * bits * READ_TIME, products)
        return products

    def line_scale(self, wanted: float, bits: int) -> tuple[float, float, int]:
        """Code -> A of a forward product of signed codes, on the smallest range that holds `wanted`, A: step, offset,
        bits.
        """
        adc = self.chip.line_adc(_range_of(wanted, self.chip.line_ranges))
        step = adc.step * (1 << MAX_LINE_BITS - bits)
        return step, step / 2, bits

    def multiply_lines(
        self,
        backward: bool,
        on_columns: bool,
        bits: int,
        volts: float,
        full_scale: float,
        inputs: int,
        outputs: int,
        words: NDArray[Any],
    ) -> NDArray[np.int16]:
        """Signed codes for those in `words`, (2 * inputs + outputs + vectors * inputs,) i16, backward (... + vectors *
        outputs,), after the lines of a window: each input's + line, each input's - line, the outputs.

        (vectors * outputs + 2,), backward (vectors * inputs + 2,); the last two say how many conversions were at either
        end: one plus 32768 times the other. All lines are converted together, in the time of one reading a vector.
        """
        self._check_valid()
        within(bits, MIN_LINE_BITS, MAX_LINE_BITS)
        within(volts, 0.0, self.chip.read_voltages[1], "V")
        full_scale = _range_of(full_scale, self.chip.line_ranges)
        given, wanted = (outputs, inputs) if backward else (inputs, outputs)
        codes = len(words) - 2 * inputs - outputs
        if codes < 1 or codes % given:
            raise ScpiError(-161, f"{max(codes, 0)} codes are no whole number of vectors of {given}")
        native = words if words.dtype == np.int16 and words.flags.aligned else np.require(words, np.int16, "A")
        window = self._line_window(native[:-codes].view(np.uint16), inputs, on_columns)
        vectors = native[-codes:].reshape(-1, given)
        if len(vectors) * wanted + 2 > _MAX_READINGS:
            raise ScpiError(-223, f"an answer holds {_MAX_READINGS} numbers at most")
        if np.minimum.reduce(vectors, axis=None) < -UNIT:
            raise ScpiError(-222, f"code {vectors.min()} is below {-UNIT}")
        found, at_ends = self.chip.multiply_lines(vectors, window, volts, full_scale, bits, backward, self.clock.now())
        answer = np.empty(found.size + 2, np.int16)
        answer[:-2], answer[-2], answer[-1] = found.reshape(-1), at_ends & (1 << _WORD) - 1, at_ends >> _WORD
        self._worked(len(vectors) * READ_TIME, answer)
        return answer

    def _line_window(self, lines: NDArray[np.uint16], inputs: int, on_columns: bool) -> LineWindow:
        """Of its lines one after another; checked when it was not lately."""
        key = lines.tobytes(), inputs, on_columns
        window = self._windows.get(key)
        if window is None:
            plus, minus, outputs = np.split(lines.copy(), (inputs, 2 * inputs))
            self._check_lines(plus, minus, outputs, ("column", "row") if on_columns else ("row", "column"))
            if len(self._windows) == _WINDOWS:
                self._windows.pop(next(iter(self._windows)))
            window = self._windows[key] = LineWindow(plus, minus, outputs, on_columns)
        return window

    def _window(self, plus: NDArray[Any], minus: NDArray[Any], cols: NDArray[Any]) -> Window:
        self._check_lines(plus, minus, cols, ("row", "column"))
        return Window(*(lines.astype(np.intp) for lines in (plus, minus, cols)))

    def _check_lines(
        self, plus: NDArray[Any], minus: NDArray[Any], across: NDArray[Any], names: tuple[str, str]
    ) -> None:
        """Raises ScpiError for lines of a window that are none. names: of a line of `plus` or `minus`, and `across`."""
        along, crossing = names
        if not 0 < len(plus) == len(minus):
            raise ScpiError(-161, f"{len(plus)} {along}s to drive with + and {len(minus)} with -")
        if not len(across):
            raise ScpiError(-161, f"no {crossing}s")
        counts = {"row": self.chip.rows, "column": self.chip.cols}
        for name, lines in ((along, np.concatenate([plus, minus])), (crossing, across)):
            if lines.max() >= counts[name]:
                raise ScpiError(-222, f"{name} {lines.max()} is not on the array")
            times = np.bincount(lines)
            if times.max() > 1:
                raise ScpiError(-224, f"{name} {times.argmax()} is named twice")

    def listed(self, cells: NDArray[Any]) -> Cells:
        """Cells in native order and aligned. Raises ScpiError unless strictly increasing and on the array."""
        native: Cells = np.require(cells, np.uint32, "A")
        if len(native) > 1 and not np.all(native[1:] > native[:-1]):
            raise ScpiError(-224, "cells must be strictly increasing")
        if len(native) and native[-1] >= self._count(None):
            raise ScpiError(-222, f"cell {native[-1]} is not on the array")
        return native

    def masked(self, mask: NDArray[np.uint8]) -> Cells:
        """The cells whose bits are set, most significant first. Raises ScpiError for a mask of another array."""
        total = self._count(None)
        if len(mask) != (total + 7) // 8:
            raise ScpiError(-161, f"a mask of {total} cells has {(total + 7) // 8} bytes")
        return np.flatnonzero(np.unpackbits(mask, count=total).view(np.bool_)).astype(np.uint32)

    def _checked_amplitudes(self, operation: int, cells: Cells | None, codes: NDArray[Any]) -> Codes:
        native: Codes = np.require(codes, np.uint16, "A")
        if operation not in _NAMES:
            raise ScpiError(-224, f"there is no operation {operation}")
        if len(native) != self._count(cells):
            raise ScpiError(-161, f"{len(native)} amplitudes for {self._count(cells)} cells")
        if not self.output:
            raise ScpiError(-221, "outputs are off")
        name = _NAMES[operation]
        volts = self.chip.dac.offset + self.chip.dac.step * int(native.max(initial=0))
        if volts > MAX_VOLTS[name] + self.chip.dac.step / 2:  # the code nearest to the limit is within it
            raise ScpiError(-222, f"{volts:.4g} V is above {MAX_VOLTS[name]:g} V for {name}")
        return native

    def _is_next(self, number: int, batch: tuple[Any, ...]) -> bool:
        """Whether batch `number` is to be applied; False: it has been already, this very one."""
        if number == self.sequence + 1:
            return True
        if number != self.sequence or number == 0:
            raise ScpiError(OUT_OF_SEQUENCE, f"Sequence number out of order;{number} where {self.sequence + 1} is next")
        if not all(map(np.array_equal, batch, self._last)):
            raise ScpiError(OUT_OF_SEQUENCE, f"Sequence number out of order;{number} was another batch")
        return False

    def _count(self, cells: Cells | None) -> int:
        return self.chip.rows * self.chip.cols if cells is None else len(cells)

    # -- health -------------------------------------------------------------------------------------------------

    def self_test(self) -> int:
        """0 when well; bit 0: temperature out of range; bit 1: every reading of the first row at an end of the ADC."""
        low, high = _TEMPERATURES
        codes = self.chip.read(np.arange(self.chip.cols, dtype=np.uint32), 1, self.clock.now(), READ_TIME)
        self.clock.spend(codes.size * READ_TIME)
        at_an_end = bool(np.all((codes == 0) | (codes == self.chip.adc.top)))
        return int(not low <= self.chip.temperature <= high) | at_an_end << 1


class SimulatedBoard(PoweredBoard[CrossbarMacro, MemoryBoard, FaceT]):
    """Such a board around the chip of its options."""

    def __init__(self, options: ChipOptions, folder: Path, face: Callable[[MemoryBoard], FaceT]) -> None:
        """Raises ValueError with one sentence."""
        super().__init__(chip_socket(options, folder), MemoryBoard, face)


def _range_of(wanted: float, ranges: Sequence[float]) -> float:
    """The smallest of `ranges` that holds `wanted`, A, as autoranging fronts do. Raises ScpiError -222."""
    within(wanted, 0.0, ranges[-1], "A")
    return next(each for each in ranges if each >= wanted * (1 - 1e-9))
