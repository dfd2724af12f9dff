"""Cells behind lines that are broken: no pulse reaches them, and they conduct nothing, whatever cells they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cells.model import CellModel, Float32, Fluctuation, Moment, Pulse, Selection, Sense, Voltage


class BehindDeadLines:
    """`cells` of which those that are `dead`, (cells,) bool, are out of reach. Implements `CellModel`."""

    def __init__(self, cells: CellModel, dead: NDArray[np.bool_]) -> None:
        self._cells = cells
        self._dead = dead

    @property
    def kind(self) -> str:
        return self._cells.kind

    @property
    def reads_disturb(self) -> bool:
        return self._cells.reads_disturb

    @property
    def state(self) -> Mapping[str, NDArray[Any]]:
        return self._cells.state

    def pace(self, temperature: float) -> float:
        return self._cells.pace(temperature)

    def access(self, gate: float) -> float:
        return self._cells.access(gate)

    def pulse(self, where: Selection, voltage: Voltage, pulse: Pulse) -> None:
        self._cells.pulse(where, self._reaching(where, voltage), pulse)

    def pulse_and_read(self, where: Selection, voltage: Voltage, pulse: Pulse, read_voltage: float) -> Float32:
        return self._shown(
            where, self._cells.pulse_and_read(where, self._reaching(where, voltage), pulse, read_voltage)
        )

    def read(self, where: Selection, sense: Sense) -> Float32:
        return self._shown(where, self._cells.read(where, sense))

    def read_moments(
        self, where: Selection, sense: Sense, fluctuation: Fluctuation | None = None
    ) -> tuple[Float32, Float32]:
        mean, variance = self._cells.read_moments(where, sense, fluctuation)
        return self._shown(where, mean.copy()), self._shown(where, variance.copy())

    def fluctuation(self, where: Selection, at: Moment) -> Fluctuation | None:
        return self._cells.fluctuation(where, at)

    def _reaching(self, where: Selection, voltage: Voltage) -> Voltage:
        reaching: Float32 = np.where(self._dead[where.index], np.float32(0), voltage).astype(np.float32)
        return reaching

    def _shown(self, where: Selection, values: Float32) -> Float32:
        values[self._dead[where.index]] = 0
        return values


@dataclass(frozen=True, slots=True)
class DeadLines:
    """Numbers of the broken rows and columns of a chip."""

    rows: tuple[int, ...] = ()
    cols: tuple[int, ...] = ()

    def before(self, cells: CellModel, rows: int, cols: int) -> CellModel:
        """`cells` of an array of rows x cols, as these lines let them be seen. Raises ValueError for a line beyond."""
        if not self.rows and not self.cols:
            return cells
        for name, lines, count in (("row", self.rows, rows), ("column", self.cols, cols)):
            beyond = [line for line in lines if not 0 <= line < count]
            if beyond:
                raise ValueError(f"{name} {beyond[0]} cannot be dead: they are numbered 0 to {count - 1}")
        dead = np.zeros((rows, cols), bool)
        dead[list(self.rows)], dead[:, list(self.cols)] = True, True
        return BehindDeadLines(cells, dead.ravel())


NONE_DEAD = DeadLines()
