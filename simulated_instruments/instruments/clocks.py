"""What time it is on a simulated bench: counted by the work done, or the wall's."""

from __future__ import annotations

import time
from typing import Protocol

FIRST_POWER_ON = 1_767_225_600.0
"""2026-01-01T00:00:00Z: when a new virtual clock starts, the same for every run."""


class BoardClock(Protocol):
    """Seconds since 1970-01-01T00:00:00Z."""

    virtual: bool

    def now(self) -> float: ...

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

    def now(self) -> float:
        return self._start + self._passed

    def spend(self, seconds: float) -> None:
        self._passed += seconds

    def advance(self, seconds: float) -> None:
        self._passed += seconds


class WallClock:
    """Real time; work takes as long as it would on a real board."""

    virtual = False

    def now(self) -> float:
        return time.time()

    def spend(self, seconds: float) -> None:
        time.sleep(seconds)

    def advance(self, seconds: float) -> None:  # noqa: ARG002
        raise ValueError("this board keeps real time")
