"""How many rows each pass of a program has tagged, counted many passes at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..cells.racetrack_counters import OperationCounters
from .associative_kernel import CompiledTable

Words = NDArray[np.uint64]

_PASSES = 64  # counted at a time: their tags stay in the cache


class MatchCounts:
    """words: of a plane. most: passes of the longest table. trace: whether to keep the counts of all passes."""

    def __init__(self, words: int, most: int, trace: bool) -> None:
        self._tags = np.empty((max(_PASSES, most), words), np.uint64)
        self._counts = np.empty(self._tags.shape, np.uint8)
        self._rows = list(self._tags)
        self._used = 0
        self._tables: list[CompiledTable] = []
        self._matches = self._written_bits = 0
        self._trace: list[NDArray[np.uint32]] | None = [] if trace else None

    def registers(self, table: CompiledTable) -> Sequence[Words]:
        """Where the tags of each pass of `table` for one bit are to be put."""
        begun, end = self._used, self._used + len(table.passes)
        if end > len(self._rows):
            self._count()
            begun, end = 0, len(table.passes)
        self._tables.append(table)
        self._used = end
        return self._rows[begun:end]

    def total(self, counters: OperationCounters) -> NDArray[np.uint32] | None:
        """Add all to `counters`. Gives the rows tagged by each pass, or None where there is no trace."""
        self._count()
        counters.matches += self._matches
        counters.written_bits += self._written_bits
        if self._trace is None:
            return None
        return np.concatenate(self._trace) if self._trace else np.empty(0, np.uint32)

    def _count(self) -> None:
        if not self._used:
            return
        counts = np.bitwise_count(self._tags[: self._used], self._counts[: self._used])
        found = counts.sum(axis=1, dtype=np.uint32)
        self._matches += int(found @ np.concatenate([table.searching for table in self._tables]))
        self._written_bits += int(found @ np.concatenate([table.writing for table in self._tables]))
        if self._trace is not None:
            self._trace.append(found)
        self._tables, self._used = [], 0
