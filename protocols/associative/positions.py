"""Where the nanowires of a track stand, by the majority of three checks, and how to bring those astray back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeArray, Check, Realign, SetTags

Offsets = NDArray[np.int8]
Counts = NDArray[np.int64]

DISPLACEMENTS = np.arange(-4, 4)
"""What a check tells apart: the guard pattern repeats after so many domains."""
PERIOD = len(DISPLACEMENTS)
CHECKS = 3
"""Of which the majority is believed."""


@dataclass(frozen=True, slots=True)
class Positions:
    """Of each of some tracks. offsets: (tracks, rows) domains ahead of the head. doubtful: (tracks, rows) where no two
    checks agree. misreads: checks of a nanowire that the two others contradict.
    """

    offsets: Offsets
    doubtful: NDArray[np.bool_]
    misreads: int

    @classmethod
    def of(cls, first: Offsets, second: Offsets, third: Offsets) -> Positions:
        """Where two agree, it is so: a check that is misread is misread for a lesser offset more often than not, so
        that to leave out what is not unanimous would leave out those astray.
        """
        believed = np.where(first == second, first, third)
        doubtful = (first != second) & (third != first) & (third != second)
        others = [int(np.count_nonzero((each != believed) & ~doubtful)) for each in (first, second, third)]
        return cls(believed, doubtful, sum(others) + int(np.count_nonzero(doubtful)))

    @property
    def checked(self) -> int:
        """Checks of a nanowire."""
        return CHECKS * self.offsets.size

    @property
    def astray(self) -> int:
        """Nanowires that two checks found in the same wrong place."""
        return int(np.count_nonzero((self.offsets != 0) & ~self.doubtful))

    def counts(self) -> Counts:
        """(tracks, 8) nanowires by offset, those in doubt left out."""
        rows = [by_displacement(offsets[~doubt]) for offsets, doubt in zip(self.offsets, self.doubtful, strict=True)]
        return np.array(rows, np.int64)


def by_displacement(displaced: Offsets) -> Counts:
    """(8,) how many are displaced by each of `DISPLACEMENTS`."""
    found: Counts = np.bincount(displaced.ravel().astype(np.int64) - DISPLACEMENTS[0], minlength=PERIOD)
    return found


def off(counts: Counts) -> Counts:
    """(tracks,) of `counts` by offset, (tracks, 8), those that are not at 0."""
    found: Counts = counts.sum(axis=1) - counts[:, -DISPLACEMENTS[0]]
    return found


def positions(array: AssociativeArray, tracks: NDArray[np.uint16]) -> Positions:
    """Of `tracks`, (n,), each checked three times."""
    return Positions.of(*array.perform(*([Check(tracks)] * CHECKS)))


def bring_back(array: AssociativeArray, tracks: NDArray[np.uint16], found: Positions) -> None:
    """Shift the nanowires astray by as much as they are off: all of a track that are off alike at once."""
    actions = list(_realignments(tracks, found))
    if actions:
        array.perform(*actions)


def _realignments(tracks: NDArray[np.uint16], found: Positions) -> Iterator[SetTags | Realign]:
    sure = np.where(found.doubtful, 0, found.offsets)
    for track, offsets in zip(tracks, sure, strict=True):
        for offset in np.unique(offsets[offsets != 0]):
            yield SetTags(np.packbits(offsets == offset, bitorder="little"))
            yield Realign(int(track), -int(offset))


def align(array: AssociativeArray, track: int, tries: int) -> Positions:
    """Bring the nanowires of `track` back, shifting those astray up to `tries` times; where they are then."""
    chosen = np.array([track], np.uint16)
    found = positions(array, chosen)
    for _ in range(tries):
        if not found.astray:
            break
        bring_back(array, chosen, found)
        found = positions(array, chosen)
    return found
