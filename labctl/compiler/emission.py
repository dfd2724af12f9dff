"""Word operations to instructions: which table for which bits, for any number of operations at once.

A word's bits are consecutive columns of one track, the lowest first. Where an operand is shorter than the result, a
signed one goes on with its top column held, and an unsigned one is absent: tables without it do those bits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.associative import INSTRUCTION, NO_COLUMN, ROLES
from labctl.compiler.tables import NUMBER, TABLES


class Kind(IntEnum):
    """What is done with words a, b and r; c is a column for the carry, and what it held is lost."""

    ADD = 0  # b <- b + a
    SUBTRACT = 1  # b <- b - a
    ADD_OUT = 2  # r <- a + b
    SUBTRACT_OUT = 3  # r <- a - b; a may have no bits: r <- -b
    COPY = 4  # r <- a
    CLEAR = 5  # r <- 0
    COMPARE = 6  # c <- a > b where they differ in these bits; else c stays
    COMPARE_SIGN = 7  # the same for bits that count negative
    SELECT = 8  # where c: b <- a
    CLEAR_WHERE = 9  # where c: b <- 0
    REVERSE_SUBTRACT = 10  # b <- a - b, with a flag column f; c has to be 0
    NEGATE = 11  # b <- -b, with a flag column f; c has to be 0
    ADD_NOT = 12  # b <- b + ~a, of a's bits inverted: b - a + 2**a_bits - 1
    ADD_NOT_OUT = 13  # r <- a + ~b


_IN_PLACE = (Kind.ADD, Kind.SUBTRACT, Kind.ADD_NOT)
_FIRST = {*_IN_PLACE, Kind.ADD_OUT, Kind.ADD_NOT_OUT, Kind.SUBTRACT_OUT}

# For each kind, by whether a and b are present in a bit: the table, and which column plays each of its roles.
_TABLES_OF: dict[Kind, dict[tuple[bool, bool], tuple[str, str]]] = {
    Kind.ADD: {
        (True, True): ("add", "abc"),
        (False, True): ("add_carry", "bc"),
        (True, False): ("add_carry_out", "arc"),
        (False, False): ("carry_out", "rc"),
    },
    Kind.SUBTRACT: {
        (True, True): ("subtract", "abc"),
        (False, True): ("subtract_borrow", "bc"),
        (True, False): ("negate_out", "arc"),
        (False, False): ("borrow_out", "rc"),
    },
    Kind.ADD_OUT: {
        (True, True): ("add_out", "abrc"),
        (True, False): ("add_carry_out", "arc"),
        (False, True): ("add_carry_out", "brc"),
        (False, False): ("carry_out", "rc"),
    },
    Kind.SUBTRACT_OUT: {
        (True, True): ("subtract_out", "abrc"),
        (True, False): ("subtract_borrow_out", "arc"),
        (False, True): ("negate_out", "brc"),
        (False, False): ("borrow_out", "rc"),
    },
    Kind.ADD_NOT: {
        (True, True): ("add_not", "abc"),
        (False, True): ("add_carry", "bc"),
        (True, False): ("add_carry_not_out", "arc"),
        (False, False): ("carry_out", "rc"),
    },
    Kind.ADD_NOT_OUT: {
        (True, True): ("add_not_out", "abrc"),
        (True, False): ("add_carry_out", "arc"),
        (False, True): ("add_carry_not_out", "brc"),
        (False, False): ("carry_out", "rc"),
    },
    Kind.COPY: {(True, False): ("copy", "ar"), (False, False): ("clear", "r")},
    Kind.CLEAR: {(False, False): ("clear", "r")},
    Kind.COMPARE: {
        (True, True): ("compare", "abc"),
        (True, False): ("compare_a", "ac"),
        (False, True): ("compare_b", "bc"),
    },
    Kind.COMPARE_SIGN: {
        (True, True): ("compare_sign", "abc"),
        (True, False): ("compare_a_sign", "ac"),
        (False, True): ("compare_b_sign", "bc"),
    },
    Kind.SELECT: {(True, True): ("select", "abc"), (False, True): ("clear_where", "bc")},
    Kind.CLEAR_WHERE: {(False, True): ("clear_where", "bc")},
    Kind.REVERSE_SUBTRACT: {(True, True): ("reverse_subtract", "abcf")},
    Kind.NEGATE: {(False, True): ("negate", "bcf")},
}
_SOURCES = "abrcf"


def _lookup() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By kind, whether it is a word's first bit, a's presence and b's: the table (-1: none), and the source of its
    roles (len(_SOURCES): no such role)."""
    tables = np.full((len(Kind), 2, 2, 2), -1)
    sources = np.full((len(Kind), 2, 2, 2, ROLES), len(_SOURCES))
    for kind, cases in _TABLES_OF.items():
        for (a, b), (name, roles) in cases.items():
            for first in (False, True):
                own = f"first_{name}" if first and kind in _FIRST else name
                if own in NUMBER:
                    tables[kind, int(first), int(a), int(b)] = NUMBER[own]
                    sources[kind, int(first), int(a), int(b), : len(roles)] = [_SOURCES.index(each) for each in roles]
    return tables, sources


_TABLE, _ROLE_SOURCE = _lookup()


