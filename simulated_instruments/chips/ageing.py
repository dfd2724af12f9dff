"""How old a chip is, as its cells feel it, and how long they stay about as they are; heat makes time run faster."""

from __future__ import annotations

import math

from ..cells.model import Moment

_SHORTEST = 0.01  # s of age: what relaxes faster is not followed
_GROWTH = 1.3  # of the age since the last change, within which relaxation, in its logarithm, hardly moves
_LONGEST = 1.0  # s: fluctuators that are no white noise to a multiplication have time constants of 1 s and more


class Ageing:
    """time: s on the bench's clock, of the last moment asked for. age: s, felt until then. pace: s of age in a second.

    changed_time, changed_age: both when the last pulse or change of temperature ended.

    A clock that goes backwards, as one that starts anew, makes no cell younger.
    """

    def __init__(
        self,
        time: float = 0.0,
        age: float = 0.0,
        pace: float = 1.0,
        changed_time: float = 0.0,
        changed_age: float = 0.0,
    ) -> None:
        self.time = time
        self.age = age
        self.changed_time = changed_time
        self.changed_age = changed_age
        self._pace = pace

    def moment(self, time: float, period: float) -> Moment:
        """Of a batch that begins at `time` with a turn of `period` s for each cell."""
        self._reach(time)
        return Moment(time, period, self.age, self._pace)

    def change(self, time: float, pace: float) -> None:
        """From `time` on, age runs at another pace."""
        self._reach(time)
        self._pace = pace
        self.changed(self.moment(time, 0.0))

    def changed(self, at: Moment) -> None:
        """Cells were pulsed until the moment `at`."""
        self.changed_time, self.changed_age = at.time, at.age

    def steady(self, time: float) -> Moment:
        """As of which moment, at or before `time`, all cells are looked at together.

        The same for all times within a stretch, and a function of the time since the last change alone, so it does
        not matter when anyone looked first. A stretch ends when the age since the last change has grown by 0.3 of
        itself, but not within 10 ms of age, and after 1 s at the latest.
        """
        at = self.moment(time, 0.0)
        kept = _stretch(max(time - self.changed_time, 0.0), _SHORTEST / max(self._pace, 1.0))
        return Moment(self.changed_time + kept, 0.0, self.changed_age + kept * self._pace, at.pace)

    def before(self, time: float) -> Moment:
        """A moment not after the last one asked for: how old the chip was then, at the pace it has now."""
        return Moment(time, 0.0, self.age - (self.time - time) * self._pace, self._pace)

    @property
    def pace(self) -> float:
        """s of age in a second, at present."""
        return self._pace

    def _reach(self, time: float) -> None:
        if self.time:
            self.age += max(time - self.time, 0.0) * self._pace
        else:
            self.changed_time = time
        self.time = max(time, self.time)


def _stretch(elapsed: float, shortest: float) -> float:
    """Where the stretch of time begins that `elapsed` s are in: stretches of `shortest` s, growing ones, of 1 s."""
    share = _GROWTH - 1
    even, growing = shortest / share, _LONGEST / share
    if elapsed < even:
        return math.floor(elapsed / shortest) * shortest
    if elapsed < growing:
        return float(even * _GROWTH ** math.floor(math.log(elapsed / even) / math.log(_GROWTH)))
    return growing + math.floor((elapsed - growing) / _LONGEST) * _LONGEST
