"""How many bits a sum needs: intervals of partial sums, and the widths that hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def width(low: int, high: int) -> tuple[int, bool]:
    """Bits of a word that holds all from low (at most 0) to high (at least 0), and whether it is signed."""
    if low >= 0:
        return max(1, high.bit_length()), False
    return max((-low - 1).bit_length(), high.bit_length()) + 1, True


def widths(low: ArrayLike, high: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The same for arrays."""
    below, above = np.asarray(low, np.int64), np.maximum(high, 0)
    signed = below < 0
    bits = np.maximum(_bit_length(np.where(signed, -below - 1, 0)), _bit_length(above)) + signed
    return np.maximum(bits, 1), signed


def _bit_length(number: NDArray[np.int64]) -> NDArray[np.int64]:
    # frexp's exponent of a whole number below 2**53 is its length in bits
    return np.frexp(number.astype(np.float64))[1].astype(np.int64)


def bounds_of_sums(
    weights: NDArray[np.int8], input_range: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest value of each row's sum, for inputs anywhere in their range."""
    low, high = input_range
    plus, minus = (np.count_nonzero(weights == sign, axis=1) for sign in (1, -1))
    return plus * low - minus * high, plus * high - minus * low
