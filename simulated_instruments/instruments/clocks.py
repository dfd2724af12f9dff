"""What time it is on a simulated bench: counted by the work done, or the wall's."""

from __future__ import annotations

import time
from typing import Protocol

FIRST_POWER_ON = 1_767_225_600.0
"""2026-01-01T00:00:00Z: when a new virtual clock starts, the same for every run."""


TICKS = 1e12
"""in a second. (Divided by them, a number of picoseconds is the float that the decimal number is.)"""


class BoardClock(Protocol):
    """The time of day, and how much time passes."""

    virtual: bool

    def now(self) -> float:
        """s since 1970-01-01T00:00:00Z, in the steps of 0.24 us that a float has there."""

    def ticks(self) -> int:
        """Picoseconds that have passed since some moment: two of these tell how long something short was."""

    def spend(self, seconds: float) -> None:
        """The board was busy that long."""

    def advance(self, seconds: float) -> None:
        """Let time pass on request. Raises ValueError where time cannot be told to."""


class VirtualClock:
    """Moves only when work is done or it is told to, so that a run is the same on any machine."""

    virtual = True

    def __init__(self, start: float = FIRST_POWER_ON) -> None:
        self._start = start
        self._passed = 0.0  # apart: a time of day as a float has steps of 0.24 us, a twentieth of one reading
        self._ticks = 0

    def now(self) -> float:
        return self._start + self._passed

    def ticks(self) -> int:
        return self._ticks

    def spend(self, seconds: float) -> None:
        self._passed += seconds
        self._ticks += round(seconds * TICKS)

    def advance(self, seconds: float) -> None:
        self.spend(seconds)


class WallClock:
    """Real time; work takes as long as it would on a real board."""

    virtual = False

    def now(self) -> float:
        return time.time()

    def ticks(self) -> int:
        return time.monotonic_ns() * 1000

    def spend(self, seconds: float) -> None:
        time.sleep(seconds)

    def advance(self, seconds: float) -> None:  # noqa: ARG002
        raise ValueError("this board keeps real time")
