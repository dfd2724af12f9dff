"""A crossbar macro: an array of 1T1R memory cells and the converters, amplifiers and line drivers around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.hashing import NoiseKey, standard_normal
from ..cells.model import CellModel, Moment, Operation, Pulse, Selection, Sense, Voltage, select
from ..cells.parameters import ParameterSet, parameters_digest
from ..cells.technologies import DEFAULT, Technology, make_cells
from .ageing import Ageing
from .bit_serial import PlaneConverter, Sums, Window
from .converters import Converter
from .dead_lines import NONE_DEAD, DeadLines
from .front_end import ROOM_TEMPERATURE, FrontEnd
from .line_products import LineProducts, LineWindow
from .periphery import DEFAULT as DEFAULT_PERIPHERY
from .periphery import Periphery
from .readout_faults import ReadoutFaults
from .seen_cells import SeenCells
from .state_file import ChipRecord, read_record, write_record

_BLOCK = 131_072  # cells at a time: temporaries stay in the cache, and calls of numpy are few
_HEADROOM = 1 / 32  # of the range lies below zero, so that noise around zero is not rectified

Cells = NDArray[np.uint32]
Codes = NDArray[np.uint16]


class CrossbarMacro:
    """Cells in rows and columns, `cell = row * cols + col`; buy one with `CrossbarMacro.buy`.

    Amplitudes and readings are converter codes. A batch names a cell at most once. What a cell does depends
    only on its own history: its pulses, its reads and their times. So any batching or order of the same pulses and
    reads at the same times gives the same codes, to the last bit.

    dac: V of a pulse's amplitude, 16 bits. adc: A of a reading, 14 bits, on the present `current_range`.
    column_adc: A of a multiplication, 14 bits, both signs. These are the nominal scales: by how much the converter of a
    column, the amplifier and the lines miss them is for the user to find.
    """

    ranges = (1e-6, 4e-6, 16e-6, 64e-6, 256e-6, 1e-3)
    """Full-scale currents of a reading, A."""

    product_ranges = (125e-6, 500e-6, 2e-3)
    """Full-scale currents of a bit-serial product, A, of both signs."""

    line_ranges = (8e-6, 31.25e-6, 125e-6, 500e-6, 2e-3)
    """Full-scale currents of a product of signed codes on lines, A, of both signs."""

    temperatures = (250.0, 600.0)
    """The lowest and highest temperature of the chuck, K."""

    read_voltages = (0.05, 0.5)
    """The lowest and highest read voltage, V."""

    open_gate = 3.3
    """V on the word line of a cell that the macro reads: what it shows then is the cell, not the transistor."""

    dac = Converter(step=5.0 / 65_536, offset=0.0, bits=16)
    column_adc = Converter.spanning(-2e-3, 2e-3, bits=14)

    def __init__(self, serial: str, cells: CellModel, digest: str, rows: int, cols: int, periphery: Periphery) -> None:
        self.serial = serial
        self.rows = rows
        self.cols = cols
        self._temperature = ROOM_TEMPERATURE
        self._ageing = Ageing(pace=cells.pace(ROOM_TEMPERATURE))
        self.multiplications = 0
        self._cells = cells
        self._digest = digest
        self._read_voltage = 0.2
        self._current_range = self.ranges[2]
        self._arena = Arena(_block(rows, cols))
        self._front_end = FrontEnd(serial, periphery, (rows, cols), self.dac, self.adc, self.column_adc)
        self._products: NDArray[np.float32] | None = None
        self.readout_faults = ReadoutFaults()
        self._seen_cells: SeenCells | None = None  # from the first product on lines on
        self._line_products: LineProducts | None = None
        self._seen: Moment | None = None  # as of which the moments are; None: something has changed since

    @classmethod
    def buy(
        cls,
        serial: str,
        parameters: ParameterSet | None = None,
        rows: int = 512,
        cols: int = 512,
        periphery: Periphery | None = None,
        dead: DeadLines = NONE_DEAD,
    ) -> CrossbarMacro:
        """The chip of that serial number, fresh: cells, defects, noise and converters follow from the number.

        parameters: of its cells; the default technology's where None. periphery: the test macro's where None. dead: its
        broken lines. Raises ValueError.
        """
        if rows < 1 or cols < 1 or rows * cols > 1 << 32:
            raise ValueError(f"a crossbar of {rows} x {cols} cells cannot be made")
        chosen = Technology.named(DEFAULT).parameters if parameters is None else parameters
        cells = dead.before(make_cells(serial, rows * cols, chosen), rows, cols)
        around = Periphery.named(DEFAULT_PERIPHERY) if periphery is None else periphery
        return cls(serial, cells, parameters_digest(chosen), rows, cols, around)

    @classmethod
    def load(
        cls,
        path: Path,
        parameters: ParameterSet | None = None,
        periphery: Periphery | None = None,
        dead: DeadLines = NONE_DEAD,
    ) -> CrossbarMacro:
        """The chip as `save` left it, with the `parameters` it was bought with. Raises ChipFileError.

        The periphery has no memory: the same cells may be looked at through another, and lines may have broken since.
        """
        record = read_record(path)
        chip = cls.buy(record.serial, parameters, record.rows, record.cols, periphery, dead)
        record.check(path, cell_kind=chip.cell_kind, digest=chip._digest)
        record.restore(path, chip._cells.state)
        chip._temperature = record.temperature
        pace = chip._cells.pace(record.temperature)
        chip._ageing = Ageing(record.time, record.age, pace, record.changed_time, record.changed_age)
        chip.multiplications = record.multiplications
        chip.read_voltage = record.read_voltage
        chip.current_range = record.current_range
        return chip

    def save(self, path: Path) -> None:
        """Write everything that the chip's future depends on; an earlier file is replaced in one step."""
        record = ChipRecord(
            cell_kind=self.cell_kind,
            serial=self.serial,
            digest=self._digest,
            rows=self.rows,
            cols=self.cols,
            temperature=self.temperature,
            time=self._ageing.time,
            age=self._ageing.age,
            changed_time=self._ageing.changed_time,
            changed_age=self._ageing.changed_age,
            multiplications=self.multiplications,
            read_voltage=self.read_voltage,
            current_range=self.current_range,
            state=self._cells.state,
        )
        write_record(path, record)

    @property
    def temperature(self) -> float:
        """K, of the cells."""
        return self._temperature

    def heat(self, temperature: float, time: float) -> None:
        """From `time` on, s on the bench's clock, the cells are at `temperature`, K. Raises ValueError."""
        low, high = self.temperatures
        if not low <= temperature <= high:
            raise ValueError(f"{temperature:g} K is outside {low:g} to {high:g} K")
        self._temperature = temperature
        self._ageing.change(time, self._cells.pace(temperature))
        self._seen = None
        if self._seen_cells is not None:
            self._seen_cells.heated(self._ageing.time)

    def wait(self, time: float) -> None:
        """Until `time`, s on the bench's clock, nothing happens to the cells but that they age."""
        self._moment(time, 0.0)

    @property
    def time(self) -> float:
        """s on the bench's clock, of the last thing that happened to the chip; 0 where nothing has."""
        return self._ageing.time

    @property
    def cell_kind(self) -> str:
        return self._cells.kind

    @property
    def pulse_counts(self) -> NDArray[np.uint32]:
        """Pulses each cell has had, (rows, cols), a read-only view."""
        return self._map("pulses")

    @property
    def read_counts(self) -> NDArray[np.uint32]:
        """Reads each cell has had, (rows, cols), a read-only view."""
        return self._map("reads")

    @property
    def read_voltage(self) -> float:
        """V across a cell while it is read."""
        return self._read_voltage

    @read_voltage.setter
    def read_voltage(self, voltage: float) -> None:
        low, high = self.read_voltages
        if not low <= voltage <= high:
            raise ValueError(f"read voltage {voltage:g} V is outside {low:g} to {high:g} V")
        self._read_voltage = float(voltage)
        self._seen = None

    @property
    def current_range(self) -> float:
        """Full scale of a reading, A; one of `ranges`."""
        return self._current_range

    @current_range.setter
    def current_range(self, full_scale: float) -> None:
        if full_scale not in self.ranges:
            raise ValueError(f"no current range of {full_scale:g} A: choose one of {self.ranges}")
        self._current_range = float(full_scale)

    @property
    def adc(self) -> Converter:
        return Converter.spanning(-_HEADROOM * self._current_range, self._current_range, bits=14)

    def pulse(
        self,
        operation: int,
        cells: Cells | None,
        codes: Codes | int,
        width: float,
        gate: float,
        time: float,
        period: float = 0.0,
    ) -> None:
        """One pulse on each of `cells` (None: all of the array), one after another.

        operation: an `Operation`. codes: (n,) amplitudes, or one for all. width: s. gate: V on the word line.
        time: s on the bench's clock when the first cell's turn begins. period: s that a turn takes. Raises
        ValueError, and IndexError for a cell that is not there, with nothing applied.
        """
        pulse = Pulse(Operation(operation), width, gate, self._moment(time, period))
        self._check(cells, codes, width)
        self._change(pulse.at, cells)
        for batch, where in select(cells, self.rows * self.cols, self._arena):
            self._cells.pulse(where, self._amplitude(codes, batch, where), pulse)

    def pulse_and_read(
        self,
        operation: int,
        cells: Cells | None,
        codes: Codes | int,
        width: float,
        gate: float,
        time: float,
        period: float = 0.0,
    ) -> Codes:
        """`pulse`, and `read` once in the same turn: (1, n)."""
        pulse = Pulse(Operation(operation), width, gate, self._moment(time, period))
        self._check(cells, codes, width)
        self._change(pulse.at, cells)
        readings = np.empty((1, self._count(cells)), np.uint16)
        for batch, where in select(cells, self.rows * self.cols, self._arena):
            shown = self._cells.pulse_and_read(where, self._amplitude(codes, batch, where), pulse, self._read_voltage)
            self._digitise(shown, where, out=readings[0, batch])
        return readings

    def read(self, cells: Cells | None, repeats: int = 1, time: float = 0.0, period: float = 0.0) -> Codes:
        """ADC codes of `cells` (None: all), read `repeats` times over: (repeats, n). Raises IndexError.

        time: s on the bench's clock when the first cell's turn begins. period: s that a turn takes.
        """
        self._check_cells(cells)
        at = self._moment(time, period)
        passes = [Sense(self._read_voltage, at.later(number * self._count(cells))) for number in range(repeats)]
        self._disturb(cells)
        readings = np.empty((repeats, self._count(cells)), np.uint16)
        for batch, where in select(cells, self.rows * self.cols, self._arena):
            mark = self._arena.mark()
            for repeat, sense in enumerate(passes):
                self._arena.release(mark)
                self._digitise(self._cells.read(where, sense), where, out=readings[repeat, batch])
        return readings

    def access(self, gate: float) -> float:
        """S of a cell's transistor with `gate` V from its source to its gate; 0 where that leaves it closed."""
        return self._cells.access(gate)

    def pulse_lines(
        self, operation: int, cells: Cells, volts: NDArray[np.float32], width: float, gate: float, time: float
    ) -> None:
        """One pulse on each of `cells`, all at once, of `volts` (n,) between the ends of its lines: no converter's.

        The rest as of `pulse`.
        """
        pulse = Pulse(Operation(operation), width, gate, self._moment(time, 0.0))
        self._check_cells(cells)
        self._check_width(width)
        self._change(pulse.at, cells)
        for batch, where in select(cells, self.rows * self.cols, self._arena):
            reaching = where.arena.float32(len(where))
            np.copyto(reaching, volts[batch])
            self._front_end.reaching(reaching, where, self._cells.state["conductance"])
            self._cells.pulse(where, reaching, pulse)

    def read_lines(self, cells: Cells, voltage: float, time: float) -> NDArray[np.float32]:
        """What the ends of their lines show of `cells` at `voltage`, all at once: (n,) S, a read past the converters.

        voltage: V, from bit line to source line.
        """
        self._check_cells(cells)
        sense = Sense(voltage, self._moment(time, 0.0))
        self._disturb(cells)
        return self._between_lines(cells, lambda where: self._cells.read(where, sense))

    def expected_at_lines(self, cells: Cells, voltage: float, time: float) -> NDArray[np.float32]:
        """What `read_lines` scatters around: (n,) S. Counts as no read."""
        self._check_cells(cells)
        sense = Sense(voltage, self._moment(time, 0.0))
        return self._between_lines(cells, lambda where: self._cells.read_moments(where, sense)[0].copy())

    def multiply(
        self, voltages: NDArray[np.float32], transpose: bool = False, time: float = 0.0
    ) -> NDArray[np.float32]:
        """Column currents, A, (n, cols), for row voltages, V, (n, rows); the other way when transposed.

        A current is the sum of V G over a column with the read noise of every cell drawn anew, less what the lines
        take (`lines.py`). Noise is independent and normal, so its sum is drawn at once, with variance sum
        V**2 var(G), at a count of multiplications. Then the line's converter quantises and saturates it
        (`column_adc`). All of a call's vectors see the cells as of one moment, that of `Ageing.steady`: fluctuators of
        up to 0.1 s are part of the noise, so within a second at most an older state is as likely as the present one.
        Raises ValueError for a wrong shape.
        """
        lines = self.cols if transpose else self.rows
        if voltages.ndim != 2 or voltages.shape[1] != lines:
            raise ValueError(f"expected voltages of shape (n, {lines}), got {voltages.shape}")
        conductance, variance = self._matrices(time)
        if transpose:
            conductance, variance = conductance.T, variance.T
        driven = self._front_end.driven(voltages, self.dac, transpose)
        currents = driven @ conductance
        deviation = np.square(driven) @ variance
        np.sqrt(deviation, out=deviation)
        deviation *= self._line_noise(len(voltages), currents.shape[1], "rows" if transpose else "columns")
        currents += deviation
        self.multiplications += len(voltages)
        self._front_end.digitise_lines(currents, self.column_adc, self._temperature, transpose)
        if self.readout_faults and not transpose:
            self.readout_faults.apply(currents, np.arange(self.cols), self.column_adc.top)
        return self.column_adc.values(currents)

    def product_adc(self, full_scale: float) -> Converter:
        """A of a plane of a bit-serial product, 14 bits, both signs, on one of `product_ranges`. Raises ValueError."""
        if full_scale not in self.product_ranges:
            raise ValueError(f"no product range of {full_scale:g} A: choose one of {self.product_ranges}")
        return Converter.spanning(-full_scale, full_scale, bits=14)

    def multiply_bits(
        self,
        codes: NDArray[np.uint8],
        window: Window,
        bits: int,
        voltage: float,
        full_scale: float,
        time: float = 0.0,
    ) -> NDArray[np.uint32]:
        """Products of the planes of `codes` (n, inputs), summed as codes: (n + 1, outputs); see `bit_serial.py`.

        The last row says how many conversions of a column were at either end. voltage: V of a bit that is set.
        full_scale: A, one of `product_ranges`. Noise and time are those of `multiply`: a plane is a vector, and those
        of a vector follow one another, the lowest first. Raises ValueError.
        """
        adc = self.product_adc(full_scale)
        volts = np.array([[voltage], [-voltage], [0.0]], np.float32)
        driven = self._front_end.driven(np.tile(volts, self.rows), self.dac, transpose=False)
        planes = PlaneConverter(
            Sums.of(*self._matrices(time), window, driven),
            window.cols,
            adc,
            self._front_end.line_converters(transpose=False),
            self._front_end.offset(self._temperature),
            self.readout_faults,
        )
        key = NoiseKey.of(self.serial, "bit planes: columns")
        found = planes.products(codes, bits, key, self.multiplications, self._arena)
        self.multiplications += bits * len(codes)
        return found

    def line_adc(self, full_scale: float) -> Converter:
        """A of a line in a product of signed codes, 14 bits, both signs, on one of `line_ranges`. Raises ValueError."""
        if full_scale not in self.line_ranges:
            raise ValueError(f"no range of {full_scale:g} A for lines: choose one of {self.line_ranges}")
        return Converter.spanning(-full_scale, full_scale, bits=14)

    def multiply_lines(
        self,
        vectors: NDArray[np.int16],
        window: LineWindow,
        voltage: float,
        full_scale: float,
        bits: int = 14,
        backward: bool = False,
        time: float = 0.0,
    ) -> tuple[NDArray[np.int16], int]:
        """Products of signed codes, (n, inputs), backward (n, outputs); see `line_products.py`.

        Returns signed codes, (n, outputs), backward (n, inputs), and how many conversions were at either end. voltage:
        V of the code 32767. full_scale: A, one of `line_ranges`. bits: the highest of the converter's 14 that are kept.
        Cells are seen as `SeenCells` says; noise is drawn at the count of multiplications. Raises ValueError.
        """
        adc = self.line_adc(full_scale)
        if self._seen_cells is None:
            self._seen_cells = SeenCells(
                self._cells, self._front_end, self._ageing, (self.rows, self.cols), self.dac, self._arena
            )
        if self._line_products is None:
            self._line_products = LineProducts(
                self.serial, self._seen_cells, self._front_end, self.dac, self.readout_faults
            )
        self._seen_cells.look(time, self._read_voltage, self._temperature)
        offset, first = self._front_end.offset(self._temperature), self.multiplications
        self.multiplications += len(vectors)
        return self._line_products.codes(vectors, window, backward, voltage, adc, offset, bits, first)

    def _matrices(self, time: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The conductance the array shows and its read variance, (rows, cols) each, in arrays made once."""
        at = self._ageing.steady(time)
        if self._products is None:
            self._products = np.empty((5, self.rows * self.cols), np.float32)
        conductance, variance = self._products[:2].reshape(2, self.rows, self.cols)
        if at == self._seen:
            return conductance, variance
        sense = Sense(self._read_voltage, at)
        for batch, where in select(None, self.rows * self.cols, self._arena):
            self._products[0, batch], self._products[1, batch] = self._cells.read_moments(where, sense)
        if self._temperature != ROOM_TEMPERATURE:
            factor = self._front_end.temperature_factor(conductance, self._temperature)
            conductance *= factor
            variance *= np.square(factor)
        if self._front_end.lines:
            self._front_end.lines.effective(conductance, variance, scratch=self._products[2:])
        self._seen = at
        return conductance, variance

    def _line_noise(self, vectors: int, lines: int, effect: str) -> NDArray[np.float32]:
        """Standard normals (vectors, lines), the hash of the line and of the multiplication's number."""
        key = NoiseKey.of(self.serial, f"multiplication: {effect}")
        numbers = np.arange(self.multiplications, self.multiplications + vectors).astype(np.uint32)
        line = np.tile(np.arange(lines, dtype=np.uint32), vectors)
        count = np.repeat(numbers, lines)
        noise = np.empty(vectors * lines, np.float32)
        for start in range(0, len(noise), self._arena.size):
            self._arena.reset()
            part = slice(start, start + self._arena.size)
            noise[part] = standard_normal(key, line[part], count[part], self._arena)
        return noise.reshape(vectors, lines)

    def _digitise(self, conductance: NDArray[np.float32], where: Selection, out: Codes) -> None:
        """ADC codes of cells that show `conductance` at the read voltage."""
        shown = self._front_end.digitise(conductance, self.adc, self._read_voltage, self._temperature, where)
        np.copyto(out, shown, casting="unsafe")
        if self.readout_faults:
            self.readout_faults.apply(out, where.cells % np.uint32(self.cols), self.adc.top)

    def _between_lines(self, cells: Cells, shown: Callable[[Selection], NDArray[np.float32]]) -> NDArray[np.float32]:
        """(n,) S at the ends of their lines, of cells that show what `shown` gives."""
        found = np.empty(len(cells), np.float32)
        for batch, where in select(cells, self.rows * self.cols, self._arena):
            conductance = shown(where)
            self._front_end.between_lines(conductance, self._temperature, where)
            found[batch] = conductance
        return found

    def _amplitude(self, codes: Codes | int, batch: slice, where: Selection) -> Voltage:
        """V at the cells of the pulses in `batch`."""
        given = codes[batch] if isinstance(codes, np.ndarray) else np.uint16(codes)
        return self._front_end.at_cells(given, self.dac, where, self._cells.state["conductance"])

    def _change(self, at: Moment, cells: Cells | None) -> None:
        """Cells are pulsed from `at` on."""
        until = at.later(self._count(cells))
        self._ageing.changed(until)
        self._seen = None
        if self._seen_cells is not None:
            self._seen_cells.pulsed(cells, until.time)

    def _disturb(self, cells: Cells | None) -> None:
        """Cells are read."""
        if self._cells.reads_disturb:
            self._seen = None
            if self._seen_cells is not None:
                self._seen_cells.disturbed(cells)

    def _moment(self, time: float, period: float) -> Moment:
        return self._ageing.moment(time, period)

    def _check(self, cells: Cells | None, codes: Codes | int, width: float) -> None:
        self._check_cells(cells)
        if isinstance(codes, np.ndarray) and codes.shape != (self._count(cells),):
            raise ValueError(f"expected one code for each of {self._count(cells)} cells, got shape {codes.shape}")
        if not isinstance(codes, np.ndarray) and not 0 <= codes <= self.dac.top:
            raise ValueError(f"code {codes} is outside the DAC's range of 0 to {self.dac.top}")
        self._check_width(width)

    @staticmethod
    def _check_width(width: float) -> None:
        if not width > 0:
            raise ValueError(f"a pulse cannot be {width:g} s wide")

    def _check_cells(self, cells: Cells | None) -> None:
        if cells is not None and len(cells) and cells.max() >= self.rows * self.cols:
            raise IndexError(f"cell {cells.max()} is not one of the {self.rows * self.cols} cells")

    def _count(self, cells: Cells | None) -> int:
        return self.rows * self.cols if cells is None else len(cells)

    def _map(self, name: str) -> NDArray[np.uint32]:
        view = self._cells.state[name].reshape(self.rows, self.cols)
        view.flags.writeable = False
        return view


def _block(rows: int, cols: int) -> int:
    """Cells at a time: whole rows where rows are short, so that columns need not be looked up."""
    return min(max(_BLOCK // cols * cols, 1) if cols <= _BLOCK else _BLOCK, rows * cols)
