"""Position check of the nanowires of all tracks, and realignment of those astray, again until none is or tries are out.

A track's guard domains are read twice in quadrature (a transverse read counts the ones in a window of 4); the counts
say the phase of their pattern, and so by how many domains, -4 to 3, each nanowire is ahead of its head. Only nanowires
that two checks find in the same wrong place are shifted; as such a shift may fail too, their tracks are checked again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Scale
from labctl.associative import AssociativeArray
from labctl.errors import SettingsError
from labctl.protocols.associative.counting import COUNTER_VARIABLES, Counting
from labctl.protocols.associative.positions import DISPLACEMENTS, PERIOD, bring_back, off, positions
from labctl.steps import Cost, Procedure, Result, Step, Steps, StopRequested, Variable

_AT_ONCE = 1 << 20  # nanowires of one exchange, so that messages stay small and a stop is soon heard


class AlignmentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """tracks: first and count, like `[0, 16]`. tries: how often nanowires astray are shifted, at most."""

    tracks: tuple[int, int] | Literal["all"] = "all"
    tries: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.tries <= 100:
            raise ValueError(f"tries must be 0 to 100, not {self.tries}")


class _Alignment:
    """A run under way. before, after: (tracks, 8) nanowires by offset at the first check and at the latest, those in
    doubt left out; -1 where none was made. checked, misreads: checks of a nanowire, and those contradicted by two.
    """

    def __init__(self, array: AssociativeArray, tracks: NDArray[np.uint16]) -> None:
        self.array, self.tracks, self.counting = array, tracks, Counting(array)
        self.before = np.full((len(tracks), PERIOD), -1, np.int64)
        self.after = self.before.copy()
        self.checked = self.misreads = self.tried = 0

    def steps(self, tries: int) -> Generator[Step, None, None]:
        """Check all tracks; then, those of which something was shifted or in doubt."""
        places = np.arange(len(self.tracks))
        while len(places):
            last = self.tried == tries
            places = yield from self._round(places, shift=not last)
            if last:
                return
            self.tried += bool(len(places))

    def _round(self, places: NDArray[np.intp], *, shift: bool) -> Generator[Step, None, NDArray[np.intp]]:
        """The places that are to be checked again."""
        each, again = max(1, _AT_ONCE // self.array.associative.rows), []
        for start in range(0, len(places), each):
            some = places[start : start + each]
            found = positions(self.array, self.tracks[some])
            self.after[some] = counts = found.counts()
            self.before[some] = np.where(self.before[some] < 0, counts, self.before[some])
            self.checked, self.misreads = self.checked + found.checked, self.misreads + found.misreads
            if shift:
                bring_back(self.array, self.tracks[some], found)
            again.append(some[(off(counts) > 0) | found.doubtful.any(axis=1)])
            values = {"tried": self.tried, "astray": found.astray, "misreads": found.misreads}
            phase = "realign" if self.tried else "check"
            yield Step(phase, {**values, **self.counting.step()}, progress=(start + len(some), len(places)))
        return np.concatenate(again)

    def summary(self) -> dict[str, Any]:
        checked = self.after[:, 0] >= 0
        before, after = (off(counts[checked]) for counts in (self.before, self.after))
        total = self.counting.total
        return {
            "tracks": int(np.count_nonzero(checked)),
            "nanowires": int(np.count_nonzero(checked)) * self.array.associative.rows,
            "astray_before": int(before.sum()),
            "astray_after": int(after.sum()),
            "tracks_astray_before": int(np.count_nonzero(before)),
            "tracks_astray_after": int(np.count_nonzero(after)),
            "tries": self.tried,
            "checked": self.checked,
            "misreads": self.misreads,
            "counters": total.as_values(),
            "track": Result(self.tracks[checked].astype(np.int64), ("track",), "track"),
            "offset": Result(DISPLACEMENTS, ("offset",), "domains that a nanowire is ahead of its head"),
            "nanowires_before": Result(self.before[checked], ("track", "offset"), "nanowires by offset, before"),
            "nanowires_after": Result(self.after[checked], ("track", "offset"), "nanowires by offset, after"),
        }


def _steps(array: AssociativeArray, settings: AlignmentSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    alignment = _Alignment(array, _tracks(settings, array.associative.tracks))
    with contextlib.suppress(StopRequested):  # what was done so far is an alignment of those tracks
        yield from alignment.steps(settings.tries)
    return alignment.summary()


def _tracks(settings: AlignmentSettings, tracks: int) -> NDArray[np.uint16]:
    if settings.tracks == "all":
        return np.arange(tracks, dtype=np.uint16)
    first, count = settings.tracks
    if first < 0 or count < 1 or first + count > tracks:
        raise SettingsError(
            f"$.tracks: first {first} and count {count} are not within the chip's {tracks} tracks, 0 to {tracks - 1}"
        )
    return np.arange(first, first + count, dtype=np.uint16)


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: AlignmentSettings) -> Cost:  # noqa: ARG001
    """Nothing is written, and no voltage is of choice."""
    return Cost(0, 0, {}, {}, {})


associative_alignment = Procedure(
    name="associative_alignment",
    title="Position check and realignment",
    settings=AlignmentSettings,
    phases=("check", "realign"),
    variables=(
        *COUNTER_VARIABLES,
        Variable("tried", "how often nanowires astray were shifted before", dtype="u4"),
        Variable("astray", "nanowires that two of three checks find in the same wrong place", dtype="u8"),
        Variable("misreads", "position checks of a nanowire that two others contradict", dtype="u8"),
    ),
    needs=Capability.ASSOCIATE,
    steps=_steps,
    plan=_plan,
    measurement="associative-alignment",
)
