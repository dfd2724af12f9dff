"""How often shifts go wrong: tracks shifted to and fro by a stride, and where their nanowires stand after each.

What a nanowire was displaced by during one stride is over-shifts less under-shifts, so histograms of displacements tell
both rates, whichever way it went. Every stop is checked three times, of which the majority is believed: a misread is
no shift error, and its own rate comes with it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeArray, AssociativeGeometry, Check, Configure, Read, Shift
from labctl.errors import SettingsError
from labctl.protocols.associative.bits import spread
from labctl.protocols.associative.counting import Counting
from labctl.protocols.associative.positions import CHECKS, DISPLACEMENTS, PERIOD, Positions, align, by_displacement
from labctl.steps import Result, Step, Variable

_NEAR = 2  # domains off from which on nanowires are brought back, so that none comes to the end of its track

VARIABLES = (
    Variable("track", "track that was shifted", dtype="u4"),
    Variable("direction", "1 towards higher domains under the ports, -1 back", dtype="i1"),
    Variable("single_shifts", "shifts by one domain of nanowires that are known before and after", dtype="u8"),
    Variable("ahead", "domains that nanowires came to be too far, summed", dtype="u8"),
    Variable("behind", "domains that nanowires came to be short, summed", dtype="u8"),
    Variable("misreads", "position checks of a nanowire that two others contradict", dtype="u8"),
)


class ShiftErrorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tracks: how many, spread evenly. trips: to and fro on each. stride: domains one way. tries: to bring nanowires
    back, before and in between.
    """

    tracks: int = 8
    trips: int = 8
    stride: int = 8
    tries: int = 8

    def __post_init__(self) -> None:
        for name in ("tracks", "trips", "stride", "tries"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise ValueError(f"shift_errors.{name} must be 1 to 10000, not {getattr(self, name)}")


@dataclass(slots=True)
class _Tally:
    """displaced: (tracks, 2, 8) strides of nanowires by direction and by how many domains they went too far.
    checks, misreads: (tracks,) of nanowires, and of those, contradicted by two others.
    """

    displaced: NDArray[np.int64]
    checks: NDArray[np.int64]
    misreads: NDArray[np.int64]

    def add(self, place: int, direction: int, before: Positions, after: Positions) -> dict[str, int]:
        """A step's values."""
        known = ~(before.doubtful | after.doubtful)
        moved = after.offsets[known].astype(np.int64) - before.offsets[known]
        too_far = (direction * moved - DISPLACEMENTS[0]) % PERIOD + DISPLACEMENTS[0]
        counts = by_displacement(too_far)
        self.displaced[place, int(direction < 0)] += counts
        self.checks[place] += after.checked
        self.misreads[place] += after.misreads
        return {
            "ahead": int(counts @ np.maximum(DISPLACEMENTS, 0)),
            "behind": int(counts @ np.maximum(-DISPLACEMENTS, 0)),
            "misreads": after.misreads,
            "single_shifts": int(counts.sum()),
        }


def check(settings: ShiftErrorSettings, geometry: AssociativeGeometry) -> None:
    """Raises SettingsError where the chip has no such strides."""
    if settings.stride >= geometry.reach:
        raise SettingsError(
            f"$.shift_errors.stride: must be less than the {geometry.reach} domains that a port of this chip reaches, "
            f"not {settings.stride}"
        )


def measure(
    array: AssociativeArray, settings: ShiftErrorSettings, counting: Counting
) -> Generator[Step, None, dict[str, Any]]:
    """The results of it; of the tracks that were done, where it is closed early."""
    geometry = array.associative
    tracks = spread(settings.tracks, geometry.tracks, "shift_errors.tracks")
    tally = _Tally(*(np.zeros((len(tracks), *shape), np.int64) for shape in ((2, PERIOD), (), ())))
    total = len(tracks) * settings.trips
    array.perform(Configure(verify_every=0))
    for place, track in enumerate(tracks.tolist()):
        array.perform(Read(np.array([track * geometry.domains], np.uint32)))  # its head is at 0 then
        found = align(array, track, settings.tries)
        for trip in range(settings.trips):
            for direction in (1, -1):
                found, before = _stride(array, track, direction * settings.stride), found
                values = tally.add(place, direction, before, found)
                values["single_shifts"] *= settings.stride
                values |= {"track": track, "direction": direction, **counting.step()}
                yield Step("shift_errors", values, progress=(place * settings.trips + trip + 1, total))
            if np.abs(found.offsets).max() >= _NEAR:
                found = align(array, track, settings.tries)
        align(array, track, settings.tries)
    return _results(tracks, tally, settings.stride)


def _stride(array: AssociativeArray, track: int, steps: int) -> Positions:
    chosen = np.array([track], np.uint16)
    _, *checks = array.perform(Shift(track, steps), *([Check(chosen)] * CHECKS))
    return Positions.of(*checks)


def _results(tracks: NDArray[np.intp], tally: _Tally, stride: int) -> dict[str, Any]:
    told = "strides of nanowires by how many domains they went too far"
    return {
        "track": Result(tracks.astype(np.int64), ("track",), "track"),
        "direction": Result(np.array([1, -1]), ("direction",), "1 towards higher domains under the ports, -1 back"),
        "displacement": Result(DISPLACEMENTS, ("displacement",), "domains too far, of the period of the guard pattern"),
        "stride": Result(np.full(1, stride), ("stride",), "shifts by one domain in a stride"),
        "displaced": Result(tally.displaced, ("track", "direction", "displacement"), told),
        "position_checks": Result(tally.checks, ("track",), "position checks of a nanowire"),
        "position_misreads": Result(tally.misreads, ("track",), "of them, those that two others contradict"),
    }
