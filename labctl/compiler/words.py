"""Operations on single words of any width: what a self-test asks for, and what ends a layer.

>>> from labctl.compiler import Word, emit, program_of
>>> program = program_of(emit("add", Word(0, 8), Word(64, 9), carry=128), name="sum")
>>> program.passes
35
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.associative import INSTRUCTION, Program, instructions
from labctl.compiler.emission import Kind, WordOperations, instructions_of, tables
from labctl.compiler.tables import NUMBER


@dataclass(frozen=True, slots=True)
class Word:
    """A number in each row: `bits` columns from `first` on, the lowest bit first; in two's complement if signed."""

    first: int
    bits: int
    signed: bool = False

    def part(self, start: int, stop: int) -> Word:
        """Bits start to stop of the number as if it had that many."""
        if start < self.bits:
            return Word(self.first + start, min(stop, self.bits) - start, self.signed and stop >= self.bits)
        return Word(self.first + self.bits - 1, 1, True) if self.signed else Word(self.first, 0)


Instructions = NDArray[Any]


def program_of(made: Instructions, name: str = "") -> Program:
    """A program of instructions of this room."""
    return Program(tables(), made, name)


def emit(operation: str, *words: Word, carry: int, flag: int | None = None) -> Instructions:
    """Instructions for one of `OPERATIONS` on `words`. carry, flag: columns whose contents are lost.

    All words, carry and flag are on different tracks. Results are modulo 2 to the power of the result's bits. Raises
    ValueError for an unknown operation, a wrong number of words, or where a flag is needed.
    """
    known = OPERATIONS.get(operation)
    if known is None:
        raise ValueError(f"there is no operation {operation!r}: {', '.join(OPERATIONS)}")
    if len(words) != known.words or not all(word.bits > 0 for word in words):
        raise ValueError(f"{operation} is of {known.words} words, with at least one bit each: {known.does}")
    if known.flag and flag is None:
        raise ValueError(f"{operation} needs a flag column")
    parts = known.parts(words, carry, carry if flag is None else flag)
    return np.concatenate([np.zeros(0, INSTRUCTION), *(instructions_of(part) for part in parts)])


def add_constant(word: Word, constant: int, carry: int) -> Instructions:
    """Instructions for b <- b + constant, modulo the width of b."""
    ones = [constant >> bit & 1 for bit in range(word.bits)]
    if not any(ones):
        return np.zeros(0, INSTRUCTION)
    rows: list[tuple[int, int, list[int], list[int]]] = [(NUMBER["clear"], 1, [carry], [0])]
    at = ones.index(1)  # nothing changes below
    for one, run in groupby(ones[at:]):
        bits = len(list(run))
        rows.append((NUMBER["add_one" if one else "add_carry"], bits, [word.first + at, carry], [1, 0]))
        at += bits
    return instructions(rows)


def _make(kind: Kind, a: Word | None, b: Word | None, r: Word, c: int, f: int = 0) -> WordOperations:
    a, b = a or Word(0, 0), b or Word(0, 0)
    return WordOperations(kind, a.first, a.bits, a.signed, b.first, b.bits, b.signed, r.first, r.bits, c, f)


_Words = tuple[Word, ...]
_Parts = Callable[[_Words, int, int], list[WordOperations]]


@dataclass(frozen=True, slots=True)
class WordOperation:
    """How many words it takes, what it does with them, whether it needs a flag column."""

    words: int
    does: str
    parts: _Parts
    flag: bool = False


def _binary(kind: Kind) -> _Parts:
    return lambda words, c, f: [_make(kind, words[0], words[1], words[-1], c, f)]


def _relu(words: _Words, c: int, f: int) -> list[WordOperations]:
    (b,) = words
    if not b.signed:
        return []
    sign = Word(b.first + b.bits - 1, 1)
    return [_make(Kind.COPY, sign, None, Word(c, 1), c), _make(Kind.CLEAR_WHERE, None, b, b, c, f)]


def _compare(words: _Words, _c: int, f: int) -> list[WordOperations]:
    a, b, r = words
    signed = a.signed or b.signed
    bits = max(each.bits + (signed and not each.signed) for each in (a, b))
    low, top = bits - signed, Word(0, 1)
    parts = [_make(Kind.CLEAR, None, None, Word(r.first, r.bits), r.first)]
    if low:
        parts.append(_make(Kind.COMPARE, a.part(0, low), b.part(0, low), Word(0, low), r.first, f))
    if signed:
        parts.append(_make(Kind.COMPARE_SIGN, a.part(low, bits), b.part(low, bits), top, r.first, f))
    return parts


def _max(words: _Words, c: int, f: int) -> list[WordOperations]:
    a, b = words
    return [*_compare((a, b, Word(c, 1)), c, f), _make(Kind.SELECT, a, b, b, c, f)]


def _extend(words: _Words, c: int, f: int) -> list[WordOperations]:
    a, b = words
    if a.first != b.first or a.bits > b.bits:
        raise ValueError("extend takes a word and a wider one that begins at the same column")
    more = Word(a.first + a.bits, b.bits - a.bits)
    if not more.bits:
        return []
    if not a.signed:
        return [_make(Kind.CLEAR, None, None, more, c, f)]
    sign = Word(a.first + a.bits - 1, 1)  # by the carry: a track shows one of its columns at a time
    return [_make(Kind.COPY, sign, None, Word(c, 1), c), _make(Kind.COPY, Word(c, 1, True), None, more, c, f)]


def _reverse(words: _Words, c: int, f: int) -> list[WordOperations]:
    a, b = words
    if a.bits < b.bits and not a.signed:
        raise ValueError("reverse_subtract takes a first word that is signed or as wide as the second")
    return [_make(Kind.CLEAR, None, None, Word(c, 1), c), _make(Kind.REVERSE_SUBTRACT, a, b, b, c, f)]


def _negate(words: _Words, c: int, f: int) -> list[WordOperations]:
    (b,) = words
    return [_make(Kind.CLEAR, None, None, Word(c, 1), c), _make(Kind.NEGATE, None, b, b, c, f)]


OPERATIONS: dict[str, WordOperation] = {
    "add": WordOperation(2, "b <- b + a", _binary(Kind.ADD)),
    "subtract": WordOperation(2, "b <- b - a", _binary(Kind.SUBTRACT)),
    "reverse_subtract": WordOperation(2, "b <- a - b", _reverse, flag=True),
    "add_out": WordOperation(3, "r <- a + b", _binary(Kind.ADD_OUT)),
    "subtract_out": WordOperation(3, "r <- a - b", _binary(Kind.SUBTRACT_OUT)),
    "copy": WordOperation(2, "r <- a", lambda w, c, f: [_make(Kind.COPY, w[0], None, w[1], c, f)]),
    "negate_out": WordOperation(2, "r <- -a", lambda w, c, f: [_make(Kind.SUBTRACT_OUT, None, w[0], w[1], c, f)]),
    "negate": WordOperation(1, "b <- -b", _negate, flag=True),
    "extend": WordOperation(2, "b, which begins where a does, <- a", _extend),
    "clear": WordOperation(1, "b <- 0", lambda w, c, f: [_make(Kind.CLEAR, None, None, w[0], c, f)]),
    "relu": WordOperation(1, "b <- max(b, 0)", _relu),
    "compare": WordOperation(3, "r, one bit, <- a > b", _compare),
    "max": WordOperation(2, "b <- max(a, b), where b is wide enough for both", _max),
}
