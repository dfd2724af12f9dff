"""Draws what cells are born with: one variate a cell and trait, decided by the chip's serial alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .arena import Arena
from .hashing import NoiseKey, standard_normal, uniform
from .model import Float32

_BLOCK = 32_768
_AT_BIRTH = np.uint32(0)


class Births:
    """Draws traits for `count` cells of the chip `serial`: (count,) float32 each."""

    def __init__(self, serial: str, count: int) -> None:
        self._serial = serial
        self._count = count
        self._arena = Arena(min(_BLOCK, count))

    def uniform(self, trait: str) -> Float32:
        """In (0, 1)."""
        return self._draw(uniform, trait)

    def normal(self, trait: str, mean: float, spread: float) -> Float32:
        values = self._draw(standard_normal, trait)
        values *= np.float32(spread)
        values += np.float32(mean)
        return values

    def lognormal(self, trait: str, median: float, spread: float) -> Float32:
        values = self.normal(trait, math.log(median), spread)
        return np.exp(values, out=values)

    def _draw(self, variate: Callable[..., Float32], trait: str) -> Float32:
        key = NoiseKey.of(self._serial, f"trait: {trait}")
        values = np.empty(self._count, np.float32)
        for start in range(0, self._count, self._arena.size):
            self._arena.reset()
            cells = self._arena.range(start, min(self._arena.size, self._count - start))
            values[start : start + len(cells)] = variate(key, cells, _AT_BIRTH, self._arena)
        return values
