"""The wall clock, as a bench without a simulated board has it, and that of a recorded one."""

from __future__ import annotations

import time
from collections.abc import Callable

from labctl.array import Clock


class WallClock:
    """Real time; sleeps in short pieces, so that a signal is noticed."""

    def now(self) -> float:
        return time.time()

    def sleep_until(self, moment: float) -> None:
        while (left := moment - time.time()) > 0:
            time.sleep(min(left, 0.2))


class RecordedClock:
    """Time as it was when a replayed link was recorded. Sleeping takes none of today's."""

    def __init__(self, recorded: Callable[[], float]) -> None:
        """recorded: s since 1970 of what was played last."""
        self._recorded = recorded
        self._slept_until = 0.0

    def now(self) -> float:
        return max(self._recorded(), self._slept_until)

    def sleep_until(self, moment: float) -> None:
        self._slept_until = max(self._slept_until, moment)


def wall_clock(recorded: Callable[[], float] | None) -> Clock:
    """The clock of a link's bench; `recorded` as the link's `recorded_time` gives it."""
    return WallClock() if recorded is None else RecordedClock(recorded)
