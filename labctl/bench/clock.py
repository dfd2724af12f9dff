"""The wall clock, as a bench without a simulated board has it."""

from __future__ import annotations

import time


class WallClock:
    """Real time; sleeps in short pieces, so that a signal is noticed."""

    def now(self) -> float:
        return time.time()

    def sleep_until(self, moment: float) -> None:
        while (left := moment - time.time()) > 0:
            time.sleep(min(left, 0.2))
