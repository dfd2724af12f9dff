"""Time on a simulated bench, which passes by the work done or by being told to: an instrument's own, or one apart.

A bench of simulated source-measure units and matrices has such a clock as an instrument of its own; a real bench needs
none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from labctl.bench.clock import wall_clock
from labctl.bench.settings import VisaSettings
from labctl.drivers.visa_instrument import VisaInstrument
from labctl.errors import LinkError
from labctl.links.visa import VisaLink

_TRIES = 3
_SHORTEST = 1e-6  # s that are asked to pass
_SETTINGS = (":SYSTem:TIME", ":SYSTem:TIME:VIRTual")


class BoardClock:
    """The clock of an instrument that keeps its own time and can be told to let it pass.

    ask: what time it is there, s since 1970. advance: let so many seconds pass, and the time then.
    """

    def __init__(self, ask: Callable[[], float], advance: Callable[[float], float]) -> None:
        self._ask = ask
        self._advance = advance

    def now(self) -> float:
        """Asking changes nothing, so it may be done again."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(LinkError):
                return self._ask()
        return self._ask()

    def sleep_until(self, moment: float) -> None:
        """Where an answer is lost, the time is asked for, and only what is missing passes."""
        now, tries = self.now(), _TRIES
        while now < moment:  # a second time where the sum of two floats falls short of the moment
            try:
                now = self._advance(round(max(moment - now, _SHORTEST), 9))
                tries = _TRIES
            except LinkError:
                tries -= 1
                if not tries:
                    raise
                now = self.now()


def scpi_clock(link: VisaLink) -> BoardClock:
    """Of an instrument that understands SYSTem:TIME? and SYSTem:TIME:ADVance."""

    def ask() -> float:
        return float(link.query(":SYSTem:TIME?"))

    def advance(seconds: float) -> float:
        return float(link.query(f":SYSTem:TIME:ADVance {seconds:.9f};:SYSTem:TIME?"))

    return BoardClock(ask, advance)


class BenchClock(VisaInstrument):
    """An instrument that is a clock and nothing else; the wall's where it keeps real time."""

    Settings = VisaSettings

    def set_up(self) -> None:
        virtual = int(self.link.query(":SYSTem:TIME:VIRTual?"))
        self._clock = scpi_clock(self.link) if virtual else wall_clock(self.link.recorded_time)

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        return self._clock.now()

    def sleep_until(self, moment: float) -> None:
        """Return once `now()` is at least `moment`."""
        self._clock.sleep_until(moment)

    def settings_now(self) -> Mapping[str, Any]:
        return self.answers(_SETTINGS)

    def safe_state(self, timeout_s: float = 2.0) -> None:
        """It drives nothing; asked for the time, it shows that it is there."""
        self.link.query(":SYSTem:TIME?", timeout_s=timeout_s)
