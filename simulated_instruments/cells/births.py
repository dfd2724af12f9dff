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
        values = self.normal(trait, 0.0, spread)
        np.exp(values, out=values)
        values *= np.float32(median)
        return values

    def tail(self, trait: str, fraction: float, scale: float) -> Float32:
        """Exponential of mean `scale` for a `fraction` of the cells, 0 for the others."""
        values = self.uniform(trait)
        values *= np.float32(1 / fraction if fraction else math.inf)
        np.minimum(values, np.float32(1), out=values)
        np.log(values, out=values)
        values *= np.float32(-scale)
        return values

    def of_chip(self, trait: str, median: float, spread: float) -> float:
        """Lognormal of the chip as a whole, at most 1."""
        if not spread:
            return median
        key = NoiseKey.of(self._serial, f"chip: {trait}")
        score = standard_normal(key, np.zeros(1, np.uint32), _AT_BIRTH, Arena(1))[0]
        return min(median * math.exp(spread * float(score)), 1.0)

    def _draw(self, variate: Callable[..., Float32], trait: str) -> Float32:
        key = NoiseKey.of(self._serial, f"trait: {trait}")
        values = np.empty(self._count, np.float32)
        for start in range(0, self._count, self._arena.size):
            self._arena.reset()
            cells = self._arena.range(start, min(self._arena.size, self._count - start))
            values[start : start + len(cells)] = variate(key, cells, _AT_BIRTH, self._arena)
        return values
