"""Scratch arrays for one block of cells, handed out again and again.

A block's temporaries then stay in the cache and cost no page faults; on 32,768 cells a fresh array costs more
than most of the arithmetic done in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FEW = 256  # elements, of which a new array costs less than finding one


class Arena:
    """Hands out uninitialised arrays of up to `size` elements until `reset`, which takes all of them back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._few = min(_FEW, size // _FEW)
        self._made: dict[type[np.generic], list[NDArray[Any]]] = {}
        self._used: dict[type[np.generic], int] = {}
        self._first = np.arange(size, dtype=np.uint32)
        self._turns = np.arange(size, dtype=np.float64)

    def reset(self) -> None:
        """Take back every array handed out so far: their contents may change from now on."""
        self._used.clear()

    def mark(self) -> dict[type[np.generic], int]:
        """What is handed out now, for `release`."""
        return dict(self._used)

    def release(self, mark: dict[type[np.generic], int]) -> None:
        """Take back what was handed out since `mark`."""
        self._used = dict(mark)

    def float32(self, count: int) -> NDArray[np.float32]:
        return self.array(np.float32, count)

    def uint32(self, count: int) -> NDArray[np.uint32]:
        return self.array(np.uint32, count)

    def intp(self, count: int) -> NDArray[np.intp]:
        return self.array(np.intp, count)

    def range(self, start: int, count: int) -> NDArray[np.uint32]:
        """start, start + 1, ... as `count` elements."""
        numbers = self.uint32(count)
        np.add(self._first[:count], np.uint32(start), out=numbers)
        return numbers

    def turns(self, count: int) -> NDArray[np.float64]:
        """0, 1, ... as `count` elements, to be read only."""
        return self._turns[:count]

    def array(self, dtype: type[np.generic], count: int) -> NDArray[Any]:
        if count < self._few:
            return np.empty(count, dtype)
        if count > self.size:
            raise ValueError(f"{count} elements asked of an arena of {self.size}")
        made = self._made.setdefault(dtype, [])
        used = self._used.get(dtype, 0)
        if used == len(made):
            made.append(np.empty(self.size, dtype))
        self._used[dtype] = used + 1
        return made[used] if count == self.size else made[used][:count]
