"""Unit suffixes: `10 MV` is 0.01 V, but `10 MHZ` is ten million hertz."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

_MULTIPLIERS = {
    "EX": 18,
    "PE": 15,
    "T": 12,
    "G": 9,
    "MA": 6,
    "K": 3,
    "M": -3,
    "U": -6,
    "N": -9,
    "P": -12,
    "F": -15,
    "A": -18,
}
_M_IS_MEGA = frozenset({"HZ", "OHM"})


@cache
def suffixes_of(unit: str) -> Mapping[str, int]:
    """Every suffix, in capitals, that a number in `unit` may carry -> the power of ten it stands for.

    IEEE 488.2 table 7-1: M is milli, and mega only before HZ and OHM; MA is mega anywhere. Where a
    multiplier and a unit spell the same (`MA` is a milliampere), the unit wins, as megas need one behind
    them.
    """
    unit = unit.upper()
    powers = {multiplier + unit: power for multiplier, power in _MULTIPLIERS.items()}
    if unit in _M_IS_MEGA:
        powers["M" + unit] = 6
    powers[unit] = 0
    return MappingProxyType(powers)
