"""How old a chip is, as its cells feel it: time, which heat makes run faster."""

from __future__ import annotations

from ..cells.model import Moment


class Ageing:
    """time: s on the bench's clock, of the last moment asked for. age: s, felt until then. pace: s of age in a second.

    A clock that goes backwards, as one that starts anew, makes no cell younger.
    """

    def __init__(self, time: float = 0.0, age: float = 0.0, pace: float = 1.0) -> None:
        self.time = time
        self.age = age
        self._pace = pace

    def moment(self, time: float, period: float) -> Moment:
        """Of a batch that begins at `time` with a turn of `period` s for each cell."""
        self._reach(time)
        return Moment(time, period, self.age, self._pace)

    def change(self, time: float, pace: float) -> None:
        """From `time` on, age runs at another pace."""
        self._reach(time)
        self._pace = pace

    def _reach(self, time: float) -> None:
        if self.time:
            self.age += max(time - self.time, 0.0) * self._pace
        self.time = max(time, self.time)
