"""Resistance on the 2400 and 2450: ranges, and the automatic method, where the range decides the test current.

Ranges and test currents: 2400 SourceMeter specifications, Rev. H (2004), "resistance measurement accuracy"; the 2450's
are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from .source_measure import Reading, SourceMeasureChannel

OVER = 1.05
TEST_LIMIT = 21.0
"""V that the source of the automatic method is limited to."""
TEST_CURRENTS = {20.0: 0.1, 200.0: 0.01, 2e3: 1e-3, 2e4: 1e-4, 2e5: 1e-5, 2e6: 1e-6, 2e7: 1e-6, 2e8: 1e-7}
"""Full scale in Ohm -> A."""
_ROUNDING = 1 + 1e-9


@dataclass(slots=True)
class Ohms:
    """RESistance's settings. automatic: the range sets the source, too. full_scale: of the present range, Ohm."""

    automatic: bool = True
    auto_range: bool = True
    full_scale: float = 2e5

    def choose(self, most: float) -> None:
        """Fix the smallest range that holds `most` Ohm."""
        self.full_scale, self.auto_range = _holding(most), False

    def measure(self, channel: SourceMeasureChannel, delay: float) -> tuple[Reading, float]:
        """A reading by the automatic method, and Ohm; on the range that fits, where that is left to us."""
        for _ in TEST_CURRENTS:  # no more often than there are ranges: noise could send it to and fro between two
            channel.set_level("current", TEST_CURRENTS[self.full_scale])
            reading = channel.measure(delay)
            ohms = float("inf") if reading.volts is None or reading.limited else reading.volts / reading.level
            fitting = _holding(abs(ohms))
            if not self.auto_range or fitting == self.full_scale:
                break
            self.full_scale = fitting
        beyond = abs(ohms) > self.full_scale * OVER * _ROUNDING
        return reading, float("inf") if beyond else ohms


def _holding(ohms: float) -> float:
    return next((full for full in TEST_CURRENTS if ohms <= full * OVER * _ROUNDING), max(TEST_CURRENTS))
