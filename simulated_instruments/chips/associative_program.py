"""Instructions of an associative chip, checked and spread into the columns of every bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .associative_kernel import ROLES, CompiledTable

INSTRUCTION = np.dtype([("table", "<u2"), ("bits", "<u2"), ("columns", "<u4", (ROLES,)), ("steps", "i1", (ROLES,))])
"""Do the passes of `table` for each of `bits` bits; for bit i role k is on column columns[k] + i * steps[k]."""

_PORTION = 65_536  # bits at a time


@dataclass(frozen=True, slots=True)
class Bits:
    """tables: of each bit. columns: of its roles. settled: whether all of them are
    distinct and can be under their ports at once."""

    tables: list[int]
    columns: list[list[int]]
    settled: list[bool]


def bits_of(
    tables: Sequence[CompiledTable], instructions: NDArray[Any], tracks: int, domains: int, reach: int
) -> Iterator[Bits]:
    """All bits of `instructions`, (n,) of `INSTRUCTION`, some at a time; all are checked first. Raises ValueError."""
    if instructions.dtype != INSTRUCTION or instructions.ndim != 1:
        raise ValueError(f"instructions are (n,) of {INSTRUCTION.itemsize} bytes, not {instructions.dtype}")
    if len(instructions) and int(instructions["table"].max()) >= len(tables):
        raise ValueError(f"table {instructions['table'].max()} is not one of {len(tables)}")
    last = instructions["bits"].cumsum(dtype=np.int64)
    cuts = np.searchsorted(last, np.arange(0, int(last[-1]) if len(last) else 0, _PORTION))
    portions = [each for each in np.split(instructions, cuts) if len(each)]
    for portion in portions:
        _spread(tables, portion, tracks, domains, reach)
    return (_spread(tables, portion, tracks, domains, reach) for portion in portions)


def _spread(tables: Sequence[CompiledTable], instructions: NDArray[Any], tracks: int, domains: int, reach: int) -> Bits:
    """Raises ValueError where an instruction cannot be done."""
    bits = instructions["bits"].astype(np.int64)
    places = np.repeat(np.arange(len(instructions)), bits)
    turns = np.arange(len(places)) - np.repeat(bits.cumsum() - bits, bits)
    numbers = instructions["table"][places]
    columns = instructions["columns"][places] + turns[:, np.newaxis] * instructions["steps"][places].astype(np.int64)
    settled = np.ones(len(places), np.bool_)
    track, head = columns // domains, columns % domains % reach
    for number in np.unique(numbers).tolist():
        table, mine = tables[number], numbers == number
        for role in table.roles:
            outside = mine & ((columns[:, role] < 0) | (columns[:, role] >= tracks * domains))
            if outside.any():
                raise ValueError(f"column {columns[outside, role][0]} is not one of {tracks * domains}")
        for pair in combinations(table.roles, 2):
            one, other = pair
            settled &= ~(mine & (columns[:, one] == columns[:, other]))
            apart = mine & (track[:, one] == track[:, other]) & (head[:, one] != head[:, other])
            if any(set(pair) <= set(each.named) for each in table.passes) and apart.any():
                raise ValueError(
                    f"two columns of track {track[apart, one][0]} are not under its ports at the same time"
                )
            settled &= ~apart
    return Bits(numbers.tolist(), columns.tolist(), settled.tolist())
