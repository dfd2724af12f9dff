"""Read noise that persists: two-level fluctuators, whose sum over all time scales is 1/f noise.

A trap near the filament takes or gives back a charge and shifts the conductance between two values; traps with all
time constants, evenly spread in the logarithm, add up to a 1/f spectrum (McWhorter's model; Kirton and Uren, Adv.
Phys. 38, 367, 1989). A cell here has one fluctuator a time scale. Most are alike; in some cells one stands out, which
is random telegraph noise.

A fluctuator's state is a function of the time: the hash of the cell and of the number of its time constants that have
passed, each cell's counted from a phase of its own. So noise that was there at one read is still there at the next.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .hashing import NoiseKey, hash_bits
from .model import Float32, Moment, Selection

FASTEST = 1e-3
"""s. What is faster is white to any board, and stands in the white part."""

DECADES = 1.5
"""Between the time constants of neighbouring fluctuators."""

COUNT = 6
TIME_CONSTANTS = tuple(FASTEST * 10 ** (DECADES * number) for number in range(COUNT))
"""s: 1 ms to 9 h."""

_SIGN = np.uint32(0x8000_0000)
_ONE = np.uint32(0x3F80_0000)  # the bits of 1.0: with 23 more below them, of a float in 1 .. 2
_PHASES = tuple(np.uint32(each) for each in (2654435761, 2246822519, 3266489917, 668265263, 374761393, 3624381081))


class Fluctuators:
    """The fluctuators of the cells of one chip. amplitudes: (COUNT, cells) relative shift of each, up or down."""

    def __init__(self, serial: str, amplitudes: Float32) -> None:
        self._amplitudes = amplitudes
        self._keys = [NoiseKey.of(serial, f"fluctuator {number}") for number in range(COUNT)]

    def shift(self, where: Selection, at: Moment, slower_than: float = 0.0) -> Float32:
        """Relative shift of the conductance of each cell in its turn, of time constants over `slower_than`: (n,)."""
        arena, count = where.arena, len(where)
        total = arena.float32(count)
        total[:] = 0
        for number, constant in enumerate(TIME_CONSTANTS):
            if constant <= slower_than:
                continue
            mark = arena.mark()
            bits = self._states(where, at, number, constant)
            bits &= _SIGN
            bits ^= where.take(self._amplitudes[number]).view(np.uint32)
            total += bits.view(np.float32)
            arena.release(mark)
        return total

    def variance(self, where: Selection, slower_than: float) -> Float32:
        """Relative variance of what `shift` leaves out with the same `slower_than`: (n,)."""
        total = where.arena.float32(len(where))
        total[:] = 0
        for number, constant in enumerate(TIME_CONSTANTS):
            if constant <= slower_than:
                total += np.square(where.take(self._amplitudes[number]))
        return total

    def _states(self, where: Selection, at: Moment, number: int, constant: float) -> NDArray[np.uint32]:
        """32 random bits a cell, the same as long as its fluctuator stays as it is."""
        arena, count = where.arena, len(where)
        passed = at.time / constant
        whole = math.floor(passed)
        ticks = arena.uint32(count)
        np.multiply(where.cells, _PHASES[number], out=ticks)
        ticks >>= 9
        ticks |= _ONE
        place = ticks.view(np.float32)  # the cell's phase, 1 .. 2
        step = at.period / constant
        begin = passed - whole + where.first * step
        if step * count > 1e-6:
            turns = arena.float32(count)
            np.multiply(arena.turns(count), step, out=turns, casting="same_kind")
            place += turns
        place += np.float32(begin)
        counts = arena.uint32(count)
        np.copyto(counts, place, casting="unsafe")
        counts += np.uint32(whole % (1 << 32))
        return hash_bits(self._keys[number], where.cells, counts, arena)
