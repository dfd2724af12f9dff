"""Analog switching described by a table: the step of an identical pulse against conductance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .model import Float32, Selection, Voltage

_STEPS = 1024  # of the lookup from conductance to mean and spread
_VOLTAGE_SCALE = np.float32(0.2)
"""V that change the step e-fold: assumed; a table holds for its own amplitude."""


@dataclass(frozen=True, slots=True)
class StepTable:
    """mean, spread: (_STEPS,) S, of the step, evenly over conductances 0 .. top S. voltage: V it was taken at."""

    mean: Float32
    spread: Float32
    top: float
    voltage: float

    @classmethod
    def of(
        cls, levels: Sequence[float], mean: Sequence[float], spread: Sequence[float], voltage: float
    ) -> StepTable | None:
        """From (a,) S each, linear between levels and constant beyond them; None where empty. Raises ValueError."""
        if not levels:
            return None
        if not len(levels) == len(mean) == len(spread):
            raise ValueError("a step table needs as many means and spreads as levels")
        if any(after <= before for before, after in pairwise(levels)) or not levels[-1] > 0:
            raise ValueError("the levels of a step table must increase")
        grid = np.linspace(0, levels[-1], _STEPS)
        means, spreads = np.interp(grid, levels, mean), np.interp(grid, levels, spread)
        return cls(means.astype(np.float32), spreads.astype(np.float32), float(levels[-1]), voltage)

    def change(
        self, where: Selection, conductance: Float32, noise: Float32, voltage: Voltage, widths: float
    ) -> Float32:
        """The step, S, of a pulse of `voltage` V and so many of the table's `widths`: (mean(G) + spread(G) xi) gain."""
        arena, count = where.arena, len(where)
        index, change, part = arena.intp(count), arena.float32(count), arena.float32(count)
        np.multiply(conductance, np.float32((_STEPS - 1) / self.top), out=part)
        np.clip(part, np.float32(0), np.float32(_STEPS - 1), out=part)
        np.copyto(index, part, casting="unsafe")
        self.spread.take(index, out=change, mode="clip")
        change *= noise
        self.mean.take(index, out=part, mode="clip")
        change += part
        np.subtract(voltage, np.float32(self.voltage), out=part)
        part /= _VOLTAGE_SCALE
        np.exp(part, out=part)
        part *= np.float32(widths)
        change *= part
        return change
