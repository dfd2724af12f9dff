"""Rare faults among very many equal trials, at a cost that goes with the faults and not with the trials.

The trials before the next fault follow the geometric distribution. How many they are is a function of the chip, the
effect and the number of the fault (decision 0003), so it makes no difference in what portions the trials are done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .hashing import NoiseKey, hash_bits

_BLOCK = 4096  # variates at a time
ARENA = 2 * _BLOCK
_FEWEST, _MOST = 32, 1024  # faults looked ahead
_NEVER = 1e-15  # a probability with which nothing happens in any life of a chip
_FAR = 1 << 62
_OF_TURN = 0x632BE5AB  # odd: what tells the variates beyond the 2**32nd word from those before

_NO_TRIALS = np.empty(0, np.int64)
_NO_CHOICES = np.empty(0, np.float64)


class Uniforms:
    """Uniform variates in (0, 1] of 64 bits, a function of (serial, effect, line, number).

    arena: of at least `ARENA` elements, which several of these may share.
    """

    def __init__(self, serial: str, effect: str, arena: Arena) -> None:
        self._key = NoiseKey.of(serial, effect)
        self._arena = arena

    def of(self, line: int, first: int, count: int) -> NDArray[np.float64]:
        """Those of the numbers from `first` on, (count,)."""
        values = np.empty(count, np.float64)
        for begun in range(0, count, _BLOCK):
            part = values[begun : begun + _BLOCK]
            self._fill_numbers(part, line, first + begun)
        return values

    def of_lines(self, count: int) -> NDArray[np.float64]:
        """Number 0 of the first `count` lines, (count,)."""
        values = np.empty(count, np.float64)
        for begun in range(0, count, _BLOCK):
            part = values[begun : begun + _BLOCK]
            lines = np.arange(begun, begun + len(part)).repeat(2).astype(np.uint32)
            self._fill(part, np.arange(2 * len(part), dtype=np.uint32) % 2, lines)
        return values

    def _fill_numbers(self, values: NDArray[np.float64], line: int, first: int) -> None:
        places = np.arange(2 * first, 2 * (first + len(values)), dtype=np.uint64)
        counts = ((places >> np.uint64(32)) * np.uint64(_OF_TURN) + np.uint64(line)).astype(np.uint32)
        self._fill(values, places.astype(np.uint32), counts)

    def _fill(self, values: NDArray[np.float64], places: NDArray[np.uint32], counts: NDArray[np.uint32]) -> None:
        """Each from two words."""
        self._arena.reset()
        words = hash_bits(self._key, places, counts, self._arena)
        np.multiply(words[::2], 2.0**32, out=values)
        values += words[1::2]
        values += 0.5
        values *= 2.0**-64


class RareFaults:
    """Which trials of one line go wrong, each with the same probability.

    at: trials done. number: faults so far. last: the trial of the last one, -1 before the first.
    """

    def __init__(self, uniforms: Uniforms, line: int, probability: float) -> None:
        self._uniforms, self._line = uniforms, line
        self.at, self.number, self.last = 0, 0, -1
        self._ahead, self._choices, self._next = _NO_TRIALS, _NO_CHOICES, _FAR
        self._portion = _FEWEST
        self._set(probability)

    @property
    def state(self) -> tuple[int, int, int]:
        return self.at, self.number, self.last

    def restore(self, state: Sequence[int]) -> None:
        self.at, self.number, self.last = state
        self._set(self._probability)

    def change(self, probability: float) -> None:
        """From the next trial on."""
        if probability != self._probability:
            self.number += 1  # that the fault looked forward to has not come yet says something of its variate
            self.last = self.at - 1
            self._set(probability)

    def quiet(self, trials: int) -> bool:
        """Whether none of the next `trials` goes wrong."""
        return self._next >= self.at + trials

    def skip(self, trials: int) -> None:
        """Do `trials` that are quiet."""
        self.at += trials

    def take(self, trials: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Do `trials`: which of them go wrong, (n,) increasing from 0, and a uniform variate for each of these."""
        begun = self.at
        self.at += trials
        if self._next >= self.at:
            return _NO_TRIALS, _NO_CHOICES
        found, choices = [], []
        while self._next < self.at:
            count = int(np.searchsorted(self._ahead, self.at))
            found.append(self._ahead[:count])
            choices.append(self._choices[:count])
            self.number, self.last = self.number + count, int(self._ahead[count - 1])
            self._ahead, self._choices = self._ahead[count:], self._choices[count:]
            if not len(self._ahead):
                self._look_ahead(int(self._probability * (self.at - self.last) * 1.1))
            self._next = int(self._ahead[0])
        if len(found) == 1:
            return found[0] - begun, choices[0]
        return np.concatenate(found) - begun, np.concatenate(choices)

    def _set(self, probability: float) -> None:
        self._probability = probability
        self._portion = _FEWEST
        self._ahead, self._choices, self._next = _NO_TRIALS, _NO_CHOICES, _FAR
        if probability >= _NEVER:
            self._look_ahead(0)
            self._next = int(self._ahead[0])

    def _look_ahead(self, faults: int) -> None:
        """Draw where at least so many more faults are: two variates each, of which the second is for the caller.

        How many makes no difference to where they are; lines that have many draw more and more at a time.
        """
        variates = self._uniforms.of(self._line, 2 * self.number, 2 * max(faults, self._portion))
        self._portion = min(_MOST, 2 * self._portion)
        rate = math.log1p(-self._probability) if self._probability < 1.0 else -math.inf
        gaps = np.floor(np.log(variates[::2]) / rate).astype(np.int64)
        self._ahead, self._choices = self.last + np.cumsum(gaps + 1), variates[1::2]


class FaultLines:
    """`RareFaults` of several lines, each made when it is first asked for."""

    def __init__(self, uniforms: Uniforms, probability: float) -> None:
        self._uniforms, self._probability = uniforms, probability
        self._lines: dict[int, RareFaults] = {}

    def of(self, line: int) -> RareFaults:
        faults = self._lines.get(line)
        if faults is None:
            faults = self._lines[line] = RareFaults(self._uniforms, line, self._probability)
        return faults

    @property
    def state(self) -> NDArray[np.int64]:
        """(n, 4) each line with its state."""
        states = [(line, *each.state) for line, each in sorted(self._lines.items())]
        return np.array(states, np.int64).reshape(-1, 4)

    def restore(self, state: NDArray[np.int64]) -> None:
        for line, *of_line in state.tolist():
            self.of(line).restore(of_line)
