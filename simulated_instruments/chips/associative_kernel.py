"""Tables of passes as bitwise operations on planes: how an associative chip does them while nothing goes wrong.

A search is an AND of the columns whose key is 1 and of the inverse of the OR of the others. A tagged write of what a
search has looked for changes nothing, and one of the opposite inverts exactly the tagged rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Operation = Callable[[Words, Words, Words], Any]
Step = tuple[Operation, int, int, int]
"""What is done, with which two registers, into which."""

_TABLES_KEPT = 1024

ROLES = 4
EVERY, SCRATCH, TAGS = ROLES, ROLES + 1, ROLES + 2
"""Registers: those of the roles' columns, of all rows, scratch, then the tags of each pass."""


@dataclass(frozen=True, slots=True)
class OnePass:
    """looked, written: roles with their bits. named: roles of either kind."""

    looked: tuple[tuple[int, int], ...]
    written: tuple[tuple[int, int], ...]
    named: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompiledTable:
    """A table, and what it takes and counts for one bit.

    steps: of all passes. roles: those that a pass names. rewritten: those that one may change. writes: of each role.
    most_writes: the most of them. searching, writing: (passes,) whether a pass searches, and columns it writes.
    """

    passes: tuple[OnePass, ...]
    steps: tuple[Step, ...]
    roles: tuple[int, ...]
    rewritten: tuple[int, ...]
    writes: tuple[int, ...]
    most_writes: int
    searches: int
    searched_columns: int
    tagged_writes: int
    written_columns: int
    searching: NDArray[np.int64]
    writing: NDArray[np.int64]

    @classmethod
    def of(cls, codes: Sequence[Sequence[int]]) -> CompiledTable:
        """codes: mask and bits of the key, mask and bits of what is written, for each pass."""
        passes = tuple(_one_pass(*row) for row in codes)
        steps = tuple(step for place, each in enumerate(passes) for step in _steps(each, TAGS + place))
        writes = tuple(sum(role == of for each in passes for of, _ in each.written) for role in range(ROLES))
        return cls(
            passes=passes,
            steps=steps,
            roles=tuple(sorted({role for each in passes for role in each.named})),
            rewritten=tuple(role for role in range(ROLES) if writes[role]),
            writes=writes,
            most_writes=max(writes),
            searches=sum(bool(each.looked) for each in passes),
            searched_columns=sum(len(each.looked) for each in passes),
            tagged_writes=sum(bool(each.written) for each in passes),
            written_columns=sum(writes),
            searching=np.array([bool(each.looked) for each in passes], np.int64),
            writing=np.array([len(each.written) for each in passes], np.int64),
        )


def compiled_table(codes: NDArray[np.uint8]) -> CompiledTable:
    """The table of `codes`, (passes, 4): mask and bits of the key and of what is written. Raises ValueError."""
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != 4 or (codes >= 1 << ROLES).any():
        raise ValueError(f"a table is (passes, 4) masks and bits of {ROLES} roles, not {codes.dtype} of {codes.shape}")
    return _compiled(codes.tobytes())


@functools.lru_cache(_TABLES_KEPT)
def _compiled(codes: bytes) -> CompiledTable:
    return CompiledTable.of(np.frombuffer(codes, np.uint8).reshape(-1, 4).tolist())


def _one_pass(key_mask: int, key: int, then_mask: int, then: int) -> OnePass:
    looked, written = (
        tuple((role, bits >> role & 1) for role in range(ROLES) if mask >> role & 1)
        for mask, bits in ((key_mask, key), (then_mask, then))
    )
    return OnePass(looked, written, tuple(role for role in range(ROLES) if (key_mask | then_mask) >> role & 1))


def _steps(each: OnePass, tags: int) -> list[Step]:
    """Of one pass, with its tags in that register."""
    return [*_search(each, tags), *(step for role, bit in each.written for step in _write(each, role, bit, tags))]


def _search(each: OnePass, tags: int) -> list[Step]:
    ones = [role for role, bit in each.looked if bit]
    zeros = [role for role, bit in each.looked if not bit]
    if not each.looked:
        return [(np.bitwise_or, EVERY, EVERY, tags)]
    if not zeros:
        return _chain(np.bitwise_and, [*ones, *ones[: len(ones) == 1]], tags)[0]
    if not ones:
        steps, found = _chain(np.bitwise_or, zeros, tags)
        return [*steps, (np.bitwise_xor, found, EVERY, tags)]
    both, found = _chain(np.bitwise_and, ones, tags)
    neither, others = _chain(np.bitwise_or, zeros, SCRATCH)
    return [*both, *neither, (np.bitwise_and, found, others, SCRATCH), (np.bitwise_xor, found, SCRATCH, tags)]


def _chain(operation: Operation, registers: list[int], into: int) -> tuple[list[Step], int]:
    """All of `registers` joined, and where the result is: the register itself where it is one."""
    found, steps = registers[0], []
    for register in registers[1:]:
        steps.append((operation, found, register, into))
        found = into
    return steps, found


def _write(each: OnePass, role: int, bit: int, tags: int) -> list[Step]:
    looked = dict(each.looked)
    if role in looked:
        return [] if looked[role] == bit else [(np.bitwise_xor, role, tags, role)]
    if bit:
        return [(np.bitwise_or, role, tags, role)]
    return [(np.bitwise_and, role, tags, SCRATCH), (np.bitwise_xor, role, SCRATCH, role)]
