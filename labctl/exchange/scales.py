"""Converters for numbers that no converter made: codes so fine that a measured number is kept as it was."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.array import Scale
from labctl.exchange.quantities import Floats

BITS = 31
"""One fewer than the file's four bytes have: the highest number of those means that nothing was read."""

VOLTS = Scale(1e-5, 0.0, 20, "V")
"""Of pulse amplitudes: in steps of 10 uV up to 10 V."""

_LEAST_SPAN = 1e-24
"""S. Conductances closer together than this are no measurements apart, and a step must be a number that divides."""

_HEADROOM = 1.25
"""How far the top is above the largest number, of which a reading must not look as if it were cut off there."""


def scale_for(values: ArrayLike) -> Scale:
    """A scale in S that holds all finite `values`, each to within 1e-9 of the span from 0 that they take.

    Values that all lie within 1e-24 S of 0 are kept as zeros of a scale of 1 uS.
    """
    numbers = np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = min(float(finite.min(initial=0.0)), 0.0), max(float(finite.max(initial=0.0)), 0.0)
    span = (high - low) * _HEADROOM
    span = span if span > _LEAST_SPAN else 1e-6
    step = span / ((1 << BITS) - 1)
    return Scale(step, -step * round(-low / step), BITS, "S")


def codes_for(values: Floats, scale: Scale) -> NDArray[np.uint32]:
    """Codes of `values`, same shape; the file's fill, which is not read, where one is NaN or infinite."""
    finite = np.isfinite(values)
    codes = np.full(values.shape, np.iinfo(np.uint32).max, np.uint32)
    codes[finite] = np.rint((values[finite] - scale.offset) / scale.step).astype(np.uint32)
    return codes
