"""Retention of racetrack cells: heat turns the magnetisation of a domain over, now and then.

The flips of a plane of cells are a Poisson process in the age of the chip. When they happen and in which row is a
function of (serial, plane, number of the flip), so a plane is the same whenever and however often one looks at it; it
need only be brought up to date when somebody does. Where nobody did for so long that chance alone is left of what the
cells held, the last of it stands for all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .racetrack_trials import Uniforms

_BLOCK = 65_536  # flips at a time
_FEWEST = 8
_FORGOTTEN = 20.0
"""Flips of a cell on average, after which one bit is as likely as the other but for exp(-40)."""


class ThermalFlips:
    """Flips of `planes` planes of `rows` cells, at `rate` per cell and s.

    due: age, s, at which the first plane that is not up to date has its next flip, or earlier.
    """

    def __init__(self, serial: str, planes: int, rows: int, rate: float, arena: Arena) -> None:
        self._rows = rows
        self._rate = rate * rows
        self._gaps = Uniforms(serial, "thermal flip", arena)
        self._where = Uniforms(serial, "thermally flipped row", arena)
        self._numbers = np.zeros(planes, np.int64)
        if not rate:
            self._next = np.full(planes, math.inf)
        else:
            self._next = -np.log(self._gaps.of_lines(planes)) / self._rate
        self.due = float(self._next.min())

    def reach(self, place: int, plane: NDArray[np.uint64], age: float) -> None:
        """Bring a plane up to `age`."""
        if self._next[place] > age:
            return
        time, number = float(self._next[place]), int(self._numbers[place])
        time = max(time, age - _FORGOTTEN * self._rows / self._rate)
        while time <= age:
            count = min(_BLOCK, max(_FEWEST, math.ceil((age - time) * self._rate * 1.1)))
            times = np.concatenate([[time], self._times(place, time, number + 1, count)])
            happened = min(count, int(np.searchsorted(times, age, side="right")))  # the last is left for the next block
            rows = (self._where.of(place, number, happened) * self._rows).astype(np.int64)
            np.minimum(rows, self._rows - 1, out=rows)
            np.bitwise_xor.at(plane.view(np.uint8), rows >> 3, (1 << (rows & 7)).astype(np.uint8))
            time, number = float(times[happened]), number + happened
        self._next[place], self._numbers[place] = time, number
        self.due = float(self._next.min())

    def state(self) -> dict[str, NDArray[Any]]:
        return {"next_flips": self._next, "flips": self._numbers}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._next[:] = state["next_flips"]
        self._numbers[:] = state["flips"]
        self.due = float(self._next.min())

    def _times(self, place: int, time: float, number: int, count: int) -> NDArray[np.float64]:
        """Of flips from `number` on, after one at `time`."""
        gaps = -np.log(self._gaps.of(place, number, count)) / self._rate
        times: NDArray[np.float64] = np.cumsum(np.concatenate([[time], gaps]))[1:]
        return times
