"""Match lines of an associative chip, as their sense amplifiers take them.

A match line's signal is the number of columns that mismatch, plus normal noise of every row and search; a row matches
where that is below the threshold. Without noise it matches where it has fewer mismatches than the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.racetrack_trials import RareFaults, Uniforms

Words = NDArray[np.uint64]


class MatchLines:
    """Of `rows` rows. noise: standard deviation of the signal. threshold: between the signals of a match, 0, and 1."""

    def __init__(self, serial: str, rows: int, noise: float, arena: Arena) -> None:
        self._rows = rows
        self._normal = NormalDist(0.0, noise) if noise else None
        self._threshold = 0.5
        self.faults = RareFaults(Uniforms(serial, "sense", arena), 0, self._likeliest())

    @property
    def threshold(self) -> float:
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        self._threshold = threshold
        self.faults.change(self._likeliest())

    @property
    def exact(self) -> bool:
        """Whether, noise apart, just those rows match that have no mismatch."""
        return 0.0 < self._threshold <= 1.0

    def restore(self, threshold: float, state: Sequence[int]) -> None:
        self.threshold = threshold
        self.faults.restore(state)

    def tagged(self, seen: Sequence[Words], key: Sequence[int], every: Words) -> Words:
        """The rows whose match line is taken for a match, where columns are `seen` and the bits of `key` looked for."""
        mismatching = [plane ^ every if bit else plane for plane, bit in zip(seen, key, strict=True)]
        tags = self._below(mismatching, every)
        rows, choices = self.faults.take(self._rows)
        if len(rows):
            counts = np.zeros(len(rows), np.int64)
            for plane in mismatching:
                counts += plane.view(np.uint8)[rows >> 3] >> (rows & 7) & 1
            share = np.array([self._error(count) for count in range(len(mismatching) + 1)]) / self._likeliest()
            wrong = rows[choices <= share[counts]]
            np.bitwise_xor.at(tags.view(np.uint8), wrong >> 3, (1 << (wrong & 7)).astype(np.uint8))
        return tags

    def _below(self, mismatching: Sequence[Words], every: Words) -> Words:
        """Rows with fewer mismatches than the threshold."""
        allowed = math.ceil(self._threshold) - 1
        if allowed < 0:
            return np.zeros_like(every)
        if allowed >= len(mismatching):
            return every.copy()
        more = [np.zeros_like(every) for _ in range(allowed + 1)]  # rows with more than 0, 1, ... mismatches so far
        for plane in mismatching:
            for level in range(allowed, 0, -1):
                more[level] |= more[level - 1] & plane
            more[0] |= plane
        return more[allowed] ^ every

    def _error(self, mismatches: int) -> float:
        """That noise puts a row with so many of them on the wrong side of the threshold."""
        return self._normal.cdf(-abs(self._threshold - mismatches)) if self._normal else 0.0

    def _likeliest(self) -> float:
        """The largest error of any number of mismatches."""
        nearest = max(0, math.floor(self._threshold))
        return max(self._error(nearest), self._error(nearest + 1))
