"""A memory array on a bench of source-measure units, a switch matrix and, as a rule, a pulse generator: cell by cell.

A cell is reached by closing its own crosspoints and no others: what drives it on one of its lines, ground on the other,
the gate unit on its word line. FORM and SET drive the bit line, RESET the source line, reads the bit line. Relays are
switched while everything is at 0 V, word lines too: what a line holds when it is let go of or grounded then finds its
cells' transistors shut. What is closed, on and at which level is asked of the parts, which a script may use as well.

There is no number by which the bench could say afterwards which pulse it gave. So where the wire fails between a pulse
and its answer, or what triggers is refused, that is the end of it: a pulse is never sent again, and the error says what
is certain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, TypeVar

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
    Nominal,
    Operation,
    PulseBatch,
    PulseLimits,
    Readout,
    Scale,
    Window,
)
from labctl.bench.clock import wall_clock
from labctl.bench.settings import CompositeSettings
from labctl.drivers.batches import checked_batch, checked_cells, codes_of, current_adc, scale_at
from labctl.drivers.pulse_generator import PulseSource
from labctl.drivers.pulses import NotPulsedError
from labctl.drivers.source_measure import Measured, SourceMeasureUnit
from labctl.drivers.switch_matrix import Crosspoint, SwitchMatrix
from labctl.errors import BenchError, InstrumentError, LinkError
from labctl.units import Ampere, Volt

_REACH = 1.05  # of a range, as these instruments count further
_DAC = Scale(1e-3, 0.0, 13, "V")
_GENERATOR_WIDTHS = (16e-9, 100.0)
_UNIT_WIDTHS = (2e-4, 100.0)
_LEAST_READ = 1e-3  # V
_GATE_COMPLIANCE = 1e-6  # A: what a gate takes that is still one
_SHARE = 0.25  # of the time there is for safe state, that each instrument gets at the least
Given = TypeVar("Given")


class SmuMatrixSettings(CompositeSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """smu: what reads; gate: what drives word lines; each a source-measure unit, or a channel of one (`keithley.a`).
    matrix: what switches. pulse_generator: the output that gives the pulses (`pulser.1`); without, `smu` does, which is
    slow. ground: a unit or an output that holds 0 V (`pulser.2`); without, `ground_input` is wired to ground. clock: of
    a simulated bench.

    smu_input, gate_input, pulse_input, ground_input: the inputs of the matrix that these are on. bit_lines,
    source_lines, word_lines: the outputs that the lines are on, in order; without, one after another from output 1 in
    that order. unused_lines: what becomes of other cells' bit and word lines. (Source lines always float: grounded,
    they would let the other cells of an open row conduct.)

    chip: its serial number. rows, cols: bit and word lines, source lines. read_voltage: V across a cell in a read;
    read_gate: V on its word line. current_range: A that reads go up to. set_compliance: A that `smu` gives at most in
    pulses of its own; a generator's go by the gate alone. FORM and SET may end there, which is what it is for; a RESET
    that does has not reached its voltage, and is an error.
    """

    smu: str
    gate: str
    matrix: str
    pulse_generator: str | None = None
    ground: str | None = None
    clock: str | None = None

    smu_input: int = 1
    gate_input: int = 2
    pulse_input: int = 3
    ground_input: int = 4
    bit_lines: tuple[int, ...] | None = None
    source_lines: tuple[int, ...] | None = None
    word_lines: tuple[int, ...] | None = None
    unused_lines: Literal["floating", "grounded"] = "floating"

    chip: str
    cell: str = "1T1R"
    rows: int
    cols: int
    read_voltage: Volt = Volt(0.2)
    read_gate: Volt = Volt(3.3)
    current_range: Ampere = Ampere(100e-6)
    set_compliance: Ampere = Ampere(1e-3)
    max_voltage: Volt = Volt(5.0)
    max_gate_voltage: Volt = Volt(5.0)
    max_read_voltage: Volt = Volt(0.5)

    part_keys = ("smu", "gate", "pulse_generator", "ground", "matrix", "clock")
    """In the order of connection, which is that of safe state: what drives is off before the matrix opens."""
    shared_keys = ("clock",)

    def __post_init__(self) -> None:
        for name in ("rows", "cols", "read_voltage", "read_gate", "current_range", "set_compliance", "max_voltage",
                     "max_gate_voltage", "max_read_voltage"):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name):g}")
        inputs = [self.smu_input, self.gate_input, self.ground_input]
        inputs += [self.pulse_input] if self.pulse_generator else []
        for what, numbers in (("inputs", inputs), ("lines", [line for lines in self.lines.values() for line in lines])):
            if len(set(numbers)) < len(numbers) or min(numbers) < 1:
                raise ValueError(f"the {what} must be on different terminals of the matrix, counted from 1")
        for kind, count in (("bit", self.rows), ("source", self.cols), ("word", self.rows)):
            if len(self.lines[kind]) != count:
                raise ValueError(f"{kind}_lines must be {count}, one for each, not {len(self.lines[kind])}")

    @property
    def lines(self) -> dict[str, tuple[int, ...]]:
        """The outputs of the matrix that bit, source and word lines are on."""
        starts = {"bit": 1, "source": 1 + self.rows, "word": 1 + self.rows + self.cols}
        counts = {"bit": self.rows, "source": self.cols, "word": self.rows}
        given = {"bit": self.bit_lines, "source": self.source_lines, "word": self.word_lines}
        return {
            kind: tuple(range(starts[kind], starts[kind] + counts[kind])) if outputs is None else tuple(outputs)
            for kind, outputs in given.items()
        }

    @property
    def adc(self) -> Scale:
        """Of reads at the read voltage."""
        return current_adc(self.current_range, self.read_voltage, _REACH)

    def limits(self, shortest: float, longest: float, most: float) -> PulseLimits:
        """Of pulses from what gives `shortest` to `longest` s and up to `most` V."""
        most = min(most, self.max_voltage)
        return PulseLimits(
            most, most, most, self.max_gate_voltage, shortest, longest,
            min_read_voltage=_LEAST_READ, max_read_voltage=self.max_read_voltage,
        )  # fmt: skip


class SmuMatrixArray:
    """The bench as a MemoryArray."""

    Settings = SmuMatrixSettings
    capabilities = Capability.FORM | Capability.PULSE | Capability.READ | Capability.READ_VOLTAGE
    dac = _DAC
    sequence = 0  # nothing here keeps one

    smu: SourceMeasureUnit
    gate: SourceMeasureUnit
    matrix: SwitchMatrix
    generator: PulseSource | None
    ground: SourceMeasureUnit | PulseSource | None
    clock: Clock
    limits: PulseLimits

    def __init__(self, settings: SmuMatrixSettings, parts: Mapping[str, Any]) -> None:
        self.settings = settings
        self.geometry = Geometry(settings.rows, settings.cols, settings.cell)
        self.chip_serial = settings.chip
        self.adc = settings.adc
        self._parts = parts
        self._bits, self._sources, self._words = settings.lines.values()

    @classmethod
    def nominal(cls, settings: SmuMatrixSettings) -> Nominal:
        widths = _UNIT_WIDTHS if settings.pulse_generator is None else _GENERATOR_WIDTHS
        geometry = Geometry(settings.rows, settings.cols, settings.cell)
        return Nominal(
            geometry, cls.capabilities, cls.dac, settings.adc, settings.limits(*widths, settings.max_voltage)
        )

    # -- life -----------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """The parts are connected already: see that they are what they should be, and open the matrix."""
        self.smu = self._part("smu", SourceMeasureUnit, "source-measure unit, or a channel of one like 'smu.a'")
        self.gate = self._part("gate", SourceMeasureUnit, "source-measure unit, or a channel of one like 'smu.b'")
        self.matrix = self._part("matrix", SwitchMatrix, "switch matrix")
        self.generator = self._part("pulse_generator", PulseSource, "output of a pulse generator, like 'pulser.1'")
        self.ground = self._part("ground", (SourceMeasureUnit, PulseSource), "source, like 'pulser.2'")
        self.clock = self._parts.get("clock") or wall_clock(self.smu.link.recorded_time)
        self._check_matrix()
        pulses = self.generator or self.smu
        longest = self.generator.longest_pulse if self.generator else _UNIT_WIDTHS[1]
        self.limits = self.settings.limits(pulses.shortest_pulse, longest, pulses.max_voltage)
        parts = dict.fromkeys(str(part.snapshot()["idn"]) for key, part in self._parts.items() if key != "clock")
        self._identities = list(parts)
        self.matrix.open_all()
        self.smu.set_current_range(self.settings.current_range)

    def close(self) -> None:
        """The parts have their own owners."""

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """Everything off, each whatever became of the others, the matrix opened last."""
        deadline = time.monotonic() + timeout_s
        with ExitStack() as last_first:
            for part in (self.matrix, self.ground, self.gate, self.smu, self.generator):
                if part is not None:
                    last_first.callback(_make_safe, part, deadline, timeout_s * _SHARE)

    def snapshot(self) -> Mapping[str, Any]:
        kinds = {kind: list(outputs) for kind, outputs in self.settings.lines.items()}
        return {
            "idn": " and ".join(self._identities),
            "chip_serial": self.chip_serial,
            "lines": kinds,
            "gate": self.gate.voltage,
            "outputs": self.smu.is_on and self.gate.is_on,
        }

    # -- what it does ---------------------------------------------------------------------------------------------

    def pulse(self, *batches: PulseBatch) -> None:
        """Raises ValueError where a batch is none or cannot be given, before anything is; InstrumentError where a RESET
        did not reach its voltage; LinkError where the wire fails, which says what is certain."""
        for batch in self._checked(batches):
            for done, (cell, volts) in enumerate(_each(batch)):
                self._pulse(batch, cell, volts, done)

    def pulse_and_verify(self, *batches: PulseBatch) -> tuple[Readout, ...]:
        readouts = []
        for batch in self._checked(batches):
            started, codes = self.clock.now(), np.empty((1, len(batch.cells)), np.uint32)
            for done, (cell, volts) in enumerate(_each(batch)):
                self._pulse(batch, cell, volts, done)
                codes[0, done] = self._read(cell, self.settings.read_voltage, self.adc)
            readouts.append(self._readout(batch.cells, codes, self.adc, started))
        return tuple(readouts)

    def read(self, cells: Cells | None = None, repeats: int = 1, voltage: float | None = None) -> Readout:
        """Raises ValueError where `cells` are not strictly increasing or not on the array, or `voltage` beyond its
        range. A reading that the wire lost is made once more."""
        volts = self.settings.read_voltage if voltage is None else voltage
        scale = self.adc if voltage is None else self._scale_at(voltage)
        where = (
            np.arange(self.geometry.cells, dtype=np.uint32)
            if cells is None
            else checked_cells(cells, self.geometry.cells)
        )
        started, codes = self.clock.now(), np.empty((repeats, len(where)), np.uint32)
        for repeat in range(repeats):
            codes[repeat] = [self._read(int(cell), volts, scale) for cell in where]
        return self._readout(where, codes, scale, started)

    def multiply(self, inputs: NDArray[np.float32], transpose: bool = False) -> NDArray[np.float32]:
        raise NotImplementedError  # not among the capabilities, so no protocol gets here

    def multiply_bits(
        self, codes: NDArray[np.uint8], window: Window, bits: int, voltage: float, full_scale: float
    ) -> BitProducts:
        raise NotImplementedError  # nor this

    def multiply_lines(self, *products: LineProduct, pulses: Sequence[PulseBatch] = ()) -> tuple[LineCurrents, ...]:
        raise NotImplementedError  # nor this

    # -- one cell -------------------------------------------------------------------------------------------------

    def _pulse(self, batch: PulseBatch, cell: int, volts: float, done: int) -> None:
        """One pulse on `cell`, the batch's next after `done` ones."""
        bit, source = self._lines_of(cell)
        driven, grounded = (source, bit) if batch.operation is Operation.RESET else (bit, source)
        driver = self.settings.smu_input if self.generator is None else self.settings.pulse_input
        try:
            self._connect(cell, (driver, driven), grounded)
            self._set_gate(batch.gate)
        except (LinkError, InstrumentError) as problem:
            raise self._after(problem, batch, done, "the next had none") from None
        try:
            if self.generator is not None:
                self.generator.pulse(volts, batch.width)
                return
            reached = self.smu.pulse(volts, batch.width, self.settings.set_compliance)
        except NotPulsedError as problem:
            raise self._after(problem, batch, done, "the next was refused") from None
        except (LinkError, InstrumentError) as problem:
            unsure = f"whether the one at {self._place(cell)} had is not known"
            raise self._after(problem, batch, done, unsure) from None
        if reached.in_compliance and batch.operation is Operation.RESET:
            held = InstrumentError(
                f"smu: the RESET pulse of {volts:g} V at {self._place(cell)} reached {reached.volts:.3g} V: "
                f"set_compliance of {self.settings.set_compliance:g} A held it back"
            )
            raise self._after(held, batch, done + 1, "that one less than it should")

    def _read(self, cell: int, volts: float, scale: Scale) -> int:
        """The code of one reading at `volts`."""
        bit, source = self._lines_of(cell)

        def reading() -> Measured:
            self._connect(cell, (self.settings.smu_input, bit), source)
            self._set_gate(self.settings.read_gate)
            return self.smu.sweep([volts], self.settings.current_range * _REACH)[0]

        return _code(self._twice(reading), volts, scale)

    def _connect(self, cell: int, driven: Crosspoint, grounded: int) -> None:
        """Close the crosspoints of `cell` alone, `driven` among them, and its other line `grounded`."""
        self._arm()
        word = self._words[cell // self.geometry.cols]
        ground = {grounded}
        if self.settings.unused_lines == "grounded":
            ground |= {line for line in (*self._bits, *self._words) if line not in (driven[1], word)}
        points = frozenset(
            {driven, (self.settings.gate_input, word), *((self.settings.ground_input, line) for line in ground)}
        )
        if points != self.matrix.last_closed:
            self._set_gate(0.0)
            self._twice(lambda: self.matrix.close_exactly(points))

    def _set_gate(self, volts: float) -> None:
        if volts != self.gate.voltage:
            self._twice(lambda: self.gate.source_voltage(volts, _GATE_COMPLIANCE))

    def _arm(self) -> None:
        """Outputs on; all but the gate, which may be anywhere, at 0 V."""
        if isinstance(self.ground, SourceMeasureUnit):
            _hold_zero(self.ground, self.settings.set_compliance)
        _hold_zero(self.smu, self.settings.current_range * _REACH)
        if not self.gate.is_on:
            _hold_zero(self.gate, _GATE_COMPLIANCE)
        for output in (self.ground, self.generator):
            if output is not None and not output.is_on:
                output.output(True)

    @staticmethod
    def _twice(action: Callable[[], Given]) -> Given:
        """What may be done again, because it pulses nothing."""
        try:
            return action()
        except LinkError:
            return action()

    def _lines_of(self, cell: int) -> tuple[int, int]:
        """The outputs that its bit line and its source line are on."""
        row, col = divmod(cell, self.geometry.cols)
        return self._bits[row], self._sources[col]

    # -- inside ---------------------------------------------------------------------------------------------------

    def _part(self, key: str, kind: Any, what: str) -> Any:
        """The part of that key, None where none is named. Raises BenchError where it is no such thing."""
        part = self._parts.get(key)
        if part is not None and not isinstance(part, kind):
            raise BenchError(f"{key}: {getattr(self.settings, key)!r} is no {what}")
        return part

    def _check_matrix(self) -> None:
        s, matrix = self.settings, self.matrix
        inputs = [s.smu_input, s.gate_input, s.ground_input, *([s.pulse_input] if self.generator else [])]
        outputs = [line for lines in s.lines.values() for line in lines]
        if max(inputs) > matrix.inputs or max(outputs) > matrix.outputs:
            raise BenchError(
                f"matrix: {s.matrix!r} has {matrix.inputs} inputs and {matrix.outputs} outputs, where input "
                f"{max(inputs)} and output {max(outputs)} are named: fewer rows and cols, or a larger matrix"
            )

    def _checked(self, batches: Sequence[PulseBatch]) -> list[PulseBatch]:
        """All of them, before the first pulse is given."""
        pulses = self.generator or self.smu
        least = self.generator.least_voltage if self.generator else 0.0
        longest = self.generator.longest_pulse if self.generator else _UNIT_WIDTHS[1]
        checked = [checked_batch(each, self.geometry.cells) for each in batches]
        for batch in checked:
            if not pulses.shortest_pulse <= batch.width <= longest:
                raise ValueError(
                    f"a pulse of {batch.width:g} s cannot be given: {pulses.shortest_pulse:g} s to {longest:g} s"
                )
            for cell, volts in _each(batch):
                if not least <= volts <= pulses.max_voltage:
                    raise ValueError(
                        f"a pulse of {volts:g} V at {self._place(cell)} cannot be given: {least:g} V to "
                        f"{pulses.max_voltage:g} V"
                    )
        return checked

    def _place(self, cell: int) -> str:
        row, col = divmod(cell, self.geometry.cols)
        return f"row {row}, column {col}"

    def _scale_at(self, voltage: float) -> Scale:
        return scale_at(self.adc, self.settings.read_voltage, voltage, self.limits)

    def _readout(self, cells: Cells, codes: NDArray[np.uint32], scale: Scale, started: float) -> Readout:
        took = self.clock.now() - started
        return Readout(cells, codes, scale, started, took / max(codes.size, 1))

    def _after(
        self, problem: LinkError | InstrumentError, batch: PulseBatch, done: int, what: str
    ) -> LinkError | InstrumentError:
        """`problem`, saying which of the batch's cells have had their pulse."""
        told = f"{problem}; {done} of the {len(batch.cells)} cells have had their {batch.operation.name} pulse, {what}"
        if isinstance(problem, InstrumentError):
            return InstrumentError(told, command=problem.command, errors=problem.errors)
        return type(problem)(told)


def _each(batch: PulseBatch) -> list[tuple[int, float]]:
    """Cell and V of every pulse; float64, because an instrument is told in decimals."""
    volts = _DAC.offset + _DAC.step * batch.amplitude.astype(np.float64)
    return [(int(cell), round(float(each), 9)) for cell, each in zip(batch.cells, volts, strict=True)]


def _code(measured: Measured, volts: float, scale: Scale) -> int:
    """The reading on `scale`; its top where the instrument could not tell."""
    if measured.in_compliance or measured.overflow:
        return scale.top
    try:
        return int(codes_of(measured.amps, volts, scale))
    except ValueError as problem:
        raise InstrumentError(f"the source-measure unit: {problem}") from None


def _hold_zero(unit: SourceMeasureUnit, compliance: float) -> None:
    """On, at 0 V; nothing is sent where it is."""
    if unit.voltage != 0.0 or not unit.is_on:
        unit.source_voltage(0.0, compliance)
    if not unit.is_on:
        unit.output(True)


def _make_safe(part: Any, deadline: float, least: float) -> None:
    part.safe_state(max(deadline - time.monotonic(), least))
