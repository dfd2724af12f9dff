"""Common subexpressions of ternary sums: greedily, the signed pair that most sums have is made a variable of its own.

A pair counts with its relative sign: x + y serves -x - y too. Candidates wait in a heap with what they counted when
they were met; pairs of old variables only ever get rarer, so that one which still counts what it did is the most
frequent of all. Where no pair is in two sums any more, each sum is finished by pairs of its own, narrow ones first.
(The greedy pairwise elimination of multiple constant multiplication: R. Pasko et al., IEEE TCAD 18, 58, 1999.)
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Expressions:
    """Sums of `inputs` variables by way of definitions: variable inputs + k is left + sign * right of definitions[k].

    results: of each sum the variable it is, and its sign; (-1, 0) where it has no terms.
    """

    inputs: int
    definitions: list[tuple[int, int, int]]
    results: list[tuple[int, int]]


def eliminate(signs: NDArray[np.int8], share: bool = True) -> Expressions:
    """Of sums with terms `signs`, (sums, inputs) of -1, 0 and 1. share: look for common subexpressions."""
    work = _Elimination(signs)
    if share:
        work.share_pairs()
    work.finish()
    return Expressions(signs.shape[1], work.definitions, work.results())


class _Elimination:
    """terms: of each sum its variables and their signs. plus, minus: of each variable the sums with it, as bits."""

    def __init__(self, signs: NDArray[np.int8]) -> None:
        self.inputs = int(signs.shape[1])
        self.terms: list[dict[int, int]] = [
            dict(zip(places.tolist(), row[places].tolist(), strict=True))
            for row, places in ((row, np.flatnonzero(row)) for row in signs)
        ]
        self.plus: list[int] = [_bits(column) for column in (signs == 1).T]
        self.minus: list[int] = [_bits(column) for column in (signs == -1).T]
        self.definitions: list[tuple[int, int, int]] = []
        self.leaves = [1] * self.inputs

    def _holders(self, left: int, right: int, sign: int) -> int:
        """The sums that have left + sign * right, or its negative, as bits."""
        if sign > 0:
            return self.plus[left] & self.plus[right] | self.minus[left] & self.minus[right]
        return self.plus[left] & self.minus[right] | self.minus[left] & self.plus[right]

    def _define(self, left: int, right: int, sign: int) -> int:
        self.definitions.append((left, right, sign))
        self.leaves.append(self.leaves[left] + self.leaves[right])
        return self.inputs + len(self.definitions) - 1

    def share_pairs(self) -> None:
        waiting = [
            (-count, left, right, sign)
            for right in range(self.inputs)
            for left in range(right)
            for sign in (1, -1)
            if (count := self._holders(left, right, sign).bit_count()) > 1
        ]
        heapify(waiting)
        while waiting:
            counted, left, right, sign = heappop(waiting)
            holders = self._holders(left, right, sign)
            count = holders.bit_count()
            if count < 2:
                continue
            if count != -counted:
                heappush(waiting, (-count, left, right, sign))
                continue
            for pair, found in self._replace(left, right, sign, holders).items():
                if found > 1:
                    heappush(waiting, (-found, *pair))

    def _replace(self, left: int, right: int, sign: int, holders: int) -> dict[tuple[int, int, int], int]:
        """Put a new variable for the pair in the sums `holders`; gives how often each pair with it is there."""
        made = self._define(left, right, sign)
        plus = self.plus[left] & holders
        self.plus.append(plus)
        self.minus.append(holders & ~plus)
        for old in (left, right):
            self.plus[old] &= ~holders
            self.minus[old] &= ~holders
        pairs: dict[tuple[int, int, int], int] = {}
        while holders:
            lowest = holders & -holders
            holders ^= lowest
            terms = self.terms[lowest.bit_length() - 1]
            own = terms.pop(left)
            del terms[right]
            for other, its in terms.items():
                pair = (other, made, its * own)
                pairs[pair] = pairs.get(pair, 0) + 1
            terms[made] = own
        return pairs

    def finish(self) -> None:
        """Make each sum one variable, by pairs that only it has."""
        for terms in self.terms:
            if len(terms) < 2:
                continue
            narrow = [(self.leaves[variable], variable, sign) for variable, sign in terms.items()]
            heapify(narrow)
            while len(narrow) > 1:
                _, left, left_sign = heappop(narrow)
                _, right, right_sign = heappop(narrow)
                made = self._define(left, right, left_sign * right_sign)
                heappush(narrow, (self.leaves[made], made, left_sign))
            terms.clear()
            terms[narrow[0][1]] = narrow[0][2]

    def results(self) -> list[tuple[int, int]]:
        return [next(iter(terms.items())) if terms else (-1, 0) for terms in self.terms]


def _bits(flags: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
