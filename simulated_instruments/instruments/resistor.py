"""A resistor on a fixture, from its one lead `hi` to ground: for trying sources and their drivers.

Thermal noise of a resistance R at temperature T over a measurement of t seconds, which is one sample in a bandwidth of
1/(2t), as the standard deviation of the current (Johnson, Phys. Rev. 32, 97 (1928); Nyquist, ibid. 110):

    sqrt(2 k T / (R t))
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from ..network import Bias, Lead, Sensed
from ..quantities import quantity
from ..wire import Site
from .clocks import BoardClock, VirtualClock, WallClock

LEAD = "hi"
_BOLTZMANN = 1.380649e-23  # J/K, exact since 2019


class Resistor:
    """The lead of a resistor. Resistance in Ohm; temperature in K, 0 for one without noise."""

    def __init__(self, resistance: float, temperature: float, clock: BoardClock, seed: int = 0) -> None:
        self.resistance = resistance
        self.temperature = temperature
        self.clock = clock
        self._held: Bias | None = None
        self._random = np.random.default_rng(seed)

    def hold(self, bias: Bias | None) -> None:
        self._held = bias

    def sense(self, seconds: float) -> Sensed:
        self.clock.spend(seconds)
        noise = self._noise(seconds)
        held = self._held
        if held is None:
            return Sensed(noise * self.resistance, 0.0, False)
        if held.kind == "voltage":
            amps = held.level / self.resistance + noise
            if abs(amps) <= held.limit:
                return Sensed(held.level, amps, False)
            amps = math.copysign(held.limit, amps)
            return Sensed((amps - noise) * self.resistance, amps, True)
        volts = (held.level + noise) * self.resistance
        if abs(volts) <= held.limit:
            return Sensed(volts, held.level, False)
        volts = math.copysign(held.limit, volts)
        return Sensed(volts, volts / self.resistance - noise, True)

    def pulse(self, volts: float, width: float) -> None:  # noqa: ARG002 -- a resistor remembers nothing
        self.clock.spend(width)

    def _noise(self, seconds: float) -> float:
        """A that thermal noise adds to a measurement of that length."""
        if not (self.temperature and seconds):
            return 0.0
        spread = math.sqrt(2 * _BOLTZMANN * self.temperature / (self.resistance * seconds))
        return spread * float(self._random.standard_normal())


class ResistorOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[simulated.NAME]` table: resistance in Ohm, temperature in K (0: no noise), clock `virtual` or `real`."""

    resistance: float | str = 10e3
    temperature: float = 0.0
    clock: str = "virtual"


class ResistorFixture:
    """A fixture with one resistor on it. There is nothing to talk to."""

    wire = None

    def __init__(self, options: ResistorOptions) -> None:
        """Raises ValueError with one sentence."""
        resistance = _ohms(options.resistance)
        if not (resistance > 0 and math.isfinite(resistance)):
            raise ValueError(f"resistance must be above 0 Ohm, not {options.resistance!r}")
        if not (options.temperature >= 0 and math.isfinite(options.temperature)):
            raise ValueError(f"temperature must not be below 0 K, not {options.temperature!r}")
        if options.clock not in ("virtual", "real"):
            raise ValueError(f"clock must be 'virtual' or 'real', not {options.clock!r}")
        clock = VirtualClock() if options.clock == "virtual" else WallClock()
        self.resistor = Resistor(resistance, options.temperature, clock)

    def lead(self, name: str) -> Lead:
        if name != LEAD:
            raise ValueError(f"a resistor has no lead {name!r}; there is: {LEAD}")
        return self.resistor

    def close(self) -> None:
        """Nothing to save."""


def _ohms(written: float | str) -> float:
    """`10 kOhm`, or a plain number. Raises ValueError."""
    if not isinstance(written, str):
        return written
    try:
        return quantity(written, "Ohm", "10 kOhm")
    except ValueError as problem:
        raise ValueError(f"resistance: {problem}") from None


def build(options: dict[str, Any], site: Site) -> ResistorFixture:  # noqa: ARG001 -- as the entry point asks for
    """Entry point `labctl.simulators`: a `[simulated.NAME]` table's resistor. Raises ValueError with one sentence."""
    return ResistorFixture(msgspec.convert(options, ResistorOptions))
