"""Bit-serial products of a crossbar: planes of bits on pairs of rows, each converted with noise of its own, and summed.

Plane b puts +V on the + row and -V on the - row of every input whose bit b is set, and 0 V on all other rows, as far as
their converters do. Where a converter of row r gives h_r for what is wanted high (or low) and o_r for 0 V, column j
sees, for a bit x_i of each input,

    mean      sum_r o_r G_rj   + sum_i x_i sum_(r of i) (h_r - o_r) G_rj
    variance  sum_r o_r**2 v_rj + sum_i x_i sum_(r of i) (h_r**2 - o_r**2) v_rj

with the conductances and variances of `CrossbarMacro.multiply`. Both are linear in the bits: what does not depend on
them is folded into a constant of the column, and only the lines of the window are worked on.

The coefficients are rounded, to a part in 2**23 of what a column's can add up to. Then single precision holds every sum
of them exactly, in whatever order it is taken, and codes do not depend on how vectors are batched, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.hashing import NoiseKey, half_normal, hash_grid
from .converters import Converter, LineConverters
from .readout_faults import ReadoutFaults

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MAX_BITS = 8

_CONVERSIONS = 65_536  # at a time: their temporaries stay in the cache
_UNTHREADED = 1 << 18  # products of numbers that OpenBLAS leaves to one thread: several wait for one another
_FEW = 64  # vectors, for which that is not worth a call
_MATRIX = 1 << 20  # elements of a matrix that is worth threads
_DIGITS = 23  # bits of a sum


@dataclass(frozen=True, slots=True)
class Window:
    """The lines of a product. plus, minus: (inputs,) rows, no row twice. cols: (outputs,), no column twice."""

    plus: NDArray[np.intp]
    minus: NDArray[np.intp]
    cols: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sums:
    """What a plane of bits adds up to at the columns of a window: mean (A) and variance (A**2) of their currents.

    mean, variance: (outputs, inputs), for a bit that is set. resting_mean, resting_variance: (outputs,), for no bit.
    """

    mean: Float64
    variance: Float64
    resting_mean: Float64
    resting_variance: Float64

    @classmethod
    def of(cls, conductance: Float32, variance: Float32, window: Window, driven: Float32) -> Sums:
        """conductance, variance: (rows, cols). driven: (3, rows) V of rows that are to be high, low, at 0 V."""
        high, low, off = driven.astype(np.float64)
        plus, minus = window.plus, window.minus

        def added(matrix: Float32, by: tuple[Float64, Float64]) -> Float64:
            of_plus, of_minus = (matrix[np.ix_(rows, window.cols)] for rows in (plus, minus))
            total: Float64 = of_plus.T * by[0][plus] + of_minus.T * by[1][minus]
            return total

        return cls(
            added(conductance, (high - off, low - off)),
            added(variance, (high**2 - off**2, low**2 - off**2)),
            off @ conductance[:, window.cols],
            off**2 @ variance[:, window.cols],
        )


class PlaneConverter:
    """Takes the planes of a window to sums of codes.

    adc: of a column; converters: the real ones, None where they are ideal. offset: A, of the amplifier.
    """

    def __init__(
        self,
        sums: Sums,
        cols: NDArray[np.intp],
        adc: Converter,
        converters: LineConverters | None,
        offset: float,
        faults: ReadoutFaults,
    ) -> None:
        self._cols, self._faults, self._top = cols, faults, adc.top
        resting = (sums.resting_mean + offset - adc.offset) / adc.step
        mean, _ = _summable(sums.mean / adc.step, np.zeros(len(cols)), np.rint)
        # rounded up, so that no sum of them is less than the true one, which is none below 0
        variance, self._resting_variance = _summable(
            sums.variance / adc.step**2, sums.resting_variance / adc.step**2, np.ceil
        )
        self._weights = np.concatenate([mean, variance])
        self._polynomial = [_column(resting)]
        furthest, ends = 0.0, (-np.inf, np.inf)
        if converters is not None:
            self._polynomial = [_column(each) for each in converters.around(resting, cols)]
            furthest, ends = converters.furthest(), converters.ends
        self._ends = tuple(_column(end - resting) for end in ends)
        margin = furthest + 2
        self._inner = float((margin - resting).max()), float((self._top - margin - resting).min())

    def products(
        self, codes: NDArray[np.uint8], bits: int, key: NoiseKey, first: int, arena: Arena
    ) -> NDArray[np.uint32]:
        """(n + 1, outputs) for `codes` (n, inputs): sums over planes b of 2**b times the code, then how often either
        end was read.

        first: the multiplication that plane 0 of the first vector is, for its noise. arena: of `outputs` elements at
        least.
        """
        vectors, outputs = len(codes), len(self._cols)
        found = np.empty((vectors + 1, outputs), np.uint32)
        ends = np.zeros(outputs, np.int64)
        planes = _Planes(self._weights, bits, vectors)
        most = _uneven(min(_CONVERSIONS, arena.size) // outputs)
        for start in range(0, vectors, planes.most):
            added = planes.added(codes[start : start + planes.most])
            for begun in range(0, added.shape[-1], most):
                part = added[..., begun : begun + most]
                where = slice(start + begun, start + begun + part.shape[-1])
                numbers = (first + bits * np.arange(where.start, where.stop)).astype(np.uint32)
                ends += self._summed(part, key, numbers, arena, into=found[where])
        found[-1] = ends
        return found

    def _summed(
        self, added: Float32, key: NoiseKey, numbers: NDArray[np.uint32], arena: Arena, into: NDArray[np.uint32]
    ) -> NDArray[np.int64]:
        """Convert planes, whose mean and variance are `added` (bits, 2, outputs, n), and sum them into (n, outputs).

        numbers: (n,) of their multiplications. Returns how many of a column's conversions were at either end.
        """
        bits, shape = len(added), added.shape[2:]
        ends = np.zeros(shape[0], np.int64)
        lines = self._cols.astype(np.uint32)
        arena.reset()
        total = arena.float32(added[0, 0].size).reshape(shape)
        base = arena.mark()
        for bit in reversed(range(bits)):
            if bit == bits - 1 or bit % 2:  # a word is enough for two planes
                arena.release(base)
                words = hash_grid(key, lines, numbers, bit // 2, arena)
                mark = arena.mark()
            arena.release(mark)
            noise = half_normal(words, bit % 2, arena).reshape(shape)
            mean, deviation = added[bit]
            codes = self._positions(mean, deviation, noise)
            ends += self._convert(codes, arena.float32(codes.size).reshape(shape))
            if bit == bits - 1:
                np.copyto(total, codes)
            else:
                total += total
                total += codes  # exact: below 2**24
        np.copyto(into, total.T, casting="unsafe")
        return ends

    def _positions(self, mean: Float32, deviation: Float32, noise: Float32) -> Float32:
        """Where currents lie among the codes, less where they do for no bit: in `mean`, from mean and variance."""
        deviation += self._resting_variance
        np.sqrt(deviation, out=deviation)
        deviation *= noise
        mean += deviation
        return mean

    def _convert(self, positions: Float32, scratch: Float32) -> NDArray[np.int64] | int:
        """From positions to codes, in place; how many are at either end, (outputs,)."""
        low, high = self._inner
        is_inside = low < positions.min() and positions.max() < high
        if not is_inside:
            np.clip(positions, *self._ends, out=positions)
        self._bend(positions, scratch)
        np.rint(positions, out=positions)
        if is_inside and not self._faults:
            return 0
        np.clip(positions, np.float32(0), np.float32(self._top), out=positions)
        if self._faults:
            self._faults.apply(positions, self._cols[:, np.newaxis], self._top)
        found: NDArray[np.int64] = np.count_nonzero((positions == 0) | (positions == self._top), axis=1)
        return found

    def _bend(self, positions: Float32, scratch: Float32) -> None:
        """The polynomial of each column, in place."""
        constant, *others = self._polynomial
        if others:
            np.multiply(positions, others.pop(), out=scratch)
            while others:
                scratch += others.pop()
                scratch *= positions
            np.add(scratch, constant, out=positions)
        else:
            positions += constant


class _Planes:
    """What planes of codes add up to, up to `most` vectors at a time.

    weights: (sums, inputs). Their product with few inputs is cut into such as need no threads, and one with many is a
    large one.
    """

    def __init__(self, weights: Float64, bits: int, vectors: int) -> None:
        sums, inputs = weights.shape
        self._weights = [np.ldexp(weights, -bit).astype(np.float32) for bit in range(bits)]
        self._at_once = _UNTHREADED // (sums * inputs)
        if self._at_once < _FEW:
            self._at_once = _MATRIX // max(bits * sums, inputs)
        self.most = min(_uneven(max(self._at_once, _CONVERSIONS // (sums // 2))), vectors)
        self._masked = np.empty((self.most, inputs), np.uint8)
        self._bits = np.empty((self.most, inputs), np.float32)
        self._added = np.empty(bits * sums * self.most, np.float32)

    def added(self, codes: NDArray[np.uint8]) -> Float32:
        """(bits, 2, sums / 2, n) for `codes` (n, inputs); the next call overwrites it."""
        count, sums = len(codes), len(self._weights[0])
        masked, bits = self._masked[:count], self._bits[:count]
        added = self._added[: len(self._weights) * sums * count].reshape(-1, sums, count)
        for bit, weights in enumerate(self._weights):
            np.bitwise_and(codes, np.uint8(1 << bit), out=masked)
            np.copyto(bits, masked)  # 0 or 2**bit, which the weights are for
            for start in range(0, count, self._at_once):
                part = slice(start, start + self._at_once)
                np.matmul(weights, bits[part].T, out=added[bit, :, part])
        return added.reshape(-1, 2, sums // 2, count)


def _summable(added: Float64, resting: Float64, rounded: Callable[[Float64], Float64]) -> tuple[Float64, Float32]:
    """`added` (outputs, inputs) and `resting` (outputs,), rounded so that float32 holds every sum of them."""
    largest = np.abs(added).sum(axis=1) + np.abs(resting)
    _, exponent = np.frexp(largest)
    step = np.ldexp(1.0, exponent - _DIGITS)
    return rounded(added / step[:, np.newaxis]) * step[:, np.newaxis], _column(rounded(resting / step) * step)


def _uneven(most: int) -> int:
    """At most `most` vectors, at least one, and where there are many an odd multiple of 16.

    Else what belongs to one vector lies in few sets of the cache, and is slow to turn round.
    """
    return most - (most - 16) % 32 if most >= 32 else max(most, 1)


def _column(values: Float64) -> Float32:
    return values.astype(np.float32)[:, np.newaxis]
