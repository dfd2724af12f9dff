"""The interface of a physical memory array: what every protocol sees and every driver implements.

Batched: one call carries many cells. Amplitudes and readings travel as raw converter codes with a linear
`Scale`, because that is what the board has, what the wire carries and what the run file keeps; SI values are a
multiplication away. Cells are flat indices, `row * cols + col`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Cells = NDArray[np.uint32]
Codes = NDArray[np.uint16]


class Operation(enum.IntEnum):
    """What a pulse is for; the board chooses which lines it drives."""

    FORM = 1
    SET = 2
    RESET = 3


class Capability(enum.Flag):
    """What a board can do. A protocol names what it needs; the runner refuses before anything is sent."""

    FORM = enum.auto()
    PULSE = enum.auto()
    READ = enum.auto()
    PULSE_AND_VERIFY = enum.auto()  # in one exchange; else the driver does it in two
    MULTIPLY = enum.auto()
    SEQUENCE = enum.auto()  # the board knows the number of the last batch it applied
    READ_VOLTAGE = enum.auto()  # reads at a voltage of choice
    MULTIPLY_BITS = enum.auto()  # bit-serial products, digitised and summed on the board
    MULTIPLY_LINES = enum.auto()  # products of signed codes on a window of lines, either way round
    ASSOCIATE = enum.auto()  # an associative array (`labctl.associative`), which is searched and written by content


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear converter: value = offset + step * code, code in 0 .. 2**bits - 1.

    `step` and `offset` are in `unit` (V for a DAC; S for an ADC at its read voltage; A for a multiplication).
    """

    step: float
    offset: float
    bits: int
    unit: str

    @property
    def top(self) -> int:
        """The highest code. An ADC that reads it is saturated."""
        return (1 << self.bits) - 1

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """Of codes: two bytes, or four where the converter has more than 16 bits."""
        return np.uint16 if self.bits <= 16 else np.uint32

    def values(self, codes: ArrayLike) -> NDArray[np.float32]:
        """SI values of `codes`, same shape."""
        if self.bits > 16:  # float32 would not hold the codes
            return (np.asarray(codes, np.float64) * self.step + self.offset).astype(np.float32)
        return np.asarray(codes, np.float32) * np.float32(self.step) + np.float32(self.offset)

    def codes(self, values: ArrayLike) -> Codes:
        """Nearest codes of `values`, same shape; of two bytes, or four where the converter has more than 16 bits.

        Raises ValueError where a value is outside the range.
        """
        exact = (np.asarray(values, np.float64) - self.offset) / self.step
        rounded = np.rint(exact)
        if not np.all((rounded >= 0) & (rounded <= self.top)):  # also catches NaN
            low, high = self.offset, self.offset + self.step * self.top
            raise ValueError(f"outside the converter's range of {low:g} to {high:g} {self.unit}")
        return rounded.astype(self.dtype)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The shape of an array, the kind of its cells (`1T1R RRAM`), and of how many chips its rows are stacked."""

    rows: int
    cols: int
    cell: str
    chips: int = 1

    @property
    def cells(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True, slots=True)
class PulseBatch:
    """One pulse on each of `cells`.

    cells: (n,) u32 flat indices, strictly increasing. amplitude: (n,) u16 DAC codes (`MemoryArray.dac`).
    width: s. gate: V on the word line, which sets a 1T1R cell's compliance.
    """

    operation: Operation
    cells: Cells
    amplitude: Codes
    width: float
    gate: float


@dataclass(frozen=True, slots=True)
class Readout:
    """What one exchange read: one code a cell and repeat.

    cells: (n,) u32. codes: (repeats, n), of `Scale.dtype`. scale: code -> S. time: s since 1970-01-01T00:00:00Z on the
    array's clock when the first cell's turn began; each cell takes `seconds_per_cell`, repeats one after another.
    """

    cells: Cells
    codes: NDArray[np.unsignedinteger[Any]]
    scale: Scale
    time: float
    seconds_per_cell: float

    @property
    def conductance(self) -> NDArray[np.float32]:
        """(repeats, n) in S. Saturated readings stand at the top of the scale: see `saturated`."""
        return self.scale.values(self.codes)

    @property
    def saturated(self) -> NDArray[np.bool_]:
        """(repeats, n): the converter was at its top, so the true value is higher."""
        return self.codes >= self.scale.top


@dataclass(frozen=True, slots=True)
class Window:
    """Which lines a bit-serial product uses; every other row is at 0 V.

    plus, minus: (inputs,) u16, the rows that an input drives with + and - the voltage, no row twice. cols: (outputs,)
    u16, distinct.
    """

    plus: NDArray[np.uint16]
    minus: NDArray[np.uint16]
    cols: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class BitProducts:
    """What a bit-serial product gave.

    sums: (n, outputs) u32, the sum over planes b of 2**b times the converter's code. scale: code -> A. saturated:
    (outputs,) u32, conversions at either end of the converter. time: s since 1970 on the array's clock when it ended.
    """

    sums: NDArray[np.uint32]
    scale: Scale
    bits: int
    saturated: NDArray[np.uint32]
    time: float

    @property
    def currents(self) -> NDArray[np.float32]:
        """(n, outputs) A: the sum over planes b of 2**b times the plane's current."""
        currents = self.sums.astype(np.float32)  # exact: below 2**24
        currents *= np.float32(self.scale.step)
        currents += np.float32(self.scale.offset * ((1 << self.bits) - 1))
        return currents


