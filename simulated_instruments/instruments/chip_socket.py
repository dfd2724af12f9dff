"""Where a simulated chip is plugged in: bought by its serial number, or found again in the file of its state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec
from filelock import FileLock, Timeout

from ..cells.technologies import DEFAULT, Technology
from ..chips.crossbar import CrossbarMacro
from ..chips.dead_lines import DeadLines
from ..chips.periphery import DEFAULT as DEFAULT_PERIPHERY
from ..chips.periphery import Periphery
from .clocks import FIRST_POWER_ON, BoardClock, VirtualClock, WallClock


class ChipOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a `[simulated.NAME]` table says of the chip in it.

    chip: its serial number, or a file that calibration wrote (`chip.toml`): then it is the twin of the chip that was
    measured. cells: a built-in technology. state: HDF5 file of what the chip remembers; without it the chip is fresh
    every time. rows, cols: of a chip that is bought new. dead_rows, dead_cols: its broken lines, by number. clock:
    `virtual` or `real`. periphery: a set of lines and converters by name, `ideal` for faultless ones.
    """

    chip: str = "R40-0001"
    cells: str = DEFAULT
    state: str | None = None
    rows: int = 512
    cols: int = 512
    dead_rows: tuple[int, ...] = ()
    dead_cols: tuple[int, ...] = ()
    clock: str = "virtual"
    periphery: str = DEFAULT_PERIPHERY


class Chip(Protocol):
    """What can be plugged in. time: the last that it knows, s since 1970; None where it knows none."""

    @property
    def time(self) -> float | None: ...

    def wait(self, now: float) -> None: ...

    def save(self, path: Path) -> None: ...


ChipT = TypeVar("ChipT", bound=Chip)


class Socket(Generic[ChipT]):
    """A `chip` that is ours until `close`, and the `clock` it ages by."""

    def __init__(self, clock: str, state: Path | None, plugged_in: Callable[[Path | None], ChipT]) -> None:
        """clock: `virtual` or `real`. state: the file of what the chip remembers. plugged_in: the chip, given that file
        where it is there. Raises ValueError with one sentence.
        """
        if clock not in ("virtual", "real"):
            raise ValueError(f"clock must be 'virtual' or 'real', not {clock!r}")
        self._path = state
        self._lock = _hold(state) if state else None
        try:
            self.chip = plugged_in(state if state is not None and state.exists() else None)
        except BaseException:
            self.release()
            raise
        virtual = VirtualClock(max(FIRST_POWER_ON, self.chip.time or FIRST_POWER_ON))
        self.clock: BoardClock = virtual if clock == "virtual" else WallClock()

    def close(self) -> None:
        """Save what the chip remembers. May be called twice: the chip is saved once, as long as it is ours."""
        try:
            if self._lock is not None and self._path is not None:
                if self.clock.virtual:  # the next one starts where this one ends
                    self.chip.wait(self.clock.now())
                self.chip.save(self._path)
        finally:
            self.release()

    def release(self) -> None:
        """Let go of the chip without saving anything."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def chip_socket(options: ChipOptions, folder: Path) -> Socket[CrossbarMacro]:
    """Of a memory chip. `folder`: what the options' relative paths start from. Raises ValueError with one sentence."""
    technology, serial = _bought(options, folder)
    around = Periphery.named(options.periphery), DeadLines(options.dead_rows, options.dead_cols)

    def plugged_in(path: Path | None) -> CrossbarMacro:
        if path is None:
            return CrossbarMacro.buy(serial, technology.parameters, options.rows, options.cols, *around)
        chip = CrossbarMacro.load(path, technology.parameters, *around)
        check_serial(chip.serial, serial, path)
        return chip

    return Socket(options.clock, folder / options.state if options.state else None, plugged_in)


def check_serial(found: str, serial: str, path: Path) -> None:
    """Raises ValueError where the chip of a state file is another one."""
    if found != serial:
        raise ValueError(f"{path.name} is the state of chip {found!r}, not of {serial!r}")


def check_plain(serial: str) -> None:
    """Raises ValueError where `serial` can be no serial number."""
    if not (serial.isascii() and serial.isprintable()):
        raise ValueError(f"chip must be a serial number in plain letters and digits, not {serial!r}")


def _bought(options: ChipOptions, folder: Path) -> tuple[Technology, str]:
    """The technology and the serial number of the chip that `options` name. Raises ValueError."""
    if options.chip.endswith(".toml"):
        path = folder / options.chip
        technology = Technology.from_file(path)
        return technology, technology.serial or path.stem
    check_plain(options.chip)
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
