"""Linear converters between codes and physical values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Converter:
    """value = offset + step * code, code in 0 .. 2**bits - 1; in V for a DAC, in A for an ADC."""

    step: float
    offset: float
    bits: int

    @property
    def top(self) -> int:
        """The highest code: an ADC that reads it is saturated."""
        return (1 << self.bits) - 1

    @classmethod
    def spanning(cls, low: float, high: float, bits: int) -> Converter:
        """The converter whose lowest code is `low` and whose top is `high`."""
        return cls(step=(high - low) / ((1 << bits) - 1), offset=low, bits=bits)

    def values(self, codes: NDArray[np.uint16] | np.uint16, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """The values of `codes`, into `out`."""
        np.multiply(codes, np.float32(self.step), out=out, casting="same_kind")
        out += np.float32(self.offset)
        return out

    def quantise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The codes of `values`, rounded and saturated, in place and still as float32 (exact for 16 bits)."""
        values -= np.float32(self.offset)
        values *= np.float32(1 / self.step)
        np.rint(values, out=values)
        return np.clip(values, np.float32(0), np.float32(self.top), out=values)
