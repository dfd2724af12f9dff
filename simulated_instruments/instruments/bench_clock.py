"""The clock of a simulated bench as an instrument of its own: what time it is, and let it pass.

A bench of simulated sources and matrices has its time on the fixture. Nobody could ask an SMU for it, or tell one to
wait a year.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..scpi import Command, Instrument, Numeric, ScpiError
from ..wire import Site
from .clocks import BoardClock

MAX_ADVANCE = 1e9
"""s at once."""


class BenchClockOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table. of: the `[simulated.NAME]` whose time it is."""

    of: str


def advance(clock: BoardClock, seconds: float) -> None:
    """Let time pass. Raises ScpiError -221 where `clock` keeps real time."""
    try:
        clock.advance(seconds)
    except ValueError as problem:
        raise ScpiError(-221, str(problem)) from None


def time_commands(clock: BoardClock) -> list[Command]:
    """What asks for the time of `clock` and lets it pass, of every instrument that has one."""
    seconds = Numeric(unit="S", minimum=0.0, maximum=MAX_ADVANCE)
    return [
        Command("SYSTem:TIME", query=clock.now),
        Command("SYSTem:TIME:VIRTual", query=lambda: clock.virtual),
        Command("SYSTem:TIME:ADVance", set=lambda wanted: advance(clock, wanted), parameters=(seconds,)),
    ]


class BenchClock:
    """The instrument, around the `clock` of another."""

    def __init__(self, clock: BoardClock) -> None:
        self.wire = Instrument(("labctl", "BENCH-CLOCK", "0", "1.0"), time_commands(clock))

    def close(self) -> None:
        """Nothing to save."""


def build(options: dict[str, Any], site: Site) -> BenchClock:
    """Entry point `labctl.simulators`: the clock of a `[simulated.NAME]` table. Raises ValueError with one sentence."""
    given = msgspec.convert(options, BenchClockOptions)
    clock = getattr(site.find(given.of), "clock", None)
    if clock is None:
        raise ValueError(f"[simulated.{given.of}] keeps no time of its own")
    return BenchClock(clock)
