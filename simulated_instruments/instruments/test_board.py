"""Firmware of the memory-array test board (`docs/board-commands.md`): SCPI in, pulses and readings on the chip.

The board refuses what is beyond its limits before anything is applied, gives pulses only while its outputs are on,
and numbers every batch: the number that follows the last is applied, the last batch again is answered but not applied
again, anything else is an error. So a controller that lost an answer can find out what happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..cells.technologies import DEFAULT, Technology
from ..chips.crossbar import CrossbarMacro
from ..chips.periphery import DEFAULT as DEFAULT_PERIPHERY
from ..chips.periphery import Periphery
from ..scpi import Block, Boolean, Command, Instrument, Keyword, Numeric, ScpiError, quoted, setting
from ..wire import Site
from .clocks import FIRST_POWER_ON, BoardClock, VirtualClock, WallClock

Codes = NDArray[np.uint16]
Cells = NDArray[np.uint32]
_Locate = Callable[..., tuple[Cells | None, NDArray[Any]]]

FIRMWARE = "1.0"
OUT_OF_SEQUENCE = 101
_OPERATIONS = {"FORM": 1, "SET": 2, "RES": 3}
_MAX_VOLTS = {"FORM": 4.5, "SET": 4.0, "RES": 4.0}
_MAX_GATE = 3.3
_WIDTHS = (10e-9, 1e-3)
_PULSE_TIME = 1e-6  # s to select a cell and settle its lines, besides the pulse
_READ_TIME = 4e-6  # s to settle and convert one reading
_TEMPERATURES = (250.0, 400.0)  # K, outside of which the self-test fails
_MAX_REPEATS = 10_000
_MAX_READINGS = 1 << 26  # of one answer


class TestBoardFirmware:
    """The board around one chip. `scpi` is what a server connects to."""

    __test__ = False  # the word is the instrument's, not pytest's

    def __init__(self, chip: CrossbarMacro, clock: BoardClock) -> None:
        self.chip = chip
        self.clock = clock
        self.sequence = 0
        self._last: tuple[Any, ...] = ()
        self._reset()
        self.scpi = Instrument(
            identity=("labctl", "TB-512", chip.serial, FIRMWARE),
            commands=[
                *self._chip_commands(),
                *self._setting_commands(),
                *self._work_commands(),
                *self._time_commands(),
            ],
            on_reset=self._reset,
            self_test=self._self_test,
        )

    # -- settings: what *RST puts back ------------------------------------------------------------------------

    def _reset(self) -> None:
        self.output = False
        self.chip.read_voltage = 0.2
        self.chip.current_range = self.chip.ranges[2]

    @property
    def current_range(self) -> float:
        return self.chip.current_range

    @current_range.setter
    def current_range(self, wanted: float) -> None:
        """The smallest range that holds `wanted`, as autoranging fronts do."""
        self.chip.current_range = next(each for each in self.chip.ranges if each >= wanted * (1 - 1e-9))

    @property
    def chuck(self) -> float:
        """Temperature the chip is held at, K; *RST leaves it."""
        return self.chip.temperature

    @chuck.setter
    def chuck(self, temperature: float) -> None:
        self.chip.heat(temperature, self.clock.now())

    def _chip_commands(self) -> list[Command]:
        chip = self.chip
        return [
            Command("ARRay:GEOMetry", query=lambda: (chip.rows, chip.cols)),
            Command("ARRay:CELL", query=lambda: quoted(chip.cell_kind)),
            Command("ARRay:SERial", query=lambda: quoted(chip.serial)),
            Command("ARRay:TIMing", query=lambda: (_PULSE_TIME, _READ_TIME)),
            Command("ARRay:COUNt:PULSe", query=lambda: chip.pulse_counts.copy()),
            Command("ARRay:COUNt:READ", query=lambda: chip.read_counts.copy()),
            Command("[:SOURce]:DAC:SCALe", query=lambda: (chip.dac.step, chip.dac.offset, chip.dac.bits)),
            Command("SENSe:ADC:SCALe", query=self._reading_scale),
            Command("[:SOURce]:LIMit", query=lambda: (*_MAX_VOLTS.values(), _MAX_GATE, *_WIDTHS)),
        ]

    def _reading_scale(self) -> tuple[float, float, int]:
        """Code -> S at the present read voltage and current range."""
        adc, volts = self.chip.adc, self.chip.read_voltage
        return adc.step / volts, adc.offset / volts, adc.bits

    def _setting_commands(self) -> list[Command]:
        low, high = self.chip.read_voltages
        coldest, hottest = self.chip.temperatures
        ranges = Numeric(unit="A", minimum=0.0, maximum=self.chip.ranges[-1], default=self.chip.ranges[2])
        return [
            setting("OUTPut[:STATe]", Boolean(), self, "output"),
            setting(
                "SENSe:VOLTage", Numeric(unit="V", minimum=low, maximum=high, default=0.2), self.chip, "read_voltage"
            ),
            setting("SENSe:CURRent:RANGe", ranges, self, "current_range"),
            Command("SENSe:TEMPerature", query=lambda: self.chip.temperature),
            setting(
                "SOURce:TEMPerature", Numeric(unit="K", minimum=coldest, maximum=hottest, default=300.0), self, "chuck"
            ),
            Command("OUTPut:SAFE", set=self._safe),
        ]

    def _safe(self) -> None:
        self.output = False

    # -- work -------------------------------------------------------------------------------------------------

    def _work_commands(self) -> list[Command]:
        cells, codes, mask = Block(dtype=np.uint32), Block(dtype=np.uint16), Block(dtype=np.uint8)
        batch = (
            Numeric(integer=True, minimum=0, maximum=2**62),
            Keyword("FORM", "SET", "RESet"),
            Numeric(unit="S", minimum=_WIDTHS[0], maximum=_WIDTHS[1]),
            Numeric(unit="V", minimum=0.0, maximum=_MAX_GATE),
        )
        forms: Sequence[tuple[str, tuple[Any, ...], _Locate]] = (
            ("ALL", (codes,), lambda amplitudes: (None, amplitudes)),
            ("INDexed", (cells, codes), self._indexed),
            ("MASKed", (mask, codes), self._masked),
        )
        commands = [
            Command("PULSe:SEQuence", query=lambda: self.sequence),
            Command("READ:REGion", query=self._read_region, query_parameters=self._region_parameters()),
            Command(
                "READ:INDexed",
                query=lambda repeats, where: self._read(self._checked_cells(where), repeats),
                query_parameters=(self._repeats(), cells),
            ),
            Command("MULTiply", query=self._multiply, query_parameters=(Block(dtype=np.float32),)),
            Command("MULTiply:TRANspose", query=self._multiply_transposed, query_parameters=(Block(dtype=np.float32),)),
        ]
        for word, where, locate in forms:
            parameters = (*batch, *where)
            commands.append(Command(f"PULSe:APPLy:{word}", set=self._applier(locate), parameters=parameters))
            commands.append(Command(f"PULSe:VERify:{word}", query=self._verifier(locate), query_parameters=parameters))
        return commands

    def _applier(self, locate: _Locate) -> Callable[..., None]:
        def apply(number: int, operation: str, width: float, gate: float, *where: Any) -> None:
            cells, codes = self._checked_batch(operation, *locate(*where))
            batch = (_OPERATIONS[operation], cells, codes, width, gate)
            if self._is_next(number, batch):
                turn = width + _PULSE_TIME
                self.chip.pulse(*batch, self.clock.now(), turn)
                self._applied(number, batch, self._count(cells) * turn)

        return apply

    def _verifier(self, locate: _Locate) -> Callable[..., Codes]:
        def verify(number: int, operation: str, width: float, gate: float, *where: Any) -> Codes:
            cells, codes = self._checked_batch(operation, *locate(*where))
            batch = (_OPERATIONS[operation], cells, codes, width, gate)
            if not self._is_next(number, batch):
                return self._read(cells, 1)
            turn = width + _PULSE_TIME + _READ_TIME
            readings = self.chip.pulse_and_read(*batch, self.clock.now(), turn)
            self._applied(number, batch, self._count(cells) * turn)
            return readings

        return verify

    def _applied(self, number: int, batch: tuple[Any, ...], seconds: float) -> None:
        self.sequence = number
        self._last = tuple(each.copy() if isinstance(each, np.ndarray) else each for each in batch)
        self.clock.spend(seconds)

    def _is_next(self, number: int, batch: tuple[Any, ...]) -> bool:
        """Whether batch `number` is to be applied; False: it has been already, this very one."""
        if number == self.sequence + 1:
            return True
        if number != self.sequence or number == 0:
            raise ScpiError(OUT_OF_SEQUENCE, f"Sequence number out of order;{number} where {self.sequence + 1} is next")
        if not all(map(np.array_equal, batch, self._last)):
            raise ScpiError(OUT_OF_SEQUENCE, f"Sequence number out of order;{number} was another batch")
        return False

    def _indexed(self, cells: NDArray[Any], codes: NDArray[Any]) -> tuple[Cells, NDArray[Any]]:
        return self._checked_cells(cells), codes

    def _masked(self, mask: NDArray[Any], codes: NDArray[Any]) -> tuple[Cells, NDArray[Any]]:
        total = self.chip.rows * self.chip.cols
        if len(mask) != (total + 7) // 8:
            raise ScpiError(-161, f"a mask of {total} cells has {(total + 7) // 8} bytes")
        return np.flatnonzero(np.unpackbits(mask, count=total).view(np.bool_)).astype(np.uint32), codes

    def _checked_cells(self, cells: NDArray[Any]) -> Cells:
        """Cells in native order and aligned. Raises ScpiError unless strictly increasing and on the array."""
        native: Cells = np.require(cells, np.uint32, "A")
        if len(native) > 1 and not np.all(native[1:] > native[:-1]):
            raise ScpiError(-224, "cells must be strictly increasing")
        if len(native) and native[-1] >= self.chip.rows * self.chip.cols:
            raise ScpiError(-222, f"cell {native[-1]} is not on the array")
        return native

    def _checked_batch(self, operation: str, cells: Cells | None, codes: NDArray[Any]) -> tuple[Cells | None, Codes]:
        native: Codes = np.require(codes, np.uint16, "A")
        if len(native) != self._count(cells):
            raise ScpiError(-161, f"{len(native)} amplitudes for {self._count(cells)} cells")
        if not self.output:
            raise ScpiError(-221, "outputs are off")
        volts = self.chip.dac.offset + self.chip.dac.step * int(native.max(initial=0))
        if volts > _MAX_VOLTS[operation] + self.chip.dac.step / 2:  # the code nearest to the limit is within it
            raise ScpiError(-222, f"{volts:.4g} V is above {_MAX_VOLTS[operation]:g} V for {operation}")
        return cells, native

    def _count(self, cells: Cells | None) -> int:
        return self.chip.rows * self.chip.cols if cells is None else len(cells)

    def _repeats(self, optional: bool = False) -> Numeric:
        return Numeric(integer=True, minimum=1, maximum=_MAX_REPEATS, default=1, optional=optional)

    def _region_parameters(self) -> tuple[Numeric, ...]:
        rows, cols = self.chip.rows, self.chip.cols
        return (
            Numeric(integer=True, minimum=0, maximum=rows - 1),
            Numeric(integer=True, minimum=0, maximum=cols - 1),
            Numeric(integer=True, minimum=1, maximum=rows),
            Numeric(integer=True, minimum=1, maximum=cols),
            self._repeats(optional=True),
        )

    def _read_region(self, row: int, col: int, rows: int, cols: int, repeats: int = 1) -> Codes:
        chip = self.chip
        if row + rows > chip.rows or col + cols > chip.cols:
            raise ScpiError(-222, f"the region ends beyond row {chip.rows - 1} or column {chip.cols - 1}")
        if (rows, cols) == (chip.rows, chip.cols):
            return self._read(None, repeats)
        first = np.arange(row, row + rows, dtype=np.uint32)[:, np.newaxis] * np.uint32(chip.cols)
        where: Cells = (first + np.arange(col, col + cols, dtype=np.uint32)).astype(np.uint32).ravel()
        return self._read(where, repeats)

    def _read(self, cells: Cells | None, repeats: int) -> Codes:
        if self._count(cells) * repeats > _MAX_READINGS:
            raise ScpiError(-223, f"an answer holds {_MAX_READINGS} readings at most")
        readings = self.chip.read(cells, repeats, self.clock.now(), _READ_TIME)
        self.clock.spend(self._count(cells) * repeats * _READ_TIME)
        return readings

    def _multiply(self, volts: NDArray[Any], transpose: bool = False) -> NDArray[np.float32]:
        lines = self.chip.cols if transpose else self.chip.rows
        if len(volts) == 0 or len(volts) % lines:
            raise ScpiError(-161, f"{len(volts)} voltages are no whole number of vectors of {lines}")
        vectors = np.require(volts, np.float32, "A").reshape(-1, lines)
        if not np.all(np.abs(vectors) <= self.chip.read_voltages[1]):
            raise ScpiError(-222, f"an input is beyond +-{self.chip.read_voltages[1]:g} V")
        currents = self.chip.multiply(vectors, transpose, self.clock.now())
        self.clock.spend(currents.size * _READ_TIME)
        return currents

    def _multiply_transposed(self, volts: NDArray[Any]) -> NDArray[np.float32]:
        return self._multiply(volts, transpose=True)

    # -- time and health --------------------------------------------------------------------------------------

    def _time_commands(self) -> list[Command]:
        return [
            Command("SYSTem:TIME", query=self.clock.now),
            Command("SYSTem:TIME:VIRTual", query=lambda: self.clock.virtual),
            Command(
                "SYSTem:TIME:ADVance", set=self._advance, parameters=(Numeric(unit="S", minimum=0.0, maximum=1e9),)
            ),
        ]

    def _advance(self, seconds: float) -> None:
        try:
            self.clock.advance(seconds)
        except ValueError as problem:
            raise ScpiError(-221, str(problem)) from None

    def _self_test(self) -> int:
        """0 when well; bit 0: temperature out of range; bit 1: every reading of the first row at an end of the ADC."""
        low, high = _TEMPERATURES
        codes = self._read(np.arange(self.chip.cols, dtype=np.uint32), 1)
        at_an_end = bool(np.all((codes == 0) | (codes == self.chip.adc.top)))
        return int(not low <= self.chip.temperature <= high) | at_an_end << 1


class BoardOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table for this board.

    chip: its serial number, or a file that calibration wrote (`chip.toml`): then it is the twin of the chip that was
    measured. cells: a built-in technology. state: HDF5 file of what the chip remembers; without it the chip is fresh
    every time. rows, cols: of a chip that is bought new. clock: `virtual` or `real`. periphery: a set of lines and
    converters by name, `ideal` for faultless ones.
    """

    chip: str = "R40-0001"
    cells: str = DEFAULT
    state: str | None = None
    rows: int = 512
    cols: int = 512
    clock: str = "virtual"
    periphery: str = DEFAULT_PERIPHERY


