"""Converters between codes and physical values, and how far the real ones are from straight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.hashing import NoiseKey, standard_normal

Float32 = NDArray[np.float32]

_AT_BIRTH = np.uint32(0)
_SKEW = 6 * 3**0.5  # so that u (1 - u) (1 - 2 u) peaks at 1
_BEYOND = 0.25  # of the range, on both sides: there the polynomial still means something


@dataclass(frozen=True, slots=True)
class Converter:
    """value = offset + step * code, code in 0 .. 2**bits - 1; in V for a DAC, in A for an ADC."""

    step: float
    offset: float
    bits: int

    @property
    def top(self) -> int:
        """The highest code: an ADC that reads it is saturated."""
        return (1 << self.bits) - 1

    @classmethod
    def spanning(cls, low: float, high: float, bits: int) -> Converter:
        """The converter whose lowest code is `low` and whose top is `high`."""
        return cls(step=(high - low) / ((1 << bits) - 1), offset=low, bits=bits)

    def values(self, codes: Float32) -> Float32:
        """The values of `codes`, whole or not, in place."""
        codes *= np.float32(self.step)
        codes += np.float32(self.offset)
        return codes

    def positions(self, values: Float32) -> Float32:
        """Where `values` lie among the codes, in place: not yet rounded, and not limited."""
        values -= np.float32(self.offset)
        values *= np.float32(1 / self.step)
        return values

    def codes(self, positions: Float32) -> Float32:
        """Rounded and saturated, in place and still as float32 (exact for 16 bits)."""
        np.rint(positions, out=positions)
        return np.clip(positions, np.float32(0), np.float32(self.top), out=positions)


@dataclass(frozen=True, slots=True)
class Faults:
    """Standard deviations between converters. offset, bow, skew: LSB. gain: relative."""

    offset: float
    gain: float
    bow: float
    skew: float


@dataclass(frozen=True, slots=True)
class LineConverters:
    """The converters of a chip's rows or columns, all of one kind, each with faults of its own.

    A converter takes the ideal position x among its codes to

        x + offset + gain (x - zero) + bow 4 u (1 - u) + skew 6 sqrt(3) u (1 - u) (1 - 2 u),  u = x / top

    zero is where the value 0 lies, which a wrong gain leaves where it is. bow and skew are the peaks of its integral
    non-linearity, between end points. coefficients: (4, lines), of the polynomial in x that this is, from x**0 to x**3.
    """

    coefficients: Float32
    top: int

    @classmethod
    def draw(cls, serial: str, place: str, lines: int, converter: Converter, faults: Faults) -> LineConverters | None:
        """Those of the chip `serial` at `place` ("adc of columns"); None where they are ideal.

        The same place with another scale is the same converter behind another amplifier: the same faults.
        """
        if not (faults.offset or faults.gain or faults.bow or faults.skew):
            return None
        arena, line, top = Arena(lines), np.arange(lines, dtype=np.uint32), converter.top

        def drawn(fault: str, spread: float) -> NDArray[np.float64]:
            key = NoiseKey.of(serial, f"{place}: {fault}")
            values: NDArray[np.float64] = spread * standard_normal(key, line, _AT_BIRTH, arena).astype(np.float64)
            return values

        bow, skew = 4 * drawn("bow", faults.bow), _SKEW * drawn("skew", faults.skew)
        offset, gain = drawn("offset", faults.offset), drawn("gain", faults.gain)
        constant = offset + gain * converter.offset / converter.step
        terms = [constant, 1 + gain + (bow + skew) / top, -(bow + 3 * skew) / top**2, 2 * skew / top**3]
        return cls(np.array(terms, np.float32), top)

    def bend(self, positions: Float32, lines: NDArray[np.intp] | None, arena: Arena) -> None:
        """From ideal positions to those the converters give, in place: (n,).

        lines: (n,) whose converter each is; None: line after line, over and over.
        """
        mark = arena.mark()
        total = arena.float32(len(positions))
        self._limit(positions)
        if lines is None:
            shape = (-1, self.coefficients.shape[1])
            self.bend_within(positions.reshape(shape), total.reshape(shape))
        else:
            term = arena.float32(len(positions))
            constant, *others = self.coefficients
            others.pop().take(lines, out=total, mode="clip")
            while others:
                total *= positions
                others.pop().take(lines, out=term, mode="clip")
                total += term
            total *= positions
            constant.take(lines, out=term, mode="clip")
            np.add(total, term, out=positions)
        arena.release(mark)

    def around(self, positions: NDArray[np.float64], lines: NDArray[np.intp]) -> NDArray[np.float64]:
        """`coefficients` of `lines` (n,) as polynomials in what is added to `positions` (n,): (4, n)."""
        constant, linear, square, cube = self.coefficients[:, lines].astype(np.float64)
        x = positions
        return np.array(
            [
                constant + x * (linear + x * (square + x * cube)),
                linear + x * (2 * square + 3 * x * cube),
                square + 3 * x * cube,
                cube,
            ]
        )

    def furthest(self) -> float:
        """By how many LSB a converter takes a position on its scale elsewhere, at most."""
        constant, linear, square, cube = np.abs(self.coefficients.astype(np.float64) - [[0], [1], [0], [0]])
        return float((constant + self.top * (linear + self.top * (square + self.top * cube))).max())

    def of(self, lines: NDArray[np.intp]) -> LineConverters:
        """Those of `lines`, in their order."""
        return LineConverters(self.coefficients[:, lines], self.top)

    def bend_rows(self, positions: Float32) -> None:
        """`bend` of (n, lines)."""
        self._limit(positions)
        self.bend_within(positions, np.empty_like(positions))

    @property
    def ends(self) -> tuple[float, float]:
        """The positions within which the polynomial means something: what is beyond is taken for the end."""
        return -_BEYOND * self.top, (1 + _BEYOND) * self.top

    def _limit(self, positions: Float32) -> None:
        np.clip(positions, *(np.float32(end) for end in self.ends), out=positions)

    def bend_within(self, positions: Float32, total: Float32) -> None:
        """`bend_rows` of positions that are all between `ends`. total: scratch of their shape."""
        constant, linear, square, cube = self.coefficients
        np.multiply(positions, cube, out=total)
        total += square
        total *= positions
        total += linear
        total *= positions
        np.add(total, constant, out=positions)
