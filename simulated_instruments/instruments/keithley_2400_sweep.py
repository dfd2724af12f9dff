"""What the 2400 sources, point after point: a fixed level, a sweep or a list."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..scpi import ScpiError

LONGEST_LIST = 2500
_ROUNDING = 1e-9


@dataclass(slots=True)
class Sweep:
    """One quantity's levels, V or A. `mode`: FIX, SWE or LIST.

    level: the fixed one. triggered: the one that the next trigger brings. step and points follow from each other: the
    one that was set last is meant.
    """

    mode: str = "FIX"
    level: float = 0.0
    triggered: float = 0.0
    start: float = 0.0
    stop: float = 0.0
    listed: list[float] = field(default_factory=lambda: [0.0])
    spacing: str = "LIN"
    direction: str = "UP"
    ranging: str = "BEST"
    _points: int = 2500
    _step: float | None = None

    @property
    def points(self) -> int:
        if self._step is None:
            return self._points
        if self._step == 0:
            return 1
        return math.floor(abs(self.stop - self.start) / abs(self._step) + _ROUNDING) + 1

    @points.setter
    def points(self, number: int) -> None:
        self._points, self._step = number, None

    @property
    def step(self) -> float:
        if self._step is not None:
            return math.copysign(self._step, self.stop - self.start)
        return (self.stop - self.start) / max(self._points - 1, 1)

    @step.setter
    def step(self, step: float) -> None:
        self._step = step

    @property
    def centre(self) -> float:
        return (self.start + self.stop) / 2

    @centre.setter
    def centre(self, centre: float) -> None:
        half = self.span / 2
        self.start, self.stop = centre - half, centre + half

    @property
    def span(self) -> float:
        return self.stop - self.start

    @span.setter
    def span(self, span: float) -> None:
        centre = self.centre
        self.start, self.stop = centre - span / 2, centre + span / 2

    def levels(self) -> NDArray[np.float64]:
        """Every level in turn, V or A, (points,). Raises ScpiError where a logarithmic sweep cannot be."""
        if self.mode == "FIX":
            return np.array([self.triggered])
        if self.mode == "LIST":
            return np.array(self.listed)
        if self.points > LONGEST_LIST:
            raise ScpiError(-223, f"a sweep has {LONGEST_LIST} points at most")
        levels: NDArray[np.float64]
        if self.spacing == "LOG":
            if self.start * self.stop <= 0:
                raise ScpiError(-221, "a logarithmic sweep neither begins nor ends at zero nor crosses it")
            levels = np.asarray(np.geomspace(self.start, self.stop, self.points), float)
        elif self._step is not None:
            levels = self.start + self.step * np.arange(self.points, dtype=np.float64)
        else:
            levels = np.linspace(self.start, self.stop, self.points)
        return levels[::-1] if self.direction == "DOWN" else levels
