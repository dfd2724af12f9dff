"""What the data sheet of the 2450 states as numbers: ranges, steps, resolution, noise."""

from __future__ import annotations

from ..scpi import Numeric
from .source_measure import Quantity, Range, Ratings, unit

AUTO_DELAY = 1e-3
"""s from a new level to its measurement, while the delay is automatic."""
MOST_LEVELS = 2500
"""Of a list."""
POWER = (-221, "beyond the power that the instrument gives")
LARGEST: dict[Quantity, float] = {"voltage": 210.0, "current": 1.05}
"""V and A that can be sourced or measured at all."""


def _volts(full_scale: float, noise: float) -> Range:
    return Range(full_scale, full_scale * 25e-6, full_scale * 5e-7, noise)


def _amps(full_scale: float, noise: float) -> Range:
    return Range(full_scale, full_scale * 5e-5, full_scale * 1e-6, noise)


RATINGS = Ratings(
    voltage=(
        _volts(0.02, 1e-6),
        _volts(0.2, 1e-6),
        _volts(2.0, 10e-6),
        _volts(20.0, 100e-6),
        _volts(200.0, 1e-3),
    ),
    current=(
        _amps(10e-9, 500e-15),
        _amps(100e-9, 500e-15),
        _amps(1e-6, 5e-12),
        _amps(10e-6, 40e-12),
        _amps(100e-6, 400e-12),
        _amps(1e-3, 5e-9),
        _amps(10e-3, 40e-9),
        _amps(100e-3, 100e-9),
        _amps(1.0, 3e-6),
    ),
    source_reach=1.05,
    sense_reach=1.055,
    corners=((21.0, 1.05), (210.0, 0.105)),
    hum=5e-6 / 3,
    overhead=0.2e-3,
    first_ranges={"voltage": 20.0, "current": 1e-4},
    first_limits={"voltage": 21.0, "current": 1.05e-4},
)
"""2450 specifications, SPEC-2450 Rev. A (2013): steps of the source of 500 nV on 20 mV to 5 mV on 200 V and 500 fA on
10 nA to 50 uA on 1 A; resolution of 10 nV to 100 uV and 10 fA to 1 uA at 1 PLC; the noise is the rms noise below 10 Hz
stated for each range of the source, which is all that is stated. The hum is the 2400's."""


def amount(quantity: Quantity, default: float) -> Numeric:
    """A parameter in V or A."""
    most = LARGEST[quantity]
    return Numeric(unit=unit(quantity), minimum=-most, maximum=most, default=default)


def amounts(quantity: Quantity) -> Numeric:
    """Any number of them."""
    return Numeric(unit=unit(quantity), minimum=-LARGEST[quantity], maximum=LARGEST[quantity], repeat=True)
