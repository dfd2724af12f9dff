"""What runs add to a chip's record, per cell: what one run did is a ledger, and so is the sum of all.

Sums add up; of what has a latest value, each cell keeps the run it is from. So ledgers may be merged in any order, and
a run that is read anew takes nothing but its own ledger with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Operation

OPERATIONS = tuple(Operation)
NO_RUN = -1
_COUNTS = ("pulses", "unknown")


@dataclass(slots=True)
class Ledger:
    """(cells,) each, but for `pulses`, which is (3, cells) in the order of `OPERATIONS`.

    pulses: those of unknown dose among them, which `unknown` counts. dose: V s. conductance: S of the last reading and
    read_at its time, s since 1970 on the wall; NaN before there is one. forming_voltage: V. verdict, doubted: codes of
    `Defect`. `*_run`: number of the run each is from, NO_RUN where there is none. conducted: at the end of some run.
    """

    pulses: NDArray[np.uint64]
    unknown: NDArray[np.uint64]
    dose: NDArray[np.float64]
    conductance: NDArray[np.float32]
    read_at: NDArray[np.float64]
    reading_run: NDArray[np.int32]
    forming_voltage: NDArray[np.float32]
    forming_run: NDArray[np.int32]
    verdict: NDArray[np.uint8]
    verdict_run: NDArray[np.int32]
    doubted: NDArray[np.uint8]
    doubted_run: NDArray[np.int32]
    conducted: NDArray[np.bool_]

    @classmethod
    def empty(cls, cells: int) -> Ledger:
        def nan(dtype: type) -> NDArray[Any]:
            return np.full(cells, np.nan, dtype)

        def nobody() -> NDArray[np.int32]:
            return np.full(cells, NO_RUN, np.int32)

        def nothing(dtype: type) -> NDArray[Any]:
            return np.zeros(cells, dtype)

        return cls(
            pulses=np.zeros((len(OPERATIONS), cells), np.uint64),
            unknown=nothing(np.uint64),
            dose=nothing(np.float64),
            conductance=nan(np.float32),
            read_at=nan(np.float64),
            reading_run=nobody(),
            forming_voltage=nan(np.float32),
            forming_run=nobody(),
            verdict=nothing(np.uint8),
            verdict_run=nobody(),
            doubted=nothing(np.uint8),
            doubted_run=nobody(),
            conducted=nothing(np.bool_),
        )

    @property
    def cells(self) -> int:
        return len(self.dose)

    def add(self, other: Ledger, rank: NDArray[np.int64]) -> None:
        """Take in what `other` has. rank: of each run by its number, the later the higher."""
        self.pulses += other.pulses
        self.unknown += other.unknown
        self.dose += other.dose
        self.conducted |= other.conducted
        self._take_later(other, rank, "reading_run", "conductance", "read_at")
        self._take_later(other, rank, "forming_run", "forming_voltage")
        self._take_later(other, rank, "verdict_run", "verdict")
        self._take_later(other, rank, "doubted_run", "doubted")

    def _take_later(self, other: Ledger, rank: NDArray[np.int64], run: str, *names: str) -> None:
        """`names` of the cells whose run in `other` is later than the one here."""
        theirs, ours = getattr(other, run), getattr(self, run)
        known = np.flatnonzero(theirs != NO_RUN)
        mine = ours[known]
        later = known[(mine == NO_RUN) | (rank[theirs[known]] > rank[mine])]
        for name in (run, *names):
            getattr(self, name)[later] = getattr(other, name)[later]

    def copy(self) -> Ledger:
        return Ledger(**{each.name: getattr(self, each.name).copy() for each in fields(self)})

    def packed(self) -> dict[str, NDArray[Any]]:
        """Name to array, counts in four bytes where they fit."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        small = [name for name in _COUNTS if arrays[name].max(initial=0) <= np.iinfo(np.uint32).max]
        return arrays | {name: arrays[name].astype(np.uint32) for name in small}

    @classmethod
    def unpacked(cls, arrays: Mapping[str, NDArray[Any]]) -> Ledger:
        """What `packed` made. Raises KeyError where something is missing."""
        found = {each.name: arrays[each.name] for each in fields(cls)}
        return cls(**{**found, **{name: found[name].astype(np.uint64) for name in _COUNTS}})