class SimulatedBoard:
    """A powered-on board; `close` saves what its chip remembers."""

    def __init__(self, options: BoardOptions, folder: Path) -> None:
        """Raises ValueError with one sentence."""
        if options.clock not in ("virtual", "real"):
            raise ValueError(f"clock must be 'virtual' or 'real', not {options.clock!r}")
        technology, self._serial = _bought(options, folder)
        self._path = folder / options.state if options.state else None
        self._lock = _hold(self._path) if self._path else None
        try:
            chip = self._chip(options, technology)
            virtual = VirtualClock(max(FIRST_POWER_ON, chip.time))
            self.firmware = TestBoardFirmware(chip, virtual if options.clock == "virtual" else WallClock())
        except BaseException:
            self._release()
            raise
        self.wire = self.firmware.scpi

    def close(self) -> None:
        """May be called twice: the chip is saved once, as long as it is ours."""
        try:
            if self._lock is not None and self._path is not None:
                with self.wire.lock:
                    self.firmware.chip.save(self._path)
        finally:
            self._release()

    def _chip(self, options: BoardOptions, technology: Technology) -> CrossbarMacro:
        periphery = Periphery.named(options.periphery)
        if self._path is None or not self._path.exists():
            return CrossbarMacro.buy(self._serial, technology.parameters, options.rows, options.cols, periphery)
        chip = CrossbarMacro.load(self._path, technology.parameters, periphery)
        if chip.serial != self._serial:
            raise ValueError(f"{self._path.name} is the state of chip {chip.serial!r}, not of {self._serial!r}")
        return chip

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def _bought(options: BoardOptions, folder: Path) -> tuple[Technology, str]:
    """The technology and the serial number of the chip that `options` name. Raises ValueError."""
    if options.chip.endswith(".toml"):
        path = folder / options.chip
        technology = Technology.from_file(path)
        return technology, technology.serial or path.stem
    if not (options.chip.isascii() and options.chip.isprintable()):
        raise ValueError(f"chip must be a serial number in plain letters and digits, not {options.chip!r}")
    return Technology.named(options.cells), options.chip


def _hold(path: Path) -> FileLock:
    lock = FileLock(path.with_name(path.name + ".lock"), timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"the chip of {path.name} is in use by another process") from None
    except OSError as problem:
        raise ValueError(f"the state of a chip cannot be kept in {path}: {problem.strerror or problem}") from None
    return lock


def build(options: dict[str, Any], site: Site) -> SimulatedBoard:
    """Entry point `labctl.simulators`: the board of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    return SimulatedBoard(msgspec.convert(options, BoardOptions), site.folder)
