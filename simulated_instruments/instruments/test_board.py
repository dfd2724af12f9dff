"""The memory-array test board's SCPI face (`docs/board-commands.md`): what it does is in `board`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..chips.bit_serial import MAX_BITS
from ..chips.line_products import MAX_BITS as MAX_LINE_BITS
from ..chips.line_products import MIN_BITS as MIN_LINE_BITS
from ..scpi import Block, Boolean, Command, Instrument, Keyword, Numeric, ScpiError, quoted, setting
from ..wire import Site
from .bench_clock import time_commands
from .board import (
    FIRMWARE,
    MAX_GATE,
    MAX_REPEATS,
    MAX_VOLTS,
    OPERATIONS,
    PULSE_TIME,
    READ_TIME,
    READ_VOLTAGE,
    WIDTHS,
    Cells,
    Codes,
    MemoryBoard,
    SimulatedBoard,
)
from .chip_socket import ChipOptions
from .numbered_work import NUMBER, work_commands

_Locate = Callable[..., tuple[Cells | None, NDArray[Any]]]


def scpi_face(board: MemoryBoard) -> Instrument:
    """What a server connects to. Raises ValueError where the chip's serial number cannot stand in an identity."""
    return Instrument(
        identity=("labctl", "TB-512", board.chip.serial, FIRMWARE),
        commands=[
            *_chip_commands(board),
            *_setting_commands(board),
            *_pulse_commands(board),
            *_read_commands(board),
            *time_commands(board.clock),
        ],
        on_reset=board.reset,
        on_message=board.begin_message,
        self_test=board.self_test,
    )


def _chip_commands(board: MemoryBoard) -> list[Command]:
    chip = board.chip
    return [
        Command("ARRay:GEOMetry", query=lambda: (chip.rows, chip.cols)),
        Command("ARRay:CELL", query=lambda: quoted(chip.cell_kind)),
        Command("ARRay:SERial", query=lambda: quoted(chip.serial)),
        Command("ARRay:TIMing", query=lambda: (PULSE_TIME, READ_TIME)),
        Command("ARRay:COUNt:PULSe", query=lambda: chip.pulse_counts.copy()),
        Command("ARRay:COUNt:READ", query=lambda: chip.read_counts.copy()),
        Command("[:SOURce]:DAC:SCALe", query=lambda: (chip.dac.step, chip.dac.offset, chip.dac.bits)),
        Command("SENSe:ADC:SCALe", query=lambda: board.reading_scale),
        Command("[:SOURce]:LIMit", query=lambda: (*MAX_VOLTS.values(), MAX_GATE, *WIDTHS)),
    ]


def _setting_commands(board: MemoryBoard) -> list[Command]:
    chip = board.chip
    low, high = chip.read_voltages
    coldest, hottest = chip.temperatures
    volts = Numeric(unit="V", minimum=low, maximum=high, default=READ_VOLTAGE)
    ranges = Numeric(unit="A", minimum=0.0, maximum=chip.ranges[-1], default=chip.ranges[2])
    return [
        setting("OUTPut[:STATe]", Boolean(), board, "output"),
        setting("SENSe:VOLTage", volts, board, "read_voltage"),
        setting("SENSe:CURRent:RANGe", ranges, board, "current_range"),
        Command("SENSe:TEMPerature", query=lambda: chip.temperature),
        setting(
            "SOURce:TEMPerature", Numeric(unit="K", minimum=coldest, maximum=hottest, default=300.0), board, "chuck"
        ),
        Command("OUTPut:SAFE", set=board.safe),
    ]


def _pulse_commands(board: MemoryBoard) -> list[Command]:
    codes = Block(dtype=np.uint16)
    batch = (
        NUMBER,
        Keyword("FORM", "SET", "RESet"),
        Numeric(unit="S", minimum=WIDTHS[0], maximum=WIDTHS[1]),
        Numeric(unit="V", minimum=0.0, maximum=MAX_GATE),
    )
    forms: Sequence[tuple[str, tuple[Any, ...], _Locate]] = (
        ("ALL", (codes,), lambda amplitudes: (None, amplitudes)),
        ("INDexed", (Block(dtype=np.uint32), codes), lambda cells, amplitudes: (board.listed(cells), amplitudes)),
        ("MASKed", (Block(dtype=np.uint8), codes), lambda mask, amplitudes: (board.masked(mask), amplitudes)),
    )
    commands = [Command("PULSe:SEQuence", query=lambda: board.sequence)]
    for word, where, locate in forms:
        parameters = (*batch, *where)
        apply, verify = _pulser(board, locate, verify=False), _pulser(board, locate, verify=True)
        commands.append(Command(f"PULSe:APPLy:{word}", set=apply, parameters=parameters))
        commands.append(Command(f"PULSe:VERify:{word}", query=verify, query_parameters=parameters))
    return commands


