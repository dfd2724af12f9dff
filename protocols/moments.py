"""Mean and spread of many readings a cell, whatever their number, in the memory of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RunningMoments:
    """Of (n,) cells, by the pairwise update of Chan, Golub and LeVeque (1983), which loses no digits."""

    def __init__(self, cells: int) -> None:
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(cells)
        self._squares: NDArray[np.float64] = np.zeros(cells)

    def add(self, values: NDArray[np.floating]) -> None:
        """(k, n) further values of every cell."""
        further = len(values)
        mean = values.mean(axis=0, dtype=np.float64)
        change, total = mean - self.mean, self.count + further
        self._squares += np.square(values - mean).sum(axis=0) + change**2 * (self.count * further / total)
        self.mean += change * (further / total)
        self.count = total

    @property
    def spread(self) -> NDArray[np.float64]:
        """(n,) standard deviations of the sample; NaN before there are two values."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squares / (self.count - 1))
