"""Where a simulated chip is plugged in: bought by its serial number, or found again in the file of its state."""

from __future__ import annotations

from pathlib import Path

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


class ChipSocket:
    """A `chip` that is ours until `close`, and the `clock` it ages by."""

    def __init__(self, options: ChipOptions, folder: Path) -> None:
        """`folder`: what the options' relative paths start from. Raises ValueError with one sentence."""
        if options.clock not in ("virtual", "real"):
            raise ValueError(f"clock must be 'virtual' or 'real', not {options.clock!r}")
        technology, serial = _bought(options, folder)
        self._path = folder / options.state if options.state else None
        self._lock = _hold(self._path) if self._path else None
        try:
            self.chip = self._plugged_in(options, technology, serial)
        except BaseException:
            self.release()
            raise
        virtual = VirtualClock(max(FIRST_POWER_ON, self.chip.time))
        self.clock: BoardClock = virtual if options.clock == "virtual" else WallClock()

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

    def _plugged_in(self, options: ChipOptions, technology: Technology, serial: str) -> CrossbarMacro:
        around = Periphery.named(options.periphery), DeadLines(options.dead_rows, options.dead_cols)
        if self._path is None or not self._path.exists():
            return CrossbarMacro.buy(serial, technology.parameters, options.rows, options.cols, *around)
        chip = CrossbarMacro.load(self._path, technology.parameters, *around)
        if chip.serial != serial:
            raise ValueError(f"{self._path.name} is the state of chip {chip.serial!r}, not of {serial!r}")
        return chip


def _bought(options: ChipOptions, folder: Path) -> tuple[Technology, str]:
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
