"""The associative-processor board's SCPI face (`docs/associative-board.md`): `associative_firmware` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..cells.racetrack_parameters import OVERRIDES, RacetrackParameters
from ..chips.associative import AssociativeChip
from ..scpi import Block, Boolean, Command, Instrument, Numeric, quoted, setting
from ..wire import Site
from .associative_firmware import (
    FIRMWARE,
    MAX_SENSE_THRESHOLD,
    MAX_VERIFY_EVERY,
    SENSE_THRESHOLD,
    AssociativeFirmware,
)
from .bench_clock import time_commands
from .chip_socket import Socket, check_plain, check_serial
from .numbered_work import PoweredBoard, work_commands
from .program_memory import MEMORY, SLOTS

_COLUMNS = Block(dtype=np.uint32)
_BYTES = Block(dtype=np.uint8)


def scpi_face(board: AssociativeFirmware) -> Instrument:
    """What a server connects to. Raises ValueError where the chip's serial number cannot stand in an identity."""
    return Instrument(
        identity=("labctl", "AP-128", board.chip.serial, FIRMWARE),
        commands=[
            *_chip_commands(board),
            *_setting_commands(board),
            *_column_commands(board),
            *_position_commands(board),
            *_program_commands(board),
            *work_commands(board),
            *time_commands(board.clock),
        ],
        on_reset=board.reset,
        on_message=board.begin_message,
        on_refusal=board.void_message,
        self_test=board.self_test,
    )


def _chip_commands(board: AssociativeFirmware) -> list[Command]:
    chip, parameters = board.chip, board.chip.parameters
    times = (
        parameters.shift_time,
        parameters.search_time,
        parameters.write_time,
        parameters.read_time,
        parameters.transverse_read_time,
    )
    return [
        Command("ARRay:GEOMetry", query=lambda: (chip.rows, chip.tracks, chip.domains, chip.ports)),
        Command("ARRay:CELL", query=lambda: quoted(chip.cell_kind)),
        Command("ARRay:SERial", query=lambda: quoted(chip.serial)),
        Command("ARRay:TIMing", query=lambda: times),
        Command("ARRay:COUNt", query=board.counters),
        Command("SENSe:TEMPerature", query=lambda: chip.temperature),
    ]


def _setting_commands(board: AssociativeFirmware) -> list[Command]:
    threshold = Numeric(minimum=0.0, maximum=MAX_SENSE_THRESHOLD, default=SENSE_THRESHOLD)
    every = Numeric(integer=True, minimum=0, maximum=MAX_VERIFY_EVERY, default=0)
    return [
        setting("OUTPut[:STATe]", Boolean(), board, "output"),
        Command("OUTPut:SAFE", set=board.safe),
        setting("SENSe:THReshold", threshold, board, "sense_threshold"),
        setting("POSition:VERify", every, board, "verify_every"),
    ]


def _column_commands(board: AssociativeFirmware) -> list[Command]:
    return [
        Command("COLumn:LOAD", set=board.load, parameters=(_COLUMNS, _BYTES)),
        Command("COLumn:READ", query=board.read, query_parameters=(_COLUMNS,)),
        Command("SEARch", query=board.search, query_parameters=(_COLUMNS, _BYTES)),
        Command("WRITe", set=board.write, parameters=(_COLUMNS, _BYTES)),
        Command("TAGS", set=board.tag, parameters=(_BYTES,), query=board.tags),
    ]


def _position_commands(board: AssociativeFirmware) -> list[Command]:
    chip = board.chip
    track = Numeric(integer=True, minimum=0, maximum=chip.tracks - 1)
    steps = Numeric(integer=True, minimum=-chip.domains, maximum=chip.domains)
    return [
        Command("POSition:SHIFt", set=board.shift, parameters=(track, steps)),
        Command("POSition:CHECk", query=board.check, query_parameters=(Block(dtype=np.uint16),)),
        Command("POSition:REALign", set=board.realign, parameters=(track, steps)),
    ]


def _program_commands(board: AssociativeFirmware) -> list[Command]:
    slot = Numeric(integer=True, minimum=0, maximum=SLOTS - 1)
    count = Numeric(integer=True, minimum=0, maximum=MEMORY)
    part = (slot, count, count)
    return [
        Command("PROGram:LIMit", query=lambda: (SLOTS, MEMORY)),
        Command("PROGram:FREE", query=lambda: board.programs.free),
        Command("PROGram:DEFine", set=board.define, parameters=(slot, _BYTES, _BYTES)),
        Command("PROGram:DELete", set=board.delete, parameters=(slot,)),
        Command("PROGram:DELete:ALL", set=board.delete_all),
        Command("PROGram:RUN", query=board.run, query_parameters=part),
        Command("PROGram:TRACe", query=board.trace, query_parameters=part),
    ]


class AssociativeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `[simulated.NAME]` table says of the chip in it.

    chip: its serial number. cells: a built-in technology, of which the last seven may be changed
    (`RacetrackParameters`). state: HDF5 file of what the chip remembers; without it the chip is fresh every time.
    rows, tracks, domains, ports: of a chip that is bought new. clock: `virtual` or `real`.
    """

    chip: str = "RT-0001"
    cells: str = "racetrack"
    state: str | None = None
    rows: int = 65_536
    tracks: int = 128
    domains: int = 64
    ports: int = 2
    clock: str = "virtual"
    shift_error: float | None = None
    transverse_misread: float | None = None
    sense_noise: float | None = None
    write_error: float | None = None
    read_error: float | None = None
    retention_rate: float | None = None
    lifetime: float | None = None

    @property
    def overrides(self) -> dict[str, float]:
        """Of the cells' parameters, those that are given."""
        given = {name: getattr(self, name) for name in OVERRIDES}
        return {name: value for name, value in given.items() if value is not None}


SimulatedAssociativeBoard = PoweredBoard[AssociativeChip, AssociativeFirmware, Instrument]


def associative_socket(options: AssociativeOptions, folder: Path) -> Socket[AssociativeChip]:
    """`folder`: what the options' relative paths start from. Raises ValueError with one sentence."""
    check_plain(options.chip)
    parameters = RacetrackParameters.named(options.cells).changed(**options.overrides)

    def plugged_in(path: Path | None) -> AssociativeChip:
        if path is None:
            shape = options.rows, options.tracks, options.domains, options.ports
            return AssociativeChip.buy(options.chip, parameters, *shape)
        chip = AssociativeChip.restored(path, parameters)
        check_serial(chip.serial, options.chip, path)
        return chip

    return Socket(options.clock, folder / options.state if options.state else None, plugged_in)


def build(options: dict[str, Any], site: Site) -> SimulatedAssociativeBoard:
    """Entry point `labctl.simulators`: the board of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    socket = associative_socket(msgspec.convert(options, AssociativeOptions), site.folder)
    return PoweredBoard(socket, AssociativeFirmware, scpi_face)
