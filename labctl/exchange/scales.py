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

_HEADROOM = 1.25
"""How far the top is above the largest number, of which a reading must not look as if it were cut off there."""


def scale_for(values: ArrayLike) -> Scale:
    """A scale in S that holds all finite `values`, each to within 5e-10 of the largest magnitude among them."""
    numbers = np.asarray(values, np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = min(float(finite.min(initial=0.0)), 0.0), max(float(finite.max(initial=0.0)), 0.0)
    span = (high - low) * _HEADROOM or 1e-6
    step = span / ((1 << BITS) - 1)
    return Scale(step, -step * round(-low / step), BITS, "S")


def codes_for(values: Floats, scale: Scale) -> NDArray[np.uint32]:
    """Codes of `values`, same shape; the file's fill, which is not read, where one is NaN or infinite."""
    finite = np.isfinite(values)
    codes = np.full(values.shape, np.iinfo(np.uint32).max, np.uint32)
    codes[finite] = np.rint((values[finite] - scale.offset) / scale.step).astype(np.uint32)
    return codes
