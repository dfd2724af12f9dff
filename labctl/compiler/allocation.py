"""Which columns words take: slots of one width on tracks, and the layout of a tile.

Live words are intervals of a program's steps. As all temporary words of a group get slots of the same width, giving
each the first slot that is free colours those intervals with as few slots as there are words alive at once, but for the
tracks that it has to keep away from: two words of one operation are on different tracks.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.associative import AssociativeGeometry


class Slots:
    """Slots for temporary words, numbered; `per_track` of them on a track. most: how many there ever were."""

    def __init__(self, per_track: int) -> None:
        self.per_track = per_track
        self.most = 0
        self._free: list[int] = []

    def track(self, slot: int) -> int:
        """Counted from the first track that has slots."""
        return slot // self.per_track

    def take(self, avoid: Container[int]) -> int:
        """The lowest free slot on none of the tracks `avoid`."""
        passed = []
        while self._free and self.track(self._free[0]) in avoid:
            passed.append(heappop(self._free))
        if self._free:
            taken = heappop(self._free)
        else:
            while self.track(self.most) in avoid:
                passed.append(self.most)
                self.most += 1
            taken = self.most
            self.most += 1
        for each in passed:
            heappush(self._free, each)
        return taken

    def give_back(self, slot: int) -> None:
        heappush(self._free, slot)


@dataclass(frozen=True, slots=True)
class Area:
    """Words of `bits` on the tracks from `first_track` on; a word stays within the reach of one port."""

    geometry: AssociativeGeometry
    first_track: int
    tracks: int
    bits: int

    @property
    def per_track(self) -> int:
        return self.geometry.reach // self.bits * self.geometry.ports

    @property
    def words(self) -> int:
        return self.tracks * self.per_track

    def track_by_track(self, slot: ArrayLike) -> NDArray[np.int64]:
        """First columns of slots that fill one track after another."""
        number = np.asarray(slot, np.int64)
        return self._column(number // self.per_track, number % self.per_track)

    def across_tracks(self, place: ArrayLike) -> NDArray[np.int64]:
        """First columns of places that go over all tracks before a track has a second one."""
        number = np.asarray(place, np.int64)
        return self._column(number % self.tracks, number // self.tracks)

    def _column(self, track: NDArray[np.int64], within: NDArray[np.int64]) -> NDArray[np.int64]:
        by_port = self.geometry.reach // self.bits
        domain = within // by_port * self.geometry.reach + within % by_port * self.bits
        return (self.first_track + track) * self.geometry.domains + domain


def tracks_for(words: int, bits: int, geometry: AssociativeGeometry) -> int:
    """How many tracks so many words take."""
    per_track = geometry.reach // bits * geometry.ports
    return -(-words // per_track) if per_track else geometry.tracks + 1
