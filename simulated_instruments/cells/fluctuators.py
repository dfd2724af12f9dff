"""Read noise that persists: two-level fluctuators, whose sum over all time scales is 1/f noise.

A trap near the filament takes or gives back a charge and shifts the conductance between two values; traps with all
time constants, evenly spread in the logarithm, add up to a 1/f spectrum (McWhorter's model; Kirton and Uren, Adv.
Phys. 38, 367, 1989). A cell here has one fluctuator a time scale. Most are alike; in some cells one stands out, which
is random telegraph noise.

A fluctuator's state is a function of the time: the hash of the cell and of the number of its time constants that have
passed, each cell's counted from a phase of its own. So noise that was there at one read is still there at the next.
One hash does for two: the 32 states that the faster one goes through while the slower one stays are its 32 bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .hashing import NoiseKey, hash_bits
from .model import Float32, Moment, Selection

FASTEST = 1e-3
"""s. What is faster is white to any board, and stands in the white part."""

COUNT = 6
_RATIO_BITS = 5
TIME_CONSTANTS = tuple(FASTEST * 2.0 ** (_RATIO_BITS * number) for number in range(COUNT))
"""s: 1 ms to 9 h, each 32 times the one before."""

DECADES = _RATIO_BITS * math.log10(2)
"""Between the time constants of neighbouring fluctuators."""

_SIGN = np.uint32(0x8000_0000)
_ONE = np.uint32(0x3F80_0000)  # the bits of 1.0: with 23 more below them, of a float in 1 .. 2
_PHASES = tuple(np.uint32(each) for each in (2654435761, 2246822519, 3266489917))
_FOLD = np.uint32(0x9E3779B1)  # odd: the top bit of a product with it depends on all bits


class Fluctuators:
    """The fluctuators of the cells of one chip. amplitudes: (COUNT, cells) relative shift of each, up or down."""

    def __init__(self, serial: str, amplitudes: Float32) -> None:
        self._amplitudes = amplitudes
        self._keys = [NoiseKey.of(serial, f"fluctuators {number}") for number in range(COUNT // 2)]

    def shift(self, where: Selection, at: Moment, slower_than: float = 0.0) -> Float32:
        """Relative shift of the conductance of each cell in its turn, of time constants over `slower_than`: (n,)."""
        arena = where.arena
        total = arena.float32(len(where))
        total[:] = 0
        for pair, (fast, slow) in enumerate(zip(TIME_CONSTANTS[::2], TIME_CONSTANTS[1::2], strict=True)):
            if slow <= slower_than:
                continue
            mark = arena.mark()
            ticks = self._ticks(where, at, fast, _PHASES[pair])
            spells = arena.uint32(len(where))
            np.right_shift(ticks, _RATIO_BITS, out=spells)
            bits = hash_bits(self._keys[pair], where.cells, spells, arena)
            np.multiply(bits, _FOLD, out=spells)
            self._add(where, total, spells, 2 * pair + 1)
            if fast > slower_than:
                ticks &= np.uint32((1 << _RATIO_BITS) - 1)
                bits <<= ticks
                self._add(where, total, bits, 2 * pair)
            arena.release(mark)
        return total

    def _add(self, where: Selection, total: Float32, bits: NDArray[np.uint32], number: int) -> None:
        """The amplitude of each cell's fluctuator of that number, with the sign that the top bit of `bits` says."""
        bits &= _SIGN
        bits ^= where.take(self._amplitudes[number]).view(np.uint32)
        total += bits.view(np.float32)

    def variance(self, where: Selection, slower_than: float) -> Float32:
        """Relative variance of what `shift` leaves out with the same `slower_than`: (n,)."""
        total = where.arena.float32(len(where))
        total[:] = 0
        for number, constant in enumerate(TIME_CONSTANTS):
            if constant <= slower_than:
                total += np.square(where.take(self._amplitudes[number]))
        return total

    def _ticks(self, where: Selection, at: Moment, constant: float, phase: np.uint32) -> NDArray[np.uint32]:
        """How many time constants have passed for each cell in its turn, from a phase of its own."""
        arena, count = where.arena, len(where)
        passed = at.time / constant
        whole = math.floor(passed)
        phases, ticks = arena.uint32(count), arena.uint32(count)
        np.multiply(where.cells, phase, out=phases)
        phases >>= 9
        phases |= _ONE
        place = phases.view(np.float32)  # the cell's phase, 1 .. 2
        step = at.period / constant
        if step * count > 1e-6:
            turns = arena.float32(count)
            np.multiply(arena.turns(count), step, out=turns, casting="same_kind")
            place += turns
        place += np.float32(passed - whole + where.first * step)
        np.copyto(ticks, place, casting="unsafe")
        ticks += np.uint32(whole % (1 << 32))
        return ticks
