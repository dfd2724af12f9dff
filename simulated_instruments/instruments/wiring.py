"""Where the leads of a simulated source go: to a fixture of the same bench file, or nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..network import Bias, Fixture, Lead, Sensed
from ..wire import Site
from .clocks import BoardClock, VirtualClock


class OpenCircuit:
    """A lead with nothing at its end: no current flows, whatever the voltage. It keeps its own virtual time."""

    def __init__(self) -> None:
        self.clock: BoardClock = VirtualClock()
        self._held: Bias | None = None

    def hold(self, bias: Bias | None) -> None:
        self._held = bias

    def sense(self, seconds: float) -> Sensed:
        """A current source drives its lead to the limit, and so does 0 A nowhere in particular: it stays at 0 V."""
        self.clock.spend(seconds)
        if self._held is None or self._held.level == 0:
            return Sensed(0.0, 0.0, False)
        if self._held.kind == "voltage":
            return Sensed(self._held.level, 0.0, False)
        return Sensed(math.copysign(self._held.limit, self._held.level), 0.0, True)

    def pulse(self, volts: float, width: float) -> None:  # noqa: ARG002 -- there is nothing that it could act on
        self.clock.spend(width)


def one_clock(leads: Iterable[Lead]) -> BoardClock:
    """The clock of an instrument with several leads: that of the first that goes anywhere. Open ones keep it too."""
    every = list(leads)
    clock = next((each.clock for each in every if not isinstance(each, OpenCircuit)), every[0].clock)
    for each in every:
        if isinstance(each, OpenCircuit):
            each.clock = clock
    return clock


def lead_to(wired_to: str, site: Site) -> Lead:
    """The lead that `FIXTURE.LEAD` names, as in `matrix.1`; an open circuit where the text is empty.

    Raises ValueError with one sentence.
    """
    if not wired_to:
        return OpenCircuit()
    name, dot, lead = wired_to.partition(".")
    if not (name and dot and lead):
        raise ValueError(f"wired_to is FIXTURE.LEAD, as in 'matrix.1', not {wired_to!r}")
    fixture = site.find(name)
    if not isinstance(fixture, Fixture):
        raise ValueError(f"[simulated.{name}] has no leads to wire to")
    return fixture.lead(lead)