@dataclass(frozen=True, slots=True)
class LineWindow:
    """Which lines a product of signed codes uses; every other line is at 0 V.

    plus, minus: (inputs,) u16, the lines on which an input stands with + and with -, no line twice. outputs:
    (outputs,) u16, distinct lines across them. on_columns: plus and minus are columns and outputs rows; else the other
    way round.
    """

    plus: NDArray[np.uint16]
    minus: NDArray[np.uint16]
    outputs: NDArray[np.uint16]
    on_columns: bool = False


@dataclass(frozen=True, slots=True)
class LineProduct:
    """One product of signed codes, forward or backward through a window.

    vectors: (n, inputs) i16, backward (n, outputs); 32767 stands for `voltage`, V. full_scale: A, the smallest range
    that holds it is used. bits: of the conversion, 8 to 14. Forward, an input's + line is driven with its voltage and
    its - line with minus its voltage, and the outputs are sensed. Backward, the outputs are driven, both lines of every
    input are sensed and converted, and their codes subtracted on the board.
    """

    vectors: NDArray[np.int16]
    window: LineWindow
    voltage: float
    full_scale: float
    bits: int = 14
    backward: bool = False


@dataclass(frozen=True, slots=True)
class LineCurrents:
    """What one product of signed codes gave.

    codes: (n, outputs) i16, backward (n, inputs). scale: signed code -> A. saturated: conversions at either end of the
    converter. time: s since 1970 on the array's clock when it ended.
    """

    codes: NDArray[np.int16]
    scale: Scale
    saturated: int
    time: float

    @property
    def currents(self) -> NDArray[np.float32]:
        """(n, outputs) A, backward (n, inputs)."""
        return self.scale.values(self.codes)


@dataclass(frozen=True, slots=True)
class PulseLimits:
    """What pulses may at most be: V (amplitude by operation, gate) and s. None: not limited here.

    `max_pulses` and `max_dose` (V s, the sum of amplitude times width) count per cell. `min_read_voltage` and
    `max_read_voltage` are for reads at a voltage of choice.
    """

    max_form_voltage: float | None = None
    max_set_voltage: float | None = None
    max_reset_voltage: float | None = None
    max_gate_voltage: float | None = None
    min_width: float | None = None
    max_width: float | None = None
    max_pulses: int | None = None
    max_dose: float | None = None
    min_read_voltage: float | None = None
    max_read_voltage: float | None = None

    def max_voltage(self, operation: Operation) -> float | None:
        return {
            Operation.FORM: self.max_form_voltage,
            Operation.SET: self.max_set_voltage,
            Operation.RESET: self.max_reset_voltage,
        }[operation]


@dataclass(frozen=True, slots=True)
class Nominal:
    """What a driver expects its board to be before it has asked, for planning a run without sending a byte."""

    geometry: Geometry
    capabilities: Capability
    dac: Scale
    adc: Scale
    limits: PulseLimits


class Clock(Protocol):
    """Time as the bench counts it: real on a real bench, the board's own on a simulated one."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""

    def sleep_until(self, time: float) -> None:
        """Return once `now()` is at least `time`."""


@runtime_checkable
class MemoryArray(Protocol):
    """A physical array as protocols see it. Calls raise LinkError, InstrumentError or LimitError."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def capabilities(self) -> Capability: ...

    @property
    def chip_serial(self) -> str: ...

    @property
    def dac(self) -> Scale:
        """Code -> V of a pulse's amplitude."""

    @property
    def adc(self) -> Scale:
        """Code -> S of a reading at the array's own read voltage."""

    @property
    def clock(self) -> Clock: ...

    @property
    def limits(self) -> PulseLimits:
        """The instrument's own; behind a bench, the tightest of the instrument's, the bench's and the cells'."""

    @property
    def sequence(self) -> int:
        """The number the next batch will carry; grows by one a batch."""

    def pulse(self, *batches: PulseBatch) -> None:
        """Apply the batches in order, each exactly once."""

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        """Apply the batches in order, each exactly once, reading every cell right after its pulse."""

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """Read `cells` (strictly increasing; all of the array where None), `repeats` times over.

        voltage: V across a cell in this read alone; the array's own where None. The readout's scale is the one for it.
        Only with `Capability.READ_VOLTAGE`.
        """

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        """Column currents in A, (n, cols), for row voltages in V, (n, rows); the other way when transposed."""

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        """Bit-serial products of `codes` (n, inputs), each below 2**bits, bits at most 8.

        Plane b drives the + rows of the inputs whose bit b is set with `voltage`, V, and their - rows with -`voltage`.
        Each plane is an analogue product with noise and a conversion of its own, on the smallest range that holds
        `full_scale`, A. Only with `Capability.MULTIPLY_BITS`. Raises ValueError for codes, lines or bits that are none.
        """

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        """Products of signed codes, in order and all in one exchange; the vectors of one take a read's time each.

        pulses: applied before the products, in order and each exactly once, in the same exchange. Only with
        `Capability.MULTIPLY_LINES`. Raises ValueError for codes, lines or bits that are none.
        """

    def snapshot(self) -> Mapping[str, Any]:
        """Identity and every setting, for the record."""

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Outputs off, biases grounded, within `timeout_s`; raises LinkError where that was not reached."""