@dataclass(frozen=True)
class WordOperations:
    """Any number of word operations, in order; arrays of (n,), or one number for all.

    kind: of `Kind`. a, b: first columns; a_bits, b_bits: widths (0: absent, that is 0); a_signed, b_signed. r: first
    column of the result (of those in place: b's). bits: width of the result. c, f: columns of carry and flag.
    In place, b grows to `bits` where it is narrower.
    """

    kind: ArrayLike
    a: ArrayLike = 0
    a_bits: ArrayLike = 0
    a_signed: ArrayLike = False
    b: ArrayLike = 0
    b_bits: ArrayLike = 0
    b_signed: ArrayLike = False
    r: ArrayLike = 0
    bits: ArrayLike = 0
    c: ArrayLike = 0
    f: ArrayLike = 0


def instructions_of(operations: WordOperations) -> NDArray[Any]:
    """(m,) of `INSTRUCTION` that do the operations in order, numbered for the tables of this room."""
    made, _ = instructions_and_owners(operations)
    return made


def instructions_and_owners(operations: WordOperations) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The instructions, and of each the operation (by place) that it belongs to."""
    given = {each.name: np.atleast_1d(np.asarray(getattr(operations, each.name))) for each in fields(operations)}
    kind, a, a_bits, a_signed, b, b_bits, b_signed, r, bits, c, f = (
        each.astype(np.int64) for each in np.broadcast_arrays(*given.values())
    )
    in_place = np.isin(kind, _IN_PLACE)
    grown = in_place & (b_signed == 1) & (b_bits < bits) & (b_bits > 0)
    old_bits = b_bits
    b_bits = np.where(grown, bits, b_bits)
    # bits of the result: the first, then as far as both operands, one, or none of them go
    shorter, longer = np.minimum(a_bits, b_bits), np.maximum(a_bits, b_bits)
    once = np.minimum(np.isin(kind, [int(each) for each in _FIRST]), bits)
    cuts = np.stack([np.zeros_like(bits), once, *(np.clip(each, once, bits) for each in (shorter, longer)), bits])
    start, count = cuts[:-1].T, np.diff(cuts, axis=0).T  # (n, 4)
    a_at, a_step, a_here = _operand(a, a_bits, a_signed, start)
    b_at, b_step, b_here = _operand(b, b_bits, np.where(in_place, 0, b_signed), start)
    r_at = np.where(in_place, b, r)[:, None] + start
    which = (kind[:, None], (np.arange(4) == 0)[None], a_here.astype(np.int64), b_here.astype(np.int64))
    which = (which[0], np.broadcast_to(which[1] & (once[:, None] > 0), start.shape).astype(np.int64), *which[2:])
    one, held = np.ones_like(start), np.zeros_like(start)
    places = np.stack([a_at, b_at, r_at, c[:, None] + held, f[:, None] + held, held + NO_COLUMN], axis=-1)
    steps = np.stack([a_step, b_step, one, held, held, held], axis=-1)
    table, roles = _TABLE[which], _ROLE_SOURCE[which]
    # what a signed b grows by is its sign, which goes by the carry: a track shows one of its columns at a time
    before = _sign_extension(grown, b, old_bits, bits, c)
    made = np.zeros((len(kind), 2 + start.shape[1]), INSTRUCTION)
    made[:, :2] = before
    body = made[:, 2:]
    body["table"], body["bits"] = table, count
    body["columns"] = np.take_along_axis(places, roles, axis=-1)
    body["steps"] = np.take_along_axis(steps, roles, axis=-1)
    kept = made["bits"] > 0
    if (wrong := (count > 0) & (table < 0)).any():
        raise ValueError(f"there is no table for a {Kind(int(kind[wrong.any(axis=1)][0])).name} of these words")
    return made[kept], np.nonzero(kept)[0]


def _operand(
    first: NDArray[np.int64], bits: NDArray[np.int64], signed: NDArray[np.int64], start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of a word from each of its bits `start` on: the column, how it goes on, and whether it is there at all."""
    first, bits, signed = first[:, None], bits[:, None], signed[:, None]
    own = start < bits
    return first + np.minimum(start, np.maximum(bits - 1, 0)), own.astype(np.int64), own | ((signed == 1) & (bits > 0))


def _sign_extension(
    grown: NDArray[np.bool_],
    b: NDArray[np.int64],
    old_bits: NDArray[np.int64],
    bits: NDArray[np.int64],
    c: NDArray[np.int64],
) -> NDArray[Any]:
    """(n, 2) instructions: the top column to c, and c to the columns above; of 0 bits where nothing grows."""
    made = np.zeros((len(b), 2), INSTRUCTION)
    made["table"], made["columns"] = NUMBER["copy"], NO_COLUMN
    made["bits"] = np.where(grown[:, None], np.stack([np.ones_like(bits), bits - old_bits], axis=1), 0)
    made["columns"][:, 0, 0], made["columns"][:, 0, 1] = b + old_bits - 1, c
    made["columns"][:, 1, 0], made["columns"][:, 1, 1] = c, b + old_bits
    made["steps"][:, 1, 1] = 1
    return made


def tables() -> tuple[Any, ...]:
    """The tables that the instructions of this room number."""
    return tuple(TABLES.values())