def _pulser(board: MemoryBoard, locate: _Locate, verify: bool) -> Callable[..., Any]:
    def pulse(number: int, operation: str, width: float, gate: float, *where: Any) -> Codes | None:
        cells, codes = locate(*where)
        return board.pulse(number, OPERATIONS[operation], width, gate, cells, codes, verify)

    return pulse


def _read_commands(board: MemoryBoard) -> list[Command]:
    rows, cols = board.chip.rows, board.chip.cols
    volts = Block(dtype=np.float32)
    region = (
        Numeric(integer=True, minimum=0, maximum=rows - 1),
        Numeric(integer=True, minimum=0, maximum=cols - 1),
        Numeric(integer=True, minimum=1, maximum=rows),
        Numeric(integer=True, minimum=1, maximum=cols),
        _repeats(optional=True),
    )

    def read_region(*where: int) -> Codes:
        return _read_region(board, *where)

    def read_listed(repeats: int, cells: NDArray[Any]) -> Codes:
        return board.read(board.listed(cells), repeats)

    return [
        Command("READ:REGion", query=read_region, query_parameters=region),
        Command("READ:INDexed", query=read_listed, query_parameters=(_repeats(), Block(dtype=np.uint32))),
        Command("MULTiply", query=board.multiply, query_parameters=(volts,)),
        Command("MULTiply:TRANspose", query=lambda given: board.multiply(given, True), query_parameters=(volts,)),
        *_bit_serial_commands(board),
        *_line_commands(board),
        *work_commands(board),
    ]


def _bit_serial_commands(board: MemoryBoard) -> list[Command]:
    chip = board.chip
    ranges = Numeric(unit="A", minimum=0.0, maximum=chip.product_ranges[-1], default=chip.product_ranges[-1])
    product = (
        Numeric(integer=True, minimum=1, maximum=MAX_BITS),
        Numeric(unit="V", minimum=0.0, maximum=chip.read_voltages[1]),
        ranges,
        *[Block(dtype=np.uint16)] * 3,
        Block(dtype=np.uint8),
    )
    return [
        Command("MULTiply:BITS", query=board.multiply_bits, query_parameters=product),
        Command("MULTiply:BITS:SCALe", query=board.product_scale, query_parameters=(ranges,)),
    ]


def _line_commands(board: MemoryBoard) -> list[Command]:
    chip = board.chip
    bits = Numeric(integer=True, minimum=MIN_LINE_BITS, maximum=MAX_LINE_BITS)
    ranges = Numeric(unit="A", minimum=0.0, maximum=chip.line_ranges[-1], default=chip.line_ranges[-1])
    product = (
        Keyword("FORWard", "BACKward"),
        Keyword("ROWs", "COLumns"),
        bits,
        Numeric(unit="V", minimum=0.0, maximum=chip.read_voltages[1]),
        ranges,
        *[Numeric(integer=True, minimum=1, maximum=max(chip.rows, chip.cols))] * 2,
        Block(dtype=np.int16),
    )

    def multiply(way: str, inputs_on: str, *others: Any) -> NDArray[np.int16]:
        return board.multiply_lines(way == "BACK", inputs_on == "COL", *others)

    return [
        Command("MULTiply:LINes", query=multiply, query_parameters=product),
        Command("MULTiply:LINes:SCALe", query=board.line_scale, query_parameters=(ranges, bits)),
    ]


def _repeats(optional: bool = False) -> Numeric:
    return Numeric(integer=True, minimum=1, maximum=MAX_REPEATS, default=1, optional=optional)


def _read_region(board: MemoryBoard, row: int, col: int, rows: int, cols: int, repeats: int = 1) -> Codes:
    chip = board.chip
    if row + rows > chip.rows or col + cols > chip.cols:
        raise ScpiError(-222, f"the region ends beyond row {chip.rows - 1} or column {chip.cols - 1}")
    if (rows, cols) == (chip.rows, chip.cols):
        return board.read(None, repeats)
    first = np.arange(row, row + rows, dtype=np.uint32)[:, np.newaxis] * np.uint32(chip.cols)
    where: Cells = (first + np.arange(col, col + cols, dtype=np.uint32)).astype(np.uint32).ravel()
    return board.read(where, repeats)


def build(options: dict[str, Any], site: Site) -> SimulatedBoard[Instrument]:
    """Entry point `labctl.simulators`: the board of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    return SimulatedBoard(msgspec.convert(options, ChipOptions), site.folder, scpi_face)
