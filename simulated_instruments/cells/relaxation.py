"""What becomes of a conductance once it is programmed: relaxation in the logarithm of time.

Cells do not keep what they were verified at. The change grows about linearly with the logarithm of time, has heavy
tails, depends on the level, and partly forgets itself: a cell's change after 1 s and after a day correlate, but not
fully. Measured on 16,292 cells of a 1T1R technology: RRAM-Relaxation-Master-Model (MIT), technology C.

The model is an autoregression over knots in time, whose innovations are drawn from measured quantiles:

    R_k = m_k R_(k-1) + I_k,  I_k ~ Q_k(level),  R_(-1) = 0

Between the knots k - 1 and k, with w the part of the logarithm of time between them that has passed,

    R = (1 + (m_k - 1) w) R_(k-1) + sqrt(w) I_k.

Time before the first knot counts from a tenth of it; after the last, R goes on as between the last two, the same
factor of time a knot. A cell between two levels follows
one of them, the nearer one the likelier. Cells differ in how volatile they are: at each knot a share of them changes as
rarely or as commonly as it did at the knot before, up or down (their innovation has the same rank or the opposite one),
which leaves the quantiles and the correlations of innovations as they are but not those of their sizes.

Nothing is kept of R: I_k is the hash of how often a cell was programmed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .hashing import NoiseKey, hash_bits
from .masks import choose, mask_of
from .model import Float32, Selection

_BITS = 12
_DRAWS = 1 << _BITS  # quantiles in a table: the rarest is one cell in 8,192
_CHANCES = 1024  # of keeping a rank
_STEPS = 1024  # of the lookup from conductance to place among the levels
_LONGEST = 1e12  # s: beyond, R holds
_APPROACH = 10.0  # the first knot's time over the time from which it is approached


class Relaxation:
    """The relaxation of the cells of one chip.

    times: (m,) s. levels: (n,) S. probabilities: (q,). quantiles: (m, n, q) S. memory: (m,). volatility: the share
    that keeps the rank of its changes. Raises ValueError where their shapes do not fit or they are not in order.
    """

    def __init__(
        self,
        serial: str,
        times: Sequence[float],
        levels: Sequence[float],
        probabilities: Sequence[float],
        quantiles: Sequence[Sequence[Sequence[float]]],
        memory: Sequence[float],
        volatility: float = 0.0,
    ) -> None:
        table = np.array(quantiles, np.float64)
        shape = (len(times), len(levels), len(probabilities))
        if table.shape != shape or len(memory) != len(times):
            raise ValueError(f"relaxation_quantiles must be {shape} and relaxation_memory ({len(times)},)")
        for name, values in (("times", times), ("levels", levels), ("probabilities", probabilities)):
            if any(after <= before for before, after in pairwise(values)):
                raise ValueError(f"relaxation_{name} must increase")
        if not (times[0] > 0 and probabilities[0] > 0 and probabilities[-1] < 1):
            raise ValueError("relaxation_times must be more than 0 s, relaxation_probabilities between 0 and 1")
        self.begins = times[0] / _APPROACH
        self._knots = [self.begins, *times]
        self._memory = [float(each) for each in memory]
        self._tables = [_drawn(each, probabilities).ravel() for each in table]
        while self._knots[-1] < _LONGEST:
            self._knots.append(self._knots[-1] * (self._knots[-1] / self._knots[-2]))
            self._memory.append(self._memory[-1])
            self._tables.append(self._tables[-1])
        self._keys = [NoiseKey.of(serial, f"relaxation {number}") for number in range(len(self._tables))]
        self._kept = np.uint32(round(volatility * _CHANCES))
        self._per_siemens = (_STEPS - 1) / (levels[-1] or 1.0)
        place = np.interp(np.arange(_STEPS) / self._per_siemens, levels, np.arange(len(levels), dtype=np.float64))
        self._place = np.minimum(place, len(levels) - 1.001 if len(levels) > 1 else 0.0).astype(np.float32)

    def change(
        self, where: Selection, programmed: Float32, programmings: NDArray[np.uint32], elapsed: NDArray[np.float64]
    ) -> Float32 | None:
        """R of cells `elapsed` s after they were `programmed` to so many S: (n,) S, or None: none has begun.

        programmings: (n,) how often each was programmed.
        """
        longest, shortest = float(elapsed.max(initial=0.0)), float(elapsed.min(initial=np.inf))
        if longest <= self.begins:
            return None
        arena, count = where.arena, len(where)
        logs, total, drawn = arena.float32(count), arena.float32(count), arena.float32(count)
        np.copyto(logs, elapsed, casting="same_kind")
        np.maximum(logs, np.float32(self.begins), out=logs)
        np.log(logs, out=logs)
        rank, index = arena.uint32(count), arena.intp(count)
        total[:] = 0
        for knot, table in enumerate(self._tables):
            before, after = self._knots[knot], self._knots[knot + 1]
            if longest <= before:
                break
            mark = arena.mark()
            bits = hash_bits(self._keys[knot], where.cells, programmings, arena)
            if knot == 0:
                np.bitwise_and(bits, np.uint32(_DRAWS - 1), out=rank)
                level = self._levels(where, programmed, bits)
                mark = arena.mark()
            else:
                self._next_rank(where, rank, bits)
            np.add(level, rank, out=index, casting="unsafe")
            table.take(index, out=drawn, mode="clip")
            if shortest >= after:
                total *= np.float32(self._memory[knot])
            else:
                self._weigh(where, logs, total, drawn, knot)
            total += drawn
            arena.release(mark)
        return total

    def _weigh(self, where: Selection, logs: Float32, total: Float32, drawn: Float32, knot: int) -> None:
        """R and I of cells that are, at exp(`logs`) s, somewhere between the knot before and `knot`, in place."""
        before, after = math.log(self._knots[knot]), math.log(self._knots[knot + 1])
        weight, forgotten = where.arena.float32(len(where)), where.arena.float32(len(where))
        np.subtract(logs, np.float32(before), out=weight)
        weight *= np.float32(1 / (after - before))
        np.clip(weight, np.float32(0), np.float32(1), out=weight)
        if knot:
            np.multiply(weight, np.float32(self._memory[knot] - 1), out=forgotten)
            forgotten += np.float32(1)
            total *= forgotten
        np.sqrt(weight, out=weight)
        drawn *= weight

    def _next_rank(self, where: Selection, rank: NDArray[np.uint32], bits: NDArray[np.uint32]) -> None:
        """The rank of each innovation among _DRAWS, in place: a new one, or the last one or its opposite."""
        arena, count = where.arena, len(where)
        new, renewed = arena.uint32(count), arena.array(np.bool_, count)
        if self._kept:
            np.right_shift(bits, 31, out=new)
            new *= np.uint32(_DRAWS - 1)
            rank ^= new  # all its bits turned over: _DRAWS - 1 - rank
        np.bitwise_and(bits, np.uint32(_DRAWS - 1), out=new)
        bits >>= _BITS
        bits &= np.uint32(_CHANCES - 1)
        np.greater_equal(bits, self._kept, out=renewed)
        choose(rank, new, mask_of(renewed, 4, arena), arena)

    def _levels(self, where: Selection, programmed: Float32, bits: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Where the table of each cell's level begins; the top bits of its hash choose between two neighbours."""
        place, chosen, index = (
            where.arena.float32(len(where)),
            where.arena.float32(len(where)),
            where.arena.intp(len(where)),
        )
        np.multiply(programmed, np.float32(self._per_siemens), out=place)
        np.clip(place, np.float32(0), np.float32(_STEPS - 1), out=place)
        np.copyto(index, place, casting="unsafe")
        self._place.take(index, out=place, mode="clip")
        np.right_shift(bits, 2 * _BITS, out=index, casting="unsafe")
        np.copyto(chosen, index, casting="same_kind")
        chosen *= np.float32(1 / 256)
        place += chosen
        np.copyto(index, place, casting="unsafe")
        index <<= _BITS
        return index


def _drawn(quantiles: NDArray[np.float64], probabilities: Sequence[float]) -> Float32:
    """(n, _DRAWS) equally likely values of each of (n, q) quantile functions, linear in the normal score.

    Beyond the outermost probabilities the function goes on straight, to at most twice its outermost values.
    """
    score = np.array([NormalDist().inv_cdf(each) for each in probabilities])
    wanted = np.array([NormalDist().inv_cdf((number + 0.5) / _DRAWS) for number in range(_DRAWS)])
    rows = []
    for row in quantiles:
        values = np.interp(wanted, score, row)
        if len(score) > 1:
            below, above = wanted < score[0], wanted > score[-1]
            values[below] = row[0] + (wanted[below] - score[0]) * (row[1] - row[0]) / (score[1] - score[0])
            values[above] = row[-1] + (wanted[above] - score[-1]) * (row[-1] - row[-2]) / (score[-1] - score[-2])
        rows.append(values)
    return np.array(rows, np.float32)
