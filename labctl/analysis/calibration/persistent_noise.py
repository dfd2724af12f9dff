"""How much a chip's read noise scatters over a given time: white, 1/f and telegraph parts of a parameter set.

A simulated cell has one two-level fluctuator a time scale, of amplitude a = flicker sqrt(1.5) tau**(excess / 2) with
time constants tau = 1 ms ... 9 h, each 32 times the one before, which make its 1/f noise; in a share of the cells one
stands out, the telegraph noise. Amplitudes are lognormal over cells.
"""

from __future__ import annotations

import math

import numpy as np

from labctl.analysis.calibration.parameters import Base, Floats, Parameter, scalar

DECADES = math.log10(32)
TIME_CONSTANTS: Floats = np.array([1e-3 * 32.0**number for number in range(6)])
"""s"""

_NOISES = {"read_noise": "1", "flicker_noise": "1", "telegraph_noise": "1", "read_noise_floor": "S"}


def is_measured(base: Base) -> bool:
    """Whether an earlier fit of the same chip has found, or bounded, its read noise."""
    return not base.measured.isdisjoint(_NOISES)


def scaled_noise(base: Base, factor: float, source: str, cells: int) -> dict[str, Parameter]:
    """Every part of the base's read noise times `factor`: the most that a run allows."""
    text = f"{source}; {factor:.2g} times that of {base.name}"
    return {
        name: scalar(base.number(name) * factor, unit, text, cells, tag="bounded")
        for name, unit in _NOISES.items()
        if base.number(name)
    }


def relative_variance(base: Base, faster_than: float) -> float:
    """Variance of a reading over its mean squared, of what changes within `faster_than` s, of a typical cell.

    Typical: the square of the mean amplitude, as a mean of squares would be that of the noisiest few.
    """
    white = _typical(base, "read_noise", "read_noise_device_spread")
    flicker = _typical(base, "flicker_noise", "flicker_device_spread")
    active = TIME_CONSTANTS[faster_than > TIME_CONSTANTS]
    slow = flicker * DECADES * float((active ** base.number("flicker_excess")).sum())
    low, high = base.number("telegraph_fastest"), base.number("telegraph_slowest")
    able = TIME_CONSTANTS[(low <= TIME_CONSTANTS) & (high >= TIME_CONSTANTS)]
    share = float((able < faster_than).mean()) if len(able) else 0.0
    step = _typical(base, "telegraph_noise", "telegraph_device_spread")
    return white + slow + base.number("telegraph_fraction") * share * step


def _typical(base: Base, noise: str, spread: str) -> float:
    return base.number(noise) ** 2 * math.exp(base.number(spread) ** 2)
