"""`smuX.trigger` of a Keithley 2600B: a sweep of levels with a measurement at each, carried out by `initiate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..scpi.errors import ScpiError
from ..tsp import Attribute, Function, Table
from ..tsp.buffers import Buffer, buffer_of
from ..tsp.tables import Value, number, one_of, stored, whole
from .source_measure import Quantity

if TYPE_CHECKING:
    from .keithley_2600 import Channel

_MOST_POINTS = 100_000


class Sweep:
    """What the sweep does, as `reset` leaves it nothing: no levels, one point, nothing measured."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.reset()
        source = {
            "action": stored(self, "sources", one_of(0, 1)),
            "linearv": Function(lambda *given: self._linear("voltage", *given), 3, 3),
            "lineari": Function(lambda *given: self._linear("current", *given), 3, 3),
            "logv": Function(lambda *given: self._logarithmic("voltage", *given), 4, 4),
            "logi": Function(lambda *given: self._logarithmic("current", *given), 4, 4),
            "listv": Function(lambda given: self._listed("voltage", given), 1, 1),
            "listi": Function(lambda given: self._listed("current", given), 1, 1),
        }
        measure = {
            "action": stored(self, "measures", one_of(0, 1)),
            "v": Function(lambda *into: self._measured(("voltage",), into), 1, 1),
            "i": Function(lambda *into: self._measured(("current",), into), 1, 1),
            "iv": Function(lambda *into: self._measured(("current", "voltage"), into), 2, 2),
        }
        self.table = Table(
            {
                "source": Table(source),
                "measure": Table(measure),
                "endsweep": Table({"action": stored(self, "holds_at_end", one_of(0, 1))}),
                "arm": Table({"count": stored(self, "arms", whole(1, _MOST_POINTS))}),
                "count": stored(self, "points", whole(1, _MOST_POINTS)),
                "initiate": Function(self._initiate),
                "SOURCE_IDLE": 0,
                "SOURCE_HOLD": 1,
                "busy": Attribute(lambda: False),
            }
        )

    def reset(self) -> None:
        self.sources = self.measures = self.holds_at_end = 0
        self.points = self.arms = 1
        self._quantity: Quantity = "voltage"
        self._levels: list[float] = []
        self._measures: tuple[Quantity, ...] = ()
        self._buffers: list[Buffer] = []

    def _set_levels(self, quantity: Quantity, levels: Sequence[float]) -> None:
        if not 1 <= len(levels) <= _MOST_POINTS:
            raise ScpiError(-224)
        self._quantity, self._levels = quantity, [float(each) for each in levels]

    def _linear(self, quantity: Quantity, start: Value, stop: Value, points: Value) -> None:
        count = whole(1, _MOST_POINTS)(points)
        self._set_levels(quantity, np.linspace(number()(start), number()(stop), count).tolist())

    def _logarithmic(self, quantity: Quantity, start: Value, stop: Value, points: Value, asymptote: Value) -> None:
        """Levels a + (start - a) r**k: the same ratio of distances to the asymptote from point to point."""
        base, count = number()(asymptote), whole(1, _MOST_POINTS)(points)
        first, last = number()(start) - base, number()(stop) - base
        if first * last <= 0:
            raise ScpiError(-224)
        self._set_levels(quantity, (base + np.sign(first) * np.geomspace(abs(first), abs(last), count)).tolist())

    def _listed(self, quantity: Quantity, levels: Value) -> None:
        if not hasattr(levels, "values"):
            raise ScpiError(-104)
        self._set_levels(quantity, [number()(each) for each in list(levels.values())])

    def _measured(self, quantities: tuple[Quantity, ...], into: tuple[Value, ...]) -> None:
        self._measures, self._buffers = quantities, [buffer_of(each) for each in into]

    def _initiate(self) -> None:
        """All of it, before anything else is carried out."""
        channel = self._channel
        if (self.sources and not self._levels) or (self.measures and not self._measures):
            raise ScpiError(-221)
        idle = channel.core.level(self._quantity)
        for buffer in self._buffers:
            buffer.begin()
        for _ in range(self.arms):
            for point in range(self.points):
                if self.sources:
                    channel.set_level(self._quantity, self._levels[point % len(self._levels)])
                if self.measures:
                    channel.measure_once(self._measures, self._buffers)
        if self.sources and not self.holds_at_end:
            channel.set_level(self._quantity, idle)
