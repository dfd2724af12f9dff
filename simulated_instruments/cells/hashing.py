"""Noise as a function: the variate of (serial, effect, cell, count), with no generator state.

Every random part of a chip is such a variate: a trait of a cell at count 0, the noise of its n-th pulse or
read at count n. So an outcome depends neither on how cells are batched nor on their order, and survives a
kill and a resume.

The hash, with a key of two words from the serial and the effect:

    mix(mix(cell * K + count + key.before) + cell ^ key.after)

The cell enters twice: were the inner word all there is, cells whose `cell * K` lie a few counts apart would
go through the same words, one behind the other. `mix` is `lowbias32` (C. Wellons, hash-prospector, public
domain).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .arena import Arena

_TABLE_BITS = 16
_OUTERMOST, _OUTWARDS = 3.8, 0.884  # sigma, and how far beyond it values are moved: fitted to the tail of the sum
_CELL_STRIDE = np.uint32(0x9E3779B1)  # odd, near 2**32 / golden ratio: neighbours land far apart
_MIX = ((16, np.uint32(0x7FEB352D)), (15, np.uint32(0x846CA68B)))
_LAST_SHIFT = 16
_OF_COUNT = np.uint32(0x5BD1E995)  # far from any turn
_COUNTS_KEPT = 4096  # of a grid


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """What one effect on one chip is drawn with: two 32-bit words."""

    before: np.uint32
    after: np.uint32

    @classmethod
    def of(cls, serial: str, effect: str) -> NoiseKey:
        """The same for the same texts on every machine and in every version of Python."""
        digest = hashlib.blake2b(serial.encode(), key=effect.encode(), digest_size=8).digest()
        return cls(np.uint32(int.from_bytes(digest[:4], "little")), np.uint32(int.from_bytes(digest[4:], "little")))


def hash_bits(
    key: NoiseKey, cells: NDArray[np.uint32], counts: NDArray[np.uint32] | np.uint32, arena: Arena
) -> NDArray[np.uint32]:
    """32 uniform bits for each of `cells` (n,) at its count: (n,), or one count for all. Lives in `arena`."""
    bits, shifted = arena.uint32(len(cells)), arena.uint32(len(cells))
    np.multiply(cells, _CELL_STRIDE, out=bits)
    bits += counts
    bits += key.before
    _mix(bits, shifted)
    bits += cells
    bits ^= key.after
    _mix(bits, shifted)
    return bits


def _mix(bits: NDArray[np.uint32], shifted: NDArray[np.uint32]) -> None:
    """A bijection of 32-bit words in which every bit depends on every bit, in place; `shifted` is scratch."""
    for shift, multiplier in _MIX:
        np.right_shift(bits, shift, out=shifted)
        bits ^= shifted
        bits *= multiplier
    np.right_shift(bits, _LAST_SHIFT, out=shifted)
    bits ^= shifted


def uniform(
    key: NoiseKey, cells: NDArray[np.uint32], counts: NDArray[np.uint32] | np.uint32, arena: Arena
) -> NDArray[np.float32]:
    """Uniform variates, the middles of 2**23 equal parts of (0, 1): never 0, never 1. Lives in `arena`."""
    bits = hash_bits(key, cells, counts, arena)
    bits >>= 9
    values = arena.float32(len(cells))
    np.copyto(values, bits, casting="same_kind")
    values += np.float32(0.5)
    values *= np.float32(2.0**-23)
    return values


def standard_normal(
    key: NoiseKey, cells: NDArray[np.uint32], counts: NDArray[np.uint32] | np.uint32, arena: Arena
) -> NDArray[np.float32]:
    """Standard normal variates. Lives in `arena`.

    The sum of two independent quantiles of N(0, 1/2), one looked up for each half of the bits: the
    convolution of two normals is normal. That a table of 65,536 ends at 4.3 of its own sigma would show in the far
    tail; so its outermost values are moved out, and tails are within 2 % of a normal's up to 5 sigma.
    """
    table = _half_normal_quantiles()
    values = arena.float32(len(cells))
    mark = arena.mark()
    halves = hash_bits(key, cells, counts, arena).view(np.uint16)
    second, index = arena.float32(len(cells)), arena.intp(len(cells))
    np.copyto(index, halves[::2])
    table.take(index, out=values, mode="clip")
    np.copyto(index, halves[1::2])
    table.take(index, out=second, mode="clip")
    values += second
    arena.release(mark)
    return values


def hash_grid(
    key: NoiseKey, lines: NDArray[np.uint32], counts: NDArray[np.uint32], turn: int, arena: Arena
) -> NDArray[np.uint32]:
    """32 uniform bits for each of `lines` (m,) at each of `counts` (n,): (m * n,), line by line. Lives in `arena`.

    For many counts at once: mix(hash(line, turn) + hash(count)), so that a variate costs one `mix` where `hash_bits`
    takes two. Two lines are then the same distance apart at every count, which `mix` breaks as it does that of one;
    and counts lie at random, so no line goes through the words of another. turn: which of several words of a count.
    """
    bits, shifted = arena.uint32(len(lines) * len(counts)), arena.uint32(len(lines) * len(counts))
    mark = arena.mark()
    of_line = hash_bits(key, lines, np.uint32(turn), arena).copy()
    arena.release(mark)
    of_count = hash_bits(key, counts, _OF_COUNT, arena)
    np.add(of_line[:, np.newaxis], of_count, out=bits.reshape(len(lines), len(counts)))
    arena.release(mark)
    _mix(bits, shifted)
    return bits


class NormalGrid:
    """Standard normal variates of some lines at one count after another: `half_normal` of a `hash_grid`.

    What goes into the hash is kept, so that a few of them cost a few calls of numpy. lines: (m,) u32.
    """

    def __init__(self, key: NoiseKey, lines: NDArray[np.uint32]) -> None:
        self._key = key
        self._arena = Arena(max(len(lines), _COUNTS_KEPT))
        self._of_lines = hash_bits(key, lines, np.uint32(0), self._arena).copy()
        self._of_counts, self._begun = np.empty(0, np.uint32), 0

    def fill(
        self,
        normals: NDArray[np.float32],
        first: int,
        bits: NDArray[np.uint32],
        shifted: NDArray[np.uint32],
        index: NDArray[np.intp],
    ) -> None:
        """Into `normals` (n, m) those of the counts from `first` on; the others are scratch of the same shape."""
        np.add(self._counts(first, len(normals))[:, np.newaxis], self._of_lines, out=bits)
        _mix(bits, shifted)
        np.right_shift(bits, 16, out=bits)
        np.copyto(index, bits)
        _normal_quantiles().take(index, out=normals, mode="clip")

    def _counts(self, first: int, count: int) -> NDArray[np.uint32]:
        """Hashes of so many counts from `first` on."""
        start = first - self._begun
        if start < 0 or start + count > len(self._of_counts):
            kept = max(count, _COUNTS_KEPT)
            counts = (first + np.arange(kept)).astype(np.uint32)
            arena = self._arena if kept <= self._arena.size else Arena(kept)
            arena.reset()
            self._of_counts, self._begun = hash_bits(self._key, counts, _OF_COUNT, arena).copy(), first
            start = 0
        return self._of_counts[start : start + count]


def half_normal(bits: NDArray[np.uint32], half: int, arena: Arena) -> NDArray[np.float32]:
    """Standard normal variates of the lower (0) or upper (1) half of `bits` (n,). Lives in `arena`.

    One look-up, a third of what `standard_normal` costs: 65,536 values, with the moments of a normal, up to 4.3 sigma.
    """
    values, index = arena.float32(len(bits)), arena.intp(len(bits))
    np.copyto(index, bits.view(np.uint16)[half::2])
    return _normal_quantiles().take(index, out=values, mode="clip")


@functools.cache
def _half_normal_quantiles() -> NDArray[np.float32]:
    """Quantiles of N(0, 1/2) at the middles of 65,536 equal parts, scaled to a variance of exactly 1/2."""
    upper = _upper_quantiles()
    upper += _OUTWARDS * np.maximum(upper - _OUTERMOST, 0) ** 3
    return _both_sides(upper, np.sqrt(0.5))


@functools.cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Quantiles of N(0, 1) at the middles of 65,536 equal parts, scaled to a variance of exactly 1."""
    return _both_sides(_upper_quantiles(), 1.0)


def _upper_quantiles() -> NDArray[np.float64]:
    size, quantile = 1 << _TABLE_BITS, NormalDist().inv_cdf
    return np.array([quantile((i + 0.5) / size) for i in range(size // 2, size)])


def _both_sides(upper: NDArray[np.float64], deviation: float) -> NDArray[np.float32]:
    table = np.concatenate([-upper[::-1], upper])
    scaled: NDArray[np.float32] = (table / table.std() * deviation).astype(np.float32)
    return scaled
