"""Racetrack cells: a nanowire of domains for each row and track, shifted under ports; what a port sees of a column.

Rows are bits of 64-bit words, so a column is a plane of words, and what is done to all rows is bitwise arithmetic on
planes. A column that is not where it should be in some rows is gathered from the planes around it, and what is written
to it goes back there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arena import Arena
from .racetrack_counters import OperationCounters
from .racetrack_parameters import RacetrackParameters
from .racetrack_retention import ThermalFlips
from .racetrack_tracks import OVERHANG, Tracks
from .racetrack_trials import RareFaults, Uniforms
from .racetrack_wear import Wear

Words = NDArray[np.uint64]

_WORDS_TOGETHER = 8  # the words of a plane are a multiple of these


class RacetrackCells:
    """Nanowires of `domains` for data in `rows` rows and `tracks` tracks; column = track * domains + domain.

    words: (n,) of a plane. every: plane of all rows. Fresh cells hold 0 and take up no memory before they are written.
    """

    def __init__(
        self,
        serial: str,
        shape: tuple[int, int, int, int],
        parameters: RacetrackParameters,
        counters: OperationCounters,
        arena: Arena,
    ) -> None:
        self.rows, self.tracks, self.domains, self.ports = shape
        self.parameters = parameters
        self._counters = counters
        self.reach = self.domains // self.ports
        self.columns = self.tracks * self.domains
        self.words = -(-self.rows // (64 * _WORDS_TOGETHER)) * _WORDS_TOGETHER
        self.every = self.plane(np.packbits(np.ones(self.rows, np.uint8), bitorder="little"))
        self._stride = self.domains + 2 * OVERHANG
        self.planes = np.zeros((self.tracks * self._stride, self.words), np.uint64)
        self._views = list(self.planes)
        self.positions = Tracks(serial, (self.tracks, self.rows), self.reach, self.every, parameters, counters, arena)
        self.write_faults = RareFaults(Uniforms(serial, "write", arena), 0, parameters.write_error)
        self.read_faults = RareFaults(Uniforms(serial, "read", arena), 0, parameters.read_error)
        self.flips = ThermalFlips(serial, len(self.planes), self.rows, parameters.retention_rate, arena)
        self.wear = Wear(serial, (self.columns, self.rows), parameters, arena)
        self._waited = 0.0
        self._now = 0.0  # age when columns were last sought
        self._scratch = np.empty(self.words, np.uint64)

    @property
    def worked(self) -> float:
        """s that all operations so far have taken, one after another."""
        counters, times = self._counters, self.parameters
        return (
            (counters.shifts + counters.realignments) * times.shift_time
            + counters.searches * times.search_time
            + (counters.writes + counters.loaded_columns) * times.write_time
            + counters.read_columns * times.read_time
            + counters.checks * 2 * times.transverse_read_time
        )

    @property
    def age(self) -> float:
        """s since they were made."""
        return self._waited + self.worked

    def wait(self, seconds: float) -> None:
        """Nothing but heat happens to them for so long."""
        self._waited += seconds

    def plane(self, packed: NDArray[np.uint8]) -> Words:
        """Words of whole bytes, row 0 in the least significant bit of the first; bits beyond the rows are cleared."""
        words = np.zeros(self.words, np.uint64)
        words.view(np.uint8)[: len(packed)] = packed
        if self.rows % 8:
            words.view(np.uint8)[self.rows // 8] &= (1 << self.rows % 8) - 1
        return words

    def packed(self, words: Words) -> NDArray[np.uint8]:
        """The whole bytes of a plane, a copy."""
        return words.view(np.uint8)[: (self.rows + 7) // 8].copy()

    def seek(self, columns: Iterable[int]) -> None:
        """Shift the tracks of `columns` so that all of them are under a port."""
        heads = self.positions.heads
        for column in columns:
            track, domain = divmod(column, self.domains)
            head = domain % self.reach
            if heads[track] != head:
                self.positions.shift(track, head - heads[track])
        if self.flips.due < math.inf:
            self._now = self.age

    def see(self, column: int) -> Words:
        """What is under the port that `column` is sought with: the plane itself, to be written to, or a gathered one.

        After a change of it `put` has to be called.
        """
        place = self._place(column)
        strays = self.positions.strays(column // self.domains)
        if strays is None:
            return self._felt(place)
        seen = np.bitwise_and(self._felt(place), strays.aligned)
        part = self._scratch
        for displacement, mask in strays.displaced:
            np.bitwise_and(self._felt(place + displacement), mask, part)
            np.bitwise_or(seen, part, seen)
        return seen

    def put(self, column: int, seen: Words) -> None:
        """Back to where it was seen."""
        place = self._place(column)
        strays = self.positions.strays(column // self.domains)
        if strays is None:
            return
        for displacement, mask in ((0, strays.aligned), *strays.displaced):
            plane, change = self._views[place + displacement], self._scratch
            np.bitwise_xor(plane, seen, change)
            np.bitwise_and(change, mask, change)
            np.bitwise_xor(plane, change, plane)

    def write(self, column: int, bits: Words, where: Words) -> None:
        """Write `bits` to a column that has been sought, in the rows `where`."""
        failing, _ = self.write_faults.take(self.rows)
        if len(failing):
            where = where.copy()
            _clear(where, failing)
        place = self._place(column)
        strays = self.positions.strays(column // self.domains)
        parts = ((0, self.every),) if strays is None else ((0, strays.aligned), *strays.displaced)
        worn = self.wear.write(column)
        for displacement, mask in parts:
            self._write_plane(place + displacement, bits, where & mask)
        if len(worn):
            for displacement, mask in parts:
                self.wear.stick(place + displacement, self._views[place + displacement], worn, mask)

    def read(self, column: int) -> Words:
        """A column that has been sought, as it reads; a copy."""
        seen = self.see(column).copy()
        failing, _ = self.read_faults.take(self.rows)
        if len(failing):
            np.bitwise_xor.at(seen.view(np.uint8), failing >> 3, (1 << (failing & 7)).astype(np.uint8))
        return seen

    def quiet(self, columns: list[int], written: int, most: int) -> bool:
        """Whether cells do as they are told in so many writes, of these sought columns, none of more than `most`."""
        if not self.write_faults.quiet(written * self.rows):
            return False
        for column in columns:
            if self.wear.left(column) <= most:
                return False
            if self.wear.any_stuck and self.wear.is_stuck(self._places(column)):
                return False
        return True

    def state(self) -> dict[str, NDArray[Any]]:
        """For the chip's file: planes that hold anything, positions, wear and where all streams of faults are."""
        held = np.flatnonzero(self.planes.any(axis=1))
        return {
            "held": held,
            "planes": self.planes[held],
            "waited": np.array(self._waited),
            "write_faults": np.array(self.write_faults.state, np.int64),
            "read_faults": np.array(self.read_faults.state, np.int64),
            **self.positions.state(),
            **self.flips.state(),
            **self.wear.state(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.planes[state["held"]] = state["planes"]
        self._waited = float(state["waited"])
        self.write_faults.restore(state["write_faults"].tolist())
        self.read_faults.restore(state["read_faults"].tolist())
        self.positions.restore(state)
        self.flips.restore(state)
        self.wear.restore(state)

    def _place(self, column: int) -> int:
        """The plane of an aligned column."""
        return column + (column // self.domains * 2 + 1) * OVERHANG

    def _places(self, column: int) -> list[int]:
        """The planes that writes of a column reach."""
        place, strays = self._place(column), self.positions.strays(column // self.domains)
        return [place, *(place + displacement for displacement, _ in strays.displaced)] if strays else [place]

    def _felt(self, place: int) -> Words:
        """A plane as heat has left it, which turns no stuck cell over."""
        if self.flips.due <= self._now:
            self.flips.reach(place, self._views[place], self._now)
            self.wear.hold(place, self._views[place])
        return self._views[place]

    def _write_plane(self, place: int, bits: Words, where: Words) -> None:
        plane = self._felt(place)
        change = np.bitwise_xor(plane, bits)
        change &= where
        plane ^= change
        self.wear.hold(place, plane)


def _clear(plane: Words, rows: NDArray[np.int64]) -> None:
    mask = np.zeros(plane.nbytes, np.uint8)
    np.bitwise_or.at(mask, rows >> 3, (1 << (rows & 7)).astype(np.uint8))
    plane.view(np.uint8)[:] &= ~mask
