"""What program-and-verify can be told, and how it can end for a cell."""

from __future__ import annotations

import enum

import msgspec
import numpy as np

from labctl.protocols import forming
from labctl.protocols.ramps import Ramp
from labctl.units import Second, Siemens, Volt

SET = Ramp(start=Volt(1.2), stop=Volt(2.5), step=Volt(0.05), width=Second(1e-7), gate=Volt(2.2))
RESET = Ramp(start=Volt(1.4), stop=Volt(3.0), step=Volt(0.05), width=Second(1e-7), gate=Volt(2.5))
"""The default ramps: for a technology whose levels go up to some 40 uS."""


class CellOutcome(enum.IntEnum):
    """How programming one cell ended."""

    NOT_TARGETED = 0
    IN_WINDOW = 1
    UNREACHED = 2
    NEVER_FORMED = 3
    STUCK_LOW = 4
    STUCK_HIGH = 5
    OVER_STRESSED = 6
    NOISE_LIMITED = 7
    EXCLUDED = 8
    UNFINISHED = 9


class Confirm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cell is in its window when `needed` of `reads` further reads are."""

    needed: int = 2
    reads: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.needed <= self.reads <= 1000:
            raise ValueError(f"needed ({self.needed}) must be 0 to reads ({self.reads}), and reads at most 1000")


class WriteVerifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to program and how.

    target: (rows, cols) conductances in S. cells: (rows, cols) bool, which of them to program (all where None).
    exclude: (rows, cols) bool, cells never to be touched. tolerance: half the window's width in S; tolerances: (rows,
    cols), each cell's own instead. window_low, window_high: (rows, cols) S, the window itself around the target,
    instead of a tolerance, for windows that are not even: a `window_low` of 0 means "at most", a `window_high` beyond
    what the board can read "at least", and a saturated reading is then inside. aim: the inner share of the window, on
    either side of the target, in which a cell has to land, so that noise does not carry it out again. form_pristine:
    form pristine cells first, as `form` says; else they are called never formed. `form.formed_at` is where a cell
    counts as formed; no window reaches below it. reverify: delays in s after programming at which every cell is read
    again. stuck_change: a whole ramp that moves a cell by less leaves it stuck.
    """

    target: np.ndarray
    cells: np.ndarray | None = None
    exclude: np.ndarray | None = None
    tolerance: Siemens = Siemens(1e-6)
    tolerances: np.ndarray | None = None
    window_low: np.ndarray | None = None
    window_high: np.ndarray | None = None
    aim: float = 0.8
    set: Ramp = SET
    reset: Ramp = RESET
    confirm: Confirm = Confirm()
    max_pulses: int = 200
    max_reversals: int = 30
    hold: int = 5
    reverify: tuple[Second, ...] = (Second(0.0), Second(1.0))
    form_pristine: bool = True
    form: forming.FormingSettings = forming.FormingSettings()
    stuck_change: Siemens = Siemens(0.5e-6)

    def __post_init__(self) -> None:
        if not 1 <= self.max_pulses <= 30_000:
            raise ValueError(f"max_pulses must be 1 to 30000, not {self.max_pulses}")
        if not 0 <= self.max_reversals <= 250:
            raise ValueError(f"max_reversals must be 0 to 250, not {self.max_reversals}")
        if not 0 <= self.hold <= 1000:
            raise ValueError(f"hold must be 0 to 1000, not {self.hold}")
        if not 0 < self.aim <= 1:
            raise ValueError(f"aim must be more than 0 and at most 1, not {self.aim:g}")
        if not (self.tolerance > 0 and (self.tolerances is None or np.all(self.tolerances > 0))):
            raise ValueError("a tolerance must be more than 0 S")
        if (self.window_low is None) != (self.window_high is None):
            raise ValueError("window_low and window_high belong together: give both or none")
        if self.window_low is not None and self.tolerances is not None:
            raise ValueError("window_low and window_high say what tolerances say too: give one or the other")
        if any(not 0 <= delay < 1e9 for delay in self.reverify) or list(self.reverify) != sorted(self.reverify):
            raise ValueError("reverify must be delays in s that do not decrease")
