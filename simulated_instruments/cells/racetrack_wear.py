"""Endurance of racetrack cells: how often each column has been written, and the cells that are stuck since.

The writes that a cell of a column lasts follow a Weibull distribution. A column's failures are a Poisson process in
its cumulative hazard, (writes / lifetime) ** shape for each cell; a cell that fails keeps the bit that it holds. When
and in which row is a function of (serial, column, number of the failure). A column none of whose cells can still be
alive is not asked any more.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .racetrack_parameters import RacetrackParameters
from .racetrack_trials import Uniforms

Words = NDArray[np.uint64]

_NO_ROWS = np.empty(0, np.int64)
_ENDLESS = sys.maxsize
_AHEAD = 64  # failures drawn at a time
_DEAD = 30.0  # cumulative hazard that a cell outlives with exp(-30)
_LONGEST = 1e18  # writes: as good as endless, and a 64-bit integer


class Wear:
    """Writes of `shape` = (columns, rows) cells. Cells are stuck in planes, which the caller numbers."""

    def __init__(self, serial: str, shape: tuple[int, int], parameters: RacetrackParameters, arena: Arena) -> None:
        columns, self._rows = shape
        self._lifetime, self._shape = parameters.lifetime, parameters.lifetime_shape
        self._gaps = Uniforms(serial, "wear", arena)
        self._where = Uniforms(serial, "worn row", arena)
        self.writes = [0] * columns
        self._failures = [0] * columns
        self._hazards = [0.0] * columns  # of all rows together, at the next failure
        self._ends = [_ENDLESS] * columns  # the write at which it comes
        if self._lifetime:
            hazards = -np.log(self._gaps.of_lines(columns))
            self._hazards, self._ends = hazards.tolist(), self._ends_at(hazards).tolist()
        self._stuck: dict[int, tuple[Words, Words]] = {}

    @property
    def any_stuck(self) -> bool:
        return bool(self._stuck)

    def left(self, column: int) -> int:
        """Writes up to the next failure, that one included."""
        return self._ends[column] - self.writes[column]

    def count(self, column: int, writes: int) -> None:
        """Writes that no cell fails at."""
        self.writes[column] += writes

    def write(self, column: int) -> NDArray[np.int64]:
        """Count one; rows of the cells that fail at it."""
        self.writes[column] += 1
        if self._ends[column] <= self.writes[column] and self._is_dead(column):
            self._ends[column] = _ENDLESS
            return np.arange(self._rows)
        rows = [_NO_ROWS]
        while self._ends[column] <= self.writes[column]:
            rows.append(self._fail(column))
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def stick(self, place: int, plane: Words, rows: NDArray[np.int64], mask: Words) -> None:
        """From now on the cells of `rows` in plane `place`, where `mask`, keep the bits that `plane` has."""
        stuck = np.zeros(len(plane), np.uint64)
        np.bitwise_or.at(stuck.view(np.uint8), rows >> 3, (1 << (rows & 7)).astype(np.uint8))
        stuck &= mask
        if not stuck.any():
            return
        before, bits = self._stuck.get(place, (np.zeros_like(stuck), np.zeros_like(stuck)))
        new = stuck & ~before
        self._stuck[place] = (before | new, bits | plane & new)

    def is_stuck(self, places: Sequence[int]) -> bool:
        """Whether any of these planes has stuck cells."""
        return any(place in self._stuck for place in places)

    def hold(self, place: int, plane: Words) -> None:
        """Stuck cells of a plane that was changed keep what they hold."""
        if place in self._stuck:
            stuck, bits = self._stuck[place]
            plane &= ~stuck
            plane |= bits

    def state(self) -> dict[str, NDArray[Any]]:
        stuck = sorted(self._stuck.items())
        none = np.empty((0, 0), np.uint64)
        return {
            "writes": np.array(self.writes, np.int64),
            "failures": np.array(self._failures, np.int64),
            "hazards": np.array(self._hazards),
            "stuck": np.array([place for place, _ in stuck], np.int64),
            "stuck_masks": np.stack([mask for _, (mask, _) in stuck]) if stuck else none,
            "stuck_bits": np.stack([bits for _, (_, bits) in stuck]) if stuck else none,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.writes[:] = state["writes"].tolist()
        self._failures[:] = state["failures"].tolist()
        self._hazards[:] = state["hazards"].tolist()
        if self._lifetime:
            ends = self._ends_at(state["hazards"])
            self._ends = np.where(ends > state["writes"], ends, _ENDLESS).tolist()  # of those that are not dead
        places = state["stuck"].tolist()
        self._stuck = dict(zip(places, zip(state["stuck_masks"], state["stuck_bits"], strict=True), strict=True))

    def _is_dead(self, column: int) -> bool:
        return self._shape * math.log(self.writes[column] / self._lifetime) > math.log(_DEAD)

    def _fail(self, column: int) -> NDArray[np.int64]:
        """Rows of the next failures that have come, and draw when the one after them comes."""
        first, hazard = self._failures[column], self._hazards[column]
        gaps = -np.log(self._gaps.of(column, first + 1, _AHEAD))
        hazards = np.cumsum(np.concatenate([[hazard], gaps]))
        ends = self._ends_at(hazards)
        failed = min(_AHEAD, int(np.searchsorted(ends, self.writes[column], side="right")))
        self._failures[column] = first + failed
        self._hazards[column], self._ends[column] = float(hazards[failed]), int(ends[failed])
        rows = (self._where.of(column, first, failed) * self._rows).astype(np.int64)
        return np.minimum(rows, self._rows - 1)

    def _ends_at(self, hazards: NDArray[np.float64]) -> NDArray[np.int64]:
        """The writes at which the cumulative hazard of a column reaches `hazards`."""
        writes = self._lifetime * (hazards / self._rows) ** (1 / self._shape)
        ends: NDArray[np.int64] = np.maximum(1, np.ceil(np.minimum(writes, _LONGEST))).astype(np.int64)
        return ends
