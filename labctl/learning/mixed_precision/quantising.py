"""Codes on both sides of an analogue product: signed ones that drive it, those of a converter that reads it.

A vector is driven as whole multiples of its largest magnitude over 2^(n-1) - 1, positive and negative alike. The scale
is each vector's own, so that what happens to a sample does not depend on the batch it is in, and digital: deltas, small
as they become, are driven with the full voltage.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from labctl.errors import LabctlError, UsageError
from labctl.learning.trainable.network import Float32

FULL_CODE = 32_767
"""The code of the full voltage."""

_CODE_BITS = 16
_ROOM = 2.0  # of a converter's first range over the largest value of its first product
_STEP_UP = 1.5  # of the range after a product that did not fit in


def quantised(values: Float32, bits: int | None) -> tuple[Float32, Float32]:
    """Values (n, k) as the whole numbers of `bits` bits that they are driven by, and what 1 is worth, (n, 1).

    values ~ driven * worth; None bits: as many as a code has. Raises LabctlError for values that are not finite.
    """
    top = top_level(_CODE_BITS if bits is None else bits)
    scale: Float32 = np.maximum.reduce(np.abs(values), axis=1, keepdims=True)
    if not math.isfinite(np.add.reduce(scale, axis=None)):
        raise LabctlError("training has diverged: a product is asked for of values that are no finite numbers")
    if not scale.all():
        scale[scale == 0] = 1
    driven: Float32 = values / scale
    driven *= np.float32(top)
    scale *= np.float32(1 / top)
    return np.rint(driven, out=driven), scale


def codes(values: Float32, bits: int | None) -> tuple[NDArray[np.int16], Float32]:
    """Values (n, k) as codes of which `FULL_CODE` is the full voltage, and what one code is worth, (n, 1).

    They are those of `quantised`, times the largest whole number that lets them fit in. Raises as it does.
    """
    driven, worth = quantised(values, bits)
    step = FULL_CODE // top_level(_CODE_BITS if bits is None else bits)
    driven *= np.float32(step)
    worth *= np.float32(1 / step)
    return driven.astype(np.int16), worth


def top_level(bits: int) -> int:
    """The largest signed code of `bits` bits. Raises UsageError for bits that no converter has."""
    if not 2 <= bits <= _CODE_BITS:
        raise UsageError(f"a converter of {bits} bits: signed codes have 2 to {_CODE_BITS}")
    return (1 << (bits - 1)) - 1


class Converter:
    """Turns what a product gives into signed codes of `bits` bits over a range that follows it.

    The range begins at twice the largest value of the first product. A product that exceeds it is clipped, and makes
    it half as wide again for those to come: all that is known then is that it was too narrow.

    Attributes:
        full_scale: of the range, in units of what is converted; 0 before the first.
        conversions, saturated: how many there were, and how many of them at either end.
    """

    def __init__(self, bits: int) -> None:
        """Raises UsageError for bits that no converter has."""
        self._top = top_level(bits)
        self.full_scale = 0.0
        self.conversions = 0
        self.saturated = 0

    def convert(self, values: Float32) -> float:
        """Replace (n, m) values by their codes, and give what a code is worth."""
        peak = float(np.maximum.reduce(np.abs(values), axis=None))
        full_scale = self.full_scale = self.full_scale or _ROOM * peak
        step = full_scale / self._top or 1.0
        if peak > full_scale:
            self.saturated += int(np.count_nonzero(np.abs(values) >= full_scale))
            np.clip(values, -full_scale, full_scale, out=values)
            self.full_scale *= _STEP_UP
        self.conversions += values.size
        values *= np.float32(1 / step)
        np.rint(values, out=values)
        return step
