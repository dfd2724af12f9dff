"""Where the nanowires of each track are: the head they share, and how far each has gone astray of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import racetrack_guard
from .arena import Arena
from .racetrack_counters import OperationCounters
from .racetrack_parameters import RacetrackParameters
from .racetrack_trials import FaultLines, Uniforms

OVERHANG = 8
"""Domains beyond those for data at both ends of a nanowire; one that is so far astray is at its end and stays there."""

_PLACES = 2 * OVERHANG + 1
_BITS = (1 << np.arange(8)).astype(np.uint8)
_NO_ROWS = np.empty(0, np.int64)
_NO_OFFSETS = np.empty(0, np.int8)

Words = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Strays:
    """Masks of rows by displacement: aligned where there is none, displaced the others, increasing."""

    aligned: Words
    displaced: tuple[tuple[int, Words], ...]


class Track:
    """How far the nanowires of one track are ahead of its head, kept as numbers and as masks of rows.

    offsets: (rows, a multiple of 64) of which those beyond the array's rows stay 0.
    """

    def __init__(self, offsets: NDArray[np.int8], every: Words) -> None:
        self.offsets = offsets
        self._every = every
        self._masks: Words | None = None  # (displacements, words), once one has gone astray
        self._counts = np.zeros(_PLACES, np.int64)  # nanowires of each displacement, without those that are aligned
        self._strays: Strays | None = None
        self._moved = False  # since `strays` was last asked for
        self.astray = 0  # nanowires that are not where they should be

    @property
    def strays(self) -> Strays | None:
        """None where all nanowires are where they should be."""
        if self._moved and self._masks is not None:
            held = np.flatnonzero(self._counts).tolist()
            displaced = tuple((place - OVERHANG, self._masks[place]) for place in held)
            self._strays = Strays(self._masks[OVERHANG], displaced) if displaced else None
            self._moved = False
        return self._strays

    def restore(self) -> None:
        """Make the masks of the offsets there are."""
        rows = np.flatnonzero(self.offsets)
        ways = self.offsets[rows]
        self.offsets[rows] = 0
        self.move(rows, ways)

    def stray_rows(self) -> Rows:
        """Of nanowires that are not where they should be, increasing."""
        if self._masks is None or not self.astray:
            return _NO_ROWS
        stray = self._masks[OVERHANG] ^ self._every
        words = np.flatnonzero(stray)
        word, bit = np.nonzero(np.unpackbits(stray[words].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little"))
        rows: Rows = words[word] * 64 + bit
        return rows

    def move(self, rows: Rows, ways: NDArray[np.int8] | int) -> None:
        """Nanowires of distinct rows against their head, no further than their ends."""
        masks = self._masks
        if masks is None:
            masks = self._masks = np.zeros((_PLACES, len(self._every)), np.uint64)
            masks[OVERHANG] = self._every
        before = self.offsets[rows].astype(np.int64)
        after = np.minimum(np.maximum(before + ways, -OVERHANG), OVERHANG)
        self.offsets[rows] = after
        flat, size, eighths, bits = masks.view(np.uint8).reshape(-1), masks.shape[1] * 8, rows >> 3, _BITS[rows & 7]
        for places, change in ((before + OVERHANG, -1), (after + OVERHANG, 1)):
            np.bitwise_xor.at(flat, places * size + eighths, bits)
            self._counts += change * np.bincount(places, minlength=_PLACES)
        self._counts[OVERHANG] = 0
        self.astray = int(self._counts.sum())
        self._moved = True


class Tracks:
    """The positions of all nanowires, (tracks, rows).

    heads: of each track, from 0 to reach - 1. every: mask of all rows. verify_every: after so many single shifts of a
    track it is checked and realigned; 0: never.
    """

    def __init__(
        self,
        serial: str,
        shape: tuple[int, int],
        reach: int,
        every: Words,
        parameters: RacetrackParameters,
        counters: OperationCounters,
        arena: Arena,
    ) -> None:
        tracks, self._rows = shape
        self._reach = reach
        self._parameters = parameters
        self._counters = counters
        self.verify_every = 0
        self.heads = [0] * tracks
        self._since = [0] * tracks  # single shifts since the last check that the array did by itself
        self._offsets = np.zeros((tracks, len(every) * 64), np.int8)
        self._tracks = [Track(offsets, every) for offsets in self._offsets]
        self._slips = FaultLines(Uniforms(serial, "shift", arena), parameters.shift_error)
        self._misreads = FaultLines(Uniforms(serial, "transverse read", arena), parameters.transverse_misread)

    @property
    def offsets(self) -> NDArray[np.int8]:
        """(tracks, rows) by how many domains each nanowire is ahead of its head."""
        return self._offsets[:, : self._rows]

    def shift(self, track: int, steps: int) -> None:
        """All nanowires of a track. Raises ValueError where its head cannot go there."""
        head = self.heads[track] + steps
        if not 0 <= head < self._reach:
            raise ValueError(f"the head of track {track} cannot go to {head}: it has 0 to {self._reach - 1}")
        self.heads[track] = head
        count, way, every = abs(steps), 1 if steps > 0 else -1, self.verify_every
        self._counters.shifts += count
        if not every:
            self._slip(track, way, count, None)
            return
        while count:
            portion = min(count, every - self._since[track])
            if portion > 0:
                self._slip(track, way, portion, None)
                self._since[track] += portion
                count -= portion
            if self._since[track] >= every:
                self._since[track] = 0
                self._verify(track)

    def check(self, track: int) -> NDArray[np.int8]:
        """(rows,) by how many domains nanowires seem to be ahead of their head, -4 to 3."""
        seeming = racetrack_guard.measured(self.offsets[track])
        rows, taken = self._misread(track)
        seeming[rows] = taken
        return seeming

    def realign(self, track: int, steps: int, rows: Rows) -> None:
        """Shift the nanowires of these rows only, and not the head."""
        way = 1 if steps > 0 else -1
        for _ in range(abs(steps)):
            self._counters.realignments += 1
            if len(rows):
                self._tracks[track].move(rows, way)
                self._slip(track, way, 1, rows)

    def strays(self, track: int) -> Strays | None:
        """Of a track; None where all of its nanowires are where they should be."""
        return self._tracks[track].strays

    def state(self) -> dict[str, NDArray[Any]]:
        """For the chip's file."""
        stray = np.array([track for track, each in enumerate(self._tracks) if each.astray], np.int64)
        return {
            "heads": np.array(self.heads, np.int64),
            "shifts_since_check": np.array(self._since, np.int64),
            "stray_tracks": stray,
            "offsets": self.offsets[stray],
            "shift_faults": self._slips.state,
            "transverse_read_faults": self._misreads.state,
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.heads[:] = state["heads"].tolist()
        self._since[:] = state["shifts_since_check"].tolist()
        self.offsets[state["stray_tracks"]] = state["offsets"]
        for track in state["stray_tracks"].tolist():
            self._tracks[track].restore()
        self._slips.restore(state["shift_faults"])
        self._misreads.restore(state["transverse_read_faults"])

    def _slip(self, track: int, way: int, shifts: int, rows: Rows | None) -> None:
        """What goes wrong in single shifts, of all nanowires or of those of `rows`."""
        if not self._parameters.shift_error:
            return
        faults = self._slips.of(track)
        trials = self._rows if rows is None else len(rows)
        if faults.quiet(trials * shifts):
            faults.skip(trials * shifts)
            return
        over = self._parameters.shift_over / self._parameters.shift_error
        for _ in range(shifts):
            found, choices = faults.take(trials)
            if len(found):
                ways = np.where(choices <= over, np.int8(way), np.int8(-way))
                self._tracks[track].move(found if rows is None else rows[found], ways)

    def _verify(self, track: int) -> None:
        """Check, and realign what seems to be astray."""
        others, taken = self._misread(track)
        nanowires = self._tracks[track]
        if not nanowires.astray and not taken.any():
            return
        rows = nanowires.stray_rows()
        seeming = racetrack_guard.measured(nanowires.offsets[rows])
        if len(others):
            kept = np.isin(rows, others, invert=True)
            rows, seeming = np.concatenate([rows[kept], others]), np.concatenate([seeming[kept], taken])
        for displacement in sorted(set(seeming.tolist()) - {0}):
            self.realign(track, -displacement, rows[seeming == displacement])

    def _misread(self, track: int) -> tuple[Rows, NDArray[np.int8]]:
        """Count a check of a track; the rows of which a read was off, with what they are taken for."""
        self._counters.checks += 1
        trials = racetrack_guard.READS * self._rows
        faults = self._misreads.of(track)
        if faults.quiet(trials):
            faults.skip(trials)
            return _NO_ROWS, _NO_OFFSETS
        found, choices = faults.take(trials)
        rows, places = np.unique(found % self._rows, return_inverse=True)
        errors = np.zeros((len(rows), racetrack_guard.READS), np.int8)
        errors[places, found // self._rows] = np.where(choices <= 0.5, 1, -1)
        return rows, racetrack_guard.misread(self._tracks[track].offsets[rows], errors)
