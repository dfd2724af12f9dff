"""Choosing between values cell by cell, with bit masks: several times faster than numpy's own `where`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Arena

_WORDS: dict[int, type[np.unsignedinteger[Any]]] = {4: np.uint32, 8: np.uint64}


def mask_of(condition: NDArray[np.bool_], size: int, arena: Arena) -> NDArray[Any]:
    """Words of `size` bytes: all bits set where `condition` (n,) holds, none elsewhere. Lives in `arena`."""
    word = _WORDS[size]
    mask = arena.array(word, len(condition))
    np.copyto(mask, condition)
    np.negative(mask, out=mask)
    return mask


def choose(values: NDArray[Any], others: NDArray[Any], mask: NDArray[Any], arena: Arena) -> None:
    """`others` into `values` (n,), in place, where `mask` has its bits set; dtypes of the mask's size."""
    words = mask.dtype.type
    kept, differing = values.view(words), arena.array(words, len(values))
    np.bitwise_xor(kept, others.view(words), out=differing)
    differing &= mask
    kept ^= differing
